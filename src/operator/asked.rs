//! Probes that somebody runs by hand with an annotation: `kubectl annotate probe checkout
//! probegate.io/run="$(date)" --overwrite`. Every new value is one run.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::api::{ANNOTATION_RUN, LastRun, Probe, Resource, RunRound};
use crate::clock::Clock;
use crate::probes::{Board, Made, Phase};
use crate::store::{Object, Query, Store, WatchEvent};

/// The most runs by hand at one time; further ones wait.
const MAX_RUNS: usize = 16;
/// The most rounds that a status tells of, as its schema has it.
const MAX_ROUNDS: usize = 100;
/// The longest text that a status tells of a run.
const MAX_TEXT: usize = 256;

type Key = (String, String);

/// Makes the rounds that are asked for, for ever. What was asked for before it began and was not run, as
/// the probe's status tells, is run then: whoever asked while nobody led still waits.
pub async fn run_when_asked(store: Arc<dyn Store>, board: Board, clock: Arc<dyn Clock>) {
    let mut asked: BTreeMap<Key, String> = BTreeMap::new();
    let mut listed = false;
    let mut events = store.watch(Probe::KIND, Query::default());
    let mut running = FuturesUnordered::new();
    loop {
        let event = tokio::select! {
            event = events.next(), if running.len() < MAX_RUNS => event,
            Some(()) = running.next() => continue,
        };
        let objects = match event {
            Some(Ok(WatchEvent::Listed(objects))) => {
                // A later list may hold what was missed.
                if !std::mem::replace(&mut listed, true) {
                    asked = objects.iter().filter(|object| was_run(object)).filter_map(wish).collect();
                }
                objects
            }
            Some(Ok(WatchEvent::Applied(object))) => vec![object],
            Some(Ok(WatchEvent::Deleted(object))) => {
                asked.remove(&(object.namespace, object.name));
                continue;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "The watch on probes that are run by hand is in trouble; it goes on.");
                continue;
            }
            None => return,
        };
        for (key, value) in objects.iter().filter_map(wish) {
            if asked.get(&key) != Some(&value) {
                asked.insert(key.clone(), value.clone());
                running.push(run(board.clone(), key, value, Arc::clone(&clock)));
            }
        }
    }
}

/// Whether a probe's status tells of the very run that is asked for.
fn was_run(object: &Object) -> bool {
    let told = object.body.pointer("/status/lastRun/asked").and_then(serde_json::Value::as_str);
    told.is_some_and(|told| wish(object).is_some_and(|(_, asked)| cut(&asked) == told))
}

fn wish(object: &Object) -> Option<(Key, String)> {
    let value = object.body.get("metadata")?.get("annotations")?.get(ANNOTATION_RUN)?.as_str()?;
    Some(((object.namespace.clone(), object.name.clone()), value.to_owned()))
}

/// Makes the rounds, and has the probe's status tell of them.
async fn run(board: Board, (namespace, name): Key, asked: String, clock: Arc<dyn Clock>) {
    let made = board.run(&namespace, &name).await;
    let mut last = LastRun { asked: cut(&asked), at: clock.now(), error: String::new(), rounds: Vec::new() };
    match made {
        Ok(made) => {
            let failed = made.iter().filter(|made| !made.observation.success).count();
            tracing::info!(namespace, probe = name, rounds = made.len(), failed, "A probe was run by its annotation.");
            last.rounds = rounds(&made);
        }
        Err(error) => {
            tracing::warn!(%error, "A probe cannot be run by its annotation.");
            last.error = cut(&error.to_string());
        }
    }
    board.note_run(&namespace, &name, last);
}

/// What a status tells of rounds, the worst first.
fn rounds(made: &[Made]) -> Vec<RunRound> {
    let told = |made: &Made| {
        let seen = &made.observation;
        let took = |phase: &Phase| {
            let micros = u64::try_from(seen.durations.get(*phase)?.as_micros()).unwrap_or(u64::MAX);
            Some((phase.as_str().to_owned(), micros))
        };
        RunRound {
            id: made.id.to_string(),
            target: made.target.to_string(),
            at: made.at,
            success: seen.success,
            state: seen.state(),
            reason: seen.reason_word().to_owned(),
            phase: seen.phase.map(|phase| phase.to_string()),
            message: cut(seen.message.as_ref()),
            micros: Phase::ALL.iter().filter_map(took).collect(),
        }
    };
    let mut rounds: Vec<RunRound> = made.iter().map(told).collect();
    rounds.sort_by_key(|round| round.success);
    rounds.truncate(MAX_ROUNDS);
    rounds
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
