//! Installed as a user would: the image, `kubectl apply -k deploy/`, its own service account.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams, LogParams, PostParams};
use probegate::api::Override;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::program::{ask_at, gate, token};
use super::{PATIENCE, everything, rights};
use crate::cluster::{Place, Script, audited_node};

/// The image's name, as the node has it.
const IMAGE: &str = "localhost/probegate";
/// Where the operator is installed.
const NAMESPACE: &str = "probegate";

/// Runs a program, and gives what it prints.
fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/setup.sh installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The program and the libraries that it was linked with, as an image.
fn image(directory: &Path) -> PathBuf {
    let archive = directory.join("image.tar");
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/pack");
    let arguments = [env!("CARGO_BIN_EXE_probegate"), &format!("{IMAGE}:test"), &archive.to_string_lossy()];
    run(&pack.to_string_lossy(), &arguments, directory);
    archive
}

/// `deploy/` with the test's image.
fn overlay(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    run("cp", &["-r", &source.to_string_lossy(), "deploy"], directory);
    let overlay = directory.join("overlay");
    std::fs::create_dir_all(&overlay).unwrap();
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../deploy]\n\
         images: [{{name: probegate, newName: {IMAGE}, newTag: test}}]\n"
    );
    std::fs::write(overlay.join("kustomization.yaml"), text).unwrap();
    overlay
}

fn kubectl(script: &Script, arguments: &[&str]) -> String {
    let assets = script.run(&["env"]);
    let assets =
        assets.split_whitespace().find_map(|word| word.strip_prefix("KUBEBUILDER_ASSETS=")).unwrap().to_owned();
    let program = format!("{assets}/kubectl");
    let all: Vec<&str> = ["exec", program.as_str()].into_iter().chain(arguments.iter().copied()).collect();
    script.run(&all)
}

/// What the replicas have said.
async fn logs(place: &Place) -> String {
    let pods = Api::<Pod>::namespaced(place.client.clone(), NAMESPACE);
    let mut all = String::new();
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let name = pod.metadata.name.unwrap();
        all.push_str(&pods.logs(&name, &LogParams::default()).await.unwrap_or_default());
    }
    all
}

#[test]
fn the_installed_gate_works_through_its_service_with_least_rights() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = audited_node("installed");
    let script = cluster.script();
    script.run(&["image", &format!("{IMAGE}:test"), &image(directory.path()).to_string_lossy()]);
    kubectl(script, &["apply", "--server-side", "-k", &overlay(directory.path()).to_string_lossy()]);
    let available = ["wait", "--for=condition=Available", "--timeout=120s", "deployment/probegate"];
    let waiting: Vec<&str> = ["-n", NAMESPACE].into_iter().chain(available).collect();
    kubectl(script, &waiting);
    script.run(&["engine", "kruise-rollouts"]);
    let audit = cluster.kubeconfig().with_file_name("log").join("audit.log");
    cluster.run(|place| async move {
        gate(&place).await;
        let services = Api::<Service>::namespaced(place.client.clone(), NAMESPACE);
        let address = services.get("probegate").await.unwrap().spec.unwrap().cluster_ip.unwrap();
        let token = token(&place, "ci", &["check"]).await;
        // The node learns a moment later than the deployment is available where its Service leads.
        let reachable = async {
            while tokio::net::TcpStream::connect((address.as_str(), 80)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reachable).await.expect("the Service leads nowhere");
        let (status, answer) = ask_at(&format!("http://{address}"), Some(&token), &place, "v42").await;
        assert_eq!((status, &answer["verdict"]), (StatusCode::OK, &json!("pass")), "{answer}\n{}", logs(&place).await);
        refuses_what_only_the_operator_may(&place, answer["id"].as_str().unwrap()).await;
        everything::is_done(&place, &format!("http://{address}")).await;
        rights::are_all_used(&audit).await;
        let said = logs(&place).await;
        let forbidden: Vec<&str> = said.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        assert!(forbidden.is_empty() && !said.contains("not allowed to"), "{forbidden:#?}\n{said}");
    });
}

/// Not even an administrator writes a verdict, or an override in somebody else's name.
async fn refuses_what_only_the_operator_may(place: &Place, run: &str) {
    let runs = Api::<probegate::api::GateRun>::namespaced(place.client.clone(), &place.namespace);
    let patch = json!({"status": {"verdict": "pass", "reason": "because I say so"}});
    let (_, name) = run.split_once('/').unwrap();
    let written = runs.patch_status(name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&patch)).await;
    let message = written.unwrap_err().to_string();
    assert!(message.contains("verdicts and states are written by the operator alone"), "{message}");
    let overrides = Api::<Override>::namespaced(place.client.clone(), &place.namespace);
    let by = |actor: &str, expires: &str| -> Override {
        let spec: Value = json!({
            "gate": "checkout", "change": "c-v42", "effect": "pass", "actor": actor, "reason": "slow start",
            "expires": expires,
        });
        serde_json::from_value(json!({"metadata": {"name": "o-1"}, "spec": spec})).unwrap()
    };
    for (actor, expires, why) in [
        ("alice", "2099-01-01T00:00:00Z", "spec.actor is 'alice': it must be whoever creates the override, 'admin'"),
        ("admin", "2099-01-01T00:00:00Z", "spec.expires is more than 30 days away: an exception ends"),
        ("admin", "2001-01-01T00:00:00Z", "spec.expires is over already"),
    ] {
        let refused = overrides.create(&PostParams::default(), &by(actor, expires)).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
