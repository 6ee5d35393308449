//! The machine: one run from its first event to its verdict.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::check_state::{CheckState, to_std};
use super::event::{ActiveOverride, Effect, Event, Moment, Standing};
use super::judge::{Judgement, Ruling};
use super::plan::Plan;
use crate::api::GateRunStatus;
use crate::model::{Outcome, Report};

/// How far the wall clock may go back before it counts as trouble: time synchronisation steps by
/// less all the time.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);
/// How often the clock is looked at while it stands before an instant that was already seen.
const CLOCK_RECHECK: Duration = Duration::from_secs(1);

/// What a run's record says about its life before a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// When the evaluation began.
    pub started_at: Timestamp,
    /// The record as it was written last; nothing where none was.
    pub status: Option<GateRunStatus>,
}

/// One run of one gate. See the module's invariants.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) plan: Plan,
    pub(super) standing: Option<Standing>,
    pub(super) started_at: Timestamp,
    pub(super) checks: Vec<CheckState>,
    pub(super) overrides: Vec<ActiveOverride>,
    pub(super) cancelled: Option<(String, String)>,
    pub(super) superseded: Option<(String, String)>,
    /// The latest moment that was seen: wall and monotonic parts never go back.
    pub(super) last: Moment,
    /// By how much the wall clock stands before the latest instant that was seen.
    pub(super) clock_back: Option<SignedDuration>,
    /// Time spent measuring, holds left out.
    pub(super) measured: Duration,
    /// When the soak may end, on the monotonic clock.
    pub(super) soak_until: Duration,
    pub(super) soaked: bool,
    /// An enforced check waits for a known instant: the others rest.
    pub(super) held: bool,
    /// Only what was looked at from here on supports a pass.
    pub(super) fresh_from: Duration,
    pub(super) ruling: Option<Ruling>,
}

impl Machine {
    /// A machine that begins, or goes on where `resume` says it was. What was seen before a
    /// restart explains, but never supports a pass: every check looks again, except those of which
    /// one pass is enough and that have passed.
    #[must_use]
    pub fn new(plan: Plan, standing: Option<Standing>, resume: &Resume, now: Moment) -> Self {
        let soak = plan.soak.exact();
        let soaked_for = now.wall.duration_since(resume.started_at).clamp(SignedDuration::ZERO, soak);
        let mut machine = Self {
            checks: plan.checks.iter().map(|_| CheckState::new()).collect(),
            standing,
            started_at: resume.started_at,
            overrides: Vec::new(),
            cancelled: None,
            superseded: None,
            last: Moment { wall: now.wall.max(resume.started_at), mono: now.mono },
            clock_back: None,
            measured: Duration::ZERO,
            soak_until: now.mono + to_std(soak - soaked_for),
            soaked: plan.soak.is_zero(),
            held: false,
            fresh_from: now.mono,
            ruling: None,
            plan,
        };
        if let Some(status) = &resume.status {
            machine.restore(status, now);
        }
        machine
    }

    fn restore(&mut self, status: &GateRunStatus, now: Moment) {
        for check in &mut self.checks {
            check.due = Some(now.mono);
        }
        for (planned, check) in self.plan.checks.iter().zip(&mut self.checks) {
            let Some(old) = status.checks.iter().find(|old| old.name == planned.spec.name) else { continue };
            check.outcome = if old.outcome == Outcome::Pass && !planned.once { Outcome::Pending } else { old.outcome };
            check.summary.clone_from(&old.summary);
            check.since = old.since;
            check.until = old.until;
            check.evidence.clone_from(&old.evidence);
            check.carry.clone_from(&old.carry);
            check.executions = old.executions;
            check.attempts.clone_from(&old.attempts);
            if check.outcome == Outcome::Pass {
                check.due = None;
            }
            if check.outcome == Outcome::Fail {
                // The verdict was not written before the restart: look again rather than block on memory.
                check.outcome = Outcome::Pending;
            }
        }
        let seen_at = status.seen_at.unwrap_or(self.started_at);
        let was_held = status.checks.iter().any(|check| check.outcome == Outcome::Pending && check.until.is_some());
        let gap = if was_held { Duration::ZERO } else { to_std(now.wall.duration_since(seen_at)) };
        self.measured = Duration::from_millis(u64::try_from(status.measured_millis).unwrap_or(0)) + gap;
        self.last.wall = self.last.wall.max(seen_at);
    }

    /// Whether the verdict is final.
    #[must_use]
    pub fn decided(&self) -> bool {
        self.ruling.is_some()
    }

    /// The plan that it goes by.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What a check carried over from its last execution.
    #[must_use]
    pub fn carry(&self, check: usize) -> Option<serde_json::Value> {
        self.checks.get(check).and_then(|check| check.carry.clone())
    }

