//! What every request handler stands on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use lru::LruCache;
use tokio_util::sync::CancellationToken;

use super::Deps;
use super::access::Caller;
use super::audit::{self, Deed};
use super::blackbox::Scrapes;
use super::events::Hub;
use super::limits::MAX_AUDITED;
use crate::engine::{Answer, AskError};
use crate::model::Question;

/// The id of a request, in its answer's header and in the logs.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Shared by all requests.
pub(super) struct App {
    pub(super) deps: Deps,
    pub(super) hub: Hub,
    pub(super) stop: CancellationToken,
    pub(super) openapi: Bytes,
    pub(super) scrapes: Scrapes,
    /// Answers that were delivered before, by a hash of run and verdict: a caller that polls fills
    /// no audit log.
    delivered: Mutex<LruCache<u64, ()>>,
}

impl App {
    pub(super) fn new(deps: Deps, stop: CancellationToken) -> Self {
        let room = NonZeroUsize::new(MAX_AUDITED).unwrap_or(NonZeroUsize::MIN);
        Self {
            deps,
            hub: Hub::new(),
            stop,
            openapi: super::openapi::document(),
            scrapes: Scrapes::new(),
            delivered: Mutex::new(LruCache::new(room)),
        }
    }

    /// Asks the gate. A wait is cut short when the program ends, so that the caller hears it.
    pub(super) async fn ask(&self, question: Question, wait: Duration) -> Result<Answer, AskError> {
        if wait.is_zero() {
            return self.deps.ask.ask(question, wait).await;
        }
        tokio::select! {
            answer = self.deps.ask.ask(question.clone(), wait) => answer,
            () = self.stop.cancelled() => self.deps.ask.ask(question, Duration::ZERO).await,
        }
    }

    /// Records the first delivery of a run's verdict.
    pub(super) fn audit_answer(&self, caller: &Caller, request: &RequestId, answer: &Answer) {
        let mut hasher = DefaultHasher::new();
        (&answer.id, answer.verdict).hash(&mut hasher);
        let known = self.delivered.lock().unwrap_or_else(PoisonError::into_inner).put(hasher.finish(), ()).is_some();
        if !known {
            let outcome = answer.verdict.as_str();
            let deed = Deed { action: "check", object: &answer.id, outcome, done: true, request: &request.0 };
            audit::record(&self.deps.metrics, caller, deed);
        }
    }

    pub(super) fn audit(&self, caller: &Caller, deed: Deed<'_>) {
        audit::record(&self.deps.metrics, caller, deed);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }
}
