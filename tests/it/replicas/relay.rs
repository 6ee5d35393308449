//! What only the leader knows, asked of another replica.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, PostParams};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::program::{probe, token, until, until_leads};
use super::{PATIENCE, Replica};
use crate::cluster::{Place, control_plane};

/// A token whose holder may read runs, and with them everything, and run probes.
async fn reader(place: &Place) -> String {
    let token = token(place, "reader", &[]).await;
    let role = json!({
        "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": ["probegate.io"], "resources": ["gateruns"], "verbs": ["get"]},
            {"apiGroups": ["probegate.io"], "resources": ["probes"], "verbs": ["run"]},
        ],
    });
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": place.namespace}],
    });
    let new = PostParams::default();
    let roles = Api::<Role>::namespaced(place.client.clone(), &place.namespace);
    roles.create(&new, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings = Api::<RoleBinding>::namespaced(place.client.clone(), &place.namespace);
    bindings.create(&new, &serde_json::from_value(binding).unwrap()).await.unwrap();
    token
}

async fn call(method: Method, url: String, token: &str) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.request(method, url).bearer_auth(token).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

#[test]
fn any_replica_tells_the_past_of_a_probe_runs_it_and_hears_of_its_turns() {
    control_plane().run(|place| async move {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap().to_string();
        let open = tokio::spawn(async move { while door.accept().await.is_ok() {} });
        let spec = json!({"tcp": {"address": address}, "interval": "1s", "down": {"failures": 1}});
        probe(&place, "door", spec).await;
        let _leader = Replica::start(&place, "a");
        until_leads(&place, "a").await;
        let other = Replica::start(&place, "b");
        let token = reader(&place).await;
        let at = |rest: &str| format!("{}/v1/probes/{}/door/{rest}", other.url, place.namespace);
        // The lease tells where the leader is with its next renewal.
        let told = async || call(Method::GET, at("history"), &token).await.1["summary"]["rounds"].as_u64() > Some(0);
        until("the past of the probe", told).await;
        let (status, made) = call(Method::POST, at("run"), &token).await;
        assert_eq!((status, &made["runs"][0]["result"]["success"]), (StatusCode::OK, &json!(true)), "{made}");
        let stranger = super::program::token(&place, "stranger", &[]).await;
        let (status, problem) = call(Method::POST, at("run"), &stranger).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");

        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let events = client.get(format!("{}/v1/events?namespace={}", other.url, place.namespace));
        let mut events = events.bearer_auth(&token).send().await.unwrap();
        open.abort();
        let turned = async {
            let mut text = String::new();
            while let Some(chunk) = events.chunk().await.unwrap() {
                text.push_str(&String::from_utf8_lossy(&chunk));
                let news = text.split("\n\n").find(|event| event.contains("probe.turned") && event.ends_with('}'));
                if let Some(news) = news {
                    return news.to_owned();
                }
            }
            panic!("the events end: {text}");
        };
        let news = tokio::time::timeout(PATIENCE, turned).await.expect("nobody tells of the turn");
        assert!(news.contains(r#""name":"door""#) && news.contains(r#""to":"down""#), "{news}");
    });
}
