//! TLS for every kind that speaks it.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, CipherSuite, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::io_reason;
use crate::api::{ProbeTls, TlsVersion};
use crate::outbound::{BadChain, Chain, Outbound, Purpose, Secrets, TlsClient, TlsOptions};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;

/// The longest name of a protocol (RFC 7301).
const MAX_ALPN: usize = 255;

/// A TLS client that makes a whole handshake in every round: a resumed one would not look at the
/// certificate. Its configuration is shared by all probes with the same options.
///
/// A handshake notes the facts `tlsVersion`, `tlsCipher`, `alpn`, `certificate` and
/// `certificateNotAfter`, the end of the first certificate of the chain to end.
pub(in crate::probes) struct Secure {
    name: ServerName<'static>,
    client: Arc<TlsClient>,
    any: bool,
}

/// What a handshake showed.
pub(in crate::probes) struct Shown {
    pub(in crate::probes) version: Option<TlsVersion>,
    /// The cipher suite by its standard name.
    pub(in crate::probes) cipher: String,
    /// The protocol that was chosen.
    pub(in crate::probes) alpn: Option<String>,
    /// The chain, or why it cannot be read.
    pub(in crate::probes) chain: Result<Arc<Chain>, String>,
}

impl Secure {
    /// Prepares a client; `field` is where its options stand in the spec, `host` the name that is
    /// asked for where they give none.
    ///
    /// # Errors
    /// A name, a path or a version that makes no sense.
    pub(in crate::probes) fn compile(
        field: &str,
        options: Option<&ProbeTls>,
        host: &str,
        alpn: &[&str],
        outbound: &Outbound,
    ) -> Result<Self, SpecError> {
        Self::prepare(field, options, host, alpn, outbound, false)
    }

    /// Prepares a client for [`Secure::inspect`]: its handshakes succeed whatever the chain.
    ///
    /// # Errors
    /// As [`Secure::compile`].
    pub(in crate::probes) fn compile_inspecting(
        field: &str,
        options: Option<&ProbeTls>,
        host: &str,
        alpn: &[&str],
        outbound: &Outbound,
    ) -> Result<Self, SpecError> {
        Self::prepare(field, options, host, alpn, outbound, true)
    }

    fn prepare(
        field: &str,
        options: Option<&ProbeTls>,
        host: &str,
        alpn: &[&str],
        outbound: &Outbound,
        inspect: bool,
    ) -> Result<Self, SpecError> {
        let options = options.cloned().unwrap_or_default();
        check(field, &options)?;
        let name = options.server_name.as_deref().unwrap_or(host);
        let parsed = ServerName::try_from(name.to_owned());
        let name = parsed
            .map_err(|_| SpecError::new(format!("{field}.serverName"), format!("`{name}` is no name of a server")))?;
        let purpose = Purpose {
            min: options.min_version,
            max: options.max_version,
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            inspect,
        };
        let any = options.insecure_skip_verify;
        let options = TlsOptions {
            ca_file: options.ca_file,
            cert_file: options.cert_file,
            key_file: options.key_file,
            insecure_skip_verify: any,
        };
        Ok(Self { name, client: outbound.tls_client(options, purpose), any })
    }

