//! From rounds to a state: pure.
//!
//! A probe is `up`, `degraded`, `down` or `unknown`. It begins unknown, and turns on so many
//! rounds in a row as its thresholds say; trouble of the prober never turns it down.

use jiff::{SignedDuration, Timestamp};

use super::result::Judgement;
use crate::model::ProbeState;

/// How many rounds in a row turn the state, and when it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Failed rounds in a row that turn it down; slow or failed ones that make it degraded; rounds
    /// in a row with trouble of the prober that make it unknown.
    pub failures: u32,
    /// Successful rounds in a row that turn it up again.
    pub successes: u32,
    /// How old the last round that says anything may be.
    pub stale_after: SignedDuration,
}

/// Why the state is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Not enough rounds yet.
    WarmUp,
    /// So many rounds in a row.
    Rounds(u32),
    /// So many rounds in a row in which the prober was in trouble.
    Trouble(u32),
    /// No round that says anything for too long.
    Stale,
}

/// The state of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    state: ProbeState,
    since: Timestamp,
    cause: Cause,
    /// Rounds in a row, by what they say; trouble interrupts none of the first four.
    failed: u32,
    not_good: u32,
    good: u32,
    answered: u32,
    trouble: u32,
    /// The start of the first of the failed rounds in a row.
    failing_since: Option<Timestamp>,
    /// When the last round ended that says anything; at the beginning, the beginning.
    heard: Timestamp,
}

impl Machine {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            state: ProbeState::Unknown,
            since: now,
            cause: Cause::WarmUp,
            failed: 0,
            not_good: 0,
            good: 0,
            answered: 0,
            trouble: 0,
            failing_since: None,
            heard: now,
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

    /// Why.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// When the first of the rounds began that have failed in a row, where the last one has.
    #[must_use]
    pub const fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// Takes a round that began at `at` and is judged now. True when the state has changed.
    pub fn round(&mut self, judgement: Judgement, at: Timestamp, now: Timestamp, thresholds: &Thresholds) -> bool {
        let up = |run: u32| run.saturating_add(1);
        match judgement {
            Judgement::Trouble => {
                self.trouble = up(self.trouble);
                return self.trouble >= thresholds.failures && self.lose(Cause::Trouble(self.trouble), now);
            }
            Judgement::Good => {
                (self.good, self.answered, self.failed, self.not_good) = (up(self.good), up(self.answered), 0, 0);
            }
            Judgement::Degraded => {
                (self.good, self.answered, self.failed, self.not_good) = (0, up(self.answered), 0, up(self.not_good));
            }
            Judgement::Failed => {
                (self.good, self.answered, self.failed, self.not_good) = (0, 0, up(self.failed), up(self.not_good));
            }
        }
        self.failing_since = (self.failed > 0).then(|| self.failing_since.unwrap_or(at));
        self.trouble = 0;
        self.heard = now;
        let next = self.next(thresholds);
        self.turn(next, now)
    }

    /// Looks at the clock alone: without rounds the state is lost. True when it has changed.
    pub fn tick(&mut self, now: Timestamp, thresholds: &Thresholds) -> bool {
        // A clock that was set back must not make the state look fresh for long.
        self.heard = self.heard.min(now);
        let stale = now.duration_since(self.heard) > thresholds.stale_after;
        let known = matches!(self.cause, Cause::WarmUp | Cause::Rounds(_));
        stale && known && self.lose(Cause::Stale, now)
    }

    fn next(&self, thresholds: &Thresholds) -> (ProbeState, u32) {
        let turned_up = self.good >= thresholds.successes;
        match self.state {
            _ if self.failed >= thresholds.failures => (ProbeState::Down, self.failed),
            ProbeState::Down | ProbeState::Unknown | ProbeState::Degraded if turned_up => (ProbeState::Up, self.good),
            ProbeState::Down | ProbeState::Unknown if self.answered >= thresholds.successes => {
                (ProbeState::Degraded, self.answered)
            }
            ProbeState::Up if self.not_good >= thresholds.failures => (ProbeState::Degraded, self.not_good),
            state => (state, 0),
        }
    }

