//! The history of the probes: what goes to the archive, and what is asked of it.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::board::Board;
use super::entry::Key;
use super::record::Record;
use crate::model::ProbeState;
use crate::probes::history::{
    ArchiveError, Batch, Failed, Finished, Known, Latencies, Rollup, Series, StateTurn, Stretch, Summary, Window,
    summarize,
};
use crate::probes::usual::Usual;

/// How far back it is looked for what is usual: as far as the usual latency remembers by itself.
const USUAL_SINCE: SignedDuration = SignedDuration::from_hours(24);

/// What a window of a probe came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// All targets together.
    pub summary: Summary,
    /// Each target.
    pub targets: Vec<TargetPast>,
    /// Turns of the probe's state, oldest first.
    pub turns: Vec<StateTurn>,
}

/// What a window of one target came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetPast {
    /// The target.
    pub target: String,
    /// In all.
    pub summary: Summary,
    /// Minute by minute, and hour by hour of what is older.
    pub steps: Vec<Step>,
    /// Failures in full, oldest first: some of each minute.
    pub failures: Vec<Failed>,
}

/// A minute or an hour of one target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its beginning.
    pub from: Timestamp,
    /// What it came to.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Board {
    pub(super) fn outgoing(&self) -> MutexGuard<'_, Batch> {
        self.shared().outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a minute that is over.
    pub(super) fn keep(&self, record: &Record, finished: Option<Finished>) {
        if let (Some(finished), Some(_)) = (finished, &self.shared().archive) {
            self.outgoing().minutes.push((Arc::new(record.series()), finished));
        }
    }

    /// Hands over what has come together.
    pub(super) fn hand_over(&self) {
        let batch = std::mem::take(&mut *self.outgoing());
        if let (false, Some(archive)) = (batch.is_empty(), &self.shared().archive) {
            archive.append(batch);
        }
    }

    /// Hands over everything, the minutes that are under way and the states too, and waits until it
    /// is written: before the process ends.
    pub async fn close_history(&self) {
        let now = self.now();
        let Some(archive) = self.shared().archive.clone() else { return };
        for entry in self.entries() {
            for record in entry.records() {
                let finished = record.known().history.flush();
                self.keep(&record, finished);
            }
            if let Some(told) = entry.told().filter(|told| told.standing.state != ProbeState::Unknown) {
                let known =
                    Known { state: told.standing.state, since: told.since, seen: now, reason: told.standing.reason };
                let series = Arc::new(Series::probe(&entry.key.0, &entry.key.1));
                self.outgoing().states.push((series, known));
            }
        }
        self.hand_over();
        if let Err(error) = archive.flush().await {
            tracing::warn!(%error, "The probes' history is not written to its end.");
        }
    }

    /// Reads what an earlier process knew.
    pub(super) async fn recall(&self) {
        let Some(archive) = &self.shared().archive else { return };
        match archive.known().await {
            Ok(known) => {
                let probes = known.into_iter().filter(|(series, _)| series.target.is_empty());
                let before: BTreeMap<Key, Known> =
                    probes.map(|(series, known)| (Key::new((series.namespace, series.probe)), known)).collect();
                let _ = self.shared().before.set(before);
            }
            Err(error) => tracing::warn!(%error, "What the probes were before cannot be read."),
        }
    }

    pub(super) fn before(&self, key: &Key) -> Option<Known> {
        self.shared().before.get()?.get(key).cloned()
    }

    /// Teaches a target what was usual for it before.
    pub(super) async fn teach(&self, record: &Record) {
        let (Some(archive), now) = (&self.shared().archive, self.now()) else { return };
        let from = now.saturating_sub(USUAL_SINCE).unwrap_or(now);
        match archive.past(&record.series(), Window { from, to: now }).await {
            Ok(past) => {
                let mut latencies = Latencies::default();
                past.stretches.iter().for_each(|stretch| latencies.merge(&stretch.rollup.latencies));
                record.learn(Usual::known(&latencies, now));
            }
            Err(error) => tracing::warn!(%error, "What was usual for a target cannot be read."),
        }
    }

    /// What a window of a probe came to; nothing where there is no such probe.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn history(&self, namespace: &str, name: &str, window: Window) -> Result<Option<History>, ArchiveError> {
        let Some(entry) = self.named(namespace, name) else { return Ok(None) };
        let now = self.now();
        self.hand_over();
        let mut total = Rollup::default();
        let mut targets = Vec::new();
        for record in entry.records() {
            let past = match &self.shared().archive {
                Some(archive) => archive.past(&record.series(), window).await?,
                None => crate::probes::history::Past::default(),
            };
            let known = record.known();
            let mut stretches = past.stretches;
            let live = known.history.live();
            if live.from < window.to && window.from < live.to && !live.rollup.is_empty() {
                stretches.push(live);
            }
            let summary = summarize(window, &stretches, Some(known.history.recent()), now);
            for stretch in &stretches {
                total.merge(&stretch.rollup);
            }
            let mut failures = past.failures;
            let newest = failures.last().map(|failed| failed.at);
            let in_memory = known.history.failures().failed();
            failures.extend(in_memory.filter(|failed| {
                newest.is_none_or(|newest| failed.at > newest) && window.from <= failed.at && failed.at < window.to
            }));
            let steps = stretches.iter().map(step).collect();
            targets.push(TargetPast { target: record.target.to_string(), summary, steps, failures });
        }
        let series = Series::probe(namespace, name);
        let turns = match &self.shared().archive {
            Some(archive) => archive.past(&series, window).await?.turns,
            None => Vec::new(),
        };
        let summary = match targets.as_slice() {
            [one] => one.summary.clone(),
            _ => Summary::of(window, &total),
        };
        Ok(Some(History { summary, targets, turns }))
    }
}

fn step(stretch: &Stretch) -> Step {
    let window = Window { from: stretch.from, to: stretch.to };
    Step { from: stretch.from, summary: Summary::of(window, &stretch.rollup) }
}
