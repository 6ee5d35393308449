//! The command line against a cluster, with a user's own rights, where `deploy/` is installed with its
//! admission policies.

mod forging;
mod world;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use probegate::api::{Gate, GateRun, Probe, ReleaseWindow};
use serde_json::json;

use world::{OPERATOR, World, story};

/// A gate that passes, and one that waits for ever.
async fn gates(world: &World) {
    let passes = json!({"target": {"names": ["web"]}, "pre": {"checks": [{"name": "window", "window": {}}]}});
    world.make::<Gate>("passes", passes).await;
    let waits = json!({
        "target": {"names": ["web"]},
        "post": {"soak": "1h", "timeout": "2h", "checks": [{"name": "window", "window": {}}]},
    });
    world.make::<Gate>("waits", waits).await;
    let blocks = json!({
        "target": {"names": ["web"]},
        "pre": {"checks": [{"name": "up", "probes": {"names": ["nobody"]}}], "timeout": "2s"},
    });
    world.make::<Gate>("blocks", blocks).await;
}

#[test]
fn a_person_who_may_edit_asks_and_waits_for_the_leaders_verdict() {
    story(async |world| {
        gates(&world).await;
        let _operator = world.operator().await;
        let alice = world.person("alice", "edit").await;
        let passed = alice.runs(&["check", "--gate", "passes", "--revision", "v1", "-o", "json"]).await;
        assert_eq!(
            (passed.code, passed.json()["verdict"].as_str()),
            (0, Some("pass")),
            "{}\n{}",
            passed.err,
            world.log()
        );
        let id = passed.json()["id"].as_str().unwrap().to_owned();
        let again = alice.runs(&["check", "--gate", "passes", "--revision", "v1", "-o", "json"]).await;
        assert_eq!(again.json()["id"].as_str(), Some(id.as_str()), "one question, one run");
        let blocked = alice.runs(&["check", "--gate", "blocks", "--revision", "v1"]).await;
        assert_eq!(blocked.code, 1, "{}{}", blocked.out, blocked.err);

        let shown = alice.runs(&["run", "show", &id, "-o", "json"]).await.json();
        assert_eq!(shown["spec"]["change"]["actor"].as_str(), Some(alice.name.as_str()));
        let (_, name) = id.split_once('/').unwrap();
        assert_eq!(alice.runs(&["run", "watch", name]).await.code, 0, "a name without its namespace is the context's");
        let listed = alice.runs_plugin(&["run", "list", "-o", "json"]).await;
        assert_eq!(listed.json()["items"].as_array().map(Vec::len), Some(2), "{}", listed.err);
        world.until_told("GateRun", name, "Passed").await;
    });
}

#[test]
fn a_run_is_cancelled_in_the_name_of_who_does_it() {
    story(async |world| {
        gates(&world).await;
        let _operator = world.operator().await;
        let alice = world.person("alice", "edit").await;
        let asked = ["check", "--gate", "waits", "--revision", "v1", "--point", "post", "--wait", "3s", "-o", "json"];
        let waiting = alice.runs(&asked).await;
        assert_eq!(waiting.code, 2, "{}{}", waiting.out, waiting.err);
        let id = waiting.json()["id"].as_str().unwrap().to_owned();
        let ended = alice.runs(&["run", "cancel", &id, "--reason", "the wrong image"]).await;
        assert_eq!(ended.code, 0, "{}{}\n{}", ended.out, ended.err, world.log());
        let (_, name) = id.split_once('/').unwrap();
        let run = Api::<GateRun>::namespaced(world.place.client.clone(), &world.place.namespace).get(name).await;
        assert_eq!(run.unwrap().status.unwrap().cancelled_by.as_deref(), Some(alice.name.as_str()));
        let viewer = world.person("vera", "view").await;
        let refused = viewer.runs(&["check", "--gate", "passes", "--revision", "v1"]).await;
        assert_eq!(refused.code, 3, "{}", refused.out);
        assert!(refused.err.contains("you may not create gateruns"), "{}", refused.err);
    });
}