    fn turn(&mut self, (state, rounds): (ProbeState, u32), now: Timestamp) -> bool {
        if state == self.state {
            if state == ProbeState::Unknown {
                self.cause = Cause::WarmUp;
            }
            return false;
        }
        (self.state, self.since, self.cause) = (state, now, Cause::Rounds(rounds));
        true
    }

    /// Nothing is known any more; what was counted says nothing either.
    fn lose(&mut self, cause: Cause, now: Timestamp) -> bool {
        let same = std::mem::discriminant(&self.cause) == std::mem::discriminant(&cause);
        let changed = self.state != ProbeState::Unknown || !same;
        let since = if self.state == ProbeState::Unknown { self.since } else { now };
        let (heard, trouble) = (self.heard, self.trouble);
        *self = Self { since, cause, trouble, heard, ..Self::new(now) };
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const STALE: SignedDuration = SignedDuration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn judgement(letter: char) -> Judgement {
        match letter {
            'g' => Judgement::Good,
            's' => Judgement::Degraded,
            'f' => Judgement::Failed,
            _ => Judgement::Trouble,
        }
    }

    /// Good, slow, failed, trouble: one round a second. Up, slow (degraded), down or ? after each.
    fn states(rounds: &str, failures: u32, successes: u32) -> String {
        let thresholds = Thresholds { failures, successes, stale_after: STALE };
        let mut machine = Machine::new(at(0));
        rounds
            .chars()
            .zip(0..)
            .map(|(letter, second)| {
                machine.round(judgement(letter), at(second), at(second), &thresholds);
                match machine.state() {
                    ProbeState::Up => 'u',
                    ProbeState::Degraded => 's',
                    ProbeState::Down => 'd',
                    ProbeState::Unknown => '?',
                }
            })
            .collect()
    }

    #[rstest]
    #[case::one_failure_is_not_down("gfg", 2, 1, "uuu")]
    #[case::two_in_a_row_are("gff", 2, 1, "uud")]
    #[case::and_one_success_is_up_again("ffg", 2, 1, "?du")]
    #[case::or_as_many_as_it_takes("ffgggfg", 2, 3, "?ddduuu")]
    #[case::a_failure_in_between_starts_anew("ffggfgg", 2, 3, "?dddddd")]
    #[case::slow_rounds_make_it_degraded("gsss", 2, 1, "uuss")]
    #[case::slow_and_failed_ones_too("gsfs", 2, 1, "uuss")]
    #[case::it_is_up_after_good_rounds("gssg", 2, 1, "uusu")]
    #[case::a_slow_answer_ends_down("ffs", 2, 1, "?ds")]
    #[case::trouble_is_never_down("gttttt", 2, 1, "uu????")]
    #[case::trouble_between_failures_does_not_excuse_them("gftf", 2, 1, "uuud")]
    #[case::after_trouble_failures_count_from_the_start("fttf", 2, 1, "????")]
    fn states_follow_the_rounds(#[case] rounds: &str, #[case] down: u32, #[case] up: u32, #[case] expected: &str) {
        assert_eq!(states(rounds, down, up), expected);
    }

    #[test]
    fn slow_is_degraded_and_not_down() {
        let thresholds = Thresholds { failures: 2, successes: 1, stale_after: STALE };
        let mut machine = Machine::new(at(0));
        for second in 0..3 {
            machine.round(Judgement::Degraded, at(second), at(second), &thresholds);
        }
        assert_eq!(machine.state(), ProbeState::Degraded);
    }

    #[test]
    fn trouble_makes_it_unknown_once_it_lasts() {
        let thresholds = Thresholds { failures: 2, successes: 1, stale_after: STALE };
        let mut machine = Machine::new(at(0));
        assert!(machine.round(Judgement::Good, at(1), at(1), &thresholds));
        assert!(!machine.round(Judgement::Trouble, at(2), at(2), &thresholds));
        assert!(machine.round(Judgement::Trouble, at(3), at(3), &thresholds));
        assert_eq!(
            (machine.state(), machine.cause(), machine.since()),
            (ProbeState::Unknown, Cause::Trouble(2), at(3))
        );
        assert!(machine.round(Judgement::Good, at(4), at(4), &thresholds));
        assert_eq!(machine.state(), ProbeState::Up);
    }

    #[test]
    fn a_state_without_rounds_is_stale() {
        let thresholds = Thresholds { failures: 2, successes: 1, stale_after: STALE };
        let mut machine = Machine::new(at(0));
        machine.round(Judgement::Good, at(0), at(0), &thresholds);
        assert!(!machine.tick(at(30), &thresholds));
        assert!(machine.tick(at(31), &thresholds));
        assert_eq!((machine.state(), machine.cause(), machine.since()), (ProbeState::Unknown, Cause::Stale, at(31)));
        assert!(!machine.tick(at(32), &thresholds));
    }

    #[test]
    fn the_first_failed_round_is_remembered() {
        let thresholds = Thresholds { failures: 3, successes: 1, stale_after: STALE };
        let mut machine = Machine::new(at(0));
        for (second, judgement) in [(1, Judgement::Failed), (2, Judgement::Trouble), (3, Judgement::Failed)] {
            machine.round(judgement, at(second), at(second), &thresholds);
        }
        assert_eq!(machine.failing_since(), Some(at(1)));
        machine.round(Judgement::Good, at(4), at(4), &thresholds);
        assert_eq!(machine.failing_since(), None);
    }

    proptest! {
        #[test]
        fn down_takes_failed_rounds_and_up_takes_good_ones(
            rounds in "[gsft]{1,60}", failures in 1_u32..5, successes in 1_u32..5,
        ) {
            let thresholds = Thresholds { failures, successes, stale_after: STALE };
            let mut machine = Machine::new(at(0));
            for (index, letter) in rounds.chars().enumerate() {
                let before = machine.state();
                let second = i64::try_from(index).unwrap();
                let changed = machine.round(judgement(letter), at(second), at(second), &thresholds);
                prop_assert!(changed || before == machine.state());
                let heard: Vec<char> = rounds.chars().take(index + 1).filter(|letter| *letter != 't').collect();
                let run = |wanted: &str| heard.iter().rev().take_while(|letter| wanted.contains(**letter)).count();
                if before != machine.state() {
                    match machine.state() {
                        ProbeState::Down => prop_assert!(run("f") >= failures as usize),
                        ProbeState::Up => prop_assert!(run("g") >= successes as usize),
                        ProbeState::Degraded => prop_assert!(run("gs") >= 1 || run("sf") >= failures as usize),
                        ProbeState::Unknown => prop_assert_eq!(letter, 't'),
                    }
                }
            }
        }

        #[test]
        fn a_prober_in_trouble_never_says_down(rounds in "[gst]{0,60}", failures in 1_u32..5) {
            let thresholds = Thresholds { failures, successes: 1, stale_after: STALE };
            let mut machine = Machine::new(at(0));
            for (letter, second) in rounds.chars().zip(0..) {
                machine.round(judgement(letter), at(second), at(second), &thresholds);
                prop_assert_ne!(machine.state(), ProbeState::Down);
            }
        }

        #[test]
        fn no_order_of_times_makes_it_panic(times in proptest::collection::vec(-100_i64..100, 0..40)) {
            let thresholds = Thresholds { failures: 2, successes: 1, stale_after: SignedDuration::from_secs(5) };
            let mut machine = Machine::new(at(0));
            for (index, second) in times.iter().enumerate() {
                if index % 3 == 0 {
                    machine.tick(at(*second), &thresholds);
                } else {
                    machine.round(Judgement::Good, at(*second), at(*second), &thresholds);
                }
            }
        }
    }
}
