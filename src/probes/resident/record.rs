//! What is known of one target: its state, its recent rounds, what is usual. It outlives every new
//! plan of its probe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::entry::Key;
use crate::model::ProbeState;
use crate::probes::history::{DEFAULT_ROUNDS, Failed, Finished, MAX_ROUNDS, Recent, RunIds, Series, TargetHistory};
use crate::probes::kinds::too_slow;
use crate::probes::machine::{Cause, Machine, Rules, Turn};
use crate::probes::plan::Plan;
use crate::probes::result::Observation;
use crate::probes::usual::Usual;

/// The upper ends of the buckets of each probe's own histogram, in seconds: few, because there are
/// as many of them as there are targets.
pub(super) const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, f64::MAX];

/// What is known of one target.
pub(in crate::probes) struct Record {
    /// The target, as it was listed or found; the kind's own address where there is no list.
    pub(in crate::probes) target: Arc<str>,
    /// Its probe.
    key: Key,
    /// The run ids of its rounds.
    pub(super) ids: RunIds,
    known: Mutex<Known>,
    /// Wakes whoever waits for the end of a round.
    ended: Notify,
}

/// The same, to be looked at.
pub(in crate::probes) struct Known {
    pub(in crate::probes) machine: Machine,
    pub(super) history: TargetHistory,
    pub(in crate::probes) total: u64,
    pub(in crate::probes) missed: u64,
    /// How long the answered rounds took, in [`BUCKETS`] and in all.
    pub(super) buckets: [u32; BUCKETS.len()],
    pub(super) seconds: f64,
    /// The last round in full.
    pub(in crate::probes) last: Option<Arc<Observation>>,
    usual: Option<Box<Usual>>,
    /// When the last round began that has ended, and whether it failed, whatever explains it.
    latest: Option<(Instant, bool)>,
    /// When the last successful round began that came after a failed one.
    recovered: Option<Instant>,
}

/// What a round has done to its target.
#[derive(Debug, Clone, Default)]
pub(super) struct Effect {
    /// The minute before, where it is over.
    pub(super) finished: Option<Finished>,
    /// The state has turned, or it has begun or ended to flap.
    pub(super) turned: bool,
    /// The last round contradicts the state.
    pub(super) contradicted: bool,
}

impl Record {
    pub(super) fn new(key: &Key, target: Arc<str>, now: Timestamp) -> Self {
        let (namespace, name) = &**key;
        let known = Known {
            machine: Machine::new(now),
            history: TargetHistory::new(DEFAULT_ROUNDS, now),
            total: 0,
            missed: 0,
            buckets: [0; BUCKETS.len()],
            seconds: 0.0,
            last: None,
            usual: None,
            latest: None,
            recovered: None,
        };
        let ids = RunIds::of(namespace, name, &target);
        Self { target, key: Arc::clone(key), ids, known: Mutex::new(known), ended: Notify::new() }
    }

    /// Whose history it is.
    pub(super) fn series(&self) -> Series {
        Series::target(&self.key.0, &self.key.1, &*self.target)
    }

    pub(in crate::probes) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any round was made.
    pub(super) fn observed(&self) -> bool {
        self.known().total > 0
    }

    /// The last round that has ended: when it began, and whether it failed.
    pub(super) fn latest(&self) -> Option<(Instant, bool)> {
        self.known().latest
    }

    /// Whether it was failing at `since`, or has been at any time after it, as far as rounds tell: the
    /// first round that succeeds again says nothing about the time before it.
    pub(super) fn failing_since(&self, since: Instant) -> bool {
        let known = self.known();
        known.latest.is_some_and(|(_, failed)| failed) || known.recovered.is_some_and(|began| began >= since)
    }

    /// Waits until a round has ended that began at `since` or later.
    pub(super) async fn wait(&self, since: Instant) {
        loop {
            let ended = self.ended.notified();
            if self.latest().is_some_and(|(began, _)| began >= since) {
                return;
            }
            ended.await;
        }
    }

    /// Whether a failed round would turn it down now.
    pub(super) fn would_turn_down(&self, rules: &Rules) -> bool {
        self.known().machine.would_turn_down(rules)
    }

    /// Counts slots in which no round could be made. Gives the minute before, where it is over.
    pub(super) fn miss(&self, slots: u32, now: Timestamp) -> Option<Finished> {
        let mut known = self.known();
        known.missed += u64::from(slots);
        known.history.miss(slots, now)
    }

