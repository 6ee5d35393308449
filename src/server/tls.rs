//! TLS with a certificate that is read again when its files change; broken files keep the last
//! good certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::limits::{RELOAD_INTERVAL, TLS_HANDSHAKE_TIMEOUT};
use super::metrics::Metrics;

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the right kind.
    #[error("while reading {file}: {why}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate and key do not go together, or rustls refuses them.
    #[error("the certificate of {file} cannot be used: {why}")]
    Refused {
        /// The file with the certificate.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

/// A certificate in use. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    digest: ArcSwap<[u8; 32]>,
    trouble: ArcSwap<Option<String>>,
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Tls {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// A file cannot be read, or they do not go together: at the start that is the end.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let (current, digest) = read(&certificate, &key)?;
        let inner = Inner {
            certificate,
            key,
            current: ArcSwap::from_pointee(current),
            digest: ArcSwap::from_pointee(digest),
            trouble: ArcSwap::from_pointee(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is wrong with the files as they are now; the last good certificate counts meanwhile.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.inner.trouble.load().as_ref().clone()
    }

    /// Reads the files again whenever they have changed, until `shutdown`.
    pub async fn follow(&self, metrics: &Metrics, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.reload(metrics).await,
            }
        }
    }

    /// Reads the files now; broken ones keep the last good certificate.
    pub async fn reload(&self, metrics: &Metrics) {
        let inner = Arc::clone(&self.inner);
        let read = tokio::task::spawn_blocking(move || read(&inner.certificate, &inner.key)).await;
        match read {
            Ok(Ok((current, digest))) => {
                self.inner.trouble.store(Arc::new(None));
                if **self.inner.digest.load() == digest {
                    return;
                }
                self.inner.current.store(Arc::new(current));
                self.inner.digest.store(Arc::new(digest));
                metrics.reloaded("certificate", true);
                tracing::info!(file = %self.inner.certificate.display(), "The certificate was read again.");
            }
            Ok(Err(error)) => {
                let why = error.to_string();
                if self.trouble().as_deref() != Some(&why) {
                    metrics.reloaded("certificate", false);
                    tracing::error!(error = why, "The certificate cannot be used; the last good one stays in use.");
                    self.inner.trouble.store(Arc::new(Some(why)));
                }
            }
            // The reader was cancelled: the program ends.
            Err(_) => {}
        }
    }

    /// What takes connections: HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// Rustls refuses its own defaults.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let refused =
            |why: rustls::Error| TlsError::Refused { file: self.inner.certificate.clone(), why: why.to_string() };
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let resolver: Arc<dyn ResolvesServerCert> = self.inner.clone();
        let mut config = builder.map_err(refused)?.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// How long a handshake may take, for the listener.
pub(super) const HANDSHAKE: std::time::Duration = TLS_HANDSHAKE_TIMEOUT;

fn read(certificate: &Path, key: &Path) -> Result<(CertifiedKey, [u8; 32]), TlsError> {
    let bytes =
        |file: &Path| std::fs::read(file).map_err(|why| TlsError::File { file: file.to_owned(), why: why.to_string() });
    let pem = |file: &Path, why: rustls::pki_types::pem::Error| TlsError::File {
        file: file.to_owned(),
        why: format!("it is no PEM of the right kind: {why}"),
    };
    let (chain_bytes, key_bytes) = (bytes(certificate)?, bytes(key)?);
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&chain_bytes).collect::<Result<_, _>>().map_err(|why| pem(certificate, why))?;
    let private = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|why| pem(key, why))?;
    let refused = |why: String| TlsError::Refused { file: certificate.to_owned(), why };
    if chain.is_empty() {
        return Err(refused("the file holds no certificate".to_owned()));
    }
    let current = CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|why| refused(format!("with the key of {}: {why}", key.display())))?;
    let digest = Sha256::new().chain_update(&chain_bytes).chain_update(&key_bytes).finalize().into();
    Ok((current, digest))
}
