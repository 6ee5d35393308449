//! From rounds to the state of one target: pure.
//!
//! A target is `up`, `degraded`, `down` or `unknown`. It begins unknown, and turns when so many of
//! its last rounds say so. The rules look at the last rounds alone, so that the same rounds always
//! give the same state, in this order:
//!
//! 1. `down` while at least `down.count` of the last `down.of` rounds failed, whatever else holds;
//! 2. an `up` target is `degraded` once as many of them were slow or failed, and `up` until then;
//! 3. any other is `up` when at least `up.count` of the last `up.of` rounds were good and rule 2
//!    does not say degraded, and one that is down or unknown is `degraded` when as many of them
//!    were answered, good or slow;
//! 4. else it stays what it is.
//!
//! Trouble of the prober is no round of the target: it is never counted against it, nor in favour.
//! When it lasts, the state is lost, as it is when no round says anything for too long.
//!
//! # Flapping
//!
//! Of the last `window` rounds, the changes between failing and not failing are added up with
//! weights that fall in a line from 1.2 for the newest possible change to 0.8 for the oldest, and
//! divided by how many changes were possible. The target flaps from `high_percent` on, until the
//! sum is below `low_percent`. Rounds that were not made yet count as no change. This is the scheme
//! of Nagios Core (its manual, "Detection and Handling of State Flapping"), on rounds instead of
//! states: a state that thresholds have smoothed hides what is to be found here.

use jiff::{SignedDuration, Timestamp};

use super::result::Judgement;
use crate::model::ProbeState;

/// The most rounds that a rule can look back on: they are bits of one number.
pub const MAX_WINDOW: u32 = 100;
/// The fewest rounds in which flapping can be seen: one change.
const MIN_FLAP_WINDOW: u32 = 2;

/// So many rounds out of the last ones; `count == of` means in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// How many, 1 to [`MAX_WINDOW`].
    pub count: u32,
    /// Out of the last so many, `count` to [`MAX_WINDOW`].
    pub of: u32,
}

impl Threshold {
    /// So many in a row.
    #[must_use]
    pub const fn in_a_row(count: u32) -> Self {
        Self { count, of: count }
    }

    /// With both numbers brought inside their limits, as every rule reads them.
    #[must_use]
    pub fn bounded(self) -> Self {
        let count = self.count.clamp(1, MAX_WINDOW);
        Self { count, of: self.of.clamp(count, MAX_WINDOW) }
    }
}

/// When a target flaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flap {
    /// How many rounds are looked at, 2 to [`MAX_WINDOW`].
    pub window: u32,
    /// From this weighted percentage of changes on it flaps.
    pub high_percent: u32,
    /// Below this one it does no longer.
    pub low_percent: u32,
}

impl Default for Flap {
    /// The window of Nagios Core. Its bands for hosts and services begin lower; they are for states
    /// that were confirmed, and single rounds change more often.
    fn default() -> Self {
        Self { window: 21, high_percent: 50, low_percent: 25 }
    }
}

/// When the state turns, and when it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failed rounds that turn it down; slow or failed ones that make it degraded. `count` rounds in
    /// a row with trouble of the prober make it unknown.
    pub down: Threshold,
    /// Successful rounds that turn it up again.
    pub up: Threshold,
    /// How old the last round that says anything may be.
    pub stale_after: SignedDuration,
    /// When it flaps; `None`: nobody asks.
    pub flap: Option<Flap>,
}

/// Why the state is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Not enough rounds yet.
    WarmUp,
    /// So many of the last rounds.
    Rounds {
        /// How many said so when it turned.
        count: u32,
        /// How many were looked at; `count`, where the rule is so many in a row.
        of: u32,
    },
    /// So many rounds in a row in which the prober was in trouble.
    Trouble(u32),
    /// No round that says anything for too long.
    Stale,
}

/// A change of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// What it was.
    pub from: ProbeState,
    /// What it is.
    pub to: ProbeState,
}

/// The last rounds that said something, as bits: the newest is the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tail {
    failed: u128,
    good: u128,
    /// How many of them count for the state; fewer after it was lost.
    len: u8,
    /// How many of them count for flapping.
    seen: u8,
}

