//! Readiness: what has to stand before the gate may be asked, by name.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

use super::limits::HEALTH_TIMEOUT;

/// How one source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is as it should be.
    Ready,
    /// It does its work, and something about it is wrong: a broken file behind a last good state.
    Degraded(String),
    /// It cannot do its work: no questions, please.
    NotReady(String),
}

type Source = Arc<dyn Fn() -> BoxFuture<'static, Standing> + Send + Sync>;

/// Every source, by name. Cheap to clone; all clones stop together.
#[derive(Clone, Default)]
pub struct Health {
    sources: Vec<(&'static str, Source)>,
    stopping: Arc<AtomicBool>,
}

/// One source in the detail of `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDetail {
    /// Its name.
    pub name: String,
    /// `ready`, `degraded` or `notReady`.
    pub state: String,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The detail of `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthDetail {
    /// Whether the gate may be asked.
    pub ready: bool,
    /// Every source.
    pub sources: Vec<SourceDetail>,
}

impl Health {
    /// No source at all: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source. It is asked at every probe, all of them at once, each for a limited time.
    #[must_use]
    pub fn with<F, Fut>(mut self, name: &'static str, source: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Standing> + Send + 'static,
    {
        self.sources.push((name, Arc::new(move || Box::pin(source()))));
        self
    }

    /// From now on not ready, whatever the sources say: the program ends.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Asks every source.
    pub async fn look(&self) -> HealthDetail {
        let asked = self.sources.iter().map(|(name, source)| async move {
            let standing = tokio::time::timeout(HEALTH_TIMEOUT, source()).await;
            detail(name, standing.unwrap_or_else(|_| Standing::NotReady("it does not answer in time".to_owned())))
        });
        let mut sources = join_all(asked).await;
        if self.stopping.load(Ordering::Acquire) {
            sources.push(detail("server", Standing::NotReady("the program ends".to_owned())));
        }
        HealthDetail { ready: sources.iter().all(|source| source.state != "notReady"), sources }
    }
}

fn detail(name: &str, standing: Standing) -> SourceDetail {
    let (state, detail) = match standing {
        Standing::Ready => ("ready", None),
        Standing::Degraded(why) => ("degraded", Some(why)),
        Standing::NotReady(why) => ("notReady", Some(why)),
    };
    SourceDetail { name: name.to_owned(), state: state.to_owned(), detail }
}
