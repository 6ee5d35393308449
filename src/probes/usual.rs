//! What is usual for a probe: its latency against its own history. Pure.
//!
//! The rounds of a target are counted in buckets, as for the history, and every [`HALF_LIFE`] all
//! counts are halved, so that what is usual is the median of about the last day. A round is beyond
//! it when it took more than so many times that median, once [`MIN_SAMPLES`] rounds are known.
//!
//! The rule of learning: a round that is beyond is not learned from, so that a bad time does not
//! become usual while it lasts, however long a gate waits. Only when more than half of a whole day's
//! rounds ([`REVIEW`]) were beyond has the target changed for good: then all is forgotten and learned
//! anew. What stays below the limit is learned; a drift so slow that it takes days to pass the limit
//! is therefore not seen here: a fixed limit is there for that.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::history::Latencies;
use super::scale;

/// How many rounds must be known before any is judged: fewer make no median worth the name.
pub const MIN_SAMPLES: u32 = 30;
/// After so long a round weighs half: a day's rhythm is known, last week's is forgotten.
pub const HALF_LIFE: SignedDuration = SignedDuration::from_hours(12);
/// So often it is looked whether most rounds were beyond what is called usual.
pub const REVIEW: SignedDuration = SignedDuration::from_hours(24);
/// A bucket that weighs less is forgotten: after six half-lives without a round.
const LEAST_WEIGHT: f32 = 1.0 / 64.0;

/// What is usual for one target. It has at most 322 buckets of eight bytes, and in
/// practice some dozens.
#[derive(Debug, Clone, PartialEq)]
pub struct Usual {
    /// Buckets by number, with their weight.
    weights: Vec<(u16, f32)>,
    halved: Timestamp,
    reviewed: Timestamp,
    /// Rounds since the last review, by whether they were within the limit.
    within: u32,
    beyond: u32,
}

