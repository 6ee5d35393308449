//! The server over everything else: sockets, tokens, certificate, health.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::callers::ByCluster;
use super::relay::ToLeader;
use super::{App, AppError};
use crate::config::Directory;
use crate::operator::Reviews;
use crate::server::{Access, Deps, Health, Listeners, Metrics, Relay, Server, Standing, Tls, require_loopback};
use crate::store::Store;
use crate::telemetry;

/// The most errors of files that `/readyz` tells; the log has them all.
const MAX_TOLD: usize = 5;

/// Where and how to listen.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// The addresses for questions.
    pub listen: Vec<SocketAddr>,
    /// The address for health and metrics.
    pub admin: Option<SocketAddr>,
    /// The file of tokens; without it only this machine may ask.
    pub tokens: Option<PathBuf>,
    /// The files of the certificate chain and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The address by which other replicas reach this one, such as the pod's.
    pub advertise: Option<IpAddr>,
}

/// A server whose sockets are open: connections are taken as soon as it runs.
pub struct Bound {
    server: Server,
    listeners: Listeners,
    stop: tokio_util::sync::CancellationToken,
    /// The addresses for questions, with the ports that were given.
    pub main: Vec<SocketAddr>,
    /// The address for health and metrics.
    pub admin: Option<SocketAddr>,
}

impl App {
    /// Opens the sockets of a server over this program.
    ///
    /// # Errors
    /// An address cannot be listened on, others could reach it without a token, or tokens or
    /// certificate are of no use.
    pub async fn bind(&self, serving: Serving) -> Result<Bound, AppError> {
        let access = match (self.home.connection(), serving.tokens) {
            (Some(connection), file) => {
                let reviews = Reviews::new(connection.client(), Arc::clone(&self.clock));
                Access::reviewed(file, Arc::new(ByCluster(reviews)), Arc::clone(&self.clock))?
            }
            (None, Some(file)) => Access::load(file, Arc::clone(&self.clock))?,
            (None, None) => {
                require_loopback(&serving.listen)?;
                Access::open(Arc::clone(&self.clock))
            }
        };
        let tls = serving.tls.map(|(certificate, key)| Tls::load(certificate, key)).transpose()?;
        let (mut main, mut listeners) = (Vec::new(), Listeners { tls: tls.clone(), ..Listeners::default() });
        for address in serving.listen {
            let listener = listen(address).await?;
            main.push(listener.local_addr().map_err(|error| unusable(address, &error))?);
            listeners.main.push(listener);
        }
        let mut admin = None;
        if let Some(address) = serving.admin {
            let listener = listen(address).await?;
            admin = Some(listener.local_addr().map_err(|error| unusable(address, &error))?);
            listeners.admin = Some(listener);
        }
        // A certificate is for a name that callers use, and not for a pod's address.
        let advertised = serving.advertise.filter(|_| tls.is_none()).zip(main.first());
        let advertised = advertised.map(|(ip, first)| format!("http://{}", SocketAddr::new(ip, first.port())));
        self.reign.address.send_replace(advertised);
        let relay = match self.home.connection() {
            Some(_) => {
                let relay = ToLeader::new(self.reign.leader.subscribe()).await;
                let relay = relay
                    .map_err(|error| AppError::Task { doing: "preparing calls to the leader", why: error.to_string() });
                Some(Arc::new(relay?) as Arc<dyn Relay>)
            }
            None => None,
        };
        let metrics = Metrics::new();
        let mut registry = telemetry::Metrics::new();
        metrics.register(registry.registry());
        self.register(registry.registry());
        let windows = self.windows.clone();
        let deps = Deps {
            store: Arc::clone(&self.store),
            ask: Arc::new(self.engine.clone()),
            windows: Arc::new(move || windows.current()),
            past: self.past.clone(),
            overrides: self.overrides.clone(),
            probes: self.prober.clone(),
            clock: Arc::clone(&self.clock),
            health: self.health(&access, tls.as_ref()),
            access,
            metrics,
            registry: Arc::new(registry.into_registry()),
            cluster: self.cluster.clone(),
            relay,
        };
        Ok(Bound { server: Server::new(deps), listeners, stop: self.stop.clone(), main, admin })
    }

    /// What `/readyz` asks: the store must work; files, tokens and certificate in trouble are told,
    /// and their last good state is in force.
    fn health(&self, access: &Access, tls: Option<&Tls>) -> Health {
        let store = Arc::clone(&self.store);
        let mut health = Health::new().with("store", move || {
            let store = Arc::clone(&store);
            async move { store_standing(store.as_ref()).await }
        });
        if let Some(directory) = self.directory.clone() {
            health = health.with("files", move || std::future::ready(files_standing(&directory)));
        }
        let rules = self.rules.clone();
        health = health.with("rules", move || std::future::ready(degraded(rules.trouble())));
        let access = access.clone();
        health = health.with("tokens", move || std::future::ready(degraded(access.trouble())));
        if let Some(tls) = tls.cloned() {
            health = health.with("certificate", move || std::future::ready(degraded(tls.trouble())));
        }
        health
    }
}

impl Bound {
    /// Answers until the program ends.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub async fn run(self) -> Result<(), AppError> {
        Ok(self.server.run(self.listeners, self.stop).await?)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| unusable(address, &error))
}

fn unusable(address: SocketAddr, error: &std::io::Error) -> AppError {
    AppError::Listen { address, why: error.to_string() }
}

async fn store_standing(store: &dyn Store) -> Standing {
    match store.ready().await {
        Ok(()) => Standing::Ready,
        Err(error) => Standing::NotReady(error.to_string()),
    }
}

fn files_standing(directory: &Directory) -> Standing {
    let health = directory.health();
    if health.healthy {
        return Standing::Ready;
    }
    let mut told: Vec<String> = health.broken.iter().take(MAX_TOLD).map(ToString::to_string).collect();
    match health.broken.len().saturating_sub(MAX_TOLD) {
        0 => {}
        more => told.push(format!("{more} more")),
    }
    Standing::Degraded(format!("the last good state is in force: {}", told.join("; ")))
}

fn degraded(trouble: Option<String>) -> Standing {
    trouble.map_or(Standing::Ready, Standing::Degraded)
}
