//! A real API server of the bench's own, out of `tests/cluster`, and the operator's account in it.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use probegate::cluster::{ConnectOptions, Connection};

use super::keeper::Keeper;

/// Where `tests/cluster` keeps the state of its clusters.
const STATE: &str = "/tmp/probegate-cluster";
/// The operator's namespace and service account, as `deploy/` has them.
pub const NAMESPACE: &str = "probegate";
/// Who the operator is to the API server.
pub const OPERATOR: &str = "system:serviceaccount:probegate:probegate";

/// A cluster; it ends with this value, and with this program however that ends.
pub struct Cluster {
    name: String,
    state: PathBuf,
    network: File,
    _keeper: Keeper,
}

impl Cluster {
    /// Starts `control-plane` or `up`, whose API server writes down who writes what, and gives the
    /// operator its account, its rights and its definitions.
    pub fn start(kind: &str) -> anyhow::Result<Self> {
        let name = format!("bench-{}-{kind}", std::process::id());
        let script = script_path();
        let down = "PROBEGATE_CLUSTER_NAME=$2 exec \"$1\" down";
        let keeper = Keeper::start(down, &[&script.to_string_lossy(), &name]).context("starting a shell")?;
        eprintln!("Starting a cluster ({kind})…");
        run(Command::new(&script).arg(kind).env("PROBEGATE_CLUSTER_NAME", &name).env("PROBEGATE_CLUSTER_AUDIT", "1"))?;
        let state = Path::new(STATE).join(&name);
        let launcher = std::fs::read_to_string(state.join("launcher.pid")).context("reading launcher.pid")?;
        let network = File::open(format!("/proc/{}/ns/net", launcher.trim())).context("the cluster's network")?;
        let cluster = Self { name, state, network, _keeper: keeper };
        cluster.kubectl(&["apply", "--server-side", "-k", "deploy/crds"])?;
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"])?;
        for file in ["namespace", "access", "roles"] {
            cluster.kubectl(&["apply", "--server-side", "-f", &format!("deploy/{file}.yaml")])?;
        }
        let token = cluster.kubectl(&["-n", NAMESPACE, "create", "token", "probegate", "--duration=8h"])?;
        std::fs::write(cluster.operator_kubeconfig(), with_token(&cluster.kubeconfig(), token.trim())?)?;
        Ok(cluster)
    }

    /// Runs `tests/cluster/cluster` on it.
    pub fn script(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(Command::new(script_path()).args(arguments).env("PROBEGATE_CLUSTER_NAME", &self.name))
    }

    /// Runs kubectl as an administrator, in the project's directory.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let assets = self.script(&["env"])?;
        let assets = assets.split_whitespace().find_map(|word| word.strip_prefix("KUBEBUILDER_ASSETS="));
        let program = format!("{}/kubectl", assets.context("no KUBEBUILDER_ASSETS")?);
        let all: Vec<&str> = ["exec", program.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        self.script(&all)
    }

    /// Runs `work` where its API server answers: the threads and processes that it starts are there
    /// too.
    pub fn run<T: Send, Work: Future<Output = anyhow::Result<T>>>(
        &self,
        work: impl FnOnce() -> Work + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.network, CloneFlags::CLONE_NEWNET)
                    .context("entering the cluster's network (needs root)")?;
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                let ended = runtime.block_on(work());
                runtime.shutdown_background();
                ended
            });
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// A client of an administrator.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let options = ConnectOptions { kubeconfig: Some(self.kubeconfig()), context: None };
        Ok(Connection::open(options).await?.client())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// The kubeconfig of the operator's own account.
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.state.join("operator.kubeconfig")
    }

    /// Where the API server writes down who writes what.
    pub fn audit(&self) -> PathBuf {
        self.state.join("log/audit.log")
    }
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster")
}

/// A kubeconfig whose user has another token.
fn with_token(path: &Path, token: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)?;
    let (before, rest) = text.split_once("token: \"").context("a kubeconfig without a token")?;
    let (_, after) = rest.split_once('"').context("a token without an end")?;
    Ok(format!("{before}token: \"{token}\"{after}"))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().with_context(|| format!("{command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    anyhow::ensure!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}
