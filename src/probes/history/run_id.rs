//! Run ids that need no memory.
//!
//! The id of a round is a UUID of version 7 that follows from its target and from when it began, so
//! that it can be made again from a round in the history, and tells when that was. A target's rounds
//! do not overlap: no two of them begin in the same microsecond.

use jiff::Timestamp;
use uuid::Uuid;

use super::ring::instant;
use crate::model::QuestionKey;

/// The ids of one target's rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunIds {
    /// 62 bits of the hash of the target's name.
    tag: u64,
}

impl RunIds {
    /// Of a target of a probe.
    #[must_use]
    pub fn of(namespace: &str, probe: &str, target: &str) -> Self {
        let hash = QuestionKey::over(&[namespace, probe, target]).to_string();
        let tag = hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        Self { tag: tag >> 2 }
    }

    /// The id of the round that began at `at`.
    #[must_use]
    pub fn id(self, at: Timestamp) -> Uuid {
        let micros = u64::try_from(at.as_microsecond()).unwrap_or(0);
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        Uuid::from_u64_pair(millis << 16 | 0x7000 | rest, 0b10 << 62 | self.tag)
    }

    /// When the round with this id began; nothing where it is none of this target.
    #[must_use]
    pub fn began(self, id: Uuid) -> Option<Timestamp> {
        let (high, _) = id.as_u64_pair();
        let at = i64::try_from((high >> 16) * 1_000 + (high & 0x0fff)).map(instant).ok()?;
        (self.id(at) == id).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_a_uuid_of_version_seven() {
        let at: Timestamp = "2026-11-21T18:00:00.123456Z".parse().unwrap();
        let id = RunIds::of("shop", "checkout", "10.0.0.1:80").id(at);
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((i64::try_from(seconds).unwrap(), nanos), (at.as_second(), 123_000_000));
    }

    #[test]
    fn targets_have_ids_of_their_own() {
        let at = instant(1_800_000_000_000_000);
        let ids = [("a", "b", "c"), ("a", "bc", ""), ("ab", "c", ""), ("a", "b", "d")];
        let ids: std::collections::BTreeSet<_> = ids.iter().map(|(a, b, c)| RunIds::of(a, b, c).id(at)).collect();
        assert_eq!(ids.len(), 4);
    }

    proptest! {
        #[test]
        fn an_id_tells_when_and_whose(micros in 0_i64..8_000_000_000_000_000, other in any::<u128>()) {
            let (ids, at) = (RunIds::of("shop", "checkout", ""), instant(micros));
            prop_assert_eq!(ids.began(ids.id(at)), Some(at));
            prop_assert_eq!(RunIds::of("shop", "cart", "").began(ids.id(at)), None);
            prop_assert_eq!(ids.began(Uuid::from_u128(other)), None);
        }
    }
}
