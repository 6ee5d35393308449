//! TLS clients that are shared by all who want the same, and follow their files.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, SupportedProtocolVersion};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::chain::Chains;
use super::verify::{ChainVerifier, TrustAnything};
use super::{TlsError, TlsFiles, TlsOptions, certificates, identity, roots_of};
use crate::api::TlsVersion;
use crate::outbound::{OutboundError, Secrets};

/// How often the files of a client are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most clients that are kept for sharing: one for each set of options in use. One that leaves
/// works on for those who have it.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// What a TLS client is for, beside whom it trusts and who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Purpose {
    /// The least version. Absent: 1.2.
    pub min: Option<TlsVersion>,
    /// The greatest version. Absent: 1.3.
    pub max: Option<TlsVersion>,
    /// The protocols to offer.
    pub alpn: Vec<Vec<u8>>,
    /// Whether a handshake succeeds whatever the chain: the caller judges it afterwards.
    pub inspect: bool,
}

/// The clients, by what makes one differ from another.
pub(in crate::outbound) struct TlsClients {
    secrets: Secrets,
    chains: Arc<Chains>,
    clients: Mutex<LruCache<(TlsOptions, Purpose), Arc<TlsClient>>>,
}

impl TlsClients {
    pub(in crate::outbound) fn new(secrets: Secrets) -> Self {
        Self { secrets, chains: Arc::new(Chains::new()), clients: Mutex::new(LruCache::new(MAX_CLIENTS)) }
    }

    pub(in crate::outbound) fn client(&self, options: TlsOptions, purpose: Purpose) -> Arc<TlsClient> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (options, purpose);
        if let Some(client) = clients.get(&key) {
            return Arc::clone(client);
        }
        let client = Arc::new(TlsClient {
            options: key.0.clone(),
            purpose: key.1.clone(),
            secrets: self.secrets.clone(),
            chains: Arc::clone(&self.chains),
            state: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        });
        clients.put(key, Arc::clone(&client));
        client
    }
}

/// A TLS client that makes a whole handshake every time, and whose files are read again when they
/// change.
pub struct TlsClient {
    options: TlsOptions,
    purpose: Purpose,
    secrets: Secrets,
    chains: Arc<Chains>,
    state: Mutex<Option<State>>,
    /// Held by whoever reads the files.
    loading: tokio::sync::Mutex<()>,
}

struct State {
    prepared: Result<Prepared, String>,
    mark: u64,
    look: Instant,
}

/// A client's configuration and its judge of chains.
#[derive(Clone)]
pub struct Prepared {
    /// For a handshake.
    pub config: Arc<ClientConfig>,
    /// For what it showed.
    pub verifier: Arc<ChainVerifier>,
}

impl TlsClient {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was prepared, and whether this caller is to look at the files; until it has, the others
    /// go on with what there is.
    fn known(&self) -> (Option<Result<Prepared, String>>, bool) {
        let files = [&self.options.ca_file, &self.options.cert_file, &self.options.key_file];
        let now = Instant::now();
        let mut state = self.state();
        let Some(state) = state.as_mut() else { return (None, true) };
        let due = now >= state.look && files.iter().any(|file| file.is_some());
        if due {
            state.look = now + LOOK_EVERY;
        }
        (Some(state.prepared.clone()), due)
    }

    /// The configuration, with the files as they are, or were a second ago.
    ///
    /// # Errors
    /// A file is in trouble, or the options make no sense.
    pub async fn prepared(&self) -> Result<Prepared, String> {
        let (prepared, due) = self.known();
        let first = match prepared {
            Some(prepared) if !due => return prepared,
            prepared => prepared.is_none(),
        };
        let _loading = self.loading.lock().await;
        if first && let Some(state) = self.state().as_ref() {
            // Somebody else has read them while this caller waited.
            return state.prepared.clone();
        }
        let read = TlsFiles::read(&self.options, &self.secrets).await;
        let look = Instant::now() + LOOK_EVERY;
        let mark = read.as_ref().map_or(0, TlsFiles::mark);
        if let (Some(state), Ok(_)) = (self.state().as_mut(), &read)
            && state.mark == mark
            && let Ok(prepared) = &state.prepared
        {
            state.look = look;
            return Ok(prepared.clone());
        }
        let built = read.and_then(|files| Ok(self.build(&files)?));
        let prepared = built.map_err(|error: OutboundError| error.to_string());
        *self.state() = Some(State { prepared: prepared.clone(), mark, look });
        prepared
    }

    fn build(&self, files: &TlsFiles) -> Result<Prepared, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = match (&files.ca, &self.options.ca_file) {
            (Some(pem), Some(file)) => certificates(pem.expose_secret(), file)?,
            _ => Vec::new(),
        };
        let roots = roots_of(&self.options, files)?;
        let verifier = Arc::new(ChainVerifier::new(roots, own, &provider, Arc::clone(&self.chains))?);
        let judge: Arc<dyn ServerCertVerifier> = if self.options.insecure_skip_verify || self.purpose.inspect {
            Arc::new(TrustAnything::new(&provider))
        } else {
            Arc::<ChainVerifier>::clone(&verifier)
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&self.purpose))
            .map_err(|error| TlsError::Refused(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(judge);
        let mut config = identity(builder, &self.options, files)?;
        config.alpn_protocols.clone_from(&self.purpose.alpn);
        // A resumed session would not show the certificate.
        config.resumption = Resumption::disabled();
        Ok(Prepared { config: Arc::new(config), verifier })
    }
}

fn versions(purpose: &Purpose) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let allowed = all.into_iter().filter(|(version, _)| {
        purpose.min.is_none_or(|min| *version >= min) && purpose.max.is_none_or(|max| *version <= max)
    });
    allowed.map(|(_, version)| version).collect()
}
