//! Where a command works: on files and a data directory here, or on a server.

use std::path::PathBuf;

use anyhow::Context;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::kubernetes::KubernetesArgs;
use crate::app::{App, Home, Options};
use crate::client::{Address, Client};

/// The largest token file; a token is a line.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// Where a command works.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct BackendArgs {
    /// A server, such as <https://probegate.example>; without it the command works here.
    #[arg(long, value_name = "URL", env = "PROBEGATE_SERVER", conflicts_with_all = ["files", "data"])]
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
    /// Files or directories with resources; may be given several times.
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// The directory that keeps runs and overrides; without it they are forgotten at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    /// The Prometheus server of metric checks that name none.
    #[arg(long, value_name = "URL")]
    prometheus: Option<Url>,
    /// The directory with the secrets that checks refer to.
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
}

/// A server, for commands that work on one alone.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where")]
pub(super) struct ServerArgs {
    /// The server, such as <https://probegate.example>.
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

impl ServerArgs {
    /// A client of the server.
    pub(super) async fn client(self) -> anyhow::Result<Client> {
        let url = self.server.context("say which server: --server URL, or PROBEGATE_SERVER")?;
        let token = token(self.token, self.token_file).await?;
        Ok(Client::new(Address { url, token, ca_file: self.ca_file }).await?)
    }
}

/// Where a command works, made ready.
pub(super) enum Backend {
    /// Here.
    Local(Box<App>),
    /// On a server.
    Remote(Client),
}

impl BackendArgs {
    /// Makes it ready, does the work there, and ends in order whatever has become of the work.
    pub(super) async fn with<T>(self, work: impl AsyncFnOnce(&Backend) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let stop = CancellationToken::new();
        let backend = self.open(&stop).await?;
        let result = work(&backend).await;
        if let Backend::Local(app) = backend {
            app.stop().await;
        }
        result
    }

    async fn open(self, stop: &CancellationToken) -> anyhow::Result<Backend> {
        if let Some(url) = self.server {
            let token = token(self.token, self.token_file).await?;
            return Ok(Backend::Remote(Client::new(Address { url, token, ca_file: self.ca_file }).await?));
        }
        let here = !self.files.is_empty() || self.data.is_some();
        let in_cluster = self.kubernetes.is_meant() || (!here && super::is_plugin());
        anyhow::ensure!(
            here || in_cluster,
            "say where: -f PATH for files with resources, --data DIR for a data directory, --kubernetes for a cluster, \
             or --server URL"
        );
        anyhow::ensure!(
            !(here && in_cluster),
            "files and data directories are here, and --kubernetes is a cluster: say one"
        );
        let home = if in_cluster {
            Home::Cluster(Box::new(self.kubernetes.home(None, None)?))
        } else {
            self.data.map_or(Home::Memory, Home::Directory)
        };
        let options = Options {
            home,
            files: self.files,
            follow: false,
            cluster: None,
            prometheus: self.prometheus,
            secrets: self.secrets,
            probing: crate::app::Limits::default(),
        };
        Ok(Backend::Local(Box::new(App::start(options, stop.clone()).await?)))
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
