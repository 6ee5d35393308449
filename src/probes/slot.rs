//! Everything that is known of one probe: pure.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use super::result::{Observation, Reason};
use super::schedule::Plan;
use super::state::{Cause, Machine};
use super::view::{ProbeView, Round};
use crate::model::{Labels, ProbeState};

/// The rounds that are kept of each probe: as many as a check may ask for since its run began.
pub const MAX_ROUNDS: usize = 1_000;
/// The reason of a stale state.
const STALE: &str = "no round has told anything for too long";

/// Everything that is known of one probe.
pub(super) struct Slot {
    pub(super) labels: Labels,
    /// Kind and schedule, or what is wrong with the spec.
    pub(super) plan: Result<(&'static str, Plan), String>,
    pub(super) machine: Machine,
    reason: String,
    rounds: VecDeque<Round>,
    total: u64,
    missed: u64,
    last: Option<Arc<Observation>>,
}

impl Slot {
    pub(super) fn new(labels: Labels, plan: Result<(&'static str, Plan), String>, now: Timestamp) -> Self {
        let mut slot = Self {
            labels,
            plan,
            machine: Machine::new(now),
            reason: String::new(),
            rounds: VecDeque::new(),
            total: 0,
            missed: 0,
            last: None,
        };
        slot.explain();
        slot
    }

    /// Whether any round was made.
    pub(super) const fn observed(&self) -> bool {
        self.total > 0
    }

    /// The state and its reason, as they stand in the status.
    pub(super) fn standing(&self) -> (ProbeState, Timestamp, String) {
        (self.machine.state(), self.machine.since(), self.reason.clone())
    }

    /// The rounds that are kept, oldest first.
    pub(super) const fn rounds(&self) -> &VecDeque<Round> {
        &self.rounds
    }

    /// Counts slots in which no round could be made.
    pub(super) fn miss(&mut self, slots: u32) {
        self.missed += u64::from(slots);
    }

    /// Takes a round that began at `at` and ended now; gives the state before, where it has changed.
    pub(super) fn take(&mut self, at: Timestamp, now: Timestamp, seen: Observation) -> Option<ProbeState> {
        let Ok((_, plan)) = self.plan else { return None };
        let judgement = seen.judgement();
        if self.rounds.len() >= MAX_ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(Round {
            id: run_id(at),
            at,
            judgement,
            reason: seen.reason,
            phase: seen.phase,
            message: seen.reason.is_some().then(|| seen.message.as_ref().into()),
            durations: seen.durations,
        });
        self.total += 1;
        self.last = Some(Arc::new(seen));
        let before = self.machine.state();
        let changed = self.machine.round(judgement, at, now, &plan.thresholds);
        if changed {
            self.explain();
        }
        changed.then_some(before)
    }

    /// Looks whether the state has become stale; gives the state before, where it has.
    pub(super) fn tick(&mut self, now: Timestamp) -> Option<ProbeState> {
        let Ok((_, plan)) = self.plan else { return None };
        let before = self.machine.state();
        let changed = self.machine.tick(now, &plan.thresholds);
        if changed {
            self.explain();
        }
        changed.then_some(before)
    }

    /// Puts the state's cause into words.
    fn explain(&mut self) {
        let last = self.last.as_ref().filter(|last| last.reason.is_some());
        let what = last
            .map_or_else(String::new, |last| format!(": {}: {}", last.reason.map_or("", Reason::as_str), last.message));
        let rounds = |count: u32| if count == 1 { "1 round".to_owned() } else { format!("{count} rounds") };
        self.reason = match (&self.plan, self.machine.cause(), self.machine.state()) {
            (Err(why), ..) => why.clone(),
            (_, Cause::WarmUp, _) => "not probed often enough yet".to_owned(),
            (_, Cause::Stale, _) => STALE.to_owned(),
            (_, Cause::Trouble(count), _) => format!("the prober was in trouble in {} in a row{what}", rounds(count)),
            (_, Cause::Rounds(count), ProbeState::Down) => format!("{} failed in a row{what}", rounds(count)),
            (_, Cause::Rounds(count), ProbeState::Degraded) => {
                format!("{} in a row outside a limit{what}", rounds(count))
            }
            (_, Cause::Rounds(count), _) => format!("{} in a row as expected", rounds(count)),
        };
    }

    /// What can be read of it.
    pub(super) fn view(&self, (namespace, name): &(String, String), now: Timestamp) -> ProbeView {
        let mut machine = self.machine.clone();
        let mut reason = self.reason.clone();
        // The engine looks for stale states as well; a reader must not depend on its being alive.
        if let Ok((_, plan)) = &self.plan
            && machine.tick(now, &plan.thresholds)
        {
            STALE.clone_into(&mut reason);
        }
        let plan = self.plan.as_ref().ok().map(|(_, plan)| *plan);
        ProbeView {
            namespace: namespace.clone(),
            name: name.clone(),
            labels: self.labels.clone(),
            kind: self.plan.as_ref().ok().map(|(kind, _)| *kind),
            state: machine.state(),
            since: machine.since(),
            reason,
            invalid: self.plan.as_ref().err().cloned(),
            warming_up: machine.cause() == Cause::WarmUp,
            failing_since: machine.failing_since(),
            interval: plan.map(|plan| plan.interval).unwrap_or_default(),
            timeout: plan.map(|plan| plan.timeout).unwrap_or_default(),
            failures: plan.map_or(1, |plan| plan.thresholds.failures),
            rounds: self.total,
            missed: self.missed,
            last: self.last.clone(),
        }
    }
}

/// A run id of a round that began at `at`.
fn run_id(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos))
}
