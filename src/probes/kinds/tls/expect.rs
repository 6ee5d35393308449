//! What a handshake must show: pure.

use jiff::{SignedDuration, Timestamp};
use regex::bytes::Regex;

use crate::api::{TlsExpect, TlsVersion};
use crate::model::Period;
use crate::outbound::Chain;
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::{Shown, expression, valid_until};

/// The hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// The compiled expectations of one list.
#[derive(Debug)]
pub(super) struct Expectations {
    trusted: bool,
    valid_for: Option<Period>,
    names: Vec<String>,
    issuer: Option<Regex>,
    fingerprints: Vec<String>,
    min_version: Option<TlsVersion>,
    ciphers: Vec<String>,
    alpn: Option<String>,
}

impl Expectations {
    /// Compiles what stands under `field`; `trusting` says that any certificate is taken unless the
    /// list says otherwise, `offered` which protocols are offered.
    pub(super) fn compile(
        field: &str,
        spec: &TlsExpect,
        trusting: bool,
        offered: &[String],
    ) -> Result<Self, SpecError> {
        let fingerprints = spec.fingerprints.iter().enumerate().map(|(place, text)| {
            fingerprint(text).ok_or_else(|| {
                let why = format!("`{text}` is no SHA-256: it has {DIGITS} hexadecimal digits, with or without colons");
                SpecError::new(format!("{field}.fingerprints[{place}]"), why)
            })
        });
        if let Some(place) = spec.ciphers.iter().position(|name| !known_cipher(name)) {
            let name = spec.ciphers.get(place).map_or("", String::as_str);
            let why = format!("`{name}` is no cipher suite that can come about, such as TLS_AES_128_GCM_SHA256");
            return Err(SpecError::new(format!("{field}.ciphers[{place}]"), why));
        }
        if let Some(alpn) = spec.alpn.as_ref().filter(|alpn| !offered.contains(alpn)) {
            return Err(SpecError::new(format!("{field}.alpn"), format!("`{alpn}` is not offered under tls.alpn")));
        }
        Ok(Self {
            trusted: spec.trusted.unwrap_or(!trusting),
            valid_for: spec.valid_for,
            names: spec.names.clone(),
            issuer: expression(&format!("{field}.issuer"), spec.issuer.as_deref())?,
            fingerprints: fingerprints.collect::<Result<_, _>>()?,
            min_version: spec.min_version,
            ciphers: spec.ciphers.clone(),
            alpn: spec.alpn.clone(),
        })
    }

    /// Whether a handshake is as expected; `trusted` is what was found of its chain.
    pub(super) fn judge(&self, shown: &Shown, trusted: &Result<(), Failure>, now: Timestamp) -> Result<(), Failure> {
        if self.trusted {
            trusted.clone()?;
        }
        let looked_at = self.valid_for.is_some()
            || self.issuer.is_some()
            || !self.names.is_empty()
            || !self.fingerprints.is_empty();
        match &shown.chain {
            Ok(chain) => self.judge_chain(chain, now)?,
            Err(why) if looked_at => return Err(Failure::new(Reason::Certificate, why.clone())),
            Err(_) => {}
        }
        self.judge_session(shown)
    }

    fn judge_chain(&self, chain: &Chain, now: Timestamp) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::new(Reason::Certificate, what));
        if let Some(period) = self.valid_for {
            let span = SignedDuration::try_from(period.to_std()).unwrap_or(SignedDuration::MAX);
            let until = now.checked_add(span).unwrap_or(Timestamp::MAX);
            valid_until(chain, until, &period.to_string())?;
        }
        if let Some(name) = self.names.iter().find(|name| !chain.is_for(name)) {
            return wrong(format!("{} is not for {name}", chain.describe()));
        }
        if let Some(issuer) = self.issuer.as_ref().filter(|issuer| !issuer.is_match(chain.leaf.issuer.as_bytes())) {
            return wrong(format!("{}, which does not match `{issuer}`", chain.describe()));
        }
        if !self.fingerprints.is_empty() && !self.fingerprints.contains(&chain.leaf.sha256) {
            return wrong(format!("{} has another fingerprint: {}", chain.describe(), chain.leaf.sha256));
        }
        Ok(())
    }

    fn judge_session(&self, shown: &Shown) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::new(Reason::Tls, what));
        if self.min_version.is_some_and(|min| shown.version.is_none_or(|version| version < min)) {
            return wrong(match shown.version {
                Some(TlsVersion::V1_2) => "TLS 1.2 came about where 1.3 is expected".to_owned(),
                _ => "another version of TLS came about".to_owned(),
            });
        }
        if !self.ciphers.is_empty() && !self.ciphers.contains(&shown.cipher) {
            return wrong(format!("the cipher suite is {}, which is not among the expected ones", shown.cipher));
        }
        match (&self.alpn, &shown.alpn) {
            (Some(expected), Some(found)) if expected != found => {
                wrong(format!("the protocol {found} was chosen where {expected} is expected"))
            }
            (Some(expected), None) => wrong(format!("no protocol was chosen where {expected} is expected")),
            _ => Ok(()),
        }
    }
}

