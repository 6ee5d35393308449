//! Where a command works: on files and a data directory here, in a cluster, or on a server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::kubernetes::TerminalArgs;
use crate::api::{DEFAULT_NAMESPACE, Gate};
use crate::app::{App, Home, Options, Terminal, Within};
use crate::client::{Address, Client};
use crate::engine::Engine;
use crate::store::{Cache, Store};

/// The largest token file; a token is a line.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// A server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct ServerArgs {
    /// A server, such as <https://probegate.example>.
    #[arg(long, value_name = "URL", env = "PROBEGATE_SERVER")]
    server: Option<Url>,
    /// A file with the token for the server.
    #[arg(long, value_name = "FILE", env = "PROBEGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The token for the server; a flag would show it to everybody on the machine.
    #[arg(long, hide = true, env = "PROBEGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the certificates to trust for the server, in PEM.
    #[arg(long, value_name = "FILE", env = "PROBEGATE_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Which namespace, as kubectl asks for it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct NamespaceArgs {
    /// The namespace of what is named without one, and the only one that lists show; in a cluster by
    /// default that of the context, elsewhere `default`, and lists show all.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// In a cluster: lists show all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

/// A server or a cluster: where probes are resident.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ResidentArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    cluster: TerminalArgs,
}

/// Where a command works.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct BackendArgs {
    #[command(flatten)]
    resident: ResidentArgs,
    /// Files or directories with resources; may be given several times.
    #[arg(short, long = "file", value_name = "PATH", conflicts_with = "server", help_heading = "Where")]
    files: Vec<PathBuf>,
    /// The directory that keeps runs and overrides; without it they are forgotten at the end.
    #[arg(long, value_name = "DIR", conflicts_with = "server", help_heading = "Where")]
    data: Option<PathBuf>,
    /// The Prometheus server of metric checks that name none.
    #[arg(long, value_name = "URL", help_heading = "Where")]
    prometheus: Option<Url>,
    /// The directory with the secrets that checks refer to.
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    secrets: Option<PathBuf>,
}

/// Where a command works, made ready.
pub(super) struct Backend {
    pub(super) place: Place,
    /// The namespace of what is named without one.
    namespace: String,
    /// The only namespace that lists show.
    only: Option<String>,
}

/// Which of the two.
pub(super) enum Place {
    /// Here.
    Here(Here),
    /// On a server.
    Remote(Client),
}

/// What is at hand here.
pub(super) enum Here {
    /// Files and a data directory.
    Files(Box<App>),
    /// A cluster.
    Cluster(Box<Terminal>),
}

impl Here {
    /// Where resources and runs are.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        match self {
            Self::Files(app) => app.store(),
            Self::Cluster(terminal) => terminal.store(),
        }
    }

    /// Who answers questions.
    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Files(app) => app.engine(),
            Self::Cluster(terminal) => terminal.engine(),
        }
    }

    /// The gates.
    pub(super) async fn gates(&self) -> anyhow::Result<Cache<Gate>> {
        match self {
            Self::Files(app) => Ok(app.gates().clone()),
            Self::Cluster(terminal) => Ok(terminal.gates().await?),
        }
    }

    /// The cluster.
    pub(super) fn cluster(&self) -> Option<&Terminal> {
        match self {
            Self::Files(_) => None,
            Self::Cluster(terminal) => Some(terminal),
        }
    }

    /// Who works here: whom the cluster takes the user for, else the session's user.
    pub(super) async fn user(&self) -> Option<String> {
        let known = match self {
            Self::Files(_) => None,
            Self::Cluster(terminal) => terminal.user().await,
        };
        known.or_else(super::question::user)
    }

    async fn stop(self) {
        match self {
            Self::Files(app) => app.stop().await,
            Self::Cluster(terminal) => terminal.stop().await,
        }
    }
}

impl Backend {
    /// Namespace and name of something that may be named without a namespace.
    pub(super) fn full_name<'a>(&'a self, text: &'a str) -> (&'a str, &'a str) {
        text.split_once('/').unwrap_or((&self.namespace, text))
    }

    /// The namespace of what is named without one.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The only namespace that lists show.
    pub(super) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Whether lists show what stands in a namespace.
    pub(super) fn shows(&self, namespace: &str) -> bool {
        self.only().is_none_or(|only| only == namespace)
    }
}

impl NamespaceArgs {
    /// The same, about something whose full name says its namespace.
    fn about(&mut self, name: Option<&str>) {
        if let Some((namespace, _)) = name.and_then(|name| name.split_once('/')) {
            (self.namespace, self.all_namespaces) = (Some(namespace.to_owned()), false);
        }
    }

