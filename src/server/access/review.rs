//! Callers that show a token of the cluster around us: who they are and what they may do is asked of
//! whoever knows, and remembered there for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::problem::{Kind, Problem};
use super::file::Scope;

/// Somebody whom the cluster knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The user name, such as `system:serviceaccount:shop:ci`.
    pub name: String,
    /// The id of that user.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the cluster says of it.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody wants to do, and with what: without a namespace everywhere, without a name with
/// everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wish {
    /// What.
    pub scope: Scope,
    /// Where.
    pub namespace: Option<String>,
    /// With which gate or probe.
    pub name: Option<String>,
}

/// Knows who holds a token of the cluster, and what they may do.
#[async_trait]
pub trait Reviewer: Send + Sync + 'static {
    /// Who holds a token; nobody where the cluster does not know it.
    ///
    /// # Errors
    /// Why the cluster cannot be asked.
    async fn who(&self, token: &str) -> Result<Option<Arc<Identity>>, String>;

    /// Whether they may do that.
    ///
    /// # Errors
    /// Why the cluster cannot be asked.
    async fn may(&self, who: &Arc<Identity>, wish: Wish) -> Result<bool, String>;
}

/// A caller that the cluster knows.
#[derive(Clone)]
pub(super) struct Reviewed {
    pub(super) identity: Arc<Identity>,
    reviewer: Arc<dyn Reviewer>,
    /// The namespaces whose resources it may read, as far as this request asks; `None` is all.
    readable: Option<BTreeSet<String>>,
}

impl fmt::Debug for Reviewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviewed").field("name", &self.identity.name).finish_non_exhaustive()
    }
}

impl Reviewed {
    /// Looks up what a caller may read: everything, or what stands in the namespaces that it asks for.
    pub(super) async fn new(
        identity: Arc<Identity>,
        reviewer: Arc<dyn Reviewer>,
        namespaces: &[String],
    ) -> Result<Self, String> {
        let read = |namespace: Option<String>| Wish { scope: Scope::Read, namespace, name: None };
        let readable = if reviewer.may(&identity, read(None)).await? {
            None
        } else {
            let mut readable = BTreeSet::new();
            for namespace in namespaces {
                if reviewer.may(&identity, read(Some(namespace.clone()))).await? {
                    readable.insert(namespace.clone());
                }
            }
            Some(readable)
        };
        Ok(Self { identity, reviewer, readable })
    }

    pub(super) fn sees(&self, namespace: &str) -> bool {
        self.readable.as_ref().is_none_or(|readable| readable.contains(namespace))
    }

    pub(super) async fn require_on(&self, scope: Scope, namespace: &str, name: &str) -> Result<(), Problem> {
        let wish = Wish { scope, namespace: Some(namespace.to_owned()), name: Some(name.to_owned()) };
        match self.reviewer.may(&self.identity, wish).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let who = &self.identity.name;
                Err(Problem::new(Kind::Forbidden, format!("`{who}` may not {} {namespace}/{name}", deed(scope))))
            }
            Err(why) => Err(Problem::new(Kind::Unavailable, format!("what the caller may do is not known: {why}"))),
        }
    }
}

/// What a scope is called in the cluster's rules.
const fn deed(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "get",
        Scope::Check => "check",
        Scope::Run => "run",
        Scope::Override => "create overrides for",
        Scope::Admin => "administer",
    }
}