fn fingerprint(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    (plain.len() == DIGITS && plain.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(plain)
}

fn known_cipher(name: &str) -> bool {
    rustls::crypto::ring::ALL_CIPHER_SUITES.iter().filter_map(|suite| suite.suite().as_str()).any(|known| {
        known == name || known.strip_prefix("TLS13").is_some_and(|rest| name.strip_prefix("TLS") == Some(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::sync::Arc;

    const NOW: &str = "2026-01-15T00:00:00Z";

    fn shown() -> Shown {
        let mut params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Shown {
            version: Some(TlsVersion::V1_2),
            cipher: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned(),
            alpn: Some("h2".to_owned()),
            chain: Chain::read(&[certificate.der().clone()]).map(Arc::new),
        }
    }

    fn judge(expect: serde_json::Value, trusted: &Result<(), Failure>) -> Option<(Reason, String)> {
        let spec: TlsExpect = serde_json::from_value(expect).unwrap();
        let offered = ["h2".to_owned(), "http/1.1".to_owned()];
        let expect = Expectations::compile("tls.expect", &spec, false, &offered).unwrap();
        expect.judge(&shown(), trusted, NOW.parse().unwrap()).err().map(|failure| (failure.reason, failure.message))
    }

    #[rstest]
    #[case::nothing("{}", None)]
    #[case::long_enough(r#"{"validFor": "10d"}"#, None)]
    #[case::not_long_enough(r#"{"validFor": "30d"}"#, Some((Reason::Certificate, "ends at 2026-02-01T00:00:00Z, and must be valid for 30d")))]
    #[case::name(r#"{"names": ["shop.example"]}"#, None)]
    #[case::another_name(r#"{"names": ["shop.example", "www.shop.example"]}"#, Some((Reason::Certificate, "is not for www.shop.example")))]
    #[case::issuer(r#"{"issuer": "CN=rcgen"}"#, None)]
    #[case::another_issuer(r#"{"issuer": "^O=Example"}"#, Some((Reason::Certificate, "does not match `^O=Example`")))]
    #[case::version(r#"{"minVersion": "1.2"}"#, None)]
    #[case::another_version(r#"{"minVersion": "1.3"}"#, Some((Reason::Tls, "TLS 1.2 came about where 1.3 is expected")))]
    #[case::cipher(r#"{"ciphers": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]}"#, None)]
    #[case::another_cipher(r#"{"ciphers": ["TLS_AES_256_GCM_SHA384"]}"#, Some((Reason::Tls, "not among the expected ones")))]
    #[case::protocol(r#"{"alpn": "h2"}"#, None)]
    #[case::another_protocol(r#"{"alpn": "http/1.1"}"#, Some((Reason::Tls, "h2 was chosen where http/1.1")))]
    fn everything_given_must_hold(#[case] expect: &str, #[case] wrong: Option<(Reason, &str)>) {
        let judged = judge(serde_json::from_str(expect).unwrap(), &Ok(()));
        assert_eq!(judged.as_ref().map(|(reason, _)| *reason), wrong.map(|(reason, _)| reason), "{judged:?}");
        if let (Some((_, message)), Some((_, part))) = (judged, wrong) {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_chain_that_is_not_trusted_fails_unless_it_may_be_so() {
        let bad = Err(Failure::new(Reason::Certificate, "bad"));
        assert_eq!(judge(serde_json::json!({}), &bad), Some((Reason::Certificate, "bad".to_owned())));
        assert_eq!(judge(serde_json::json!({"trusted": false}), &bad), None);
    }

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons() {
        let sha256 = shown().chain.unwrap().leaf.sha256.clone();
        let pairs: Vec<String> =
            sha256.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
        assert_eq!(fingerprint(&pairs.join(":")), Some(sha256));
        assert_eq!(fingerprint("abc"), None);
        let judged = judge(serde_json::json!({"fingerprints": ["0".repeat(64)]}), &Ok(()));
        assert_eq!(judged.map(|(reason, _)| reason), Some(Reason::Certificate));
    }

    #[rstest]
    #[case(r#"{"issuer": "("}"#, "tls.warn.issuer")]
    #[case(r#"{"fingerprints": ["zz"]}"#, "tls.warn.fingerprints[0]")]
    #[case(r#"{"ciphers": ["TLS_AES_128_GCM_SHA256", "RC4"]}"#, "tls.warn.ciphers[1]")]
    #[case(r#"{"alpn": "h3"}"#, "tls.warn.alpn")]
    fn what_makes_no_sense_names_its_field(#[case] expect: &str, #[case] field: &str) {
        let spec = serde_json::from_str(expect).unwrap();
        assert_eq!(Expectations::compile("tls.warn", &spec, false, &[]).unwrap_err().field, field);
    }
}
