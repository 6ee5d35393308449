//! One round of one target, from the place it needs to what it does to the state.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use super::board::Board;
use super::cell::{Cell, Made};
use super::entry::Entry;
use super::limits::Gatekeeper;
use crate::model::ProbeState;
use crate::probes::history::Recent;
use crate::probes::result::{Judgement, Observation, Reason};

/// A probe that may explain failures is not asked again within this time: many probes that fail in
/// one instant ask it once.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How much longer than its own timeout a probe that may explain a failure is waited for.
const SLACK: Duration = Duration::from_millis(500);

/// What the rounds of all threads have in common.
pub(super) struct Rounds {
    pub(super) board: Board,
    pub(super) gatekeeper: Gatekeeper,
}

impl Rounds {
    pub(super) fn now(&self) -> Timestamp {
        self.board.now()
    }

    /// Counts slots in which no round could be made.
    pub(super) fn missed(&self, cell: &Cell, slots: u32) {
        let finished = cell.record.miss(slots, self.now());
        self.board.keep(&cell.record, finished);
        self.board.metrics().missed(slots);
    }

    /// Makes a round that was due at `due`. Gives what was made, and by when the next one should
    /// begin, where that is before its slot.
    pub(super) async fn make(&self, cell: &Arc<Cell>, due: Instant) -> (Option<Made>, Option<Instant>) {
        let latest = Instant::now() + cell.plan.interval;
        let Some(admission) = self.gatekeeper.admit(&cell.host, latest).await else {
            self.missed(cell, 1);
            return (None, None);
        };
        let (began, at) = (Instant::now(), to_micros(self.now()));
        let late = began.saturating_duration_since(due);
        let mut seen = cell.compiled.observe().await;
        drop(admission);
        cell.record.judge_latency(&mut seen, &cell.plan, at);
        let judgement = seen.judgement();
        let took = seen.durations.total();
        self.board.metrics().round(cell.compiled.kind(), judgement, seen.reason_word(), (took, late));
        cell.record.ended(began, judgement == Judgement::Failed);
        let Some(entry) = cell.entry.upgrade() else { return (None, None) };
        let judgement = match self.explanation(&entry, cell, &seen, began).await {
            Some(why) => {
                self.board.metrics().explained();
                seen.message = format!("{why}: {}", seen.message).into();
                Judgement::Trouble
            }
            None => judgement,
        };
        let observation = Arc::new(seen);
        let now = self.now();
        let recent = Recent {
            at,
            late,
            took,
            ended: now.max(at),
            judgement,
            reason: observation.reason,
            phase: observation.phase,
        };
        let effect = cell.record.take(&recent, &observation, now, &cell.plan.rules);
        self.board.keep(&cell.record, effect.finished);
        // A state that was read as stale in between has been told, and the target has not turned.
        if effect.turned || entry.state() == ProbeState::Unknown {
            self.board.settle(&entry);
        }
        let soon = Self::soon(&entry, cell, began, effect.contradicted);
        let id = cell.record.ids.id(at);
        (Some(Made { id, target: Arc::clone(&cell.record.target), at, observation }), soon)
    }

    /// When the next round should begin at the latest, where that is before its slot.
    fn soon(entry: &Entry, cell: &Cell, began: Instant, contradicted: bool) -> Option<Instant> {
        let edge = cell.plan.edge.filter(|_| contradicted);
        let change = cell.plan.change.filter(|_| entry.hurried(began));
        [edge, change].into_iter().flatten().min().map(|interval| began + interval)
    }

    /// Why a failure of a round that began at `began` says nothing about the target: a parent is
    /// failing, or the prober's own way is lost, or was when the round began. Where this failure would
    /// turn the target down, the answer must be newer than it.
    async fn explanation(&self, entry: &Entry, cell: &Cell, seen: &Observation, began: Instant) -> Option<String> {
        if seen.judgement() != Judgement::Failed {
            return None;
        }
        let about_the_way = seen.reason.is_some_and(Reason::is_about_the_way);
        let turns = cell.record.would_turn_down(&cell.plan.rules);
        for explainer in entry.explainers().iter().filter(|explainer| explainer.parent || about_the_way) {
            let Some(other) = self.board.entry(&explainer.key) else { continue };
            if turns {
                ask(&other, Instant::now()).await;
            } else {
                nudge(&other);
            }
            if other.failing_since(began) || (explainer.parent && other.state() == ProbeState::Down) {
                let what = if explainer.parent { "its parent" } else { "the prober's own check" };
                return Some(format!("{what} {} fails", other.title()));
            }
        }
        None
    }
}

/// Asks for rounds that nobody waits for.
fn nudge(other: &Entry) {
    let now = Instant::now();
    other.each_seat(|cell, seat| {
        let recent = cell.record.latest().is_some_and(|(began, _)| now.saturating_duration_since(began) < ASK_AGAIN);
        if !recent {
            seat.fire();
        }
    });
}

/// Waits until every target has a round that began at `since` or later, as long as one may take.
async fn ask(other: &Entry, since: Instant) {
    let Ok((_, plan)) = &other.plan else { return };
    let mut waiting = Vec::new();
    other.each_seat(|cell, seat| {
        if cell.record.latest().is_none_or(|(began, _)| began < since) {
            seat.fire();
            waiting.push(Arc::clone(&cell.record));
        }
    });
    let all = async {
        for record in waiting {
            record.wait(since).await;
        }
    };
    // A round may be under way that began too early: then it takes two.
    let _ = timeout(plan.timeout * 2 + SLACK, all).await;
}

/// An instant as exact as the history keeps it, so that all records of a round name the same one.
fn to_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
