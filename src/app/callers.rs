//! Callers with a token of the cluster: the operator asks the cluster, the server wants to know.

use std::sync::Arc;

use async_trait::async_trait;

use crate::operator::{Deed, Reviews, User};
use crate::server::{Identity, Reviewer, Scope, Wish};

/// Asks the cluster for the server.
pub(super) struct ByCluster(pub(super) Reviews);

#[async_trait]
impl Reviewer for ByCluster {
    async fn who(&self, token: &str) -> Result<Option<Arc<Identity>>, String> {
        let user = self.0.who(token).await.map_err(|error| error.to_string())?;
        Ok(user.map(|user| {
            Arc::new(Identity {
                name: user.name.clone(),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
            })
        }))
    }

    async fn may(&self, who: &Arc<Identity>, wish: Wish) -> Result<bool, String> {
        let user =
            User { name: who.name.clone(), uid: who.uid.clone(), groups: who.groups.clone(), extra: who.extra.clone() };
        let Some(deed) = deed(wish) else { return Ok(false) };
        self.0.may(&Arc::new(user), deed).await.map_err(|error| error.to_string())
    }
}

/// A wish in the words of the cluster's rules. Whoever may read runs may read all that they stand on.
fn deed(Wish { scope, namespace, name }: Wish) -> Option<Deed> {
    match scope {
        Scope::Read => Some(Deed { verb: "get", resource: "gateruns", namespace, name: None }),
        Scope::Check => Some(Deed { verb: "check", resource: "gates", namespace, name }),
        Scope::Run => Some(Deed { verb: "run", resource: "probes", namespace, name }),
        Scope::Override => Some(Deed { verb: "create", resource: "overrides", namespace, name: None }),
        Scope::Admin => None,
    }
}
