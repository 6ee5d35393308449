//! A generator whose whole state is its seed (`SplitMix64`: Steele, Lea and Flood, 2014).

use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `n`.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(items.len() as u64)).unwrap();
        &items[place]
    }
}

/// The seeds to go through: as many as `PROBEGATE_SEEDS` says, else `least`; a range `a..b` there
/// reproduces a failure.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
pub(super) fn seeds(least: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("PROBEGATE_SEEDS") else { return 0..least };
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}
