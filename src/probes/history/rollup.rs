//! A summary of the rounds of one target in a stretch of time.

use jiff::Timestamp;

use super::latencies::Latencies;
use super::ring::{Recent, instant};
use crate::probes::result::Judgement;

/// What the rounds of one target came to.
///
/// Merging is associative and commutative, and the merge of two summaries is the summary of all
/// their rounds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollup {
    /// Rounds that were as expected.
    pub good: u32,
    /// Rounds that were answered outside a softer limit.
    pub degraded: u32,
    /// Rounds that failed.
    pub failed: u32,
    /// Rounds with trouble of the prober.
    pub trouble: u32,
    /// Slots in which no round could be made.
    pub missed: u32,
    /// When the first and the last round began that failed, in microseconds since 1970.
    pub(super) failures: Option<(i64, i64)>,
    /// How long those took that were answered, good or degraded: how long a failure took is the
    /// timeout, or nothing.
    pub latencies: Latencies,
}

impl Rollup {
    /// Adds a round.
    pub fn record(&mut self, round: &Recent) {
        let count = match round.judgement {
            Judgement::Good => &mut self.good,
            Judgement::Degraded => &mut self.degraded,
            Judgement::Failed => &mut self.failed,
            Judgement::Trouble => &mut self.trouble,
        };
        *count = count.saturating_add(1);
        match round.judgement {
            Judgement::Good | Judgement::Degraded => self.latencies.record(round.took),
            Judgement::Failed => {
                let at = round.at.as_microsecond();
                self.failures = merged(self.failures, Some((at, at)));
            }
            Judgement::Trouble => {}
        }
    }

    /// Adds slots in which no round could be made.
    pub fn miss(&mut self, slots: u32) {
        self.missed = self.missed.saturating_add(slots);
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in [
            (&mut self.good, other.good),
            (&mut self.degraded, other.degraded),
            (&mut self.failed, other.failed),
            (&mut self.trouble, other.trouble),
            (&mut self.missed, other.missed),
        ] {
            *count = count.saturating_add(more);
        }
        self.failures = merged(self.failures, other.failures);
        self.latencies.merge(&other.latencies);
    }

    /// All rounds.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        [self.good, self.degraded, self.failed, self.trouble].into_iter().map(u64::from).sum()
    }

    /// The part of rounds that were answered, of those that say something about the target: trouble
    /// and missed slots are in neither. `None`: there were none.
    #[must_use]
    pub fn availability(&self) -> Option<f64> {
        let answered = u64::from(self.good) + u64::from(self.degraded);
        let all = answered + u64::from(self.failed);
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// When the first failed round began.
    #[must_use]
    pub fn first_failure(&self) -> Option<Timestamp> {
        self.failures.map(|(first, _)| instant(first))
    }

    /// When the last failed round began.
    #[must_use]
    pub fn last_failure(&self) -> Option<Timestamp> {
        self.failures.map(|(_, last)| instant(last))
    }

    /// Whether nothing has happened at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rounds() == 0 && self.missed == 0
    }
}

fn merged(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    /// Rounds by when they began, in microseconds since 2027, how long they took, and what came of
    /// them.
    pub(in super::super) fn rounds(most: usize) -> impl Strategy<Value = Vec<Recent>> {
        let round = (0_i64..7_200_000_000, 0_u64..100_000_000, 0_usize..4).prop_map(|(at, took, judgement)| {
            let at = instant(1_800_000_000_000_000 + at);
            let took = Duration::from_micros(took);
            Recent {
                at,
                late: Duration::ZERO,
                took,
                ended: at + took,
                judgement: Judgement::ALL[judgement],
                reason: None,
                phase: None,
            }
        });
        proptest::collection::vec(round, 0..most)
    }

    pub(in super::super) fn of(rounds: &[Recent]) -> Rollup {
        let mut rollup = Rollup::default();
        for round in rounds {
            rollup.record(round);
        }
        rollup
    }

    fn merge(mut a: Rollup, b: &Rollup) -> Rollup {
        a.merge(b);
        a
    }

    #[test]
    fn availability_is_of_the_rounds_that_say_something() {
        let rollup = |good, degraded, failed, trouble, missed| Rollup {
            good,
            degraded,
            failed,
            trouble,
            missed,
            ..Rollup::default()
        };
        assert_eq!(rollup(2, 1, 1, 50, 50).availability(), Some(0.75));
        assert_eq!(rollup(0, 0, 3, 0, 0).availability(), Some(0.0));
        assert_eq!(rollup(0, 0, 0, 9, 9).availability(), None);
        assert!(!rollup(0, 0, 0, 0, 1).is_empty() && rollup(0, 0, 0, 0, 0).is_empty());
    }

    proptest! {
        #[test]
        fn the_merge_is_the_summary_of_all_rounds(a in rounds(40), b in rounds(40), c in rounds(40)) {
            let (x, y, z) = (of(&a), of(&b), of(&c));
            let left = merge(merge(x.clone(), &y), &z);
            prop_assert_eq!(&left, &merge(x.clone(), &merge(y.clone(), &z)));
            prop_assert_eq!(&left, &merge(z, &merge(y, &x)));
            prop_assert_eq!(left, of(&[a, b, c].concat()));
        }

        #[test]
        fn failures_are_found_first_and_last(all in rounds(60)) {
            let failed = || all.iter().filter(|round| round.judgement == Judgement::Failed).map(|round| round.at);
            let rollup = of(&all);
            prop_assert_eq!((rollup.first_failure(), rollup.last_failure()), (failed().min(), failed().max()));
            prop_assert_eq!(rollup.rounds(), all.len() as u64);
        }
    }
}
