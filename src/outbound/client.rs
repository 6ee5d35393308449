//! The one HTTP client.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use reqwest::{Method, RequestBuilder, redirect};
use url::Url;

use super::guard::{Guard, Refused};
use super::lookup::{GuardedLookup, Lookup, LookupError, SystemLookup};
use super::secrets::Secrets;
use super::tls::{self, Purpose, TlsClient, TlsClients, TlsFiles, TlsOptions};
use super::{OutboundError, USER_AGENT};

/// How long making a connection may take, TLS included: a server that needs longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take where the caller sets no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Unused connections that are kept for one host: checks ask one server a few times in parallel.
const MAX_IDLE: usize = 8;
/// Clients that are kept: one for each set of TLS files in use, and old ones leave.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Namespaces whose ways out are kept where each has secrets of its own; old ones leave.
const MAX_NAMESPACES: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// The most causes of an error that are told.
const MAX_CAUSES: usize = 8;

/// What makes one client differ from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientOptions {
    /// TLS.
    pub tls: TlsOptions,
    /// How many redirects are followed; each one's address is judged. Default none: the redirect
    /// itself is the answer.
    pub redirects: usize,
    /// How long a whole request may take, its body included.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { tls: TlsOptions::default(), redirects: 0, timeout: DEFAULT_TIMEOUT }
    }
}

/// The way out. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: GuardedLookup,
    secrets: Secrets,
    clients: Mutex<LruCache<(ClientOptions, u64), Client>>,
    tls: TlsClients,
    /// The same for resources of one namespace, where each has secrets of its own.
    namespaces: Mutex<LruCache<String, Outbound>>,
}

impl Outbound {
    /// With secrets, the default guard and the system's resolver.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self::with(secrets, Guard::new(), Arc::new(SystemLookup::new()))
    }

    /// With a guard and a resolver of the caller's.
    #[must_use]
    pub fn with(secrets: Secrets, guard: Guard, lookup: Arc<dyn Lookup>) -> Self {
        Self::over(secrets, GuardedLookup::new(lookup, guard))
    }

    fn over(secrets: Secrets, lookup: GuardedLookup) -> Self {
        let tls = TlsClients::new(secrets.clone());
        let clients = Mutex::new(LruCache::new(MAX_CLIENTS));
        let namespaces = Mutex::new(LruCache::new(MAX_NAMESPACES));
        Self { shared: Arc::new(Shared { lookup, secrets, clients, tls, namespaces }) }
    }

    /// The way out of resources of `namespace`: in a cluster they have that namespace's secrets, and
    /// share no connection that was made with another one's.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        if !self.shared.secrets.are_of_namespaces() {
            return self.clone();
        }
        let mut namespaces = self.shared.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Self::over(self.shared.secrets.of(namespace), self.shared.lookup.clone());
        namespaces.get_or_insert(namespace.to_owned(), new).clone()
    }

    /// A TLS client for what speaks its protocol itself; callers with the same options share one.
    #[must_use]
    pub fn tls_client(&self, options: TlsOptions, purpose: Purpose) -> Arc<TlsClient> {
        self.shared.tls.client(options, purpose)
    }

    /// The secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.shared.secrets
    }

    /// The guard.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        self.shared.lookup.guard()
    }

    /// The guarded resolver, for what speaks no HTTP or speaks it itself.
    #[must_use]
    pub fn lookup(&self) -> &GuardedLookup {
        &self.shared.lookup
    }

    /// A client with these options. Its TLS files are read at every call, and a client made before
    /// is handed out again while they stay the same.
    ///
    /// # Errors
    /// A file is in trouble, or the client cannot be built.
    pub async fn client(&self, options: &ClientOptions) -> Result<Client, OutboundError> {
        let files = TlsFiles::read(&options.tls, &self.shared.secrets).await?;
        let key = (options.clone(), files.mark());
        let known = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = self.build(options, &files)?;
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).put(key, client.clone());
        Ok(client)
    }

    fn build(&self, options: &ClientOptions, files: &TlsFiles) -> Result<Client, OutboundError> {
        let mut tls = tls::build(&options.tls, files)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let guard = self.guard().clone();
        let inner = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .timeout(options.timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .redirect(policy(options.redirects, guard.clone()))
            .dns_resolver(self.shared.lookup.clone())
            .build()
            .map_err(|error| OutboundError::Client(explain(&error)))?;
        Ok(Client { inner, guard })
    }
}

fn policy(redirects: usize, guard: Guard) -> redirect::Policy {
    if redirects == 0 {
        return redirect::Policy::none();
    }
    redirect::Policy::custom(move |attempt| match guard.check_url(attempt.url()) {
        Err(refused) => attempt.error(refused),
        Ok(()) if attempt.previous().len() > redirects => attempt.error(format!("more than {redirects} redirects")),
        Ok(()) => attempt.follow(),
    })
}

/// A client whose requests cannot be made without asking the guard.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    guard: Guard,
}

impl Client {
    /// Begins a request.
    ///
    /// # Errors
    /// The guard refuses `url`.
    pub fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, Refused> {
        self.guard.check_url(url)?;
        Ok(self.inner.request(method, url.clone()))
    }

    /// The bare client, for a library that calls `url` and nothing else with it.
    ///
    /// # Errors
    /// The guard refuses `url`.
    pub fn bare(&self, url: &Url) -> Result<reqwest::Client, Refused> {
        self.guard.check_url(url)?;
        Ok(self.inner.clone())
    }
}

/// A URL for a person and for the record: without its query and fragment, which may carry secrets.
#[must_use]
pub fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    let cut = url.query().is_some() || url.fragment().is_some();
    shown.set_query(None);
    shown.set_fragment(None);
    // A URL with user and password is refused long before; should one come here, it is not shown.
    let bare = shown.set_password(None).is_ok() && shown.set_username("").is_ok();
    match (bare, cut) {
        (false, _) => format!("{}:…", url.scheme()),
        (true, true) => format!("{shown}?…"),
        (true, false) => shown.into(),
    }
}

/// An error of a request with its causes, without the URL, which may carry secrets.
#[must_use]
pub fn explain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in time".to_owned() } else { "no answer in time".to_owned() };
    }
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next.filter(|_| parts.len() < MAX_CAUSES) {
        let text = cause.to_string();
        // Most wrappers repeat what they wrap.
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        return if error.is_redirect() { "the redirects go round".to_owned() } else { "the request failed".to_owned() };
    }
    parts.join(": ")
}

/// What the guard said, where an error comes from it.
#[must_use]
pub fn refusal(error: &reqwest::Error) -> Option<Refused> {
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return Some(refused.clone());
        }
        if let Some(LookupError::Refused { refused, .. }) = cause.downcast_ref::<LookupError>() {
            return Some(refused.clone());
        }
        next = cause.source();
    }
    None
}