#[test]
fn an_override_is_made_and_taken_back_in_the_name_of_who_does_it() {
    story(async |world| {
        gates(&world).await;
        let _operator = world.operator().await;
        let ada = world.person("ada", "admin").await;
        let made = ["override", "create", "--gate", "waits", "--change", "web-v1", "--reason", "known slow start"];
        let made = ada.runs(&[&made[..], &["-o", "json"]].concat()).await;
        assert_eq!(made.code, 0, "{}", made.err);
        assert_eq!(made.json()["spec"]["actor"].as_str(), Some(ada.name.as_str()));
        let asked = ["check", "--gate", "waits", "--revision", "v1", "--point", "post", "--wait", "30s"];
        assert_eq!(ada.runs(&asked).await.code, 0, "it stands in for the whole verdict");
        let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
        let back = ada.runs(&["override", "revoke", &name, "--reason", "fixed", "-o", "json"]).await;
        assert_eq!(back.code, 0, "{}\n{}", back.err, world.log());
        assert_eq!(back.json()["status"]["revoked"]["actor"].as_str(), Some(ada.name.as_str()));
        let left = ada.runs(&["override", "list", "-o", "json"]).await.json();
        assert_eq!(left["items"].as_array().map(Vec::len), Some(0));
        let alice = world.person("alice", "edit").await;
        let refused = alice.runs(&["override", "revoke", &name]).await;
        assert_eq!(refused.code, 0, "it is taken back already: {}", refused.err);
        let refused = alice.runs(&["override", "create", "--gate", "waits", "--change", "c", "--reason", "r"]).await;
        assert!(refused.code == 3 && refused.err.contains("probegate-approver"), "{}", refused.err);
    });
}

#[test]
fn without_a_leader_the_answer_says_so() {
    story(async |world| {
        gates(&world).await;
        let alice = world.person("alice", "edit").await;
        let asked = ["check", "--gate", "passes", "--revision", "v1", "--wait", "1s", "-o", "json"];
        let waiting = alice.runs(&asked).await;
        assert_eq!(waiting.code, 2, "{}", waiting.err);
        let reason = waiting.json()["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with("no operator leads: there is no lease gatekeeping/probegate-"), "{reason}");
        drop(world.operator().await);
        let leases = Api::<Lease>::namespaced(world.place.client.clone(), OPERATOR);
        leases.get(&format!("probegate-{}", world.instance())).await.unwrap();
        let _operator = world.operator().await;
        let passed = alice.runs(&["check", "--gate", "passes", "--revision", "v1"]).await;
        assert_eq!(passed.code, 0, "what lay there is taken up: {}{}", passed.out, passed.err);
    });
}

#[test]
fn windows_are_explained_from_a_terminal() {
    story(async |world| {
        let freeze = json!({"type": "freeze", "selector": {"targets": ["web"]}, "reason": "the database moves",
            "owner": "storage", "ticket": "OPS-1", "expires": "2099-01-01T00:00:00Z"});
        world.make::<ReleaseWindow>("stop", freeze).await;
        let alice = world.person("alice", "edit").await;
        let listed = alice.runs(&["window", "list", "-o", "json"]).await;
        assert_eq!((listed.code, listed.json()[0]["state"].as_str()), (0, Some("in force")), "{}", listed.err);
        let explained = alice.runs(&["window", "explain", "--target", "web", "-o", "json"]).await;
        assert_eq!(explained.json()["allowed"], json!(false), "{}", explained.err);
        assert_eq!(alice.runs(&["window", "explain", "--target", "other"]).await.code, 0);
        assert_eq!(alice.runs(&["window", "next", "--target", "web"]).await.code, 0);
        let calendar = alice.runs_plugin(&["window", "calendar", "--month", "2026-12"]).await;
        assert!(calendar.out.contains("December 2026"), "{}{}", calendar.out, calendar.err);
    });
}

#[test]
fn probes_are_listed_shown_and_run_from_a_terminal() {
    story(async |world| {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap().to_string();
        tokio::spawn(async move { while door.accept().await.is_ok() {} });
        world.make::<Probe>("door", json!({"tcp": {"address": address}, "interval": "24h"})).await;
        world.make::<Probe>("wall", json!({"tcp": {"address": "127.0.0.1:9"}, "interval": "24h"})).await;
        let _operator = world.operator().await;
        let alice = world.person("alice", "edit").await;
        let run = alice.runs(&["probe", "run", "door", "-o", "json"]).await;
        assert_eq!(run.code, 0, "{}\n{}", run.err, world.log());
        assert_eq!(run.json()["runs"][0]["result"]["success"], json!(true));
        assert_eq!(alice.runs(&["probe", "run", "wall"]).await.code, 1, "nobody listens there");
        let listed = alice.runs(&["probe", "list", "-o", "json"]).await.json();
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["door", "wall"]);
        assert_eq!(alice.runs(&["probe", "show", "door", "-o", "json"]).await.json()["state"], json!("up"));
        let past = alice.runs(&["probe", "history", "door"]).await;
        assert_eq!(past.code, 3);
        assert!(past.err.contains("kubectl -n gatekeeping port-forward service/probegate"), "{}", past.err);
    });
}
