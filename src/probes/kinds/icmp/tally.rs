//! What the answers of a round amount to, and whether that is as expected: pure.

use std::time::Duration;

use crate::api::IcmpExpect;
use crate::probes::result::{Failure, Reason};

/// The answers of a round.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) sent: u32,
    /// In the order in which they were sent.
    answers: Vec<Answer>,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    sequence: u16,
    rtt: Duration,
    /// The hops that were left of it, where the system tells.
    ttl: Option<u32>,
}

/// Times of the answers: least, mean, most, and how much they differ from one to the next (the mean
/// of the differences between neighbours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) min: Duration,
    pub(super) avg: Duration,
    pub(super) max: Duration,
    pub(super) jitter: Duration,
}

impl Tally {
    /// Takes an answer; a second one to the same request does not count.
    pub(super) fn take(&mut self, sequence: u16, rtt: Duration, ttl: Option<u32>) -> bool {
        match self.answers.binary_search_by_key(&sequence, |answer| answer.sequence) {
            Ok(_) => false,
            Err(place) => {
                self.answers.insert(place, Answer { sequence, rtt, ttl });
                true
            }
        }
    }

    /// How many were answered.
    pub(super) fn received(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX)
    }

    /// The share that was lost, in percent.
    pub(super) fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received());
        f64::from(lost) * 100.0 / f64::from(self.sent.max(1))
    }

    /// The times, where there was any answer.
    pub(super) fn times(&self) -> Option<Times> {
        let rtts = || self.answers.iter().map(|answer| answer.rtt);
        let (min, max) = (rtts().min()?, rtts().max()?);
        let avg = rtts().sum::<Duration>() / self.received();
        let steps: Duration = rtts().zip(rtts().skip(1)).map(|(one, next)| one.abs_diff(next)).sum();
        Some(Times { min, avg, max, jitter: steps / self.received().saturating_sub(1).max(1) })
    }

    /// The fewest hops that were left of an answer, where the system tells of all.
    pub(super) fn ttl(&self) -> Option<u32> {
        self.answers.iter().map(|answer| answer.ttl).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Whether the answers are as expected; `told` is the last error that came in place of one.
    pub(super) fn judge(&self, expect: &IcmpExpect, told: Option<&Failure>) -> Result<(), Failure> {
        let (sent, received) = (self.sent, self.received());
        let lost = sent.saturating_sub(received);
        let allowed = expect.max_loss.unwrap_or(99);
        if u64::from(lost) * 100 > u64::from(allowed) * u64::from(sent.max(1)) {
            let counted = match (received, sent) {
                (0, 1) => "the request was not answered".to_owned(),
                (0, _) => format!("none of {sent} requests was answered"),
                _ => format!("{lost} of {sent} requests were not answered, where {allowed} % may be lost"),
            };
            return Err(match told {
                Some(told) => Failure::new(told.reason, format!("{counted}: {}", told.message)),
                None => Failure::new(Reason::Loss, counted),
            });
        }
        if let (Some(allowed), Some(times)) = (expect.max_rtt, self.times())
            && times.max > allowed.to_std()
        {
            let found = times.max.as_secs_f64() * 1_000.0;
            let message =
                format!("the slowest answer took {found:.1} ms where {} ms are allowed", allowed.to_std().as_millis());
            return Err(Failure::new(Reason::Latency, message));
        }
        match (expect.min_ttl, self.ttl()) {
            (Some(_), None) if received > 0 => {
                Err(Failure::new(Reason::Unsupported, "this system does not tell the hops that are left of an answer"))
            }
            (Some(least), Some(found)) if found < least => Err(Failure::new(
                Reason::Ttl,
                format!("{found} hops were left of an answer where {least} are expected"),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Period;
    use proptest::prelude::*;
    use rstest::rstest;

    fn tally(sent: u32, answers: &[(u64, u32)]) -> Tally {
        let mut tally = Tally { sent, ..Tally::default() };
        for (index, (millis, ttl)) in answers.iter().enumerate() {
            tally.take(u16::try_from(index).unwrap(), Duration::from_millis(*millis), Some(*ttl));
        }
        tally
    }

    fn expect(max_loss: Option<u32>, max_rtt: Option<u32>, min_ttl: Option<u32>) -> IcmpExpect {
        IcmpExpect { max_loss, max_rtt: max_rtt.map(Period::from_millis), min_ttl }
    }

    #[rstest]
    #[case(1, &[(1, 64)], expect(None, None, None), None)]
    #[case(1, &[], expect(None, None, None), Some(Reason::Loss))]
    #[case::one_is_enough(20, &[(1, 64)], expect(None, None, None), None)]
    #[case(4, &[(1, 64), (1, 64), (1, 64)], expect(Some(25), None, None), None)]
    #[case(4, &[(1, 64), (1, 64), (1, 64)], expect(Some(24), None, None), Some(Reason::Loss))]
    #[case(3, &[(1, 64), (1, 64)], expect(Some(33), None, None), Some(Reason::Loss))]
    #[case(2, &[(1, 64), (9, 64)], expect(Some(0), Some(9), Some(64)), None)]
    #[case(2, &[(1, 64), (10, 64)], expect(None, Some(9), None), Some(Reason::Latency))]
    #[case(2, &[(1, 64), (1, 60)], expect(None, None, Some(61)), Some(Reason::Ttl))]
    fn everything_given_must_hold(
        #[case] sent: u32,
        #[case] answers: &[(u64, u32)],
        #[case] expect: IcmpExpect,
        #[case] reason: Option<Reason>,
    ) {
        assert_eq!(tally(sent, answers).judge(&expect, None).err().map(|failure| failure.reason), reason);
    }

    #[test]
    fn an_error_that_came_in_place_of_an_answer_says_why() {
        let told = Failure::new(Reason::Unreachable, "no route, says 10.0.0.1");
        let failure = tally(2, &[]).judge(&expect(None, None, None), Some(&told)).unwrap_err();
        assert_eq!(failure.reason, Reason::Unreachable);
        assert_eq!(failure.message, "none of 2 requests was answered: no route, says 10.0.0.1");
    }

    #[test]
    fn hops_that_are_not_told_are_not_judged() {
        let mut tally = tally(1, &[]);
        tally.take(1, Duration::ZERO, None);
        assert_eq!(tally.judge(&expect(None, None, Some(3)), None).unwrap_err().reason, Reason::Unsupported);
        assert!(tally.judge(&expect(None, None, None), None).is_ok());
    }

    #[test]
    fn a_second_answer_to_one_request_does_not_count() {
        let mut tally = tally(2, &[(5, 64)]);
        assert!(!tally.take(0, Duration::from_millis(50), Some(1)));
        assert_eq!((tally.received(), tally.ttl(), tally.loss()), (1, Some(64), 50.0));
    }

    #[test]
    fn times_are_least_mean_most_and_the_steps_between() {
        let millis = Duration::from_millis;
        let times = tally(3, &[(1, 64), (4, 64), (1, 64)]).times().unwrap();
        assert_eq!(times, Times { min: millis(1), avg: millis(2), max: millis(4), jitter: millis(3) });
        assert_eq!(tally(3, &[]).times(), None);
    }

    proptest! {
        #[test]
        fn the_order_of_the_answers_is_that_of_the_requests(mut order in proptest::collection::vec(0_u16..20, 0..20)) {
            let mut tally = Tally { sent: 20, ..Tally::default() };
            for sequence in &order {
                tally.take(*sequence, Duration::from_millis(u64::from(*sequence)), None);
            }
            order.sort_unstable();
            order.dedup();
            prop_assert_eq!(tally.answers.iter().map(|answer| answer.sequence).collect::<Vec<_>>(), order);
            prop_assert!(tally.times().is_none_or(|times| times.min <= times.avg && times.avg <= times.max));
            prop_assert!((0.0..=100.0).contains(&tally.loss()));
        }
    }
}
