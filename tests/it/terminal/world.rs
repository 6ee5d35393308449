//! A cluster with the operator installed in a namespace of an overlay's choice, and people with rights
//! of their own: `edit`, `admin`, `view` in one namespace, and one who is a cluster's administrator.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::cli::Ran;
use crate::cluster::{Cluster, Place, Script, own_control_plane};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Where the overlay puts the operator: not where deploy/ does.
pub const OPERATOR: &str = "gatekeeping";

/// The cluster, with `deploy/` applied by an overlay with another namespace.
fn installed() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cluster = own_control_plane("terminal");
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let copied = Command::new("cp").arg("-r").arg(source).arg(directory.path().join("deploy")).status().unwrap();
        assert!(copied.success());
        let overlay = directory.path().join("overlay");
        std::fs::create_dir_all(&overlay).unwrap();
        let text = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {OPERATOR}\n\
             resources: [../deploy]\n"
        );
        std::fs::write(overlay.join("kustomization.yaml"), text).unwrap();
        kubectl(cluster.script(), &["apply", "--server-side", "-k", &overlay.to_string_lossy()]);
        cluster
    })
}

fn kubectl(script: &Script, arguments: &[&str]) -> String {
    let assets = script.run(&["env"]);
    let assets = assets.split_whitespace().find_map(|word| word.strip_prefix("KUBEBUILDER_ASSETS=")).unwrap();
    let program = format!("{assets}/kubectl");
    let all: Vec<&str> = ["exec", program.as_str()].into_iter().chain(arguments.iter().copied()).collect();
    script.run(&all)
}

/// One story's world.
pub struct World {
    pub place: Place,
    directory: tempfile::TempDir,
}

/// Somebody with a kubeconfig.
pub struct Person {
    pub name: String,
    pub client: kube::Client,
    kubeconfig: PathBuf,
    instance: String,
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    child: Child,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells a story in a namespace of its own.
pub fn story(tell: impl AsyncFnOnce(World) + Send) {
    installed().run(|place| async move {
        tell(World { place, directory: tempfile::tempdir().unwrap() }).await;
    });
}

impl World {
    /// The operator's instance in this story: several share the cluster, and each has a lease of its own.
    pub fn instance(&self) -> &str {
        &self.place.namespace
    }

