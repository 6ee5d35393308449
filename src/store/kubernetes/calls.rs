//! The calls to the API server, each with its words.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::Client;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;

use super::kinds::Known;
use crate::api::{GROUP, VERSION};
use crate::cluster::{ApiError, Call, Named, Scope};

/// Who writes: the one field manager of the program.
pub(super) const MANAGER: &str = "probegate";
/// How long the API server keeps a watch open: the longest that the client allows is 295 s.
const WATCH_SECONDS: u32 = 290;

/// How often a call is made again that the API server has turned away for a moment: a run is found and
/// created with several of them in a row. What is turned away was not done, so that a write may be
/// repeated too.
const TRIES_AGAIN: u32 = 2;
/// The longest such moment; a longer one is everybody's trouble, and is told.
const MOMENT: Duration = Duration::from_secs(2);

/// One page of a list.
#[derive(Debug)]
pub(super) struct RawPage {
    pub(super) items: Vec<Value>,
    pub(super) version: String,
    pub(super) next: Option<String>,
    /// How long the answer was.
    pub(super) bytes: usize,
}

#[derive(Deserialize)]
struct RawList {
    metadata: RawListMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// The API server as this home sees it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Calls {
    client: Client,
    pub(super) scope: Scope,
}

/// The words of one call.
struct Words {
    verb: &'static str,
    resource: String,
    namespace: String,
    name: String,
}

impl Words {
    fn new(verb: &'static str, kind: &Known, namespace: Option<&str>, name: &str) -> Self {
        Self {
            verb,
            resource: format!("{}.{GROUP}", kind.plural),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.to_owned(),
        }
    }

    fn call(&self) -> Call<'_> {
        Call { verb: self.verb, resource: &self.resource, namespace: &self.namespace, name: &self.name }
    }
}

fn request(kind: &Known, namespace: Option<&str>) -> Request {
    Request::new(match namespace {
        Some(namespace) => format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{}", kind.plural),
        None => format!("/apis/{GROUP}/{VERSION}/{}", kind.plural),
    })
}

impl Calls {
    pub(super) const fn new(client: Client, scope: Scope) -> Self {
        Self { client, scope }
    }

    /// Sends a request that was built and reads its answer as JSON.
    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        words: &Words,
        built: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let text = self.text(words, built).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError).named(words.call())
    }

    async fn text(
        &self,
        words: &Words,
        built: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, ApiError> {
        let built = built.map_err(kube::Error::BuildRequest).named(words.call())?;
        let mut tries = 0;
        loop {
            match self.client.request_text(built.clone()).await.named(words.call()) {
                Err(ApiError::TooMany { retry_after: Some(after), .. }) if tries < TRIES_AGAIN && after <= MOMENT => {
                    tries += 1;
                    tokio::time::sleep(after).await;
                }
                answered => return answered,
            }
        }
    }

    /// One object; `None` where it is not there.
    pub(super) async fn get(&self, kind: &Known, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let words = Words::new("get", kind, Some(namespace), name);
        let built = request(kind, Some(namespace)).get(name, &GetParams::default());
        match self.json(&words, built).await {
            Ok(body) => Ok(Some(body)),
            Err(ApiError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page; the list is as new as the moment of the call.
    pub(super) async fn page(
        &self,
        kind: &Known,
        namespace: Option<&str>,
        labels: &str,
        limit: u32,
        next: Option<&str>,
    ) -> Result<RawPage, ApiError> {
        let mut params = ListParams::default().labels(labels).limit(limit);
        params.continue_token = next.map(str::to_owned);
        let words = Words::new("list", kind, namespace, "");
        let built = request(kind, namespace).list(&params);
        let text = self.text(&words, built).await?;
        let list: RawList = serde_json::from_str(&text).map_err(kube::Error::SerdeError).named(words.call())?;
        let next = list.metadata.next.filter(|next| !next.is_empty());
        Ok(RawPage { items: list.items, version: list.metadata.resource_version, next, bytes: text.len() })
    }

    /// What happens after `version`, until the server or the guard ends it.
    pub(super) async fn watch(
        &self,
        kind: &Known,
        namespace: Option<&str>,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, ApiError>> + Send + Unpin + use<>, ApiError> {
        let words = Words::new("watch", kind, namespace, "");
        let params = WatchParams::default().labels(&self.scope.label_selector()).timeout(WATCH_SECONDS);
        let built = request(kind, namespace).watch(&params, version);
        let built = built.map_err(kube::Error::BuildRequest).named(words.call())?;
        let events = self.client.request_events::<Value>(built).await.named(words.call())?;
        Ok(Box::pin(events.map(move |event| event.named(words.call()))))
    }

    pub(super) async fn create(
        &self,
        kind: &Known,
        namespace: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let words = Words::new("create", kind, Some(namespace), name);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let built = request(kind, Some(namespace)).create(&params, text(body));
        self.json(&words, built).await
    }

    pub(super) async fn replace(
        &self,
        kind: &Known,
        namespace: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let words = Words::new("update", kind, Some(namespace), name);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let built = request(kind, Some(namespace)).replace(name, &params, text(body));
        self.json(&words, built).await
    }

    pub(super) async fn apply_status(
        &self,
        kind: &Known,
        namespace: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let mut words = Words::new("patch", kind, Some(namespace), name);
        words.resource.push_str("/status");
        let params = PatchParams::apply(MANAGER).force();
        let built = request(kind, Some(namespace)).patch_subresource("status", name, &params, &Patch::Apply(body));
        self.json(&words, built).await
    }

    pub(super) async fn delete(
        &self,
        kind: &Known,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), ApiError> {
        let words = Words::new("delete", kind, Some(namespace), name);
        let preconditions =
            version.map(|version| Preconditions { resource_version: Some(version.to_owned()), uid: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let built = request(kind, Some(namespace)).delete(name, &params);
        let _: Value = self.json(&words, built).await?;
        Ok(())
    }
}

/// A JSON value always has a text.
fn text(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
