//! The recent rounds of one target, small enough to keep many.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::packed::Packed;
use crate::probes::result::{Judgement, Phase, Reason};

/// How many rounds are kept where nobody asks for more: a minute at one a second.
pub const DEFAULT_ROUNDS: usize = 64;
/// The most rounds that can be kept of one target: as many as a check may ask for.
pub const MAX_ROUNDS: usize = 1_000;
/// Room is made for so many bytes at a time: a few rounds, so that little of it stands empty.
const PIECE: usize = 48;
/// The most bytes that a round takes.
const MAX_ROUND: usize = 28;

/// One round, without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// When it began.
    pub at: Timestamp,
    /// How long after the intended start that was.
    pub late: Duration,
    /// How long its phases took together.
    pub took: Duration,
    /// When it ended.
    pub ended: Timestamp,
    /// What it says about the target.
    pub judgement: Judgement,
    /// Why it was not as expected.
    pub reason: Option<Reason>,
    /// Where.
    pub phase: Option<Phase>,
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// How long it is from one instant to a later one, in microseconds; nothing where it is earlier.
pub(super) fn micros_between(from: Timestamp, to: Timestamp) -> u32 {
    Duration::try_from(to.duration_since(from)).map_or(0, micros)
}

/// An instant from microseconds since 1970.
pub(super) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An instant so many microseconds later.
pub(super) fn later(at: i64, by: u32) -> Timestamp {
    instant(at.saturating_add(by.into()))
}

impl Packed {
    fn of(round: &Recent) -> Self {
        Self {
            at: round.at.as_microsecond(),
            late: micros(round.late),
            took: micros(round.took),
            lasted: micros_between(round.at, round.ended),
            judgement: round.judgement,
            reason: round.reason,
            phase: round.phase,
        }
    }

    fn open(&self) -> Recent {
        Recent {
            at: instant(self.at),
            late: Duration::from_micros(self.late.into()),
            took: Duration::from_micros(self.took.into()),
            ended: later(self.at, self.lasted),
            judgement: self.judgement,
            reason: self.reason,
            phase: self.phase,
        }
    }
}

/// The last rounds of one target, oldest first. It grows on demand up to its capacity.
#[derive(Debug, Clone)]
pub struct Ring {
    /// The rounds, one after the other.
    bytes: VecDeque<u8>,
    count: usize,
    capacity: usize,
    /// What the first round's instant is told from, and the last round's instant.
    first_from: i64,
    last: i64,
    /// All rounds that ended after this instant are here.
    complete: Timestamp,
}

impl Ring {
    /// An empty ring for `capacity` rounds, 1 to [`MAX_ROUNDS`], of what happens from now on.
    #[must_use]
    pub fn new(capacity: usize, now: Timestamp) -> Self {
        let capacity = capacity.clamp(1, MAX_ROUNDS);
        Self { bytes: VecDeque::new(), count: 0, capacity, first_from: 0, last: 0, complete: now }
    }