    /// Takes an event and tells what to do. A decided machine does nothing.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        if self.ruling.is_some() {
            return Vec::new();
        }
        let now = self.advance(now);
        let mut effects = Vec::new();
        if self.apply(now, event) {
            effects.push(Effect::Save);
        }
        self.end_soak(now);
        match self.judge(now) {
            Judgement::Final(ruling) => {
                effects = self.in_flight().map(|check| Effect::Abandon { check }).collect();
                self.checks.iter_mut().for_each(|check| check.in_flight = None);
                self.ruling = Some(ruling);
                effects.push(Effect::Decide);
            }
            Judgement::Open(_) => self.start_due(now, &mut effects),
        }
        effects
    }

    /// How long the driver may sleep when nothing else happens; `None`: until something does.
    #[must_use]
    pub fn wake_after(&self, now: Moment) -> Option<Duration> {
        if self.ruling.is_some() {
            return None;
        }
        let mono = now.mono.max(self.last.mono);
        let due = self
            .checks
            .iter()
            .filter(|check| check.in_flight.is_none() && !self.rests(check))
            .filter_map(|check| check.due);
        let mut wakes: Vec<Duration> = due.map(|due| due.saturating_sub(mono)).collect();
        if !self.soaked {
            let wall = to_std((self.started_at + self.plan.soak.exact()).duration_since(now.wall));
            wakes.push(self.soak_until.saturating_sub(mono).max(wall));
        }
        if !self.held {
            let left = self.plan.timeout.to_std().saturating_sub(self.measured);
            wakes.extend((!left.is_zero()).then_some(left));
        }
        wakes.extend(
            self.overrides.iter().filter(|o| o.expires > now.wall).map(|o| to_std(o.expires.duration_since(now.wall))),
        );
        wakes.extend(self.clock_back.map(|_| CLOCK_RECHECK));
        wakes.into_iter().min()
    }

    /// Time goes on, and never back: what the clocks say is held against what was seen before.
    fn advance(&mut self, now: Moment) -> Moment {
        let mono = now.mono.max(self.last.mono);
        if !self.held {
            self.measured += mono.saturating_sub(self.last.mono);
        }
        let back = self.last.wall.duration_since(now.wall);
        self.clock_back = (back > CLOCK_TOLERANCE).then_some(back);
        self.last = Moment { wall: self.last.wall.max(now.wall), mono };
        Moment { wall: now.wall, mono }
    }

    /// Whether the record has changed in a way worth keeping.
    fn apply(&mut self, now: Moment, event: Event) -> bool {
        match event {
            Event::Started => {
                for check in &mut self.checks {
                    let finished = check.outcome == Outcome::Pass && check.due.is_none() && check.executions > 0;
                    if check.in_flight.is_none() && !finished {
                        check.due = Some(now.mono);
                    }
                }
                false
            }
            Event::Tick => false,
            Event::Reported { check, execution, report } => self.reported(now, check, execution, report),
            Event::Woken { check } => {
                self.wake(check, now);
                false
            }
            Event::Overrides(overrides) => {
                self.overrides = overrides;
                self.rehold(now.mono, now)
            }
            Event::Cancelled { actor, reason } => {
                self.cancelled = Some((actor, reason));
                true
            }
            Event::Superseded { revision, change } => {
                self.superseded = Some((revision, change));
                true
            }
        }
    }

    fn reported(&mut self, now: Moment, index: usize, execution: u32, report: Report) -> bool {
        let (Some(check), Some(planned)) = (self.checks.get_mut(index), self.plan.checks.get(index)) else {
            return false;
        };
        let Some(flight) = check.in_flight.filter(|flight| flight.execution == execution) else {
            return false;
        };
        let changed = check.take(planned, flight, report, now);
        self.rehold(flight.began.mono, now) || changed
    }

    /// Notices the beginning and the end of a hold. After one, everything is looked at anew:
    /// `fresh_from` is when the look that ended the hold began.
    fn rehold(&mut self, fresh_from: Duration, now: Moment) -> bool {
        let held = self.holding(now).next().is_some();
        let ended = self.held && !held;
        let changed = self.held != held;
        self.held = held;
        if ended {
            self.look_again(fresh_from, now);
        }
        changed
    }

    fn end_soak(&mut self, now: Moment) {
        if self.soaked || self.clock_back.is_some() {
            return;
        }
        let over = now.mono >= self.soak_until && now.wall.duration_since(self.started_at) >= self.plan.soak.exact();
        if over {
            self.soaked = true;
            self.look_again(now.mono, now);
        }
    }

    /// From now on only newer looks support a pass; every check that repeats is due.
    fn look_again(&mut self, fresh_from: Duration, now: Moment) {
        self.fresh_from = self.fresh_from.max(fresh_from);
        for index in 0..self.checks.len() {
            let fresh =
                self.checks.get(index).and_then(|check| check.looked_at).is_some_and(|at| at >= self.fresh_from);
            if !fresh {
                self.wake(index, now);
            }
        }
    }

    /// Makes a check due unless it is done; one in flight is executed once more afterwards.
    fn wake(&mut self, index: usize, now: Moment) {
        let (Some(check), Some(planned)) = (self.checks.get_mut(index), self.plan.checks.get(index)) else { return };
        let done = (planned.once && check.outcome == Outcome::Pass)
            || (check.outcome == Outcome::Fail && (planned.enforced() || planned.once));
        if check.in_flight.is_some() {
            check.woken = true;
        } else if !done {
            check.due = Some(now.mono);
        }
    }

    fn start_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for index in 0..self.checks.len() {
            let starts = self.checks.get(index).is_some_and(|check| {
                check.in_flight.is_none() && check.due.is_some_and(|due| due <= now.mono) && !self.rests(check)
            });
            if starts && let Some(check) = self.checks.get_mut(index) {
                let execution = check.begin(now);
                effects.push(Effect::Execute { check: index, execution });
            }
        }
    }

    /// While the run is held, a check that has looked and is not the one that holds rests.
    fn rests(&self, check: &CheckState) -> bool {
        self.held && check.has_looked() && !check.held()
    }

    fn in_flight(&self) -> impl Iterator<Item = usize> {
        self.checks.iter().enumerate().filter(|(_, check)| check.in_flight.is_some()).map(|(index, _)| index)
    }
}