    /// Starts the operator under its own service account, and waits until it leads.
    pub async fn operator(&self) -> Operator {
        let (_, kubeconfig) = self.kubeconfig(OPERATOR, "probegate", "operator").await;
        let log = File::create(self.directory.path().join("operator.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_probegate"))
            .args(["serve", "--kubernetes", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--namespaces", &self.place.namespace, "--lease-namespace", OPERATOR])
            .args(["--instance", self.instance(), "--identity", "one", "--kubeconfig"])
            .arg(kubeconfig)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let operator = Operator { child };
        let leases = Api::<Lease>::namespaced(self.place.client.clone(), OPERATOR);
        let lease = format!("probegate-{}", self.instance());
        let leads = async {
            loop {
                let lease = leases.get_opt(&lease).await.unwrap_or_default();
                if lease.and_then(|lease| lease.spec?.holder_identity).is_some_and(|holder| !holder.is_empty()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let led = tokio::time::timeout(PATIENCE, leads).await;
        led.unwrap_or_else(|_| panic!("it never leads: {}", self.log()));
        operator
    }

    /// Waits for an Event on a resource.
    pub async fn until_told(&self, kind: &str, name: &str, reason: &str) {
        let events = Api::<Event>::namespaced(self.place.client.clone(), &self.place.namespace);
        let told = async {
            loop {
                let all = events.list(&ListParams::default()).await.unwrap();
                let about = |event: &Event| {
                    let regarding = event.regarding.clone().unwrap_or_default();
                    (regarding.kind.as_deref(), regarding.name.as_deref()) == (Some(kind), Some(name))
                };
                if all.iter().any(|event| about(event) && event.reason.as_deref() == Some(reason)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        told.unwrap_or_else(|_| panic!("nobody tells that {kind} {name} is {reason}: {}", self.log()));
    }

    /// What the operator has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("operator.log")).unwrap_or_default()
    }

    /// Somebody with a role of the cluster in this namespace.
    pub async fn person(&self, name: &str, role: &str) -> Person {
        let (client, namespace) = (self.place.client.clone(), self.place.namespace.as_str());
        self.account(name).await;
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }))
        .unwrap();
        let bindings = Api::<RoleBinding>::namespaced(client, namespace);
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        let (client, kubeconfig) = self.kubeconfig(namespace, name, name).await;
        self.until_may(&client, role).await;
        self.of(name, client, kubeconfig)
    }

    /// A service account that may do everything.
    pub async fn administrator(&self, name: &str) -> Person {
        let namespace = self.place.namespace.as_str();
        self.account(name).await;
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": format!("{namespace}-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }))
        .unwrap();
        let bindings = Api::<ClusterRoleBinding>::all(self.place.client.clone());
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        let (client, kubeconfig) = self.kubeconfig(namespace, name, name).await;
        self.until_may(&client, "cluster-admin").await;
        self.of(name, client, kubeconfig)
    }

    fn of(&self, name: &str, client: kube::Client, kubeconfig: PathBuf) -> Person {
        let name = format!("system:serviceaccount:{}:{name}", self.place.namespace);
        Person { name, client, kubeconfig, instance: self.instance().to_owned() }
    }

    async fn account(&self, name: &str) {
        let accounts = Api::<ServiceAccount>::namespaced(self.place.client.clone(), &self.place.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
    }

    /// Roles are put together by a controller, and bindings reach the authorizer a moment later.
    async fn until_may(&self, client: &kube::Client, role: &str) {
        let (resource, verb) = match role {
            "view" => ("gates", "list"),
            "edit" => ("gateruns", "create"),
            _ => ("overrides", "create"),
        };
        let may = async {
            loop {
                let asked = probegate::operator::terminal::may_i(client, verb, resource, &self.place.namespace).await;
                if asked.is_ok_and(|may| may) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, may).await.unwrap_or_else(|_| panic!("{role} never may {verb} {resource}"));
    }

    /// A client and a kubeconfig with a token of a service account.
    async fn kubeconfig(&self, namespace: &str, account: &str, name: &str) -> (kube::Client, PathBuf) {
        let accounts = Api::<ServiceAccount>::namespaced(self.place.client.clone(), namespace);
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let token = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        let token = token.status.unwrap().token.unwrap();
        let text = std::fs::read_to_string(&self.place.kubeconfig).unwrap();
        let mut config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        config["contexts"][0]["context"]["namespace"] = json!(self.place.namespace);
        let path = self.directory.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        let options = probegate::cluster::ConnectOptions { kubeconfig: Some(path.clone()), context: None };
        (probegate::cluster::Connection::open(options).await.unwrap().client(), path)
    }

    /// Makes a resource of this story's operator.
    pub async fn make<R>(&self, name: &str, spec: serde_json::Value) -> R
    where
        R: probegate::api::Resource
            + kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + std::fmt::Debug,
    {
        let body = json!({
            "apiVersion": "probegate.io/v1alpha1", "kind": <R as probegate::api::Resource>::KIND,
            "metadata": {"name": name, "labels": {"probegate.io/instance": self.instance()}}, "spec": spec,
        });
        let all = Api::<R>::namespaced(self.place.client.clone(), &self.place.namespace);
        all.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap()
    }
}

impl Person {
    /// Runs the program as this person, in their namespace.
    pub async fn runs(&self, arguments: &[&str]) -> Ran {
        let mut command = crate::cli::command(arguments);
        command.args(["--kubernetes", "--instance", &self.instance, "--operator-namespace", OPERATOR]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
    }

    /// The same as a plugin of kubectl: the cluster is that of KUBECONFIG.
    pub async fn runs_plugin(&self, arguments: &[&str]) -> Ran {
        let directory = tempfile::tempdir().unwrap();
        let plugin = directory.path().join("kubectl-probegate");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_probegate"), &plugin).unwrap();
        let mut command = Command::new(&plugin);
        command.env_clear().env("KUBECONFIG", &self.kubeconfig).env("PROBEGATE_INSTANCE", &self.instance);
        command.env("PROBEGATE_OPERATOR_NAMESPACE", OPERATOR).args(arguments);
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap();
        drop(directory);
        ran
    }
}
