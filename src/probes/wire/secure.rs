//! TLS for every kind that speaks it.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::io_reason;
use crate::api::ProbeTls;
use crate::outbound::{Outbound, TlsOptions, tls_config};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;

/// A TLS client that makes a whole handshake in every round: a resumed one would not look at the
/// certificate.
pub(in crate::probes) struct Secure {
    name: ServerName<'static>,
    options: TlsOptions,
    alpn: Vec<Vec<u8>>,
    outbound: Outbound,
    connector: OnceCell<TlsConnector>,
}

impl Secure {
    /// Prepares a client; `field` is where its options stand in the spec, `host` the name that is
    /// asked for where they give none.
    ///
    /// # Errors
    /// A name or a path that is none.
    pub(in crate::probes) fn compile(
        field: &str,
        options: Option<&ProbeTls>,
        host: &str,
        alpn: &[&str],
        outbound: &Outbound,
    ) -> Result<Self, SpecError> {
        let options = options.cloned().unwrap_or_default();
        let name = options.server_name.as_deref().unwrap_or(host);
        let parsed = ServerName::try_from(name.to_owned());
        let name = parsed
            .map_err(|_| SpecError::new(format!("{field}.serverName"), format!("`{name}` is no name of a server")))?;
        Ok(Self {
            name,
            options: TlsOptions {
                ca_file: options.ca_file,
                cert_file: options.cert_file,
                key_file: options.key_file,
                insecure_skip_verify: options.insecure_skip_verify,
            },
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            outbound: outbound.clone(),
            connector: OnceCell::new(),
        })
    }

    async fn connector(&self) -> Result<&TlsConnector, Failure> {
        let made = self.connector.get_or_try_init(|| async {
            let mut config = tls_config(&self.options, self.outbound.secrets()).await?;
            config.alpn_protocols.clone_from(&self.alpn);
            config.resumption = rustls::client::Resumption::disabled();
            Ok::<_, crate::outbound::OutboundError>(TlsConnector::from(Arc::new(config)))
        });
        made.await.map_err(|error| Failure::new(Reason::Secret, error.to_string()))
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
        let connector = self.connector().await?;
        trace.enter(Phase::Tls);
        let stream = connector.connect(self.name.clone(), stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let reason = match inner {
                Some(rustls::Error::InvalidCertificate(_)) => Reason::Certificate,
                Some(_) => Reason::Tls,
                None => io_reason(&error, Reason::Tls),
            };
            Failure::new(reason, format!("TLS with {name}: {error}", name = self.name.to_str()))
        })?;
        if let Some(version) = stream.get_ref().1.protocol_version() {
            trace.note(Line::Secured(version));
        }
        Ok(stream)
    }
}
