//! Import directions: who may know whom.

use std::collections::BTreeSet;

use super::none;
use super::source::{Source, sources};
use super::tables::{ALSO_IN, IMPORTS, IMPURE, IMPURE_IN, ONLY_IN, PURE};

/// The top-level modules that a line of code names after `crate::` (or, in main, `probegate::`).
fn named<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(prefix) {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + prefix.len()..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            names.push(&rest[..end]);
        }
    }
    names
}

/// Lines that import from the root in a way that hides the module: `crate::{…}`, `crate::*`, or
/// enough `super::` to reach the root.
fn hides(source: &Source, code: &str) -> bool {
    let supers = "super::".repeat(source.depth());
    let item = code.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    code.contains("crate::{")
        || code.contains("crate::*")
        || (!code.starts_with(' ') && item.starts_with(&format!("use {supers}")))
}

#[test]
fn modules_import_in_the_allowed_directions_only() {
    let mut findings = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            findings.push(format!("{}: `{module}` is not in the table of tests/it/house/tables.rs", source.path));
            continue;
        };
        let prefix = if module == "main" { "probegate::" } else { "crate::" };
        for (number, code) in source.code() {
            if hides(&source, code) {
                findings.push(format!("{}:{number}: name the module after `crate::`: {}", source.path, code.trim()));
            }
            for name in named(code, prefix) {
                if name != module && !allowed.contains(&name) {
                    findings.push(format!(
                        "{}:{number}: `{module}` imports `{name}`; it may import [{}]",
                        source.path,
                        allowed.join(", ")
                    ));
                }
            }
        }
    }
    none(&findings, "Imports against the direction of ARCHITECTURE.md:");
}

#[test]
fn the_directions_have_no_circle() {
    // Kahn's algorithm: take away what stands on nothing that is left, until nothing is left.
    let mut left: Vec<_> = IMPORTS.to_vec();
    while !left.is_empty() {
        let names: BTreeSet<_> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, allowed)| allowed.iter().any(|name| names.contains(name)));
        assert!(left.len() < before, "these modules stand on each other: {names:?}");
    }
}

#[test]
fn every_module_of_the_table_exists_and_every_name_in_it_is_known() {
    let modules: BTreeSet<String> = sources().iter().map(|source| source.module().to_owned()).collect();
    let known: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    for (module, allowed) in IMPORTS {
        assert!(modules.contains(*module), "`{module}` is in the table and not in src");
        for name in *allowed {
            assert!(known.contains(name), "`{module}` may import `{name}`, which is not in the table");
        }
    }
}

#[test]
fn decisions_do_no_input_output_and_know_no_runtime() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module())) {
        for (number, code) in source.code() {
            let excepted = |word: &str| IMPURE_IN.iter().any(|(path, what, _)| source.path == *path && word == *what);
            for word in IMPURE.iter().filter(|word| code.contains(**word) && !excepted(word)) {
                findings.push(format!("{}:{number}: `{word}` in a pure module: {}", source.path, code.trim()));
            }
        }
    }
    none(&findings, "Pure modules reach outside:");
}

#[test]
fn what_belongs_to_one_module_stands_in_no_other() {
    let mut findings = Vec::new();
    for source in sources() {
        for (number, code) in source.code() {
            for (home, words, why) in ONLY_IN.iter().filter(|(home, ..)| *home != source.module()) {
                for word in words.iter().filter(|word| code.contains(**word)) {
                    let excepted =
                        ALSO_IN.iter().any(|(path, what, _)| source.path.starts_with(path) && word.starts_with(what));
                    if !excepted {
                        findings.push(format!("{}:{number}: `{word}` outside `{home}`: {why}", source.path));
                    }
                }
            }
        }
    }
    none(&findings, "Said in the wrong module:");
}

#[test]
fn an_import_is_seen_wherever_it_stands_on_a_line() {
    assert_eq!(named("use crate::api::Gate;", "crate::"), ["api"]);
    assert_eq!(named("fn f(a: crate::model::Mode, b: $crate::api::Gate)", "crate::"), ["model", "api"]);
    assert_eq!(named("use othercrate::api;", "crate::"), Vec::<&str>::new());
    let source = Source { path: "src/gate/plan.rs".into(), text: String::new() };
    assert!(hides(&source, "use super::super::api;"));
    assert!(!hides(&source, "use super::event::Event;"));
    assert!(hides(&Source { path: "src/clock.rs".into(), text: String::new() }, "use super::api;"));
}
