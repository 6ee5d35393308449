//! What stands in the certificates that a server shows.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lru::LruCache;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// The most certificates of a chain that are read: chains have two to four.
const MAX_CHAIN: usize = 16;
/// The most names of a certificate that are kept: public authorities allow a hundred or two.
const MAX_NAMES: usize = 1_000;
/// The most names that stand in a fact or a sentence.
const MAX_SHOWN: usize = 16;
/// The longest name that is kept; longer ones are cut. A name in DNS has at most 253.
const MAX_TEXT: usize = 300;
/// The most chains that are remembered: one for each server with a certificate of its own.
const MAX_CHAINS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The hash of a chain.
pub(super) type ChainKey = [u8; 32];

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The distinguished name of its subject.
    pub subject: String,
    /// That of its issuer.
    pub issuer: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// The start and the end of its validity.
    pub validity: Validity,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The SHA-256 of the whole certificate in hexadecimal.
    pub sha256: String,
}

/// From when and until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

/// A chain of certificates, the server's own first.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The server's own certificate.
    pub leaf: CertificateFacts,
    /// Subject and validity of every certificate, the server's own first.
    pub certificates: Vec<(String, Validity)>,
    facts: Value,
}

impl Chain {
    /// Reads a chain.
    ///
    /// # Errors
    /// There is none, or one of its certificates cannot be read.
    pub fn read(chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let first = chain.first().ok_or("no certificate was shown")?;
        let leaf = facts(&parse(0, first)?, first);
        let certificates = chain.iter().take(MAX_CHAIN).enumerate().map(|(place, der)| {
            let certificate = parse(place, der)?;
            Ok((short(&certificate.subject().to_string()), validity(&certificate)))
        });
        let certificates = certificates.collect::<Result<Vec<_>, String>>()?;
        let facts = shown(&leaf);
        Ok(Self { leaf, certificates, facts })
    }

    /// The subject of the certificate that ends first, and when.
    #[must_use]
    pub fn ends(&self) -> (&str, Timestamp) {
        let ends = self.certificates.iter().map(|(subject, validity)| (subject.as_str(), validity.not_after));
        ends.min_by_key(|(_, end)| *end).unwrap_or((&self.leaf.subject, self.leaf.validity.not_after))
    }

    /// Whether the server's own certificate is for a name or an address; `*` stands for one label,
    /// and a name with `*` must stand in it as it is.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        let address = name.parse::<IpAddr>().ok();
        self.leaf.names.iter().any(|listed| {
            let below = listed.strip_prefix("*.").zip(name.split_once('.'));
            listed.eq_ignore_ascii_case(name)
                || below.is_some_and(|(parent, (label, rest))| !label.is_empty() && parent.eq_ignore_ascii_case(rest))
                || address.is_some_and(|address| listed.parse() == Ok(address))
        })
    }

    /// The server's own certificate as a fact: `subject`, `issuer`, `names`, `notBefore`, `notAfter`,
    /// `serial`, `sha256`.
    #[must_use]
    pub const fn facts(&self) -> &Value {
        &self.facts
    }

    /// The server's own certificate in one phrase.
    #[must_use]
    pub fn describe(&self) -> String {
        let CertificateFacts { subject, issuer, names, validity, .. } = &self.leaf;
        let subject = if subject.is_empty() { "without a subject" } else { subject };
        let mut listed = names.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.is_empty() {
            listed.push_str("no name");
        } else if names.len() > MAX_SHOWN {
            let _ = write!(listed, " and {} more", names.len() - MAX_SHOWN);
        }
        format!(
            "the certificate {subject} (for {listed}; valid from {} to {}; issued by {issuer})",
            validity.not_before, validity.not_after
        )
    }
}

fn parse<'a>(place: usize, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let parsed = X509Certificate::from_der(der);
    parsed
        .map(|(_, certificate)| certificate)
        .map_err(|error| format!("certificate {} of the chain cannot be read: {error}", place + 1))
}

fn facts(certificate: &X509Certificate<'_>, der: &CertificateDer<'_>) -> CertificateFacts {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(name).take(MAX_NAMES).collect();
    CertificateFacts {
        subject: short(&certificate.subject().to_string()),
        issuer: short(&certificate.issuer().to_string()),
        names,
        validity: validity(certificate),
        serial: hex(certificate.raw_serial()),
        sha256: hex(&Sha256::digest(der)),
    }
}

