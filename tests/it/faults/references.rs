//! What gates and probes refer to, and what their conditions say of it: Secrets with and without a
//! grant, workloads that are not there.

use std::sync::{Arc, Mutex};

use hyper::{HeaderMap, StatusCode};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use probegate::api::{Condition, ConditionStatus, Gate, Probe};
use probegate::model::ProbeState;
use serde_json::{Value, json};

use super::account::Operator;
use super::program::Program;
use super::until;
use crate::cluster::{Place, control_plane};

/// A door that opens to one word, and remembers which ones it was told.
struct Door {
    address: String,
    wanted: Arc<Mutex<String>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Door {
    async fn open(wanted: &str) -> Self {
        let (wanted, told) = (Arc::new(Mutex::new(wanted.to_owned())), Arc::new(Mutex::new(Vec::new())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (expected, heard) = (Arc::clone(&wanted), Arc::clone(&told));
        let answer = move |headers: HeaderMap| {
            let word = headers.get("authorization").map(|word| word.to_str().unwrap().to_owned()).unwrap_or_default();
            let good = word == format!("Bearer {}", expected.lock().unwrap());
            heard.lock().unwrap().push(word);
            std::future::ready(if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED })
        };
        let routes = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, wanted, told }
    }

    fn was_told(&self, word: &str) -> bool {
        self.told.lock().unwrap().iter().any(|told| told.contains(word))
    }
}

async fn create<K>(place: &Place, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(place.client.clone(), &place.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn ready(conditions: &[Condition]) -> Option<(bool, &str, &str)> {
    let ready = conditions.iter().find(|condition| condition.kind == "Ready")?;
    Some((ready.status == ConditionStatus::True, ready.reason.as_str(), ready.message.as_str()))
}

async fn probe(place: &Place) -> Probe {
    Api::<Probe>::namespaced(place.client.clone(), &place.namespace).get("door").await.unwrap()
}

async fn gate(place: &Place, name: &str) -> Gate {
    Api::<Gate>::namespaced(place.client.clone(), &place.namespace).get(name).await.unwrap()
}

/// Waits until probe and gate say `Ready` for this reason.
async fn until_both_say(place: &Place, program: &Program, reason: &str) {
    let (mut probe_is, mut gate_is) = (json!(null), json!(null));
    let said = |status: &Value| {
        let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
        ready(&conditions).is_some_and(|(_, why, _)| why == reason)
    };
    let begun = tokio::time::Instant::now();
    while !said(&probe_is) || !said(&gate_is) {
        assert!(begun.elapsed() < super::PATIENCE, "never {reason}: {probe_is:#} {gate_is:#}\n{}", program.said());
        tokio::time::sleep(super::TICK).await;
        probe_is = serde_json::to_value(probe(place).await.status).unwrap();
        gate_is = serde_json::to_value(gate(place, "hook").await.status).unwrap();
        // The gate says `Ready` where the probe says `Probing`.
        if reason == "Probing" && said_ready(&gate_is) {
            gate_is["conditions"][0]["reason"] = json!("Probing");
        }
    }
}

fn said_ready(status: &Value) -> bool {
    status["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["reason"] == "Ready"))
}

#[test]
fn a_secret_is_read_where_its_namespace_has_granted_it_and_a_condition_names_the_grant_that_is_missing() {
    control_plane().run(|place| async move {
        let operator = Operator::create(&place).await;
        let door = Door::open("the-first-word").await;
        create::<Secret>(&place, json!({"metadata": {"name": "door"}, "stringData": {"word": "the-first-word"}})).await;
        let url = format!("http://{}/", door.address);
        let header = json!({"name": "Authorization", "prefix": "Bearer ", "secretFile": "door/word"});
        let spec = json!({"http": {"url": url, "headers": [header]}, "interval": "1s"});
        create::<Probe>(&place, json!({"metadata": {"name": "door"}, "spec": spec})).await;
        let check = json!({"name": "e2e", "webhook": {"url": url, "headers": [header]}});
        let spec = json!({"target": {"names": ["shop"]}, "pre": {"checks": [check]}});
        create::<Gate>(&place, json!({"metadata": {"name": "hook"}, "spec": spec})).await;
        let program = Program::start(operator.kubeconfig.path(), &[&place.namespace], "a");
        program.until_ready().await;

        until_both_say(&place, &program, "SecretNotGranted").await;
        let (namespace, role) = (&place.namespace, "probegate-secret-door");
        let how = format!(
            "Secret {namespace}/door is not granted: kubectl -n {namespace} create role {role} --verb=get \
             --resource=secrets --resource-name=door && kubectl -n {namespace} create rolebinding {role} --role={role} \
             --serviceaccount={namespace}:operator"
        );
        let status = probe(&place).await.status.unwrap();
        assert_eq!(ready(&status.conditions), Some((false, "SecretNotGranted", how.as_str())));
        assert_eq!(status.state, ProbeState::Unknown, "that is no target's trouble");
        let conditions = gate(&place, "hook").await.status.unwrap().conditions;
        let of_gate = format!("pre check e2e: {how}");
        assert_eq!(ready(&conditions), Some((false, "SecretNotGranted", of_gate.as_str())));
        assert!(!door.was_told("word"));

        let get = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["door"], "verbs": ["get"]});
        create::<Role>(&place, json!({"metadata": {"name": role}, "rules": [get]})).await;
        let account = json!({"kind": "ServiceAccount", "name": "operator", "namespace": namespace});
        let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role});
        let binding = json!({"metadata": {"name": role}, "roleRef": reference, "subjects": [account]});
        create::<RoleBinding>(&place, binding).await;
        until_both_say(&place, &program, "Probing").await;
        until("up", async || probe(&place).await.status.unwrap().state == ProbeState::Up).await;

        // A Secret that is changed counts within a bounded time.
        let secrets: Api<Secret> = Api::namespaced(place.client.clone(), namespace);
        let patch = json!({"stringData": {"word": "the-second-word"}});
        "the-second-word".clone_into(&mut door.wanted.lock().unwrap());
        secrets.patch("door", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        until("the second word is told", async || door.was_told("the-second-word")).await;

        // So does a grant that is taken back.
        let bindings: Api<RoleBinding> = Api::namespaced(place.client.clone(), namespace);
        bindings.delete(role, &DeleteParams::default()).await.unwrap();
        until_both_say(&place, &program, "SecretNotGranted").await;

        let written = format!("{:?}{:?}", probe(&place).await, gate(&place, "hook").await);
        for told in [written, program.everything()] {
            assert!(!told.contains("the-first-word") && !told.contains("the-second-word"), "a secret is told");
        }
        operator.tidy().await;
    });
}

#[test]
fn a_gate_names_the_workload_that_is_not_there_and_is_ready_once_it_is() {
    control_plane().run(|place| async move {
        let target = json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}});
        let spec = json!({"target": target, "pre": {"checks": [{"name": "window", "window": {}}]}});
        create::<Gate>(&place, json!({"metadata": {"name": "shop"}, "spec": spec})).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        let says = async |reason: &str, message: &str| {
            let status = gate(&place, "shop").await.status.unwrap_or_default();
            ready(&status.conditions).is_some_and(|(_, why, text)| why == reason && text == message)
        };
        let missing = format!("target: there is no Deployment {}/shop (apps/v1)", place.namespace);
        until("named", async || says("UnresolvedReference", &missing).await).await;
        let pod = json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "shop"}]}});
        let spec = json!({"selector": {"matchLabels": {"app": "shop"}}, "template": pod});
        create::<Deployment>(&place, json!({"metadata": {"name": "shop"}, "spec": spec})).await;
        until("ready", async || says("Ready", "").await).await;
        let deployments: Api<Deployment> = Api::namespaced(place.client.clone(), &place.namespace);
        deployments.delete("shop", &DeleteParams::background()).await.unwrap();
        until("named again", async || says("UnresolvedReference", &missing).await).await;
    });
}
