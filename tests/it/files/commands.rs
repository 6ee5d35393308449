//! `probegate validate` and `probegate crds` as a person or a pipeline runs them.

use assert_cmd::Command;

fn probegate(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("probegate").unwrap();
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn valid_files_exit_with_zero_and_a_summary() {
    let output = probegate(&["validate", "tests/data/valid"]).output().unwrap();
    assert_eq!(text(&output.stdout), "6 resources in 1 file: 0 errors, 0 warnings\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_invalid_file_exits_with_one_and_names_the_place() {
    let output = probegate(&["validate", "tests/data/invalid-unknown-word.yaml"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.starts_with("tests/data/invalid-unknown-word.yaml:8:16: error: spec.post.onUnknown:"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_path_that_is_not_there_exits_with_three() {
    let output = probegate(&["validate", "tests/data/nowhere"]).output().unwrap();
    assert!(text(&output.stderr).contains("while looking at tests/data/nowhere"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn standard_input_is_read_and_json_is_for_programs() {
    let mut command = probegate(&["validate", "-", "-o", "json"]);
    let output = command.write_stdin("kind: Probe\nmetadata: {name: a}\nspec: {tpc: {}}\n").output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["valid"], false);
    let first = &found["diagnostics"][0];
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"<stdin>".into(), &3.into(), &8.into()));
    assert_eq!((&first["rule"], &first["suggestion"]), (&"unknown-field".into(), &"tcp".into()));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn warnings_are_errors_only_where_they_are_asked_to_be() {
    let gate = "kind: Gate\nmetadata: {name: a}\nspec: {target: {names: [a]}, post: {checks: []}}\n";
    let code = |args: &[&str]| probegate(args).write_stdin(gate).output().unwrap().status.code();
    assert_eq!(code(&["validate", "-"]), Some(0));
    assert_eq!(code(&["validate", "-", "--strict"]), Some(1));
}

#[test]
fn a_name_may_lead_out_of_the_files_where_that_is_allowed() {
    let file = "tests/data/invalid-override-dangling.yaml";
    assert_eq!(probegate(&["validate", file]).output().unwrap().status.code(), Some(1));
    assert_eq!(probegate(&["validate", file, "--allow-dangling"]).output().unwrap().status.code(), Some(0));
}

#[test]
fn manifests_of_others_are_left_out() {
    let mixed = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\n";
    let output = probegate(&["validate", "-"]).write_stdin(mixed).output().unwrap();
    assert_eq!(
        text(&output.stdout),
        "0 resources in 1 file: 0 errors, 0 warnings (2 documents of other API groups left out)\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn junit_and_github_point_at_the_line() {
    let run = |format: &str| {
        let output = probegate(&["validate", "tests/data/invalid-octal.yaml", "-o", format]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stdout)
    };
    assert!(run("junit").contains("<failure"), "{}", run("junit"));
    assert!(run("github").starts_with("::error file=tests/data/invalid-octal.yaml,line=9,col=43"), "{}", run("github"));
}

#[test]
fn definitions_and_schemas_are_printed_by_kind() {
    let output = probegate(&["crds", "--kind", "gates"]).output().unwrap();
    assert!(text(&output.stdout).contains("name: gates.probegate.io"));
    let output = probegate(&["crds", "--kind", "Gate", "--schemas"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["kind"]["const"], "Gate");
    let output = probegate(&["crds", "--kind", "Gat"]).output().unwrap();
    assert!(text(&output.stderr).contains("did you mean Gate?"));
    assert_eq!(output.status.code(), Some(3));
}