impl Usual {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { weights: Vec::new(), halved: now, reviewed: now, within: 0, beyond: 0 }
    }

    /// Knows what an earlier process has seen.
    #[must_use]
    pub fn known(latencies: &Latencies, now: Timestamp) -> Self {
        let weights = latencies.buckets().map(|(bucket, count)| (bucket, count as f32)).collect();
        Self { weights, ..Self::new(now) }
    }

    /// Judges a round that was answered at `at` after `took`, and learns from it. Gives the usual
    /// latency where this one is more than `times` of it; below 1, `times` counts as 1.
    pub fn judge(&mut self, took: Duration, times: f64, at: Timestamp) -> Option<Duration> {
        self.age(at);
        let usual = self.median();
        let beyond = usual.filter(|usual| took.as_secs_f64() > usual.as_secs_f64() * times.max(1.0));
        if beyond.is_some() {
            self.beyond = self.beyond.saturating_add(1);
        } else {
            self.within = self.within.saturating_add(1);
            self.learn(took);
        }
        beyond
    }

    /// The usual latency, once enough rounds are known.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        let total: f32 = self.weights.iter().map(|(_, weight)| weight).sum();
        if total < MIN_SAMPLES as f32 {
            return None;
        }
        let mut left = total / 2.0;
        for (bucket, weight) in &self.weights {
            if left <= *weight {
                return Some(Duration::from_nanos(scale::within(*bucket, f64::from(left / weight))));
            }
            left -= weight;
        }
        // Rounding alone can lead here.
        self.weights.last().map(|(bucket, _)| Duration::from_nanos(scale::within(*bucket, 1.0)))
    }

    fn learn(&mut self, took: Duration) {
        let bucket = scale::bucket(scale::nanos(took));
        match self.weights.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => {
                if let Some((_, weight)) = self.weights.get_mut(index) {
                    *weight += 1.0;
                }
            }
            Err(index) => self.weights.insert(index, (bucket, 1.0)),
        }
    }

    fn age(&mut self, at: Timestamp) {
        // A clock that was set back must not keep anything for ever.
        (self.halved, self.reviewed) = (self.halved.min(at), self.reviewed.min(at));
        let rounds = self.within.saturating_add(self.beyond);
        if at.duration_since(self.reviewed) >= REVIEW && rounds >= MIN_SAMPLES {
            if self.beyond > self.within {
                self.weights.clear();
            }
            (self.reviewed, self.within, self.beyond) = (at, 0, 0);
        }
        let total: f32 = self.weights.iter().map(|(_, weight)| weight).sum();
        // A probe with few rounds keeps them for longer, or it would never know enough.
        if at.duration_since(self.halved) >= HALF_LIFE && total >= (2 * MIN_SAMPLES) as f32 {
            self.weights.iter_mut().for_each(|(_, weight)| *weight /= 2.0);
            self.weights.retain(|(_, weight)| *weight >= LEAST_WEIGHT);
            self.halved = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Feeds `rounds` rounds of `took`, one every `every` seconds from second `from` on; gives how many were
    /// beyond three times the usual.
    fn feed(usual: &mut Usual, took: Duration, rounds: i64, every: i64, from: i64) -> usize {
        (0..rounds).filter(|round| usual.judge(took, 3.0, at(from + round * every)).is_some()).count()
    }

    fn close(found: Option<Duration>, expected: Duration) -> bool {
        found.is_some_and(|found| (found.as_secs_f64() / expected.as_secs_f64() - 1.0).abs() <= 0.05)
    }

    #[test]
    fn nothing_is_judged_before_enough_rounds_are_known() {
        let mut usual = Usual::new(at(0));
        assert_eq!(feed(&mut usual, ms(10), 29, 1, 0), 0);
        assert_eq!((usual.median(), usual.judge(ms(5_000), 3.0, at(29))), (None, None));
        // The slow one was learned, as nothing was known.
        assert!(close(usual.judge(ms(5_000), 3.0, at(30)), ms(10)));
    }

    #[test]
    fn a_round_far_beyond_the_usual_is_seen_and_one_nearby_is_not() {
        let mut usual = Usual::new(at(0));
        feed(&mut usual, ms(100), 40, 1, 0);
        assert_eq!(usual.judge(ms(280), 3.0, at(40)), None);
        assert!(close(usual.judge(ms(330), 3.0, at(41)), ms(100)));
        assert!(usual.judge(ms(330), 3.5, at(42)).is_none());
        assert!(close(usual.judge(ms(120), 0.1, at(43)), ms(100)), "times below 1 count as 1");
    }

    #[test]
    fn a_bad_hour_does_not_become_usual() {
        let mut usual = Usual::new(at(0));
        feed(&mut usual, ms(100), 3_600, 1, 0);
        assert_eq!(feed(&mut usual, ms(900), 3_600, 1, 3_600), 3_600);
        assert_eq!(feed(&mut usual, ms(100), 3_600, 1, 7_200), 0);
        assert!(close(usual.median(), ms(100)));
    }

    #[test]
    fn what_most_of_a_day_was_like_becomes_usual() {
        let mut usual = Usual::new(at(0));
        let hour = 3_600;
        feed(&mut usual, ms(100), 6 * 60, 60, 0);
        let beyond = feed(&mut usual, ms(900), 48 * 60, 60, 6 * hour);
        assert!((18 * 60 - 1..=18 * 60 + 1).contains(&beyond), "{beyond} rounds were beyond");
        assert!(close(usual.median(), ms(900)));
    }

    #[test]
    fn what_moves_within_the_limit_is_followed_within_days() {
        let mut usual = Usual::new(at(0));
        let day = 24 * 3_600;
        feed(&mut usual, ms(100), 24 * 60, 60, 0);
        assert_eq!(feed(&mut usual, ms(200), 3 * 24 * 60, 60, day), 0);
        assert!(close(usual.median(), ms(200)));
    }

    #[test]
    fn a_probe_that_runs_twice_a_day_knows_its_usual_after_a_month() {
        let mut usual = Usual::new(at(0));
        feed(&mut usual, ms(100), 90, 12 * 3_600, 0);
        assert!(close(usual.median(), ms(100)));
    }

    #[test]
    fn an_earlier_process_is_believed() {
        let mut latencies = Latencies::default();
        (0..100).for_each(|_| latencies.record(ms(40)));
        let mut usual = Usual::known(&latencies, at(0));
        assert!(close(usual.judge(ms(400), 3.0, at(1)), ms(40)));
    }

    proptest! {
        #[test]
        fn no_order_of_times_makes_it_panic_or_grow(
            rounds in proptest::collection::vec((any::<u64>(), -1_000_000_i64..1_000_000), 0..400), times in any::<f64>(),
        ) {
            let mut usual = Usual::new(at(0));
            for (nanos, second) in rounds {
                usual.judge(Duration::from_nanos(nanos), times, at(second));
            }
            prop_assert!(usual.weights.len() <= scale::BUCKETS);
        }
    }
}
