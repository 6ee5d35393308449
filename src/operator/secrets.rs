//! Secrets of namespaces: read by name, where the namespace has granted it, and remembered for a
//! moment. The operator can neither list nor watch them, so that a grant of one is a grant of one.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use lru::LruCache;
use secrecy::{ExposeSecret, SecretBox};
use tokio::time::Instant;

use crate::cluster::{ApiError, Call, Named};
use crate::outbound::{SecretError, Vault};

/// How long a Secret that was read is good: one that was changed, or is not granted any more, counts
/// after this time. Ten thousand probes do not ask for it at every round.
const FRESH: Duration = Duration::from_secs(30);
/// How long a refusal is believed: whoever grants a Secret should not wait for it.
const REFUSED: Duration = Duration::from_secs(5);
/// How long the last value is used while the API server is away: that is the operator's trouble and no
/// target's.
const HELD: Duration = Duration::from_secs(300);
/// The most Secrets that are remembered; those that were asked for longest ago leave.
const MAX_SECRETS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);
/// What a service account is called among users.
const ACCOUNT: &str = "system:serviceaccount:";

/// The values of a Secret by key.
type Values = BTreeMap<String, SecretBox<Vec<u8>>>;
/// What is remembered of one Secret; held by whoever asks the API server for it.
type Place = Arc<tokio::sync::Mutex<Remembered>>;

#[derive(Default)]
struct Remembered {
    /// The last answer, and until when it is good.
    last: Option<(Result<Arc<Values>, SecretError>, Instant)>,
    /// The last values, and when they were read.
    good: Option<(Arc<Values>, Instant)>,
}

/// The Secrets of a cluster.
pub struct ClusterVault {
    client: kube::Client,
    places: Mutex<LruCache<(String, String), Place>>,
}

impl ClusterVault {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, places: Mutex::new(LruCache::new(MAX_SECRETS)) }
    }

    fn place(&self, namespace: &str, name: &str) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        Arc::clone(places.get_or_insert(key, Place::default))
    }

    /// The values of a Secret: those that are known, or read now, by one for all who ask at once.
    async fn values(&self, namespace: &str, name: &str) -> Result<Arc<Values>, SecretError> {
        let place = self.place(namespace, name);
        let mut known = place.lock().await;
        if let Some((answer, until)) = &known.last
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let read = self.fetch(namespace, name).await;
        let now = Instant::now();
        let (answer, good_for) = match read {
            Ok(values) => {
                known.good = Some((Arc::clone(&values), now));
                (Ok(values), FRESH)
            }
            Err(error @ SecretError::Away { .. }) => match &known.good {
                Some((values, at)) if now.saturating_duration_since(*at) < HELD => (Ok(Arc::clone(values)), REFUSED),
                _ => (Err(error), REFUSED),
            },
            Err(error) => {
                known.good = None;
                (Err(error), REFUSED)
            }
        };
        known.last = Some((answer.clone(), now + good_for));
        answer
    }

    async fn fetch(&self, namespace: &str, name: &str) -> Result<Arc<Values>, SecretError> {
        let call = Call { verb: "get", resource: "secrets", namespace, name };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get(name).await.named(call).map_err(|error| told(namespace, name, &error))?;
        let data = found.data.unwrap_or_default().into_iter();
        Ok(Arc::new(data.map(|(key, value)| (key, SecretBox::new(Box::new(value.0)))).collect()))
    }
}

#[async_trait]
impl Vault for ClusterVault {
    async fn read(&self, namespace: &str, name: &str, key: &str) -> Result<SecretBox<Vec<u8>>, SecretError> {
        let values = self.values(namespace, name).await?;
        let value = values.get(key).ok_or_else(|| SecretError::NoKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
        })?;
        Ok(SecretBox::new(Box::new(value.expose_secret().clone())))
    }
}

fn told(namespace: &str, name: &str, error: &ApiError) -> SecretError {
    let (of, secret) = (namespace.to_owned(), name.to_owned());
    match error {
        ApiError::NotFound { .. } | ApiError::NoNamespace { .. } => {
            SecretError::NoSecret { namespace: of, name: secret }
        }
        ApiError::Forbidden { message, .. } => {
            SecretError::NotGranted { namespace: of, name: secret, how: grant(namespace, name, message) }
        }
        other => SecretError::Away { namespace: of, name: secret, why: other.why() },
    }
}

/// The commands that grant one Secret to whoever was refused.
fn grant(namespace: &str, name: &str, message: &str) -> String {
    let who = message.split("User \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let subject = match who.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':')) {
        Some((of, account)) => format!("--serviceaccount={of}:{account}"),
        None => format!("--user={who}"),
    };
    let role = format!("probegate-secret-{name}");
    format!(
        "kubectl -n {namespace} create role {role} --verb=get --resource=secrets --resource-name={name} && \
         kubectl -n {namespace} create rolebinding {role} --role={role} {subject}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_which_commands_would_grant_that_secret_and_no_other() {
        let message = "secrets \"door\" is forbidden: User \"system:serviceaccount:probegate:probegate\" cannot get \
            resource \"secrets\" in API group \"\" in the namespace \"shop\"";
        let told = grant("shop", "door", message);
        assert_eq!(
            told,
            "kubectl -n shop create role probegate-secret-door --verb=get --resource=secrets --resource-name=door && \
             kubectl -n shop create rolebinding probegate-secret-door --role=probegate-secret-door \
             --serviceaccount=probegate:probegate"
        );
    }
}