    /// Keeps more rounds from now on, or fewer at once.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(1, MAX_ROUNDS);
        while self.count > self.capacity {
            self.forget();
        }
    }

    /// Adds a round that has just ended.
    pub fn push(&mut self, round: &Recent) {
        while self.count >= self.capacity {
            self.forget();
        }
        if self.bytes.capacity() - self.bytes.len() < MAX_ROUND {
            // As a queue grows by itself, a quarter of it would stand empty.
            self.bytes.reserve_exact(PIECE);
        }
        let packed = Packed::of(round);
        packed.write(self.last, &mut self.bytes);
        if self.count == 0 {
            self.first_from = self.last;
        }
        (self.last, self.count) = (packed.at, self.count + 1);
    }

    /// The rounds, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Recent> + '_ {
        let (mut from, mut before) = (self.bytes.iter(), self.first_from);
        std::iter::from_fn(move || {
            let packed = Packed::read(before, &mut from)?;
            before = packed.at;
            Some(packed.open())
        })
    }

    /// The rounds that began at `since` or later, oldest first.
    pub fn since(&self, since: Timestamp) -> impl Iterator<Item = Recent> + '_ {
        self.iter().filter(move |round| round.at >= since)
    }

    /// The last round.
    #[must_use]
    pub fn last(&self) -> Option<Recent> {
        self.iter().last()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every round that ended after this instant is here.
    #[must_use]
    pub const fn complete_since(&self) -> Timestamp {
        self.complete
    }

    fn forget(&mut self) {
        let mut from = self.bytes.iter();
        let oldest = Packed::read(self.first_from, &mut from);
        let taken = self.bytes.len() - from.len();
        self.bytes.drain(..taken);
        self.count = self.count.saturating_sub(1);
        if let Some(oldest) = oldest {
            self.first_from = oldest.at;
            // After a clock that stepped back rounds are not in order; the latest end is on the safe side.
            self.complete = self.complete.max(oldest.open().ended);
        }
    }
}

/// An instant so long before another, or the earliest there is.
pub(super) fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn round(start: i64, lasted: i64) -> Recent {
        Recent {
            at: at(start),
            late: Duration::from_micros(120),
            took: Duration::from_millis(7),
            ended: at(start + lasted),
            judgement: Judgement::Failed,
            reason: Some(Reason::Refused),
            phase: Some(Phase::Connect),
        }
    }

    #[test]
    fn a_round_comes_back_as_it_was() {
        let mut ring = Ring::new(3, at(0));
        let good = Recent { judgement: Judgement::Good, reason: None, phase: None, ..round(1_000, 9) };
        ring.push(&round(0, 10));
        ring.push(&good);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [round(0, 10), good]);
        assert_eq!((ring.last(), ring.since(at(1)).count()), (Some(good), 1));
    }

    #[test]
    fn what_does_not_fit_is_as_long_as_fits() {
        let mut ring = Ring::new(1, at(0));
        ring.push(&Recent { took: Duration::from_secs(86_400), ended: at(-5), ..round(0, 0) });
        let back = ring.last().unwrap();
        assert_eq!((back.took, back.ended), (Duration::from_micros(u32::MAX.into()), back.at));
    }

    #[test]
    fn the_oldest_go_first_and_the_ring_says_from_when_on_it_is_complete() {
        let mut ring = Ring::new(2, at(0));
        ring.push(&round(0, 10));
        ring.push(&round(1_000, 10));
        assert_eq!(ring.complete_since(), at(0));
        ring.push(&round(2_000, 10));
        assert_eq!((ring.complete_since(), ring.iter().next().unwrap().at), (at(10), at(1_000)));
        ring.resize(1);
        assert_eq!((ring.complete_since(), ring.len()), (at(1_010), 1));
    }

    #[test]
    fn sixty_four_rounds_take_less_than_a_kilobyte() {
        let mut ring = Ring::new(DEFAULT_ROUNDS, at(0));
        assert_eq!(ring.bytes.capacity(), 0);
        for second in 0..1_000 {
            ring.push(&round(second * 1_000, 1));
        }
        assert!(ring.bytes.capacity() < 1_024, "{}", ring.bytes.capacity());
        ring.resize(100);
        for second in 0..1_000 {
            ring.push(&round(second * 1_000, 1));
        }
        assert_eq!(ring.len(), 100);
    }

    proptest! {
        #[test]
        fn it_is_the_end_of_the_whole(rounds in proptest::collection::vec(0_i64..1_000_000, 0..200), capacity in 0_usize..100) {
            let mut ring = Ring::new(capacity, at(0));
            for start in &rounds {
                ring.push(&round(*start, 3));
            }
            let kept = capacity.max(1).min(rounds.len());
            let found: Vec<_> = ring.iter().map(|round| round.at).collect();
            let expected: Vec<_> = rounds.iter().skip(rounds.len() - kept).map(|start| at(*start)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
