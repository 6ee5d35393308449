//! Runs and overrides in a data directory.

use serde_json::json;

use super::{Gates, probegate};

fn ask(gates: &Gates, gate: &str, change: &str) -> super::Ran {
    let (files, data) = (gates.files(), gates.data());
    let question = ["--gate", gate, "--change", change, "--revision", "v1", "-o", "json"];
    probegate(&[&["check", "-f", &files, "--data", &data][..], &question].concat())
}

#[test]
fn what_was_decided_can_be_read_again_with_its_evidence() {
    let gates = Gates::new();
    let data = gates.data();
    let blocked = ask(&gates, "blocks", "c-1").json();
    assert_eq!(ask(&gates, "passes", "c-2").code, 0);

    let all = probegate(&["run", "list", "--data", &data, "-o", "json"]).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "{all}");
    let some = probegate(&["run", "list", "--data", &data, "--verdict", "block", "-o", "json"]).json();
    assert_eq!(some["items"][0]["id"], blocked["id"]);

    let id = blocked["id"].as_str().unwrap();
    let run = probegate(&["run", "show", id, "--data", &data, "-o", "json"]).json();
    assert_eq!((&run["kind"], &run["status"]["verdict"]), (&json!("GateRun"), &json!("block")));
    assert_eq!(run["spec"]["change"]["actor"], "ada");
    let page = probegate(&["run", "show", id, "--data", &data]).out;
    assert!(page.starts_with("BLOCK  ") && page.contains("What never saw"), "{page}");

    let watched = probegate(&["run", "watch", id, "--data", &data]);
    assert_eq!(watched.code, 1, "a followed run ends with its verdict");
    let cancelled = probegate(&["run", "cancel", id, "--reason", "late", "--data", &data]);
    assert_eq!(cancelled.code, 3);
    assert!(cancelled.err.contains("decided already"), "{}", cancelled.err);
}

#[test]
fn the_same_question_gets_the_same_run_from_one_start_to_the_next() {
    let gates = Gates::new();
    assert_eq!(ask(&gates, "passes", "c-1").json()["id"], ask(&gates, "passes", "c-1").json()["id"]);
    let runs = probegate(&["run", "list", "--data", &gates.data(), "-o", "json"]).json();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn an_override_lets_one_change_pass_and_is_on_record() {
    let gates = Gates::new();
    let (files, data) = (gates.files(), gates.data());
    let create = ["override", "create", "--gate", "shop/blocks", "--change", "c-9", "--check", "never"];
    let why = ["--reason", "a drill", "--ticket", "OPS-2", "--expires", "1h", "--data", &data, "-f", &files];
    let made = probegate(&[&create[..], &why, &["-o", "json"]].concat());
    assert_eq!(made.code, 0, "{}", made.err);
    let made = made.json();
    assert_eq!((&made["spec"]["actor"], &made["spec"]["ticket"]), (&json!("ada"), &json!("OPS-2")));

    assert_eq!(ask(&gates, "blocks", "c-9").code, 0, "the override lets it pass");
    assert_eq!(ask(&gates, "blocks", "c-10").code, 1, "another change is none of its business");

    let name = format!("shop/{}", made["metadata"]["name"].as_str().unwrap());
    let revoked = probegate(&["override", "revoke", &name, "--reason", "over", "--data", &data, "-o", "json"]).json();
    assert_eq!(revoked["status"]["revoked"]["actor"], "ada");
    assert_eq!(probegate(&["override", "list", "--data", &data, "-o", "json"]).json(), json!({"items": []}));
    let all = probegate(&["override", "list", "--all", "--data", &data]);
    assert!(all.out.contains("revoked") && all.out.contains("a drill (OPS-2)"), "{}", all.out);
}

#[test]
fn an_override_for_nothing_is_refused() {
    let gates = Gates::new();
    let create = ["override", "create", "--gate", "shop/nothing", "--change", "c", "--reason", "r"];
    let ran = probegate(&[&create[..], &["-f", &gates.files()]].concat());
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("shop/nothing"), "{}", ran.err);
}
