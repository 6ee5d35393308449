//! `probegate check` on files.

use rstest::rstest;
use serde_json::json;

use super::{Gates, command, probegate};

#[rstest]
#[case("shop/passes", 0, "pass")]
#[case("shop/blocks", 1, "block")]
#[case("shop/waits", 2, "wait")]
fn the_exit_code_is_the_verdict(#[case] gate: &str, #[case] code: i32, #[case] verdict: &str) {
    let gates = Gates::new();
    let ran = probegate(&["check", "-f", &gates.files(), "--gate", gate, "--revision", "v1", "-o", "json"]);
    assert_eq!((ran.code, &ran.json()["verdict"]), (code, &json!(verdict)), "{}{}", ran.out, ran.err);
}

#[test]
fn the_json_of_a_check_is_the_answer_to_the_letter() {
    let gates = Gates::new();
    let ran = probegate(&["check", "-f", &gates.files(), "--gate", "blocks", "--revision", "v1", "-o", "json"]);
    let answer = ran.json();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), ["checks", "id", "reason", "retryAfterSeconds", "until", "verdict"]);
    assert_eq!(keys(&answer["checks"][0]), ["mode", "name", "outcome", "since", "summary"]);
    let never = answer["checks"].as_array().unwrap().iter().find(|check| check["name"] == "never").unwrap();
    assert_eq!((&never["outcome"], &never["mode"]), (&json!("fail"), &json!("enforce")));
    assert!(never["summary"].as_str().unwrap().contains("never on a release"), "{never}");
    assert_eq!(ran.err, "", "a pipe gets the result alone");
}

#[test]
fn a_freeze_names_itself_its_reason_and_its_end() {
    let gates = Gates::new();
    let ran = probegate(&["check", "-f", &gates.files(), "--gate", "waits", "--revision", "v1"]);
    assert!(ran.out.starts_with("WAIT  "), "{}", ran.out);
    for word in ["stop-the-line", "the database moves", "OPS-1", "until "] {
        assert!(ran.out.contains(word), "{word} is missing: {}", ran.out);
    }
}

#[test]
fn a_rollback_is_free_where_a_release_is_not() {
    let gates = Gates::new();
    let ask = |action| {
        probegate(&["check", "-f", &gates.files(), "--gate", "waits", "--revision", "v0", "--action", action]).code
    };
    assert_eq!((ask("release"), ask("rollback")), (2, 0));
}

#[test]
fn a_soak_is_waited_for_unless_the_user_will_not() {
    let gates = Gates::new();
    let files = gates.files();
    let ask = |wait: &str| {
        let question = ["--gate", "passes", "--revision", "v1", "--point", "post", "--wait", wait];
        probegate(&[&["check", "-f", &files][..], &question].concat()).code
    };
    assert_eq!((ask("0s"), ask("30s")), (2, 0));
}

#[test]
fn ci_systems_read_the_checks_as_tests() {
    let gates = Gates::new();
    let files = gates.files();
    let ask = |format| probegate(&["check", "-f", &files, "--gate", "blocks", "--revision", "v1", "-o", format]);
    let junit = ask("junit");
    assert_eq!(junit.code, 1);
    assert!(junit.out.starts_with("<?xml") && junit.out.contains("<failure"), "{}", junit.out);
    let github = ask("github");
    assert!(github.out.starts_with("::error title=shop/blocks pre 1%3A never::"), "{}", github.out);
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let gates = Gates::new();
    let files = gates.files();
    let question = ["check", "-f", &files, "--gate", "blocks", "--revision", "v1"];
    let plain = probegate(&question);
    assert!(!plain.out.contains('\u{1b}') && !plain.err.contains('\u{1b}'), "{}{}", plain.out, plain.err);
    let coloured = probegate(&[&question[..], &["--color", "always"]].concat());
    assert!(coloured.out.contains("\u{1b}[31mBLOCK"), "{:?}", coloured.out);
}

#[test]
fn broken_files_are_told_with_line_and_column_and_nothing_is_asked() {
    let gates = Gates::new();
    std::fs::write(
        gates.path("bad.yaml"),
        "apiVersion: probegate.io/v1alpha1\nkind: Gate\nmetadata: {name: x}\nspec: {targt: {}}\n",
    )
    .unwrap();
    let ran = probegate(&["check", "-f", &gates.files(), "--gate", "passes", "--revision", "v1"]);
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "");
    for word in ["bad.yaml:4:", "targt", "target", "probegate validate"] {
        assert!(ran.err.contains(word), "{word} is missing: {}", ran.err);
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_address() {
    let asked = ["--server", "http://127.0.0.1:9", "--gate", "a/b", "--revision", "v1"];
    let ran = probegate(&[&["check"][..], &asked].concat());
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("127.0.0.1:9") && ran.err.contains("is the server running"), "{}", ran.err);
}

#[test]
fn automation_is_told_from_persons_by_the_environment_of_ci() {
    let gates = Gates::new();
    let (files, data) = (gates.files(), gates.data());
    let asked = ["check", "-f", &files, "--data", &data, "--gate", "passes", "--revision", "v1"];
    assert!(command(&asked).env("CI", "true").output().unwrap().status.success());
    let runs = probegate(&["run", "list", "--data", &data, "-o", "json"]).json();
    let change = &runs["items"][0]["change"];
    assert_eq!((&change["actor"], &change["invoker"]), (&json!("ada"), &json!("automation")));
}
