//! How long rounds took, in buckets.

use std::time::Duration;

use crate::probes::scale;

/// A histogram of latencies in buckets that are 5 % wide; only those that are not empty take room.
///
/// Merging is associative and commutative: it does not matter which rounds were put together first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies {
    /// Buckets by number, with their count, which is above 0.
    buckets: Vec<(u16, u32)>,
    /// Nanoseconds: the least, the most and all together.
    least: u64,
    most: u64,
    sum: u64,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        let nanos = scale::nanos(took);
        self.put(scale::bucket(nanos), 1, nanos, nanos, nanos);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.put(*bucket, *count, other.least, other.most, 0);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (!self.buckets.is_empty()).then(|| Duration::from_nanos(self.most))
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// The latency that a part `q` of them does not exceed, between neighbours in proportion: within
    /// 5 % of the exact one between 10 µs and 60 s. The least and the longest are exact.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places and nanoseconds are not negative and far below 2^53"
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let last = self.count().checked_sub(1)?;
        // A comparison with NaN is false: that is the least then.
        let place = if q > 0.0 { q.min(1.0) * last as f64 } else { 0.0 };
        let below = place.floor() as u64;
        let (lower, upper) = (self.at(below, last), self.at((below + 1).min(last), last));
        let between = upper.saturating_sub(lower) as f64 * place.fract();
        Some(Duration::from_nanos(lower + between as u64))
    }

    /// About the latency at a place of their order, in nanoseconds.
    fn at(&self, place: u64, last: u64) -> u64 {
        if place == 0 {
            return self.least;
        }
        let mut before = 0;
        for (bucket, count) in &self.buckets {
            let count = u64::from(*count);
            if place < before + count && place < last {
                let part = ((place - before) as f64 + 0.5) / count as f64;
                return scale::within(*bucket, part).clamp(self.least, self.most);
            }
            before += count;
        }
        self.most
    }

    /// The buckets that are not empty, by number, with their count.
    pub(in crate::probes) fn buckets(&self) -> impl Iterator<Item = (u16, u32)> {
        self.buckets.iter().copied()
    }

    /// The least, the most and the sum, in nanoseconds.
    pub(super) const fn figures(&self) -> (u64, u64, u64) {
        (self.least, self.most, self.sum)
    }

    /// What [`Self::buckets`] and [`Self::figures`] gave, where that makes sense.
    pub(super) fn restored(buckets: Vec<(u16, u32)>, (least, most, sum): (u64, u64, u64)) -> Option<Self> {
        let sorted = buckets.is_sorted_by(|a, b| a.0 < b.0);
        let known = buckets.iter().all(|(bucket, count)| usize::from(*bucket) < scale::BUCKETS && *count > 0);
        let empty = buckets.is_empty() && (least, most, sum) == (0, 0, 0);
        (sorted && known && least <= most && (empty || !buckets.is_empty())).then_some(Self {
            buckets,
            least,
            most,
            sum,
        })
    }

    fn put(&mut self, bucket: u16, count: u32, least: u64, most: u64, sum: u64) {
        self.least = if self.buckets.is_empty() { least } else { self.least.min(least) };
        self.most = self.most.max(most);
        self.sum = self.sum.saturating_add(sum);
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => {
                if let Some((_, known)) = self.buckets.get_mut(index) {
                    *known = known.saturating_add(count);
                }
            }
            Err(index) => self.buckets.insert(index, (bucket, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(nanos: &[u64]) -> Latencies {
        let mut latencies = Latencies::default();
        for nanos in nanos {
            latencies.record(Duration::from_nanos(*nanos));
        }
        latencies
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    /// The quantile of the values themselves, between neighbours in proportion.
    fn exact(mut nanos: Vec<u64>, q: f64) -> f64 {
        nanos.sort_unstable();
        let place = q * (nanos.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let above = nanos[(below + 1).min(nanos.len() - 1)];
        nanos[below] as f64 + (above as f64 - nanos[below] as f64) * part
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!((of(&[]).quantile(0.5), of(&[]).max(), of(&[]).mean()), (None, None, None));
    }

    #[test]
    fn a_single_one_is_every_quantile() {
        let one = of(&[123_456_789]);
        for q in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN] {
            assert_eq!(one.quantile(q), Some(Duration::from_nanos(123_456_789)));
        }
        assert_eq!((one.max(), one.mean(), one.count()), (one.quantile(1.0), one.quantile(0.5), 1));
    }

    #[test]
    fn what_lies_outside_the_scale_keeps_its_ends() {
        let far = of(&[1, 2, 300_000_000_000, 400_000_000_000]);
        assert_eq!(far.quantile(0.0), Some(Duration::from_nanos(1)));
        assert_eq!(far.quantile(1.0), Some(Duration::from_secs(400)));
        assert!(far.quantile(0.67).unwrap() >= Duration::from_secs(60));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_five_percent_of_the_exact_one(
            nanos in proptest::collection::vec(10_000_u64..60_000_000_000, 1..200), q in 0.0_f64..=1.0,
        ) {
            let found = of(&nanos).quantile(q).unwrap().as_nanos() as f64;
            let exact = exact(nanos, q);
            prop_assert!((found / exact - 1.0).abs() <= 0.05, "{} instead of {}", found, exact);
        }

        #[test]
        fn quantiles_never_fall(nanos in proptest::collection::vec(any::<u64>(), 1..100), a in 0.0_f64..=1.0, b in 0.0_f64..=1.0) {
            let latencies = of(&nanos);
            prop_assert!(latencies.quantile(a.min(b)) <= latencies.quantile(a.max(b)));
            prop_assert!(latencies.quantile(1.0) == latencies.max());
        }

        #[test]
        fn merging_is_counting_together(
            a in proptest::collection::vec(any::<u64>(), 0..50),
            b in proptest::collection::vec(any::<u64>(), 0..50),
            c in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let merged = |mut left: Latencies, right: &Latencies| { left.merge(right); left };
            let (x, y, z) = (of(&a), of(&b), of(&c));
            let left = merged(merged(x.clone(), &y), &z);
            prop_assert_eq!(&left, &merged(x.clone(), &merged(y.clone(), &z)));
            prop_assert_eq!(&left, &merged(z, &merged(y, &x)));
            prop_assert_eq!(left, of(&[a, b, c].concat()));
        }
    }
}
