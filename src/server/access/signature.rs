//! Signed requests: HMAC-SHA256 over time, method, path and body.
//!
//! `X-Probegate-Key: NAME` and `X-Probegate-Signature: t=UNIX,v1=HEX`, where HEX is the HMAC of
//! `UNIX.METHOD.PATH.BODY` (PATH with its query, as it was sent). The time may be five minutes off.
//! Questions and reads are idempotent, so the same signature may come again there; a write counts
//! once.

use std::collections::{BTreeMap, HashSet};
use std::sync::PoisonError;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

use super::super::limits::{MAX_SIGNATURES, SIGNATURE_TOLERANCE_SECONDS};
use super::{Access, Caller, Refusal};

/// The header with the name of the key.
pub const HEADER_KEY: &str = "x-probegate-key";
/// The header with time and signature.
pub const HEADER_SIGNATURE: &str = "x-probegate-signature";

/// A request as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// The path and query, as they were sent.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Signatures of writes within the tolerance.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_time: BTreeMap<i64, Vec<[u8; 32]>>,
    all: HashSet<[u8; 32]>,
}

impl Seen {
    /// Remembers a signature; false when it was there or there are too many.
    fn insert(&mut self, time: i64, signature: [u8; 32], now: i64) -> bool {
        let keep = self.by_time.split_off(&(now - SIGNATURE_TOLERANCE_SECONDS));
        for old in std::mem::replace(&mut self.by_time, keep).into_values().flatten() {
            self.all.remove(&old);
        }
        if self.all.len() >= MAX_SIGNATURES || !self.all.insert(signature) {
            return false;
        }
        self.by_time.entry(time).or_default().push(signature);
        true
    }
}

fn mac(key: &[u8], time: i64, request: Signed<'_>) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{time}.{}.{}.", request.method, request.path).as_bytes());
    mac.update(request.body);
    Some(mac)
}

/// The value of the signature's header, for clients.
#[must_use]
pub fn sign(key: &[u8], time: i64, method: &str, path: &str, body: &[u8]) -> Option<String> {
    let mac = mac(key, time, Signed { method, path, body })?;
    Some(format!("t={time},v1={}", to_hex(&mac.finalize().into_bytes())))
}

impl Access {
    /// Whether a caller that [`Access::identify`] knows by its key has signed this request. A
    /// write is let through once.
    ///
    /// # Errors
    /// The reason.
    pub fn check_signature(
        &self,
        caller: &Caller,
        header: &str,
        request: Signed<'_>,
        write: bool,
    ) -> Result<(), Refusal> {
        let key = caller.entry().and_then(|entry| entry.key.as_ref()).ok_or(Refusal::Unknown)?;
        let (time, given) = parse(header).ok_or(Refusal::Signature)?;
        let now = self.now().as_second();
        if now.abs_diff(time) > SIGNATURE_TOLERANCE_SECONDS.unsigned_abs() {
            return Err(Refusal::Time);
        }
        let mac = mac(key.expose_secret(), time, request).ok_or(Refusal::Signature)?;
        mac.verify_slice(&given).map_err(|_| Refusal::Signature)?;
        let fresh = !write || {
            let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(time, given, now)
        };
        if fresh { Ok(()) } else { Err(Refusal::Replay) }
    }
}

fn parse(header: &str) -> Option<(i64, [u8; 32])> {
    let (time, signature) = header.split_once(',')?;
    let time = time.trim().strip_prefix("t=")?.parse().ok()?;
    let signature = from_hex(signature.trim().strip_prefix("v1=")?)?;
    Some((time, signature.try_into().ok()?))
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_counts_once_until_its_time_is_over() {
        let mut seen = Seen::default();
        assert!(seen.insert(1_000, [1; 32], 1_000));
        assert!(!seen.insert(1_000, [1; 32], 1_001));
        assert!(seen.insert(2_000, [2; 32], 2_000));
        assert_eq!(seen.all.len(), 1, "the first one is older than the tolerance");
    }

    #[test]
    fn too_many_writes_within_the_tolerance_are_refused_rather_than_forgotten() {
        let mut seen = Seen::default();
        for n in 0..MAX_SIGNATURES {
            let mut signature = [0; 32];
            signature[..8].copy_from_slice(&(n as u64).to_be_bytes());
            assert!(seen.insert(0, signature, 0));
        }
        assert!(!seen.insert(0, [9; 32], 0));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(text in "\\PC{0,120}") {
            let _ = parse(&text);
        }

        #[test]
        fn hexadecimal_reads_back_as_itself(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)).unwrap(), bytes);
        }
    }
}