impl Tail {
    fn push(&mut self, judgement: Judgement) {
        self.failed = self.failed << 1 | u128::from(judgement == Judgement::Failed);
        self.good = self.good << 1 | u128::from(judgement == Judgement::Good);
        (self.len, self.seen) = (self.len.saturating_add(1), self.seen.saturating_add(1));
    }

    /// The rounds of the last `of` that count for the state.
    fn window(&self, of: u32) -> u128 {
        ones(of.min(u32::from(self.len)))
    }

    fn failed(&self, of: u32) -> u32 {
        (self.failed & self.window(of)).count_ones()
    }

    fn good(&self, of: u32) -> u32 {
        (self.good & self.window(of)).count_ones()
    }

    fn not_good(&self, of: u32) -> u32 {
        (!self.good & self.window(of)).count_ones()
    }

    fn answered(&self, of: u32) -> u32 {
        (!self.failed & self.window(of)).count_ones()
    }

    /// What the last round said; nothing where none counts.
    fn last(&self) -> Option<ProbeState> {
        match (self.len, self.failed & 1, self.good & 1) {
            (0, ..) => None,
            (_, 1, _) => Some(ProbeState::Down),
            (_, _, 1) => Some(ProbeState::Up),
            _ => Some(ProbeState::Degraded),
        }
    }

    /// The weighted changes of the last `window` rounds, as a fraction: percent × divisor, and the
    /// divisor.
    fn changes(&self, window: u32) -> (u32, u32) {
        let window = window.clamp(MIN_FLAP_WINDOW, MAX_WINDOW);
        let possible = window - 1;
        let made = window.min(u32::from(self.seen)).saturating_sub(1);
        let mut changed = (self.failed ^ (self.failed >> 1)) & ones(made);
        if possible == 1 {
            return (100 * changed.count_ones(), 1);
        }
        // The weight of the change `age` back is (12 − 4 × age / (possible − 1)) tenths.
        let mut sum = 0;
        while changed != 0 {
            let age = changed.trailing_zeros();
            sum += 12 * (possible - 1) - 4 * age;
            changed &= changed - 1;
        }
        (10 * sum, possible * (possible - 1))
    }
}

/// The lowest `count` bits.
const fn ones(count: u32) -> u128 {
    if count >= u128::BITS { u128::MAX } else { (1 << count) - 1 }
}

/// The state of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    state: ProbeState,
    flapping: bool,
    since: Timestamp,
    cause: Cause,
    tail: Tail,
    /// Rounds in a row with trouble; they are not in the tail.
    trouble: u32,
    failing_since: Option<Timestamp>,
    /// When the last round ended that says anything; at the beginning, the beginning.
    heard: Timestamp,
    /// Other rules have come since that round.
    renewed: bool,
}

