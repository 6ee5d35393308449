//! The corpus of invalid files: one file per rejected case, and what is said about each.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use probegate::config::{Judgement, judge, load};

/// The files as they are named from the root of the package, where tests run.
fn corpus() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/data")
        .unwrap()
        .map(|entry| PathBuf::from("tests/data").join(entry.unwrap().file_name()))
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("invalid-"))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn said(path: &PathBuf) -> (String, bool) {
    let loaded = load(std::slice::from_ref(path)).unwrap();
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let mut found = loaded.diagnostics.clone();
    found.extend(judge(&loaded, Judgement { now, whole: true }));
    found.sort();
    let mut text = String::new();
    for found in &found {
        writeln!(text, "{}", found.to_string().replace("tests/data/", "")).unwrap();
    }
    (text, found.iter().any(probegate::config::Diagnostic::is_error))
}

#[test]
fn every_invalid_file_is_rejected_with_a_message_that_helps() {
    let corpus = corpus();
    assert!(corpus.len() >= 100, "{} files", corpus.len());
    let mut all = String::new();
    for path in &corpus {
        let (text, rejected) = said(path);
        assert!(rejected, "{} is accepted", path.display());
        all.push_str(&text);
    }
    insta::assert_snapshot!("invalid_corpus", all);
}