    fn within(&self) -> Within {
        match (&self.namespace, self.all_namespaces) {
            (Some(namespace), _) => Within::One(namespace.clone()),
            (None, true) => Within::All,
            (None, false) => Within::Context,
        }
    }

    fn backend(self, place: Place) -> Backend {
        let here = match &place {
            Place::Here(Here::Cluster(terminal)) => terminal.namespace(),
            _ => DEFAULT_NAMESPACE,
        };
        let namespace = self.namespace.clone().unwrap_or_else(|| here.to_owned());
        Backend { place, namespace, only: self.namespace }
    }
}

impl ResidentArgs {
    /// The full name of something among files.
    pub(super) fn title(&self, name: &str) -> String {
        let namespace = self.namespace.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        if name.contains('/') { name.to_owned() } else { format!("{namespace}/{name}") }
    }

    /// The same, about something whose full name may say its namespace.
    pub(super) fn about(mut self, name: Option<&str>) -> Self {
        self.namespace.about(name);
        self
    }

    /// Makes it ready, does the work there, and ends in order whatever has become of the work.
    pub(super) async fn with<T>(self, work: impl AsyncFnOnce(&Backend) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let backend = self.open().await?.context("say where: --server URL, or --kubernetes for a cluster")?;
        finish(backend, work).await
    }

    /// The server or the cluster that is meant; nothing where neither is.
    async fn open(self) -> anyhow::Result<Option<Backend>> {
        let Self { server, namespace, cluster } = self;
        let place = match server.server.clone() {
            Some(_) if cluster.is_meant() => {
                anyhow::bail!("--server (or PROBEGATE_SERVER) is a server, and --kubernetes is a cluster: say one")
            }
            Some(url) => Place::Remote(server.client(url).await?),
            None if cluster.is_meant() || super::is_plugin() => {
                let terminal = Terminal::open(cluster.whereabouts(namespace.within())).await?;
                Place::Here(Here::Cluster(Box::new(terminal)))
            }
            None => return Ok(None),
        };
        Ok(Some(namespace.backend(place)))
    }
}

impl BackendArgs {
    /// The same, about something whose full name may say its namespace.
    pub(super) fn about(mut self, name: Option<&str>) -> Self {
        self.resident.namespace.about(name);
        self
    }

    /// Makes it ready, does the work there, and ends in order whatever has become of the work.
    pub(super) async fn with<T>(self, work: impl AsyncFnOnce(&Backend) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let backend = self.open().await?;
        finish(backend, work).await
    }

    async fn open(self) -> anyhow::Result<Backend> {
        if self.files.is_empty() && self.data.is_none() {
            let backend = self.resident.open().await?;
            return backend.context(
                "say where: -f PATH for files with resources, --data DIR for a data directory, --kubernetes for a \
                 cluster, or --server URL",
            );
        }
        anyhow::ensure!(
            !self.resident.cluster.is_meant(),
            "files and data directories are here, and --kubernetes is a cluster: say one"
        );
        let options = Options {
            home: self.data.map_or(Home::Memory, Home::Directory),
            files: self.files,
            follow: false,
            cluster: None,
            prometheus: self.prometheus,
            secrets: self.secrets,
            probing: crate::app::Limits::default(),
        };
        let app = App::start(options, CancellationToken::new()).await?;
        Ok(self.resident.namespace.backend(Place::Here(Here::Files(Box::new(app)))))
    }
}

async fn finish<T>(backend: Backend, work: impl AsyncFnOnce(&Backend) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let result = work(&backend).await;
    if let Place::Here(here) = backend.place {
        here.stop().await;
    }
    result
}

impl ServerArgs {
    async fn client(self, url: Url) -> anyhow::Result<Client> {
        let token = token(self.token, self.token_file).await?;
        Ok(Client::new(Address { url, token, ca_file: self.ca_file }).await?)
    }
}

async fn token(given: Option<String>, file: Option<PathBuf>) -> anyhow::Result<Option<SecretString>> {
    let Some(path) = file else {
        return Ok(given.filter(|token| !token.is_empty()).map(SecretString::from));
    };
    let doing = || format!("while reading the token file {}", path.display());
    let length = tokio::fs::metadata(&path).await.with_context(doing)?.len();
    anyhow::ensure!(length <= MAX_TOKEN_FILE, "{} has {length} bytes: that is no token file", path.display());
    let text = tokio::fs::read_to_string(&path).await.with_context(doing)?;
    let token = text.lines().map(str::trim).find(|line| !line.is_empty());
    let token = token.with_context(|| format!("the token file {} is empty", path.display()))?;
    Ok(Some(SecretString::from(token.to_owned())))
}