    /// Makes the handshake, in a phase of its own.
    ///
    /// # Errors
    /// The handshake fails, or the certificate is not to be trusted.
    pub(in crate::probes) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        trace: &mut Trace,
        stream: S,
    ) -> Result<TlsStream<S>, Failure> {
        Ok(self.shake(trace, stream).await?.0)
    }

    /// Makes the handshake, and gives what it showed as well.
    ///
    /// # Errors
    /// As [`Secure::handshake`].
    pub(in crate::probes) async fn inspect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        trace: &mut Trace,
        stream: S,
    ) -> Result<(TlsStream<S>, Shown), Failure> {
        let (stream, chain) = self.shake(trace, stream).await?;
        let session = stream.get_ref().1;
        let shown = Shown {
            version: session.protocol_version().and_then(version),
            cipher: session.negotiated_cipher_suite().map(|suite| cipher(suite.suite())).unwrap_or_default(),
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            chain,
        };
        Ok((stream, shown))
    }

    /// Whether the chain of a handshake is to be trusted now, for the server's name.
    ///
    /// # Errors
    /// The certificate, and what is wrong with it.
    pub(in crate::probes) async fn trusted<S>(&self, stream: &TlsStream<S>, now: Timestamp) -> Result<(), Failure> {
        let prepared = self.client.prepared().await.map_err(|why| Failure::new(Reason::Secret, why))?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_second().try_into().unwrap_or(0)));
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let judged = prepared.verifier.verify(chain, &self.name, now);
        judged.map_err(|bad| Failure::new(Reason::Certificate, bad.sentence))
    }

    async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        trace: &mut Trace,
        stream: S,
    ) -> Result<(TlsStream<S>, Result<Arc<Chain>, String>), Failure> {
        let prepared = self.client.prepared().await.map_err(|why| Failure::new(Reason::Secret, why))?;
        trace.enter(Phase::Tls);
        if self.any {
            trace.fact("insecureSkipVerify", true);
        }
        let connector = TlsConnector::from(prepared.config);
        let stream = connector.connect(self.name.clone(), stream).await.map_err(|error| self.failure(&error))?;
        let session = stream.get_ref().1;
        if let Some(found) = session.protocol_version() {
            trace.note(Line::Secured(found));
            trace.fact("tlsVersion", word(found));
        }
        if let Some(suite) = session.negotiated_cipher_suite() {
            trace.fact("tlsCipher", cipher(suite.suite()));
        }
        if let Some(name) = session.alpn_protocol() {
            trace.fact("alpn", String::from_utf8_lossy(name).into_owned());
        }
        let chain = prepared.verifier.read(session.peer_certificates().unwrap_or_default());
        if let Ok(chain) = &chain {
            trace.fact("certificate", chain.facts().clone());
            trace.fact("certificateNotAfter", chain.ends().1.to_string());
        }
        Ok((stream, chain))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let name = self.name.to_str();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
                let bad = other.0.downcast_ref::<BadChain>();
                let sentence = bad.map_or_else(|| other.to_string(), |bad| bad.sentence.clone());
                Failure::new(Reason::Certificate, format!("TLS with {name}: {sentence}"))
            }
            Some(rustls::Error::InvalidCertificate(error)) => {
                Failure::new(Reason::Certificate, format!("TLS with {name}: the certificate is not accepted: {error}"))
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Failure::new(Reason::Tls, format!("TLS with {name}: the other side does not answer in TLS ({error})"))
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                Failure::new(Reason::Tls, format!("TLS with {name}: the other side ended it with the alert {alert:?}"))
            }
            Some(_) => Failure::new(Reason::Tls, format!("TLS with {name}: {error}")),
            None => Failure::new(io_reason(error, Reason::Tls), format!("TLS with {name}: {error}")),
        }
    }
}

/// Fails where a certificate of the chain ends before `until`.
///
/// # Errors
/// The certificate that ends first, and when.
pub(in crate::probes) fn valid_until(chain: &Chain, until: Timestamp, asked: &str) -> Result<(), Failure> {
    let (subject, end) = chain.ends();
    if end >= until {
        return Ok(());
    }
    let message = format!("the certificate {subject} of the chain ends at {end}, and must be valid for {asked}");
    Err(Failure::new(Reason::Certificate, message))
}

fn check(field: &str, options: &ProbeTls) -> Result<(), SpecError> {
    let files = [("caFile", &options.ca_file), ("certFile", &options.cert_file), ("keyFile", &options.key_file)];
    for (name, file) in files {
        if let Some(Err(error)) = file.as_deref().map(Secrets::check_path) {
            return Err(SpecError::new(format!("{field}.{name}"), error.to_string()));
        }
    }
    let half = match (&options.cert_file, &options.key_file) {
        (Some(_), None) => Some(("keyFile", "certFile")),
        (None, Some(_)) => Some(("certFile", "keyFile")),
        _ => None,
    };
    if let Some((missing, given)) = half {
        return Err(SpecError::new(format!("{field}.{missing}"), format!("it is missing: {given} is of no use alone")));
    }
    match (options.min_version, options.max_version) {
        (Some(min), Some(max)) if min > max => {
            Err(SpecError::new(format!("{field}.minVersion"), "it is greater than maxVersion"))
        }
        _ => Ok(()),
    }
}

/// Checks the names of protocols to offer.
///
/// # Errors
/// One is empty or too long.
pub(in crate::probes) fn check_alpn(field: &str, names: &[String]) -> Result<(), SpecError> {
    match names.iter().position(|name| name.is_empty() || name.len() > MAX_ALPN) {
        Some(place) => Err(SpecError::new(format!("{field}[{place}]"), "a protocol has 1 to 255 bytes")),
        None => Ok(()),
    }
}

/// A version as the spec writes it.
const fn word(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "1.2",
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "unknown",
    }
}

const fn version(version: ProtocolVersion) -> Option<TlsVersion> {
    match version {
        ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
        ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
        _ => None,
    }
}

/// A cipher suite by its standard name; rustls marks those of TLS 1.3.
fn cipher(suite: CipherSuite) -> String {
    suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replacen("TLS13_", "TLS_", 1))
}
