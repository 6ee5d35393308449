//! What the probes of the demo have seen, as the server tells it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError};
use crate::model::ProbeState;

/// One probe and its rounds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeLine {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How many targets it has.
    pub targets: u64,
    /// The state.
    pub state: ProbeState,
    /// Why, in one line.
    pub reason: String,
    /// How many rounds it has made.
    pub rounds: u64,
    /// How many of them failed.
    pub failed: u64,
    /// In how many slots none could be made.
    pub missed: u64,
    /// Ninety-nine of a hundred rounds took no longer, in milliseconds; nothing where none was answered.
    pub p99_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Listed {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    kind: Option<String>,
    state: ProbeState,
    reason: String,
    counts: Counts,
}

#[derive(Deserialize)]
struct Counts {
    up: u64,
    degraded: u64,
    down: u64,
    unknown: u64,
}

#[derive(Deserialize)]
struct Past {
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    rounds: u64,
    failed: u64,
    missed: u64,
    latency: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p99: f64,
}

/// Asks for every probe of the demo and its rounds since `since`.
///
/// # Errors
/// The server cannot be asked.
pub(super) async fn look(client: &Client, since: Timestamp) -> Result<Vec<ProbeLine>, ClientError> {
    let listed: Listed = client.get(&["v1", "probes"], &[("namespace", "demo".to_owned())]).await?;
    let mut lines = Vec::new();
    for item in listed.items {
        let path = ["v1", "probes", "demo", item.name.as_str(), "history"];
        let past: Past = client.get(&path, &[("since", since.to_string())]).await?;
        let counts = item.counts;
        lines.push(ProbeLine {
            name: item.name,
            kind: item.kind.unwrap_or_default(),
            targets: counts.up + counts.degraded + counts.down + counts.unknown,
            state: item.state,
            reason: item.reason,
            rounds: past.summary.rounds,
            failed: past.summary.failed,
            missed: past.summary.missed,
            p99_ms: past.summary.latency.map(|latency| latency.p99 * 1_000.0),
        });
    }
    Ok(lines)
}