    /// Keeps enough rounds in memory for somebody who looks at so many.
    pub(super) fn keep(&self, rounds: usize) {
        let mut known = self.known();
        if rounds > DEFAULT_ROUNDS {
            known.history.resize(rounds.min(MAX_ROUNDS));
        }
    }

    /// What is usual, from what an earlier process has seen.
    pub(super) fn learn(&self, usual: Usual) {
        self.known().usual.get_or_insert_with(|| Box::new(usual));
    }

    /// Notes that a round has ended, before anything is made of it: who asks for an explanation of
    /// another failure must not wait for that of this one.
    pub(super) fn ended(&self, began: Instant, failed: bool) {
        let mut known = self.known();
        if !failed && known.latest.is_some_and(|(_, failed)| failed) {
            known.recovered = Some(began);
        }
        known.latest = Some((began, failed));
        drop(known);
        self.ended.notify_waiters();
    }

    /// Holds a successful round against what is usual.
    pub(super) fn judge_latency(&self, seen: &mut Observation, plan: &Plan, at: Timestamp) {
        let Some((times, severity)) = plan.usual.filter(|_| seen.success) else { return };
        let took = seen.durations.total();
        let mut known = self.known();
        let usual = known.usual.get_or_insert_with(|| Box::new(Usual::new(at)));
        if let Some(usual) = usual.judge(took, times, at) {
            let millis = usual.as_secs_f64() * 1_000.0;
            seen.fault(too_slow(
                took,
                &format!("{millis:.1} ms are usual, and {times} times that is allowed"),
                severity,
            ));
        }
    }

    /// Takes a round that is judged now. `recent.judgement` is what it counts as: a failure that is
    /// explained by the prober's own trouble is no failure.
    pub(super) fn take(&self, recent: &Recent, seen: &Arc<Observation>, now: Timestamp, rules: &Rules) -> Effect {
        let mut known = self.known();
        let known = &mut *known;
        known.total += 1;
        if seen.success {
            let seconds = seen.durations.total().as_secs_f64();
            known.seconds += seconds;
            let place = BUCKETS.iter().position(|end| seconds <= *end);
            if let Some(count) = place.and_then(|place| known.buckets.get_mut(place)) {
                *count = count.saturating_add(1);
            }
        }
        let words = Failed::of(recent.at, recent.ended, seen);
        let words = words.map(|words| Failed { judgement: recent.judgement, ..words });
        let finished = known.history.record(recent, words.as_ref());
        known.last = Some(Arc::clone(seen));
        let flapped = known.machine.flapping();
        let turned = known.machine.round(recent.judgement, recent.at, now, rules).is_some();
        Effect {
            finished,
            turned: turned || known.machine.flapping() != flapped,
            contradicted: known.machine.contradicted(),
        }
    }

    /// Other rules come into force than those until now.
    pub(super) fn renew(&self, now: Timestamp, until_now: &Rules) {
        self.known().machine.renew(now, until_now);
    }

    /// Looks whether the state has become stale.
    pub(super) fn tick(&self, now: Timestamp, rules: &Rules) -> (Option<Turn>, Option<Finished>) {
        let mut known = self.known();
        (known.machine.tick(now, rules), known.history.finish(now))
    }
}

/// One target as it stands: a copy.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) target: Arc<str>,
    pub(super) state: ProbeState,
    pub(super) since: Timestamp,
    pub(super) cause: Cause,
    pub(super) flapping: bool,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) total: u64,
    pub(super) missed: u64,
    pub(super) last: Option<Arc<Observation>>,
}

impl Record {
    /// As it stands at `now`. The engine looks for stale states as well; a reader must not depend
    /// on its being alive.
    pub(super) fn seen(&self, now: Timestamp, rules: &Rules) -> Seen {
        let known = self.known();
        let mut machine = known.machine.clone();
        machine.tick(now, rules);
        Seen {
            target: Arc::clone(&self.target),
            state: machine.state(),
            since: machine.since(),
            cause: machine.cause(),
            flapping: machine.flapping(),
            failing_since: machine.failing_since(),
            total: known.total,
            missed: known.missed,
            last: known.last.clone(),
        }
    }
}
