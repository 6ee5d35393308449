//! An answer, however it came.

use secrecy::SecretString;

use super::head::{Headers, Version};
use crate::api::TlsVersion;
use crate::outbound::hide;
use crate::probes::wire::{MAX_SHOWN, show};

/// How much of a body is looked at when its beginning is shown: the longest secrets are hidden in
/// it before it is cut.
const MAX_LOOKED_AT: usize = 64 * 1024;

/// An answer to one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The beginning of the body, decompressed where it was compressed.
    pub(super) body: Vec<u8>,
    /// How many bytes there were, of the same.
    pub(super) size: u64,
    /// Whether it was read to its end.
    pub(super) ended: bool,
    /// What TLS came about.
    pub(super) secured: Option<Secured>,
}

/// What TLS came about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secured {
    pub(super) version: Option<TlsVersion>,
    /// When the first certificate of the chain expires.
    pub(super) not_after: Option<jiff::Timestamp>,
}

impl Answer {
    /// Whether the body is at hand as a whole.
    pub(super) const fn whole(&self) -> bool {
        self.ended && self.body.len() as u64 == self.size
    }
}

/// Shows bytes from the other side to a person, without the secrets that it was sent.
pub(super) fn shown(bytes: &[u8], hidden: &[SecretString]) -> String {
    let looked_at = bytes.get(..MAX_LOOKED_AT).unwrap_or(bytes);
    show(&hide(looked_at, hidden), MAX_SHOWN)
}
