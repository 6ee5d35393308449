//! The watch upstream: a paged list, then every change after it, for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::WatchEvent;
use serde_json::Value;
use tokio::time::Instant;

use super::bodies;
use super::calls::Calls;
use super::errors;
use super::hub::Hub;
use super::index::{Entry, Key};
use super::kinds::Known;
use crate::cluster::{ApiError, Backoff, Call};

/// A watch that ends sooner than this is followed by a pause: a server that closes every one at
/// once must not be asked as fast as it can answer.
const SHORT: Duration = Duration::from_secs(5);

/// How a watch has ended.
enum Ended {
    /// It goes on after this version.
    At(String),
    /// It has to begin with a list.
    Anew(&'static str),
}

/// Follows one part of one kind for as long as it is polled.
pub(super) async fn follow(hub: Arc<Hub>, calls: Calls, part: usize, place: Option<String>) {
    let upstream = Upstream { hub, calls, part, place };
    let mut backoff = Backoff::default();
    let mut at: Option<String> = None;
    loop {
        let begun = Instant::now();
        if at.is_some() && upstream.hub.is_silent(part) {
            upstream.hub.metrics.resynced(upstream.hub.kind.kind, "silent");
            at = None;
        }
        let next = match &at {
            None => upstream.list().await,
            Some(version) => upstream.watch(version.clone()).await,
        };
        let listed = at.is_none();
        match next {
            Ok(Ended::At(version)) => {
                at = Some(version);
                if listed || begun.elapsed() >= SHORT {
                    backoff.reset();
                } else {
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
            Ok(Ended::Anew(why)) => {
                upstream.hub.metrics.resynced(upstream.hub.kind.kind, why);
                tracing::debug!(kind = upstream.hub.kind.kind, why, "A watch begins anew with a list.");
                at = None;
                if begun.elapsed() < SHORT {
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
            Err(error) => {
                upstream.trouble(&error);
                tokio::time::sleep(backoff.pause_at_least(error.retry_after())).await;
            }
        }
    }
}

struct Upstream {
    hub: Arc<Hub>,
    calls: Calls,
    part: usize,
    place: Option<String>,
}

impl Upstream {
    /// Everything, page by page.
    async fn list(&self) -> Result<Ended, ApiError> {
        let kind = self.hub.kind;
        let labels = self.calls.scope.label_selector();
        let (mut list, mut next, mut version) = (Vec::new(), None, String::new());
        let mut limit = kind.page;
        loop {
            let page = match self.calls.page(kind, self.place.as_deref(), &labels, limit, next.as_deref()).await {
                Ok(page) => page,
                // The pages took longer than the API server keeps their moment.
                Err(ApiError::Gone { .. }) => return Ok(Ended::Anew("expired")),
                Err(error) => return Err(error),
            };
            limit = kind.next_page(limit, page.bytes);
            if version.is_empty() {
                version = page.version;
            }
            list.extend(
                page.items.into_iter().filter_map(|body| read(kind, body, false)).map(|(key, entry, _)| (key, entry)),
            );
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        self.hub.listed(self.part, list, version.parse().unwrap_or_default());
        self.well();
        Ok(Ended::At(version))
    }

    async fn watch(&self, mut version: String) -> Result<Ended, ApiError> {
        let kind = self.hub.kind;
        let mut events = match self.calls.watch(kind, self.place.as_deref(), &version).await {
            Ok(events) => events,
            Err(ApiError::Gone { .. }) => return Ok(Ended::Anew("expired")),
            Err(error) => return Err(error),
        };
        self.well();
        loop {
            let event = match events.next().await {
                None => return Ok(Ended::At(version)),
                Some(Ok(event)) => event,
                Some(Err(ApiError::Gone { .. })) => return Ok(Ended::Anew("expired")),
                Some(Err(ApiError::Unavailable { why, .. })) => {
                    // The connection broke, or a line was no JSON: whatever came before it counts.
                    tracing::debug!(kind = kind.kind, why, "A watch broke off; it goes on where it was.");
                    self.hub.metrics.broken(kind.kind);
                    return Ok(if why.contains("cannot be read") {
                        Ended::Anew("unreadable")
                    } else {
                        Ended::At(version)
                    });
                }
                Some(Err(error)) => return Err(error),
            };
            match event {
                WatchEvent::Added(body) | WatchEvent::Modified(body) => {
                    if let Some(at) = bodies::meta(&body, "resourceVersion") {
                        at.clone_into(&mut version);
                    }
                    if let Some((key, entry, whole)) = read(kind, body, true) {
                        self.hub.applied(self.part, key, entry, whole);
                    }
                }
                WatchEvent::Deleted(body) => {
                    if let Some(at) = bodies::meta(&body, "resourceVersion") {
                        at.clone_into(&mut version);
                    }
                    if let Some((key, entry, whole)) = read(kind, body, true) {
                        self.hub.deleted(self.part, &key, &entry, whole);
                    }
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.hub.bookmark(self.part, bookmark.metadata.resource_version.parse().ok());
                    version = bookmark.metadata.resource_version;
                }
                WatchEvent::Error(status) => {
                    let namespace = self.place.as_deref().unwrap_or_default();
                    let call = Call { verb: "watch", resource: kind.plural, namespace, name: "" };
                    return match ApiError::of_status(call, &status) {
                        ApiError::Gone { .. } => Ok(Ended::Anew("expired")),
                        error => Err(error),
                    };
                }
            }
        }
    }

    /// Told once for as long as it lasts.
    fn trouble(&self, error: &ApiError) {
        let kind = self.hub.kind.kind;
        let told = errors::unavailable(&format!("watching {kind}"), error);
        if self.hub.in_trouble(self.part, told) {
            tracing::error!(
                %error, kind, namespace = self.place,
                "A kind of resources cannot be watched: what is known of it grows old. It is tried again until it works."
            );
        }
    }

    fn well(&self) {
        if self.hub.well_again(self.part) {
            tracing::info!(kind = self.hub.kind.kind, namespace = self.place, "The watch works again.");
        }
    }
}

/// An object for the index, and its whole text where the index keeps only an overview.
fn read(kind: &'static Known, body: Value, with_whole: bool) -> Option<(Key, Entry, Option<Arc<str>>)> {
    let mut object = bodies::object(kind, body)?;
    let whole: Option<Arc<str>> = (kind.brief && with_whole).then(|| Arc::from(object.body.to_string()));
    if kind.brief {
        bodies::brief(&mut object.body);
    }
    let text = Arc::from(object.body.to_string());
    Some(((object.namespace, object.name), Entry::of(&object.body, text), whole))
}
