//! Opens the connection, by the rules of kubectl.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::{BoxError, Service};

use super::guard::{CALL_TIMEOUT, GuardLayer};
use super::metrics::CallMetrics;

/// Which cluster to connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// This file (`--kubeconfig`), or several with `:` between them (`KUBECONFIG`), which are merged as
    /// kubectl merges them: of those some may be missing. Absent: `~/.kube/config`, else, in a pod, the
    /// cluster that it runs in.
    pub kubeconfig: Option<PathBuf>,
    /// This context of the kubeconfig and not its current one (`--context`).
    pub context: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig, and this is no pod.
    #[error(
        "there is no cluster to connect to: no --kubeconfig, no KUBECONFIG, no ~/.kube/config, and this is no pod \
         ({in_cluster})"
    )]
    Nowhere {
        /// Why the cluster around a pod was not found.
        in_cluster: String,
    },
    /// The kubeconfig cannot be used.
    #[error("{}: {why}", place(path.as_ref()))]
    Kubeconfig {
        /// The file, where one was named.
        path: Option<PathBuf>,
        /// The cause.
        why: String,
    },
    /// The client cannot be made: a certificate that is none, a proxy that is not supported.
    #[error("while preparing the connection to {server}: {why}")]
    Client {
        /// The API server.
        server: String,
        /// The cause.
        why: String,
    },
}

fn place(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "the kubeconfig".to_owned(), |path| format!("the kubeconfig {}", path.display()))
}

/// A connection to one cluster. Cheap to clone; all clones are one connection.
///
/// Opening it calls nobody: an API server that is away shows at the first call.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    server: String,
    metrics: CallMetrics,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Finds the cluster and prepares the connection.
    ///
    /// # Errors
    /// [`ConnectError`], naming the file, what is wrong and what can be done.
    pub async fn open(options: ConnectOptions) -> Result<Self, ConnectError> {
        let config = config(options).await?;
        let server = config.cluster_url.to_string();
        let metrics = CallMetrics::default();
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| ConnectError::Client { server: server.clone(), why: error.to_string() })?;
        let client = builder.with_layer(&GuardLayer { metrics: metrics.clone() }).build();
        Ok(Self { client, server, metrics })
    }

    /// A connection over a service of the caller's: an API server in the same process.
    #[must_use]
    pub fn over<S, B>(service: S, default_namespace: &str) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let metrics = CallMetrics::default();
        let client =
            ClientBuilder::new(service, default_namespace).with_layer(&GuardLayer { metrics: metrics.clone() }).build();
        Self { client, server: "an API server in this process".to_owned(), metrics }
    }

    /// The client: no retries of its own, a time-out on every call. Cheap to clone.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The namespace of the context, or of the pod; `default` where neither says.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// The API server's address, for messages.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its metrics, to be registered.
    #[must_use]
    pub const fn metrics(&self) -> &CallMetrics {
        &self.metrics
    }
}

async fn config(options: ConnectOptions) -> Result<Config, ConnectError> {
    let ConnectOptions { kubeconfig: path, context } = options;
    let read = match &path {
        Some(path) => read(path),
        None => Kubeconfig::read(),
    };
    let wrong = |error: &KubeconfigError| ConnectError::Kubeconfig { path: path.clone(), why: words(error) };
    let mut config = match read {
        Ok(file) => {
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| wrong(&error))?
        }
        // Whoever names a file or a context means it.
        Err(error) if path.is_none() && context.is_none() && is_absent(&error) => {
            Config::incluster().map_err(|error| ConnectError::Nowhere { in_cluster: error.to_string() })?
        }
        Err(error) => return Err(wrong(&error)),
    };
    // The guard's time-outs are those that count, and its callers are those that try again.
    config.default_retry = false;
    config.connect_timeout = Some(CALL_TIMEOUT / 2);
    Ok(config)
}

/// Reads one file, or merges several: what the first one says counts.
fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let there: Vec<PathBuf> = std::env::split_paths(path).filter(|path| path.exists()).collect();
    match there.as_slice() {
        [first, more @ ..] if !path.exists() => more
            .iter()
            .try_fold(Kubeconfig::read_from(first)?, |merged, next| merged.merge(Kubeconfig::read_from(next)?)),
        _ => Kubeconfig::read_from(path),
    }
}

/// Whether there simply is no kubeconfig.
fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

fn words(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current context: name one with --context".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context \"{name}\""),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster \"{name}\", which its context names"),
        KubeconfigError::ReadConfig(error, path) => format!("while reading {}: {error}", path.display()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn two_contexts() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
            clusters: [{name: one, cluster: {server: 'https://one.example:6443'}}]\n\
            users: [{name: me, user: {token: secret}}]\n\
            contexts:\n\
            - {name: a, context: {cluster: one, user: me, namespace: shop}}\n\
            - {name: b, context: {cluster: one, user: me}}\n\
            - {name: c, context: {cluster: nowhere, user: me}}\n";
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[rstest]
    #[case(None, "shop")]
    #[case(Some("b"), "default")]
    #[tokio::test]
    async fn the_namespace_is_the_contexts(#[case] context: Option<&str>, #[case] namespace: &str) {
        let file = two_contexts();
        let options = ConnectOptions { kubeconfig: Some(file.path().to_owned()), context: context.map(str::to_owned) };
        let config = config(options).await.unwrap();
        assert_eq!(config.default_namespace, namespace);
        assert!(!config.default_retry);
    }

    #[rstest]
    #[case("x", "it has no context \"x\"")]
    #[case("c", "it has no cluster \"nowhere\", which its context names")]
    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said(#[case] context: &str, #[case] why: &str) {
        let file = two_contexts();
        let options = ConnectOptions { kubeconfig: Some(file.path().to_owned()), context: Some(context.to_owned()) };
        let error = config(options).await.unwrap_err().to_string();
        assert_eq!(error, format!("the kubeconfig {}: {why}", file.path().display()));
    }

    #[tokio::test]
    async fn several_files_are_one_and_the_first_one_counts() {
        let (first, second) = (tempfile::NamedTempFile::new().unwrap(), two_contexts());
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: d\n\
            contexts: [{name: d, context: {cluster: one, user: me, namespace: mall}}]\n";
        std::fs::write(first.path(), text).unwrap();
        let paths = [Path::new("/no/such/file"), first.path(), second.path()];
        let options = ConnectOptions { kubeconfig: Some(std::env::join_paths(paths).unwrap().into()), context: None };
        let config = config(options).await.unwrap();
        assert_eq!((config.default_namespace.as_str(), config.cluster_url.host()), ("mall", Some("one.example")));
    }

    #[tokio::test]
    async fn a_file_that_was_named_and_is_not_there_is_an_error() {
        let options = ConnectOptions { kubeconfig: Some("/no/such/file".into()), context: None };
        let error = config(options).await.unwrap_err().to_string();
        assert!(error.starts_with("the kubeconfig /no/such/file: while reading /no/such/file: "), "{error}");
    }
}
