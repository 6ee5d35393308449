//! Whether a chain of certificates is to be trusted.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lru::LruCache;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::Digest;

use super::TlsError;
use super::chain::{Chain, ChainKey, Chains, hash};

/// How long a chain that was verified is not verified again.
const TRUST_SECONDS: u64 = 60;
/// The most verified chains that are remembered: one for each name that is probed.
const MAX_TRUSTED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Verifies chains, and remembers for a minute those that are good: the servers that are probed show
/// the same chain in every round, and to build its path and check its signatures costs more than the
/// rest of a handshake.
///
/// That is safe because the verdict depends on nothing but the chain, the server's name, the
/// certificates that are trusted, and the time. Chain and name are compared by a cryptographic hash;
/// a verifier's trusted certificates never change (others mean another verifier, which remembers
/// nothing); and a verdict is used between the instant at which it was made and the end of the first
/// certificate of the chain, in which time does not change it. That the server has the certificate's
/// key is another question, which every handshake answers anew by its signature.
#[derive(Debug)]
pub struct ChainVerifier {
    inner: Arc<WebPkiServerVerifier>,
    /// The certificates that the caller trusts: a server's own may be among them.
    own: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    chains: Arc<Chains>,
    trusted: Mutex<LruCache<ChainKey, (u64, u64)>>,
}

/// A chain that is not to be trusted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{sentence}")]
pub struct BadChain {
    /// Certificate, names, dates, and what is wrong.
    pub sentence: String,
}

