//! One round in a dozen bytes: what is usually small takes little room, and instants are told by
//! their distance from the round before.

use std::collections::VecDeque;

use crate::probes::result::{Judgement, Phase, Reason};

/// A round in whole microseconds; what is longer than 71 minutes counts as 71 minutes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// Since 1970.
    pub(super) at: i64,
    pub(super) late: u32,
    pub(super) took: u32,
    pub(super) lasted: u32,
    pub(super) judgement: Judgement,
    pub(super) reason: Option<Reason>,
    pub(super) phase: Option<Phase>,
}

/// Whether a reason or a phase follows; the two bits below are the judgement.
const REASON: u8 = 4;
const PHASE: u8 = 8;

impl Packed {
    /// Appends it; `before` is when the round before began.
    pub(super) fn write(&self, before: i64, into: &mut VecDeque<u8>) {
        let reason = self.reason.map_or(0, |_| REASON);
        let phase = self.phase.map_or(0, |_| PHASE);
        into.push_back(self.judgement as u8 | reason | phase);
        number(signed(self.at.wrapping_sub(before)), into);
        number(self.late.into(), into);
        number(self.took.into(), into);
        // Between the end of the last phase and that of the round little time goes by.
        number(signed(i64::from(self.lasted) - i64::from(self.took)), into);
        into.extend(self.reason.map(|reason| reason as u8));
        into.extend(self.phase.map(|phase| phase as u8));
    }

    /// Reads what [`Self::write`] has written.
    pub(super) fn read<'a>(before: i64, from: &mut impl Iterator<Item = &'a u8>) -> Option<Self> {
        let head = *from.next()?;
        let judgement = *Judgement::ALL.get(usize::from(head & 3))?;
        let at = before.wrapping_add(unsigned(read_number(from)?));
        let late = u32::try_from(read_number(from)?).ok()?;
        let took = u32::try_from(read_number(from)?).ok()?;
        let lasted = u32::try_from(i64::from(took) + unsigned(read_number(from)?)).ok()?;
        let mut place = |bit: u8| if head & bit == 0 { None } else { from.next().copied().map(usize::from) };
        let (reason, phase) = (place(REASON), place(PHASE));
        Some(Self {
            at,
            late,
            took,
            lasted,
            judgement,
            reason: reason.and_then(|place| Reason::ALL.get(place).copied()),
            phase: phase.and_then(|place| Phase::ALL.get(place).copied()),
        })
    }
}

/// Small numbers of either sign as small numbers.
const fn signed(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unsigned(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Seven bits in each byte, the lowest first; the eighth says that more follow.
fn number(mut number: u64, into: &mut VecDeque<u8>) {
    while number >= 0x80 {
        into.push_back((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push_back((number & 0x7f) as u8);
}

fn read_number<'a>(from: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = *from.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            before in any::<i64>(), at in any::<i64>(), late in any::<u32>(), took in any::<u32>(), lasted in any::<u32>(),
            judgement in 0..4_usize, reason in proptest::option::of(0..Reason::ALL.len()), phase in proptest::option::of(0..6_usize),
        ) {
            let round = Packed {
                at, late, took, lasted,
                judgement: Judgement::ALL[judgement],
                reason: reason.map(|place| Reason::ALL[place]),
                phase: phase.map(|place| Phase::ALL[place]),
            };
            let mut bytes = VecDeque::new();
            round.write(before, &mut bytes);
            let mut from = bytes.iter();
            let back = Packed::read(before, &mut from).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{round:?}"));
            prop_assert_eq!(from.len(), 0);
            bytes.pop_back();
            prop_assert!(Packed::read(before, &mut bytes.iter()).is_none_or(|cut| cut.phase.is_none() || cut.reason.is_none()));
        }
    }
}
