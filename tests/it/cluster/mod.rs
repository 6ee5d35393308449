//! The tests' way to a real API server.
//!
//! [`control_plane`] is shared by all tests, started at the first call and ended with the process,
//! also with one that is killed. It is, in this order: the cluster of `PROBEGATE_TEST_KUBECONFIG`;
//! etcd and kube-apiserver out of `KUBEBUILDER_ASSETS`; the one of `tests/cluster`. Without any of
//! them a test fails and says what to install. Each test has a namespace of its own.
//!
//! The API server of `tests/cluster` answers only in its own network namespace. So a test runs on a
//! thread that enters it ([`Cluster::run`]); threads and processes that it starts are there too.

mod assets;
mod keeper;
mod script;

mod connection;
mod definitions;

use std::fs::File;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use nix::sched::{CloneFlags, setns};
use probegate::cluster::{ConnectOptions, Connection};
use serde_json::{Value, json};

pub use script::Script;

/// What a test that needs a cluster tells when there is none.
const HOW: &str = "Tests of the operator need a Kubernetes API server. Give one by PROBEGATE_TEST_KUBECONFIG (any \
    cluster that may be written to, such as kind), or etcd and kube-apiserver by KUBEBUILDER_ASSETS (setup-envtest), \
    or, as root, run `tests/setup.sh`, which builds what tests/cluster needs";

/// A running API server.
pub struct Cluster {
    kubeconfig: PathBuf,
    /// The network namespace that it answers in, where it is not everybody's.
    network: Option<File>,
    /// What started it, where it was `tests/cluster`.
    script: Option<Script>,
    _keeper: Option<keeper::Keeper>,
}

/// What a test has of a cluster.
#[derive(Clone)]
pub struct Place {
    /// The connection, as the program opens it.
    pub connection: Connection,
    /// Its client.
    pub client: kube::Client,
    /// A namespace that only this test uses.
    pub namespace: String,
    /// The kubeconfig of an administrator, for programs that the test starts.
    pub kubeconfig: PathBuf,
}

/// The API server that all tests share, with the definitions of `deploy/crds`.
///
/// # Panics
/// There is none, and none can be started: with what to install.
pub fn control_plane() -> &'static Cluster {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let cluster = match (setting("PROBEGATE_TEST_KUBECONFIG"), setting("KUBEBUILDER_ASSETS")) {
            (Some(kubeconfig), _) => {
                Cluster { kubeconfig: kubeconfig.into(), network: None, script: None, _keeper: None }
            }
            (None, Some(assets)) => assets::start(Path::new(&assets))?,
            (None, None) => script::start("control-plane", "", false)?,
        };
        cluster.run_anywhere(|place| async move { apply_definitions(&place.client).await });
        Ok(cluster)
    });
    shared.as_ref().unwrap_or_else(|why| panic!("{HOW}.\n{why}"))
}

/// A control plane of the caller's own, to stop and start its parts. It ends when it is dropped.
/// `purpose` is a word that tells it from others.
///
/// # Panics
/// As [`control_plane`].
pub fn own_control_plane(purpose: &str) -> Cluster {
    own("control-plane", purpose, false)
}

/// A cluster of the caller's own with a node that runs pods. It ends when it is dropped.
///
/// # Panics
/// As [`control_plane`].
pub fn own_node(purpose: &str) -> Cluster {
    own("up", purpose, false)
}

/// [`own_node`], whose API server writes down what the operator of `deploy/` does: `log/audit.log` beside
/// the kubeconfig.
///
/// # Panics
/// As [`control_plane`].
pub fn audited_node(purpose: &str) -> Cluster {
    own("up", purpose, true)
}

fn own(kind: &str, purpose: &str, audited: bool) -> Cluster {
    let cluster = script::start(kind, purpose, audited).unwrap_or_else(|why| panic!("{HOW}.\n{why}"));
    cluster.run_anywhere(|place| async move { apply_definitions(&place.client).await });
    cluster
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Cluster {
    /// Runs `test` where the API server answers, with a namespace of its own, which is deleted
    /// afterwards.
    pub fn run<T: Send, Fut: Future<Output = T>>(&self, test: impl FnOnce(Place) -> Fut + Send) -> T {
        self.run_anywhere(|place| async move {
            let namespaces: Api<Namespace> = Api::all(place.client.clone());
            create_namespace(&namespaces, &place.namespace).await;
            let name = place.namespace.clone();
            let ended = AssertUnwindSafe(test(place)).catch_unwind().await;
            let _ = namespaces.delete(&name, &DeleteParams::background()).await;
            ended.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// As [`Self::run`], but the namespace is only a name.
    pub fn run_anywhere<T: Send, Fut: Future<Output = T>>(&self, test: impl FnOnce(Place) -> Fut + Send) -> T {
        self.on_thread(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let ended = runtime.block_on(async { test(self.place().await).await });
            runtime.shutdown_background();
            ended
        })
    }

    /// Runs `work` on a thread where the API server answers: the threads and processes that it
    /// starts are there too.
    pub fn on_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let name = std::thread::current().name().unwrap_or("cluster").to_owned();
            let enter = || {
                if let Some(network) = &self.network {
                    setns(network, CloneFlags::CLONE_NEWNET).expect("entering the cluster's network (needs root)");
                }
                work()
            };
            let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, enter).unwrap();
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `tests/cluster/cluster` for this cluster: faults, images, engines.
    ///
    /// # Panics
    /// The cluster was given from outside.
    pub fn script(&self) -> &Script {
        self.script.as_ref().expect("this needs a cluster that tests/cluster has started")
    }

    async fn place(&self) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let options = ConnectOptions { kubeconfig: Some(self.kubeconfig.clone()), context: None };
        let connection = Connection::open(options).await.unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Place {
            client: connection.client(),
            connection,
            namespace: format!("probegate-it-{}-{number}", std::process::id()),
            kubeconfig: self.kubeconfig.clone(),
        }
    }
}

/// Makes a namespace; tests that need several call it with names that begin with their own.
pub async fn create_namespace(namespaces: &Api<Namespace>, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
}

/// Applies the definitions of `deploy/crds` and waits until the API server serves them.
pub async fn apply_definitions(client: &kube::Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definition_files() {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply("probegate-tests").force();
        definitions
            .patch(&name, &params, &Patch::Apply(&definition))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(std::time::Duration::from_secs(30), established).await.expect(&name).unwrap();
    }
}

/// Every definition of `deploy/crds`.
pub fn definition_files() -> Vec<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| !path.ends_with("kustomization.yaml")).collect();
    files.sort();
    files.iter().map(|path| serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}
