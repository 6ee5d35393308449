//! The modules of `blackbox_exporter` as probes: what is carried over, and what is said about the rest.

use std::fmt::Write as _;

use probegate::config::blackbox::{Imported, import};
use probegate::config::{Judgement, judge, load_with};

fn imported(name: &str) -> Imported {
    let path = format!("tests/data/blackbox/{name}.yml");
    import(&format!("{name}.yml"), &std::fs::read(path).unwrap(), None)
}

fn yaml(imported: &Imported) -> String {
    let mut text = String::new();
    for probe in &imported.probes {
        writeln!(text, "---\n{}", serde_saphyr::to_string(probe).unwrap().trim_end()).unwrap();
    }
    text
}

fn notes(imported: &Imported) -> String {
    imported.notes.iter().map(|note| note.to_string() + "\n").collect()
}

#[test]
fn what_a_probe_can_say_is_carried_over_without_a_word() {
    let imported = imported("modules");
    assert_eq!(notes(&imported), "");
    insta::assert_snapshot!(yaml(&imported));
}

#[test]
fn what_it_cannot_say_is_told_at_its_line_and_secrets_stay_where_they_are() {
    let imported = imported("lossy");
    let (yaml, notes) = (yaml(&imported), notes(&imported));
    insta::assert_snapshot!("lossy_notes", notes);
    insta::assert_snapshot!("lossy_probes", yaml);
    assert!(!yaml.contains("s3cret") && !notes.contains("s3cret"));
    assert_eq!(imported.probes.len(), 9, "a loss is no error");
}

#[test]
fn a_module_with_an_error_becomes_no_probe() {
    let imported = imported("broken");
    let notes = notes(&imported);
    insta::assert_snapshot!("broken_notes", notes);
    assert!(!notes.contains("s3cret"));
    let names: Vec<&str> = imported.probes.iter().filter_map(|probe| probe.metadata.name.as_deref()).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn what_comes_out_is_valid() {
    for name in ["modules", "lossy"] {
        let text = yaml(&imported(name));
        let loaded = load_with(&[], vec![(name.to_owned(), text.into_bytes())]).unwrap();
        let mut found = loaded.diagnostics.clone();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        found.extend(judge(&loaded, Judgement { now, whole: true }));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_no_file_of_modules_is_an_error() {
    for (text, rule) in [
        ("", "documents"),
        ("a: [", "syntax"),
        ("[]", "type"),
        ("{}", "missing-field"),
        ("modules: []", "type"),
        ("modules: {}\n---\nmodules: {}", "documents"),
        ("modules: {a: {prober: tcp, prober: tcp}}", "duplicate-key"),
    ] {
        let imported = import("blackbox.yml", text.as_bytes(), None);
        let rules: Vec<&str> = imported.notes.iter().map(|note| note.rule).collect();
        assert_eq!((imported.probes.len(), rules), (0, vec![rule]), "{text}");
    }
}
