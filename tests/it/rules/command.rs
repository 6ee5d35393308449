//! `probegate rule`, as it is typed.

use assert_cmd::Command;
use serde_json::Value;

fn probegate(args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("probegate").unwrap().args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn the_examples_of_the_ready_made_rules_pass() {
    let (code, out, err) = probegate(&["rule", "test", "-o", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let results: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert!(results.len() > 70 && results.iter().all(|result| result["passed"] == true), "{out}");
}

#[test]
fn a_failing_example_is_named_with_file_and_line() {
    let rule = "// Never.\nfn decide(facts) { block(\"never\") }\n";
    let examples =
        "- name: holds\n  expect: {outcome: block, reason: never}\n- name: passes\n  expect: {outcome: pass}\n";
    let dir = directory(&[("rules/never.rhai", rule), ("rules/never.examples.yaml", examples)]);
    let path = dir.path().to_string_lossy().into_owned();
    let (code, out, _) = probegate(&["rule", "test", &path]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("rules/never.examples.yaml:3: passes: expected pass, got block: never"), "{out}");
    assert!(out.contains("2 examples, 1 failed"), "{out}");
    for format in ["junit", "github"] {
        let (code, out, _) = probegate(&["rule", "test", &path, "-o", format]);
        assert_eq!(code, 1);
        assert!(out.contains("expected pass, got block: never"), "{out}");
    }
}

#[test]
fn a_rule_that_does_not_compile_is_told_with_file_line_and_column() {
    let dir = directory(&[("rules/broken.rhai", "fn decide(facts) {\n    if facts.gate == { pass() }\n}\n")]);
    let (code, _, err) = probegate(&["rule", "list", "-f", &dir.path().to_string_lossy()]);
    assert_eq!(code, 3);
    assert!(err.contains("rules/broken.rhai:"), "{err}");
}

#[test]
fn a_rule_is_shown_with_its_parameters() {
    let (code, out, _) = probegate(&["rule", "show", "rules/weekend.rhai"]);
    assert_eq!(code, 0);
    assert!(out.contains("timeZone") && out.contains("fn decide(facts)"), "{out}");
    let (code, _, err) = probegate(&["rule", "show", "rules/wekend.rhai"]);
    assert_eq!(code, 3);
    assert!(err.contains("did you mean `rules/weekend.rhai`?"), "{err}");
}

#[test]
fn a_rule_decides_at_any_instant() {
    let eval = |extra: &[&str]| {
        let args = ["rule", "eval", "rules/weekend.rhai", "-o", "json"];
        let args = args.iter().chain(extra).copied().collect::<Vec<_>>();
        loop {
            // A machine that is busy with other tests is no fault of the rule.
            let answer = probegate(&args);
            if !answer.1.contains("it ran longer than 40 ms") {
                return answer;
            }
        }
    };
    let (code, out, err) = eval(&["--at", "2026-11-21T10:00:00Z", "-p", "timeZone=Europe/Berlin"]);
    assert_eq!(code, 2, "{out}{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["decision"], "wait");
    assert_eq!(answer["until"], "2026-11-22T23:00:00Z");
    assert_eq!(eval(&["--at", "2026-11-18T10:00:00Z"]).0, 0);
    let (code, _, err) = eval(&["-p", "timezone=UTC"]);
    assert_eq!(code, 3);
    assert!(err.contains("did you mean `timeZone`?"), "{err}");
}
