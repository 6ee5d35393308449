//! Who holds a token of the cluster, and what they may do: `TokenReview` and `SubjectAccessReview`, each
//! remembered for a moment.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::api::GROUP;
use crate::clock::Clock;
use crate::cluster::{ApiError, Call, Named};

/// How long an answer that lets somebody in is believed: a token or a right that was taken away is of
/// use for no longer.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long a refusal is believed: whoever was just given a right should not wait for it.
const REFUSED: Duration = Duration::from_secs(5);
/// The most answers of each kind that are remembered: many callers, each with some rights.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// The longest token that is looked up: the cluster's own have some 1,000 characters.
const MAX_TOKEN: usize = 16_384;

/// Somebody whom the cluster knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The id.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else is said.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What somebody wants to do with our resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deed {
    /// Such as `check`.
    pub verb: &'static str,
    /// The plural, such as `gates`.
    pub resource: &'static str,
    /// Where; without one everywhere.
    pub namespace: Option<String>,
    /// With which; without one with all of them.
    pub name: Option<String>,
}

/// Asks the cluster. Cheap to clone; all clones have one memory.
#[derive(Clone)]
pub struct Reviews {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    clock: Arc<dyn Clock>,
    users: Remembered<[u8; 32], Option<Arc<User>>>,
    deeds: Remembered<(Arc<User>, Deed), bool>,
}

impl Reviews {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: kube::Client, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { client, clock, users: Remembered::new(), deeds: Remembered::new() }) }
    }

    /// Who holds a token; nobody where the cluster does not know it.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn who(&self, token: &str) -> Result<Option<Arc<User>>, ApiError> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Ok(None);
        }
        // Its hash, so that no token stays in memory.
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = self.inner.clock.elapsed();
        if let Some(known) = self.inner.users.get(&key, now) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let call = Call { verb: "create", resource: "tokenreviews.authentication.k8s.io", namespace: "", name: "" };
        let api: Api<TokenReview> = Api::all(self.inner.client.clone());
        let status = api.create(&PostParams::default(), &review).await.named(call)?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| {
            Arc::new(User {
                name: user.username.unwrap_or_default(),
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        });
        let user = user.filter(|user| !user.name.is_empty());
        let believed = if user.is_some() { BELIEVED } else { REFUSED };
        self.inner.users.put(key, user.clone(), now + believed);
        Ok(user)
    }

    /// Whether somebody may do something.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn may(&self, user: &Arc<User>, deed: Deed) -> Result<bool, ApiError> {
        let key = (Arc::clone(user), deed);
        let now = self.inner.clock.elapsed();
        if let Some(known) = self.inner.deeds.get(&key, now) {
            return Ok(known);
        }
        let deed = &key.1;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    verb: Some(deed.verb.to_owned()),
                    resource: Some(deed.resource.to_owned()),
                    namespace: deed.namespace.clone(),
                    name: deed.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let call =
            Call { verb: "create", resource: "subjectaccessreviews.authorization.k8s.io", namespace: "", name: "" };
        let api: Api<SubjectAccessReview> = Api::all(self.inner.client.clone());
        let status = api.create(&PostParams::default(), &review).await.named(call)?.status.unwrap_or_default();
        // What the authorizers deny explicitly is denied whatever else allows it.
        let allowed = status.allowed && status.denied != Some(true);
        let believed = if allowed { BELIEVED } else { REFUSED };
        self.inner.deeds.put(key, allowed, now + believed);
        Ok(allowed)
    }
}

/// Answers with their ends.
struct Remembered<K, V>(Mutex<LruCache<K, (V, Duration)>>);

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_REMEMBERED)))
    }

    fn get(&self, key: &K, now: Duration) -> Option<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = all.get(key)?;
        if now < *until {
            return Some(value.clone());
        }
        all.pop(key);
        None
    }

    fn put(&self, key: K, value: V, until: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Connection;
    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Clone)]
    struct Moved(Arc<Mutex<Duration>>);

    impl Clock for Moved {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    /// An API server that knows one token, lets its holder check, and counts what it is asked.
    fn reviews() -> (Reviews, Arc<AtomicU32>, Moved) {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                review["status"] = if path.ends_with("tokenreviews") {
                    let known = review["spec"]["token"] == "good";
                    json!({"authenticated": known, "user": {"username": if known { "ci" } else { "" }}})
                } else {
                    json!({"allowed": review["spec"]["resourceAttributes"]["verb"] == "check"})
                };
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(serde_json::to_vec(&review).unwrap())))
            }
        });
        let clock = Moved(Arc::default());
        let client = Connection::over(service, "default").client();
        (Reviews::new(client, Arc::new(clock.clone())), asked, clock)
    }

    fn deed(verb: &'static str) -> Deed {
        Deed { verb, resource: "gates", namespace: Some("shop".to_owned()), name: Some("checkout".to_owned()) }
    }

    #[tokio::test]
    async fn a_caller_is_looked_up_once_and_again_when_that_is_old() {
        let (reviews, asked, clock) = reviews();
        for _ in 0..3 {
            let user = reviews.who("good").await.unwrap().unwrap();
            assert_eq!(user.name, "ci");
            assert!(reviews.may(&user, deed("check")).await.unwrap());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        *clock.0.lock().unwrap() = BELIEVED;
        reviews.who("good").await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn who_is_not_known_or_may_not_is_refused_and_soon_looked_up_again() {
        let (reviews, asked, clock) = reviews();
        assert_eq!(reviews.who("bad").await.unwrap(), None);
        let user = reviews.who("good").await.unwrap().unwrap();
        assert!(!reviews.may(&user, deed("run")).await.unwrap());
        *clock.0.lock().unwrap() = REFUSED;
        assert_eq!(reviews.who("bad").await.unwrap(), None);
        assert!(!reviews.may(&user, deed("run")).await.unwrap());
        assert_eq!(asked.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn what_is_no_token_is_not_sent_anywhere() {
        let (reviews, asked, _clock) = reviews();
        for token in [String::new(), "x".repeat(MAX_TOKEN + 1)] {
            assert_eq!(reviews.who(&token).await.unwrap(), None);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