/// A name that a server can have; others, such as mail addresses, are left out.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(short(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        GeneralName::URI(uri) => Some(short(uri)),
        _ => None,
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity { not_before: instant(validity.not_before), not_after: instant(validity.not_after) }
}

/// An instant; what is beyond all calendars is their end.
fn instant(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    let beyond = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(beyond)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(MAX_TEXT).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn shown(leaf: &CertificateFacts) -> Value {
    json!({
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": leaf.names.iter().take(MAX_SHOWN).collect::<Vec<_>>(),
        "notBefore": leaf.validity.not_before.to_string(),
        "notAfter": leaf.validity.not_after.to_string(),
        "serial": leaf.serial,
        "sha256": leaf.sha256,
    })
}

/// Chains that have been read: the same servers show the same ones in every round.
#[derive(Debug)]
pub(super) struct Chains {
    read: Mutex<LruCache<ChainKey, Arc<Chain>>>,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { read: Mutex::new(LruCache::new(MAX_CHAINS)) }
    }

    /// A chain whose hash is `key`.
    pub(super) fn get(&self, key: ChainKey, chain: &[CertificateDer<'_>]) -> Result<Arc<Chain>, String> {
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read().get(&key) {
            return Ok(Arc::clone(known));
        }
        let chain = Arc::new(Chain::read(chain)?);
        read().put(key, Arc::clone(&chain));
        Ok(chain)
    }
}

/// The hash of certificates one after another, each headed by its length, so that no two chains
/// have the same input.
pub(super) fn hash<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Sha256 {
    let mut hasher = Sha256::new();
    for certificate in chain {
        hasher.update(certificate.len().to_be_bytes());
        hasher.update(certificate);
    }
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn chain(names: &[&str]) -> Vec<CertificateDer<'static>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        vec![params.self_signed(&key).unwrap().der().clone()]
    }

    #[test]
    fn the_facts_of_a_certificate_are_read() {
        let chain = Chain::read(&chain(&["shop.example", "127.0.0.1"])).unwrap();
        assert_eq!(chain.leaf.names, ["shop.example", "127.0.0.1"]);
        assert_eq!(chain.facts()["notAfter"], "2026-02-01T00:00:00Z");
        assert_eq!(chain.leaf.sha256.len(), 64);
        let described = chain.describe();
        for part in ["(for shop.example, 127.0.0.1; valid from 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z;", "rcgen"]
        {
            assert!(described.contains(part), "{described}");
        }
    }

    #[rstest]
    #[case("shop.example", true)]
    #[case("SHOP.example", true)]
    #[case("a.shop.example", false)]
    #[case("www.west.example", true)]
    #[case("west.example", false)]
    #[case("a.b.west.example", false)]
    #[case(".west.example", false)]
    #[case("*.west.example", true)]
    #[case("*.shop.example", false)]
    #[case("127.0.0.1", true)]
    #[case("127.0.0.2", false)]
    fn a_star_stands_for_one_label(#[case] name: &str, #[case] good: bool) {
        let chain = Chain::read(&chain(&["shop.example", "*.west.example", "127.0.0.1"])).unwrap();
        assert_eq!(chain.is_for(name), good);
    }

    #[test]
    fn an_endless_certificate_ends_with_the_calendar() {
        assert_eq!(instant(ASN1Time::from_timestamp(253_402_300_799).unwrap()), Timestamp::MAX);
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..MAX_NAMES + 50).map(|n| format!("n{n}.example")).collect();
        let chain = Chain::read(&chain(&names.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
        assert_eq!(chain.leaf.names.len(), MAX_NAMES);
        assert!(chain.describe().contains("n15.example and 984 more"), "{}", chain.describe());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
            prop_assert!(Chain::read(&[CertificateDer::from(bytes)]).is_err());
            let whole = chain(&["shop.example"]).remove(0);
            let half = whole.get(..cut.min(whole.len() - 1)).unwrap().to_vec();
            prop_assert!(Chain::read(&[CertificateDer::from(half)]).is_err());
        }
    }
}
