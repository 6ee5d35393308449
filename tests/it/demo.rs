//! The demo, as a newcomer runs it.

use super::cli::{command, probegate};

#[test]
fn the_demo_tells_its_story_and_every_answer_is_what_it_should_be() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("demo").display().to_string();
    let ran = probegate(&["demo", "--dir", &directory]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let at = |text: &str| ran.out.find(text).unwrap_or_else(|| panic!("`{text}` is missing: {}", ran.out));
    assert!(at("A good release") < at("v42 runs everywhere"));
    assert!(at("v42 runs everywhere") < at("A bad release"));
    assert!(at("A bad release") < at("everything runs v42 again"));
    assert!(at("everything runs v42 again") < at("A release of payments"));
    assert!(at("payments-audit") < at("Report"));
    at("opens at");
    assert!(at("Report") < at("What the probes saw meanwhile"));
    at("every answer was what it should be");
    assert!(!ran.err.contains("ERROR") && !ran.err.contains("panicked"), "{}", ran.err);
    for file in ["gate.yaml", "probes.yaml", "windows.yaml", "rules/small-start.rhai"] {
        assert!(home.path().join("demo/gates").join(file).is_file(), "{file} is not there to be opened");
    }
    let valid = probegate(&["validate", &format!("{directory}/gates")]);
    assert_eq!(valid.code, 0, "{}", valid.out);
}

#[test]
fn the_report_of_the_demo_has_the_evidence_of_the_block() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("demo").display().to_string();
    let output = command(&["demo", "--dir", &directory, "-o", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    let steps = report["steps"].as_array().unwrap();
    let verdicts: Vec<_> = steps.iter().map(|step| step["verdict"].as_str().unwrap()).collect();
    // Three batches before and after; blocked after the first and rolled back; held by the freeze.
    let good = ["pass"; 6];
    assert_eq!(verdicts, [&good[..], &["pass", "block", "pass"], &["wait"]].concat(), "{report}");
    let blocked = &steps[7];
    let orders = blocked["evidence"].as_array().unwrap().iter().find(|seen| seen["check"] == "orders").unwrap();
    assert_eq!(orders["outcome"], "fail");
    let saw = orders["saw"].to_string();
    assert!(saw.contains("failed") && saw.contains('6'), "{saw}");
    let until = steps[9]["until"].as_str().unwrap();
    assert!(until.parse::<jiff::Timestamp>().unwrap() > jiff::Timestamp::UNIX_EPOCH, "{until}");
    let probes = report["probes"].as_array().unwrap();
    let seen: Vec<_> = probes.iter().map(|probe| (probe["name"].as_str().unwrap(), &probe["targets"])).collect();
    assert_eq!(seen, [("baseline", &1.into()), ("canary", &1.into()), ("shop", &2.into())], "{report}");
    assert!(probes.iter().all(|probe| probe["rounds"].as_u64().unwrap() > 0), "{report}");
    assert!(report["tookMs"].as_u64().unwrap() < 60_000, "{report}");
}