impl ChainVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        own: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
        chains: Arc<Chains>,
    ) -> Result<Self, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        Ok(Self {
            inner: inner.map_err(|error| TlsError::Refused(error.to_string()))?,
            own,
            algorithms: provider.signature_verification_algorithms,
            chains,
            trusted: Mutex::new(LruCache::new(MAX_TRUSTED)),
        })
    }

    /// What stands in a chain.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<Chain>, String> {
        self.chains.get(hash(chain.iter()).finalize().into(), chain)
    }

    /// Whether a chain may be shown by the server of this name at this time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, now: UnixTime) -> Result<(), BadChain> {
        let Some((leaf, rest)) = chain.split_first() else {
            return Err(BadChain { sentence: "no certificate was shown".to_owned() });
        };
        self.judge(leaf, rest, name, now)
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), BadChain> {
        let hasher = hash(std::iter::once(leaf).chain(rest));
        let chain_key: ChainKey = hasher.clone().finalize().into();
        let key: ChainKey = hasher.chain_update(name.to_str().as_bytes()).finalize().into();
        let second = now.as_secs();
        let trusted = || self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted().get(&key).is_some_and(|(from, until)| (*from..*until).contains(&second)) {
            return Ok(());
        }
        let whole = || std::iter::once(leaf).chain(rest).cloned().collect::<Vec<_>>();
        let verified = self.inner.verify_server_cert(leaf, rest, name, &[], now).map(|_| ());
        let chain = match (self.chains.get(chain_key, &whole()), &verified) {
            (Ok(chain), _) => chain,
            // Good, and too unusual to be read: it is verified every time.
            (Err(_), Ok(())) => return Ok(()),
            (Err(why), Err(error)) => return Err(BadChain { sentence: format!("{error}; {why}") }),
        };
        let verified = verified.or_else(|error| self.own(leaf, name, &chain, now).ok_or(error));
        if let Err(error) = verified {
            return Err(BadChain { sentence: explain(&error, &chain, name, now) });
        }
        let end = u64::try_from(chain.ends().1.as_second()).unwrap_or(0);
        trusted().put(key, (second, end.min(second + TRUST_SECONDS)));
        Ok(())
    }

    /// A server whose own certificate is trusted by the caller needs nobody to vouch for it. The
    /// verifier below knows only certificates that vouch for others.
    fn own(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>, chain: &Chain, now: UnixTime) -> Option<()> {
        let now = timestamp(now);
        let validity = chain.leaf.validity;
        let valid = validity.not_before <= now && now <= validity.not_after;
        let parsed = ParsedCertificate::try_from(leaf).ok()?;
        let good = self.own.iter().any(|own| own == leaf) && valid && verify_server_name(&parsed, name).is_ok();
        good.then_some(())
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

/// What is wrong, with the certificate, its names and its dates.
fn explain(error: &rustls::Error, chain: &Chain, name: &ServerName<'_>, now: UnixTime) -> String {
    use CertificateError as E;
    let now = timestamp(now);
    let what = chain.describe();
    let other = |wrong: &dyn Fn(&super::Validity) -> bool| {
        let found = chain.certificates.iter().skip(1).find(|(_, validity)| wrong(validity));
        found.map(|(subject, validity)| {
            format!("{subject}, valid from {} to {}", validity.not_before, validity.not_after)
        })
    };
    match error {
        rustls::Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => {
            if chain.leaf.validity.not_after < now {
                format!("{what} has expired")
            } else {
                let which = other(&|validity| validity.not_after < now).unwrap_or_else(|| "one".to_owned());
                format!("{what} leads over a certificate that has expired: {which}")
            }
        }
        rustls::Error::InvalidCertificate(E::NotValidYet | E::NotValidYetContext { .. }) => {
            if chain.leaf.validity.not_before > now {
                format!("{what} is not valid yet")
            } else {
                let which = other(&|validity| validity.not_before > now).unwrap_or_else(|| "one".to_owned());
                format!("{what} leads over a certificate that is not valid yet: {which}")
            }
        }
        rustls::Error::InvalidCertificate(E::NotValidForName | E::NotValidForNameContext { .. }) => {
            format!("{what} is not for {}", name.to_str())
        }
        rustls::Error::InvalidCertificate(E::UnknownIssuer) if chain.leaf.subject == chain.leaf.issuer => {
            format!("{what} is signed by itself, and not trusted")
        }
        rustls::Error::InvalidCertificate(E::UnknownIssuer) => {
            format!("{what} is not trusted: its chain leads to nobody who is")
        }
        rustls::Error::InvalidCertificate(E::BadSignature) => {
            format!("{what} is not trusted: it is not signed by the one that it names, as far as that is known")
        }
        rustls::Error::InvalidCertificate(other) => format!("{what} is not accepted: {other}"),
        other => format!("{what} is not accepted: {other}"),
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.judge(leaf, rest, name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(bad) => Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(bad))))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes any certificate; the handshake's own signatures are still checked.
#[derive(Debug)]
pub(super) struct TrustAnything {
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustAnything {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use rstest::rstest;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// A certificate for `shop.example`, valid in the January of 2026.
        fn issue(&self) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 2, 1));
            params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()
        }

        fn verifier(&self) -> ChainVerifier {
            verifier(self.0.der().clone())
        }
    }

    fn verifier(trusted: CertificateDer<'static>) -> ChainVerifier {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ChainVerifier::new(Arc::new(roots), vec![trusted], &provider, Arc::new(Chains::new())).unwrap()
    }

    fn at(time: &str) -> UnixTime {
        let second = time.parse::<Timestamp>().unwrap().as_second();
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(second.try_into().unwrap()))
    }

    fn name(name: &str) -> ServerName<'static> {
        ServerName::try_from(name.to_owned()).unwrap()
    }

    const NOW: &str = "2026-01-15T00:00:00Z";

    #[rstest]
    #[case::good("shop.example", NOW, None)]
    #[case::wrong_name("other.example", NOW, Some("is not for other.example"))]
    #[case::expired("shop.example", "2026-02-01T00:00:01Z", Some("has expired"))]
    #[case::early("shop.example", "2025-12-31T23:59:59Z", Some("is not valid yet"))]
    fn a_bad_chain_is_named_with_its_dates_and_names(
        #[case] server: &str,
        #[case] now: &str,
        #[case] wrong: Option<&str>,
    ) {
        let authority = Authority::new();
        let verifier = authority.verifier();
        let chain = [authority.issue()];
        // Twice: what is remembered must not answer another question.
        for _ in 0..2 {
            verifier.verify(&chain, &name("shop.example"), at(NOW)).unwrap();
            let judged = verifier.verify(&chain, &name(server), at(now)).map_err(|bad| bad.to_string());
            match wrong {
                None => assert_eq!(judged, Ok(())),
                Some(part) => {
                    let sentence = judged.unwrap_err();
                    let dates = "(for shop.example; valid from 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z; issued by";
                    assert!(sentence.contains(part) && sentence.contains(dates), "{sentence}");
                }
            }
        }
    }

    #[test]
    fn a_chain_of_another_authority_is_not_trusted() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let bad = ours.verifier().verify(&[theirs.issue()], &name("shop.example"), at(NOW)).unwrap_err();
        assert!(bad.sentence.contains("not trusted"), "{bad}");
        assert_eq!(
            ours.verifier().verify(&[], &name("a.example"), at(NOW)).unwrap_err().sentence,
            "no certificate was shown"
        );
    }

    #[test]
    fn what_was_verified_is_remembered_for_a_minute_and_never_beyond_its_end() {
        let authority = Authority::new();
        let verifier = authority.verifier();
        let chain = [authority.issue()];
        let remembered = |verifier: &ChainVerifier| {
            verifier.trusted.lock().unwrap().iter().map(|(_, span)| *span).collect::<Vec<_>>()
        };
        verifier.verify(&chain, &name("shop.example"), at(NOW)).unwrap();
        let second = at(NOW).as_secs();
        assert_eq!(remembered(&verifier), [(second, second + TRUST_SECONDS)]);
        let last = at("2026-01-31T23:59:30Z");
        verifier.verify(&chain, &name("shop.example"), last).unwrap();
        assert_eq!(remembered(&verifier), [(last.as_secs(), last.as_secs() + 30)]);
        // A clock that was put back asks anew.
        verifier.verify(&chain, &name("shop.example"), at(NOW)).unwrap();
        assert_eq!(remembered(&verifier), [(second, second + TRUST_SECONDS)]);
    }

    #[test]
    fn a_server_whose_own_certificate_is_trusted_needs_nobody_else() {
        let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 2, 1));
        let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let verifier = verifier(own.clone());
        let chain = [own];
        verifier.verify(&chain, &name("shop.example"), at(NOW)).unwrap();
        assert!(verifier.verify(&chain, &name("other.example"), at(NOW)).is_err());
        assert!(verifier.verify(&chain, &name("shop.example"), at("2026-03-01T00:00:00Z")).is_err());
    }
}