impl Machine {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: ProbeState::Unknown,
            flapping: false,
            since: now,
            cause: Cause::WarmUp,
            tail: Tail::default(),
            trouble: 0,
            failing_since: None,
            heard: now,
            renewed: false,
        }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> ProbeState {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Why. It may change without a turn: a target that was unknown because of trouble may be so
    /// because it is warming up.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// When the first of the rounds began that have failed in a row, where the last one has. While
    /// it is down, a round that is answered in between ends no row.
    #[must_use]
    pub const fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// Whether it changes too often to be believed.
    #[must_use]
    pub const fn flapping(&self) -> bool {
        self.flapping
    }

    /// The weighted percentage of changes in the last `window` rounds, rounded down.
    #[must_use]
    pub fn change_percent(&self, window: u32) -> u32 {
        let (scaled, divisor) = self.tail.changes(window);
        scaled / divisor
    }

    /// Whether the last round that said something disagrees with the state: the state may be about
    /// to turn.
    #[must_use]
    pub fn contradicted(&self) -> bool {
        self.tail.last().is_some_and(|last| last != self.state)
    }

    /// Whether a failed round would turn it down now.
    #[must_use]
    pub fn would_turn_down(&self, rules: &Rules) -> bool {
        let mut tail = self.tail;
        tail.push(Judgement::Failed);
        let down = rules.down.bounded();
        self.state != ProbeState::Down && tail.failed(down.of) >= down.count
    }

    /// Takes a round that began at `at` and is judged now.
    pub fn round(&mut self, judgement: Judgement, at: Timestamp, now: Timestamp, rules: &Rules) -> Option<Turn> {
        if judgement == Judgement::Trouble {
            self.trouble = self.trouble.saturating_add(1);
            let lasts = self.trouble >= rules.down.bounded().count;
            return if lasts { self.lose(Cause::Trouble(self.trouble), now) } else { None };
        }
        self.tail.push(judgement);
        (self.trouble, self.heard, self.renewed) = (0, now, false);
        self.flap(rules.flap);
        let (state, cause) = self.next(rules);
        self.failing_since = match judgement {
            Judgement::Failed => self.failing_since.or(Some(at)),
            _ => self.failing_since.filter(|_| state == ProbeState::Down),
        };
        self.turn(state, cause, now)
    }

    /// Other rules come into force. What was fresh by the rules until now has the whole time of the
    /// new ones before it is stale: rounds that are an hour apart say nothing against it. That is
    /// given once, and again only after another round.
    pub fn renew(&mut self, now: Timestamp, until_now: &Rules) {
        let fresh = now.duration_since(self.heard) <= until_now.stale_after;
        if fresh && !self.renewed {
            (self.heard, self.renewed) = (now.max(self.heard), true);
        }
    }

    /// Looks at the clock alone: without rounds the state is lost.
    pub fn tick(&mut self, now: Timestamp, rules: &Rules) -> Option<Turn> {
        // A clock that was set back must not make the state look fresh for long.
        self.heard = self.heard.min(now);
        let stale = now.duration_since(self.heard) > rules.stale_after;
        if !stale || matches!(self.cause, Cause::Stale | Cause::Trouble(_)) {
            return None;
        }
        // What lies behind the gap says nothing about how often it changes now.
        (self.tail, self.flapping) = (Tail::default(), false);
        self.lose(Cause::Stale, now)
    }

    fn flap(&mut self, flap: Option<Flap>) {
        self.flapping = flap.is_some_and(|flap| {
            let (scaled, divisor) = self.tail.changes(flap.window);
            let band = if self.flapping { flap.low_percent.min(flap.high_percent) } else { flap.high_percent };
            scaled >= band.saturating_mul(divisor)
        });
    }

    /// The rules of the module's documentation, in their order.
    fn next(&self, rules: &Rules) -> (ProbeState, Cause) {
        let (down, up, tail) = (rules.down.bounded(), rules.up.bounded(), &self.tail);
        let (failed, not_good) = (tail.failed(down.of), tail.not_good(down.of));
        let (good, answered) = (tail.good(up.of), tail.answered(up.of));
        let rounds = |count, of| Cause::Rounds { count, of };
        match self.state {
            _ if failed >= down.count => (ProbeState::Down, rounds(failed, down.of)),
            ProbeState::Up if not_good >= down.count => (ProbeState::Degraded, rounds(not_good, down.of)),
            ProbeState::Up => (ProbeState::Up, self.cause),
            _ if good >= up.count && not_good < down.count => (ProbeState::Up, rounds(good, up.of)),
            ProbeState::Down | ProbeState::Unknown if answered >= up.count => {
                (ProbeState::Degraded, rounds(answered, up.of))
            }
            ProbeState::Unknown => (ProbeState::Unknown, Cause::WarmUp),
            state => (state, self.cause),
        }
    }

    fn turn(&mut self, state: ProbeState, cause: Cause, now: Timestamp) -> Option<Turn> {
        if state == self.state {
            if state == ProbeState::Unknown {
                self.cause = cause;
            }
            return None;
        }
        let turn = Turn { from: self.state, to: state };
        (self.state, self.since, self.cause) = (state, now, cause);
        Some(turn)
    }

    /// Nothing is known any more; what was counted says nothing either, but of flapping.
    fn lose(&mut self, cause: Cause, now: Timestamp) -> Option<Turn> {
        self.tail.len = 0;
        self.failing_since = None;
        self.turn(ProbeState::Unknown, cause, now)
    }
}

#[cfg(test)]
mod tests;
