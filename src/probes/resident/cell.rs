//! One target of one probe, ready to be probed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::entry::Entry;
use super::record::Record;
use crate::probes::kinds::Compiled;
use crate::probes::plan::{Plan, Slots};
use crate::probes::result::Observation;

/// One target of one probe, ready to be probed. A new plan makes a new cell around the old record.
pub(in crate::probes) struct Cell {
    pub(super) entry: Weak<Entry>,
    pub(super) record: Arc<Record>,
    pub(super) compiled: Compiled,
    pub(super) plan: Arc<Plan>,
    pub(super) slots: Slots,
    /// The places of its host.
    pub(super) host: Arc<Semaphore>,
    /// Makes no rounds by itself.
    pub(super) suspended: bool,
    pub(super) chance: Chance,
    pub(super) flight: Flight,
}

/// Whether a round of a cell is under way. Only the thread that its seat is on writes here, so that
/// the end of a round, which comes ten thousand times in a second, needs no message.
#[derive(Debug, Default)]
pub(super) struct Flight {
    under_way: AtomicBool,
    /// Somebody has asked for a round while one was under way.
    again: AtomicBool,
}

impl Flight {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    pub(super) fn begin(&self) {
        self.under_way.store(true, Ordering::Release);
    }

    /// Asks for another round after this one.
    pub(super) fn ask_again(&self) {
        self.again.store(true, Ordering::Release);
    }

    /// Whether another one was asked for.
    pub(super) fn end(&self) -> bool {
        self.under_way.store(false, Ordering::Release);
        self.again.load(Ordering::Acquire) && self.again.swap(false, Ordering::AcqRel)
    }
}

/// A round that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its run id.
    pub id: Uuid,
    /// The target.
    pub target: Arc<str>,
    /// When it began.
    pub at: Timestamp,
    /// What was seen.
    pub observation: Arc<Observation>,
}

impl Cell {
    /// How far the next round is moved behind its slot.
    pub(super) fn jitter(&self) -> Duration {
        if self.plan.jitter.is_zero() { Duration::ZERO } else { self.plan.jitter.mul_f64(self.chance.next()) }
    }
}

/// Numbers from 0 to 1 for spreading load; nobody may rely on their being hard to guess.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number of the sequence `SplitMix64` (Steele, Lea, Flood 2014).
    fn next(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_spread_between_nothing_and_one() {
        let chance = Chance::new(7);
        let numbers: Vec<f64> = (0..10_000).map(|_| chance.next()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
