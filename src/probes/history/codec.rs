//! A rollup in few bytes, as the archive stores it.
//!
//! A version byte, then numbers of seven bits a byte, lowest first: the counts by judgement, missed
//! slots, whether anything failed and then the first failure and the time to the last one, least,
//! most and sum of the latencies, and for each bucket the distance from the one before and its count.

use super::latencies::Latencies;
use super::rollup::Rollup;

/// The version of this encoding.
const VERSION: u8 = 1;

/// The bytes of a rollup.
pub(super) fn encode(rollup: &Rollup) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for count in [rollup.good, rollup.degraded, rollup.failed, rollup.trouble, rollup.missed] {
        put(&mut bytes, count.into());
    }
    match rollup.failures {
        None => put(&mut bytes, 0),
        Some((first, last)) => {
            put(&mut bytes, 1);
            put(&mut bytes, first.cast_unsigned());
            put(&mut bytes, last.abs_diff(first));
        }
    }
    let (least, most, sum) = rollup.latencies.figures();
    for number in [least, most, sum] {
        put(&mut bytes, number);
    }
    let mut before = 0;
    for (bucket, count) in rollup.latencies.buckets() {
        put(&mut bytes, u64::from(bucket - before));
        put(&mut bytes, count.into());
        before = bucket;
    }
    bytes
}

/// The rollup of these bytes; nothing where they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<Rollup> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let rest = &mut rest;
    let mut small = || u32::try_from(take(rest)?).ok();
    let (good, degraded, failed, trouble, missed) = (small()?, small()?, small()?, small()?, small()?);
    let failures = match take(rest)? {
        0 => None,
        1 => {
            let first = take(rest)?.cast_signed();
            Some((first, first.checked_add_unsigned(take(rest)?)?))
        }
        _ => return None,
    };
    let figures = (take(rest)?, take(rest)?, take(rest)?);
    let (mut buckets, mut before) = (Vec::new(), 0_u16);
    while !rest.is_empty() {
        before = before.checked_add(u16::try_from(take(rest)?).ok()?)?;
        buckets.push((before, u32::try_from(take(rest)?).ok()?));
    }
    let latencies = Latencies::restored(buckets, figures)?;
    Some(Rollup { good, degraded, failed, trouble, missed, failures, latencies })
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        number |= low.checked_shl(shift).filter(|shifted| shifted >> shift == low)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::rollup::tests::{of, rounds};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_usual_minute_takes_few_bytes() {
        let mut rollup = Rollup::default();
        for round in 0..60_u64 {
            rollup.good += 1;
            rollup.latencies.record(std::time::Duration::from_micros(900 + round * 7));
        }
        assert!(encode(&rollup).len() < 50, "{} bytes", encode(&rollup).len());
        assert_eq!(decode(&encode(&Rollup::default())), Some(Rollup::default()));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(all in rounds(100), missed in any::<u32>(), before_1970 in any::<bool>()) {
            let mut rollup = of(&all);
            rollup.missed = missed;
            if before_1970 {
                rollup.failures = rollup.failures.map(|(first, last)| (first - 1_900_000_000_000_000, last));
            }
            prop_assert_eq!(decode(&encode(&rollup)), Some(rollup));
        }

        #[test]
        fn other_bytes_are_refused_or_make_sense(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0_usize..60) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Some(rollup) = decode(&bytes) {
                let _ = (rollup.latencies.quantile(0.5), rollup.availability(), rollup.first_failure());
                prop_assert_eq!(decode(&encode(&rollup)), Some(rollup));
            }
            bytes.truncate(cut);
            let _ = decode(&bytes);
        }
    }
}
