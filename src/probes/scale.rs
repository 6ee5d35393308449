//! One scale for every latency: buckets that are each a twentieth wider than the one before.
//!
//! Between 10 µs and 60 s the bounds of a bucket are at most 5 % apart, so that any value inside it
//! is within 5 % of any other. Below is one bucket down to nothing, above is one without an end.

use std::time::Duration;

/// The first bound: nothing that crosses a socket is faster.
const FIRST_NANOS: u64 = 10_000;
/// The last bound is the first beyond this: few rounds may take longer.
const LAST_NANOS: u64 = 60_000_000_000;
/// Each bound is one such part larger than the one before.
const PART: u64 = 20;

const COUNT: usize = count();
const BOUNDS: [u64; COUNT] = bounds();
/// How many buckets there are: one more than bounds.
pub(super) const BUCKETS: usize = COUNT + 1;

const fn count() -> usize {
    let (mut bound, mut count) = (FIRST_NANOS, 1);
    while bound < LAST_NANOS {
        bound += bound / PART;
        count += 1;
    }
    count
}

#[expect(clippy::indexing_slicing, reason = "the loop ends with the array, while compiling")]
const fn bounds() -> [u64; COUNT] {
    let mut bounds = [FIRST_NANOS; COUNT];
    let mut index = 1;
    while index < COUNT {
        bounds[index] = bounds[index - 1] + bounds[index - 1] / PART;
        index += 1;
    }
    bounds
}

/// A duration in nanoseconds.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The bucket of a latency.
pub(super) fn bucket(nanos: u64) -> u16 {
    u16::try_from(BOUNDS.partition_point(|bound| *bound <= nanos)).unwrap_or(u16::MAX)
}

/// Where a bucket begins and ends, in nanoseconds; the last one ends where it begins.
pub(super) fn range(bucket: u16) -> (u64, u64) {
    let bucket = usize::from(bucket);
    let last = BOUNDS.last().copied().unwrap_or(LAST_NANOS);
    let lower = bucket.checked_sub(1).map_or(0, |below| BOUNDS.get(below).copied().unwrap_or(last));
    (lower, BOUNDS.get(bucket).copied().unwrap_or(last))
}

/// The value at a part of a bucket, 0 for its lower bound and 1 for its upper one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the part lies between 0 and 1 and bounds are far below 2^53"
)]
pub(super) fn within(bucket: u16, part: f64) -> u64 {
    let (lower, upper) = range(bucket);
    lower + ((upper - lower) as f64 * part.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_scale_reaches_from_ten_microseconds_to_a_minute() {
        assert_eq!((range(0), range(1)), ((0, 10_000), (10_000, 10_500)));
        assert_eq!(BUCKETS, 322);
        let last = u16::try_from(BUCKETS - 1).unwrap();
        assert!(range(last).0 >= 60_000_000_000);
        assert_eq!((bucket(0), bucket(9_999), bucket(10_000), bucket(u64::MAX)), (0, 0, 1, last));
    }

    proptest! {
        #[test]
        fn a_latency_is_in_its_bucket_and_buckets_are_narrow(nanos in 10_000_u64..60_000_000_000) {
            let (lower, upper) = range(bucket(nanos));
            prop_assert!(lower <= nanos && nanos < upper);
            prop_assert!(upper * 20 <= lower * 21);
            prop_assert_eq!(bucket(upper), bucket(nanos) + 1);
        }
    }
}
