//! The house: what ENGINEERING and ARCHITECTURE.md promise of the sources, held by reading them.

mod documents;
mod imports;
mod source;
mod tables;

use source::{Source, sources};
use tables::{LENGTHS, MAX_LINES, MAX_MAIN_LINES};

/// Fails with every finding at once: one run of the test is enough to mend them all.
fn none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "\n{rule}\n  {}\n", findings.join("\n  "));
}

#[test]
fn main_is_short() {
    let main = Source::read("src/main.rs");
    let lines = main.text.lines().count();
    assert!(lines <= MAX_MAIN_LINES, "src/main.rs has {lines} lines; {MAX_MAIN_LINES} are enough");
}

#[test]
fn a_file_holds_one_kind_of_thing_and_is_not_long() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.lines().count();
        let limit = LENGTHS.iter().find(|(path, ..)| *path == source.path).map_or(MAX_LINES, |(_, limit, _)| *limit);
        if lines > limit {
            findings.push(format!("{}: {lines} lines without its tests, {limit} are allowed", source.path));
        }
    }
    none(&findings, "Files are too long; split them, or give a reason in tests/it/house/tables.rs:");
}

#[test]
fn an_exception_to_the_length_of_a_file_is_needed() {
    let mut findings = Vec::new();
    for (path, limit, reason) in LENGTHS {
        assert!(!reason.is_empty(), "{path} is allowed to be long without a reason");
        match sources().iter().find(|source| source.path == *path) {
            None => findings.push(format!("{path} does not exist")),
            Some(source) if source.lines().count() <= MAX_LINES => {
                findings.push(format!("{path} is not longer than {MAX_LINES} lines: its exception of {limit} can go"));
            }
            Some(_) => {}
        }
    }
    none(&findings, "Exceptions in tests/it/house/tables.rs that are not needed:");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("not built", " yet")];
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.all_lines() {
            if marks.iter().any(|mark| line.contains(mark)) {
                findings.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(&findings, "Left undone:");
}
