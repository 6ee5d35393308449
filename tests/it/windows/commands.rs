//! `probegate window`, as it is typed.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

const WINDOWS: &str = r#"apiVersion: probegate.io/v1alpha1
kind: ReleaseWindow
metadata: {name: hours}
spec:
  type: allow
  timeZone: Europe/Berlin
  schedule:
    weekly: [{days: [mon, tue, wed, thu], from: "09:00", to: "17:00"}]
---
apiVersion: probegate.io/v1alpha1
kind: ReleaseWindow
metadata: {name: year-end}
spec:
  type: freeze
  timeZone: Europe/Berlin
  schedule:
    calendars: [{file: holidays.ics}]
  selector: {clusters: [eu-*], matchLabels: {tier: web}}
  reason: year-end quiet
  ticket: OPS-1
"#;

const HOLIDAYS: &str = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20270102\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("windows.yaml"), WINDOWS).unwrap();
    std::fs::write(directory.path().join("holidays.ics"), HOLIDAYS).unwrap();
    directory
}

fn window(directory: &Path, verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("probegate").unwrap();
    command.args(["window", verb, "-f"]).arg(directory).args(arguments);
    command
}

fn output(mut command: Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stdout.clone()).unwrap()
}

#[test]
fn explain_answers_in_the_promised_form() {
    let directory = directory();
    let ask = |at: &str, code| {
        let arguments = ["--at", at, "--cluster", "eu-1", "--label", "tier=web", "-o", "json"];
        let text = output(window(directory.path(), "explain", &arguments), code);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(
        ask("2026-12-28T10:00:00Z", 2),
        json!({"allowed": false, "rule": "year-end", "type": "freeze", "reason": "freeze year-end (year-end quiet, OPS-1)",
            "since": "2026-12-23T23:00:00Z", "until": "2027-01-01T23:00:00Z", "nextOpening": "2027-01-04T08:00:00Z"})
    );
    assert_eq!(
        ask("2026-11-26T11:00:00+01:00", 0),
        json!({"allowed": true, "rule": "hours", "type": "allow", "reason": "inside allow window hours",
            "since": "2026-11-26T08:00:00Z", "until": "2026-11-26T16:00:00Z", "nextOpening": "2026-11-30T08:00:00Z"})
    );
}

#[test]
fn explain_answers_instants_line_by_line_and_names_bad_lines() {
    let directory = directory();
    let mut command = window(directory.path(), "explain", &["--at", "-", "-o", "json"]);
    command.write_stdin("2026-11-26T10:00:00Z\nsoon\n2026-11-26T20:00:00Z");
    let text = output(command, 3);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["allowed"], &lines[2]["allowed"]), (&json!(true), &json!(false)));
    assert!(lines[1]["error"].as_str().unwrap().starts_with("line 2: `soon`"), "{text}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_calendar_that_cannot_be_read_allows_nothing() {
    let directory = directory();
    std::fs::write(directory.path().join("holidays.ics"), "<html>").unwrap();
    let arguments = ["--at", "2026-11-26T10:00:00Z", "--cluster", "eu-1", "-l", "tier=web", "-o", "json"];
    let answer: Value = serde_json::from_str(&output(window(directory.path(), "explain", &arguments), 1)).unwrap();
    assert_eq!((&answer["allowed"], &answer["rule"]), (&json!(false), &json!("year-end")));
}

#[test]
fn a_wrong_window_is_an_error_with_its_place() {
    let directory = directory();
    std::fs::write(directory.path().join("windows.yaml"), WINDOWS.replace("Europe/Berlin", "Europe/Berln")).unwrap();
    let assert = window(directory.path(), "explain", &[]).assert().code(3);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("windows.yaml:6:13: ") && text.contains("did you mean Europe/Berlin?"), "{text}");
}

#[test]
fn wrong_arguments_say_what_is_right() {
    let directory = directory();
    for (arguments, expected) in [
        (vec!["--at", "noon"], "2026-12-24T11:00:00Z"),
        (vec!["--label", "tier"], "tier=web"),
        (vec!["--action", "explode"], "release, rollback, scale, config"),
    ] {
        let assert = window(directory.path(), "explain", &arguments).assert().code(3);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn the_other_verbs_show_what_a_person_looks_for() {
    let directory = directory();
    let subject = ["--cluster", "eu-1", "--label", "tier=web"];
    let run = |verb: &str, more: &[&str]| output(window(directory.path(), verb, more), 0);
    insta::assert_snapshot!("list", run("list", &["--at", "2026-12-28T10:00:00Z"]));
    insta::assert_snapshot!(
        "next",
        run("next", &[&["--at", "2026-12-22T10:00:00Z", "--count", "6"][..], &subject].concat())
    );
    insta::assert_snapshot!("calendar", run("calendar", &[&["--month", "2026-12"][..], &subject].concat()));
}

#[test]
fn the_exported_month_is_a_calendar_that_reads_back() {
    let directory = directory();
    let text = output(window(directory.path(), "calendar", &["--month", "2026-12", "--ics"]), 0);
    assert!(
        text.starts_with("BEGIN:VCALENDAR\r\n") && text.contains("SUMMARY:Freeze: year-end (year-end quiet)"),
        "{text}"
    );
    probegate::windows::check_calendar(text.as_bytes(), None, &probegate::windows::Zones::bundled()).unwrap();
}
