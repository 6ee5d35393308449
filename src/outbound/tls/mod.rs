//! TLS of a client: whom to trust, and who we are.

mod chain;
mod clients;
mod verify;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use secrecy::{ExposeSecret, SecretBox};

use self::verify::TrustAnything;
use super::OutboundError;
use super::secrets::Secrets;

pub use chain::{CertificateFacts, Chain, Validity};
pub(super) use clients::TlsClients;
pub use clients::{Prepared, Purpose, TlsClient};
pub use verify::{BadChain, ChainVerifier};

/// The most certificates of one file: a whole system's bundle has about 150.
const MAX_CERTIFICATES: usize = 1_000;

/// TLS options of a client; the files stand below the secrets directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// The certificates to trust instead of the system's.
    pub ca_file: Option<String>,
    /// The client's certificate chain.
    pub cert_file: Option<String>,
    /// The client's key.
    pub key_file: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

/// Why TLS options make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file holds no certificate or key, or a broken one.
    #[error("{file}: {why}")]
    Pem {
        /// The file, as it was named.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("certFile and keyFile belong together")]
    Half,
    /// Rustls refuses.
    #[error("TLS options: {0}")]
    Refused(String),
}

/// The files of some TLS options, read.
pub(super) struct TlsFiles {
    ca: Option<SecretBox<Vec<u8>>>,
    cert: Option<SecretBox<Vec<u8>>>,
    key: Option<SecretBox<Vec<u8>>>,
}

impl TlsFiles {
    pub(super) async fn read(options: &TlsOptions, secrets: &Secrets) -> Result<Self, OutboundError> {
        let read = |path: &Option<String>| {
            let path = path.clone();
            async move {
                match path {
                    Some(path) => secrets.pem(&path).await.map(Some),
                    None => Ok(None),
                }
            }
        };
        Ok(Self {
            ca: read(&options.ca_file).await?,
            cert: read(&options.cert_file).await?,
            key: read(&options.key_file).await?,
        })
    }

    /// A mark that changes with any file.
    pub(super) fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in [&self.ca, &self.cert, &self.key] {
            file.as_ref().map(ExposeSecret::expose_secret).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The certificates that are trusted by default: the system's files, and where there are none (an
/// image without them) those of Mozilla's programme, compiled in. Read once.
#[must_use]
pub fn roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "A file of the system's certificates cannot be read.");
        }
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            tracing::debug!("The system has no certificates: the compiled-in ones are trusted.");
        }
        Arc::new(roots)
    }))
}

/// The configuration of a client with these options, its files read now.
///
/// # Errors
/// A file is in trouble or rustls refuses the options.
pub async fn tls_config(options: &TlsOptions, secrets: &Secrets) -> Result<ClientConfig, OutboundError> {
    let files = TlsFiles::read(options, secrets).await?;
    Ok(build(options, &files)?)
}

pub(super) fn build(options: &TlsOptions, files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = if options.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnything::new(&provider)))
    } else {
        builder.with_root_certificates(roots_of(options, files)?)
    };
    identity(builder, options, files)
}

/// Whom to trust.
fn roots_of(options: &TlsOptions, files: &TlsFiles) -> Result<Arc<RootCertStore>, TlsError> {
    match (&files.ca, &options.ca_file) {
        (Some(pem), Some(file)) => Ok(Arc::new(trusted(pem.expose_secret(), file)?)),
        _ => Ok(roots()),
    }
}

/// Who we are.
fn identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    options: &TlsOptions,
    files: &TlsFiles,
) -> Result<ClientConfig, TlsError> {
    match (&files.cert, &files.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let cert_file = options.cert_file.as_deref().unwrap_or_default();
            let key_file = options.key_file.as_deref().unwrap_or_default();
            let chain = certificates(cert.expose_secret(), cert_file)?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret()).map_err(|error| TlsError::Pem {
                file: key_file.to_owned(),
                why: format!("no private key: {error}"),
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Refused(error.to_string()))
        }
        _ => Err(TlsError::Half),
    }
}

fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |why: String| TlsError::Pem { file: file.to_owned(), why };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<_, _>>()
        .map_err(|why| error(format!("not PEM: {why}")))?;
    match found.len() {
        0 => Err(error("it holds no certificate in PEM".to_owned())),
        n if n > MAX_CERTIFICATES => Err(error(format!("it holds more than {MAX_CERTIFICATES} certificates"))),
        _ => Ok(found),
    }
}

fn trusted(pem: &[u8], file: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, file)? {
        roots
            .add(certificate)
            .map_err(|why| TlsError::Pem { file: file.to_owned(), why: format!("not to be trusted: {why}") })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_somebody_to_trust() {
        assert!(!roots().is_empty());
    }

    #[tokio::test]
    async fn a_file_without_certificates_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), "nothing here").unwrap();
        let secrets = Secrets::new(Some(directory.path().to_owned()));
        let options = TlsOptions { ca_file: Some("ca.pem".to_owned()), ..TlsOptions::default() };
        let message = tls_config(&options, &secrets).await.unwrap_err().to_string();
        assert_eq!(message, "ca.pem: it holds no certificate in PEM");
    }

    #[tokio::test]
    async fn a_certificate_without_its_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cert.pem"), "x").unwrap();
        let secrets = Secrets::new(Some(directory.path().to_owned()));
        let options = TlsOptions { cert_file: Some("cert.pem".to_owned()), ..TlsOptions::default() };
        let message = tls_config(&options, &secrets).await.unwrap_err().to_string();
        assert_eq!(message, "certFile and keyFile belong together");
    }
}
