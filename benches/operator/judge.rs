//! The other side of every gate of the bench: it knows which revisions are good, and remembers what
//! it has said. What it did not allow must not go out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::time::Instant;

/// Batches of a release; the whole is one more.
pub const BATCHES: usize = 3;

/// An application and one of its versions.
pub type Release = (String, u64);

/// What becomes of a version.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    /// How long each question is measured.
    pub measuring: Duration,
    /// The batch after which it turns out to be bad.
    pub bad_after: Option<u64>,
}

/// A question: release, batch, point.
type Asked = (Release, u64, String);

#[derive(Default)]
struct Known {
    fates: BTreeMap<Release, Fate>,
    asked: BTreeMap<Asked, Instant>,
    allowed: BTreeSet<Asked>,
    calls: usize,
}

/// Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Judge {
    known: Arc<Mutex<Known>>,
}

impl Judge {
    /// Begins to answer; where.
    pub async fn listen(&self) -> anyhow::Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/judge", post(answer)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn decide_on(&self, release: Release, fate: Fate) {
        self.lock().fates.insert(release, fate);
    }

    /// Whether it has said yes to this very question.
    pub fn has_allowed(&self, release: &Release, batch: u64, point: &str) -> bool {
        self.lock().allowed.contains(&(release.clone(), batch, point.to_owned()))
    }

    /// How many pods of a version may be there by all that it has said: batch N is N pods, and the
    /// end one more than there are batches.
    pub fn pods_allowed(&self, release: &Release) -> usize {
        let known = self.lock();
        let yes =
            |batch: usize, point: &str| known.allowed.contains(&(release.clone(), batch as u64, point.to_owned()));
        let is_out = |batch: usize| (batch > BATCHES || yes(batch, "pre")) && (batch == 1 || yes(batch - 1, "post"));
        (1..=BATCHES + 1).take_while(|batch| is_out(*batch)).count()
    }

    pub fn calls(&self) -> usize {
        self.lock().calls
    }
}

async fn answer(State(judge): State<Judge>, Json(question): Json<Value>) -> (StatusCode, Json<Value>) {
    let text = |pointer: &str| question.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = text("/change/labels/version").parse().unwrap_or(u64::MAX);
    let release = (text("/change/target"), version);
    let batch = question.pointer("/batch/index").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let asked: Asked = (release.clone(), batch, text("/point"));
    let mut known = judge.lock();
    known.calls += 1;
    let Some(fate) = known.fates.get(&release).copied() else {
        return (StatusCode::CONFLICT, Json(Value::from("no such release")));
    };
    let since = *known.asked.entry(asked.clone()).or_insert_with(Instant::now);
    if since.elapsed() < fate.measuring {
        return (StatusCode::ACCEPTED, Json(Value::from("measuring")));
    }
    if asked.2 == "post" && fate.bad_after == Some(batch) {
        return (StatusCode::CONFLICT, Json(Value::from("it is bad")));
    }
    known.allowed.insert(asked);
    (StatusCode::OK, Json(Value::from("good")))
}
