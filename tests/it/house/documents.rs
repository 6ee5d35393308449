//! Documents: what they point at exists, and the commands that they give are there.

use std::fs;
use std::path::Path;

use super::none;
use super::source::{relative, root, walk};

/// Every document that people read, with its text.
fn documents() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["docs", "rules", "probes", "deploy", "dashboards"] {
        if root().join(folder).is_dir() {
            walk(&root().join(folder), &mut files);
        }
    }
    for entry in fs::read_dir(root()).expect("the package's directory") {
        files.push(entry.expect("an entry").path());
    }
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (relative(&path), fs::read_to_string(&path).expect("a document")))
        .collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut findings = Vec::new();
    for (path, text) in documents() {
        let folder = root().join(Path::new(&path).parent().expect("a folder"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or("");
            let outside = link.contains("://") || link.starts_with("mailto:") || file.is_empty();
            if !outside && !folder.join(file).exists() {
                findings.push(format!("{path}: {link}"));
            }
        }
    }
    none(&findings, "Links that lead nowhere:");
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let mut findings = Vec::new();
    for (path, text) in documents() {
        for target in text.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next()) {
            if !makefile.contains(&format!("\n{target}:")) {
                findings.push(format!("{path}: make {target}"));
            }
        }
    }
    none(&findings, "Targets that the Makefile does not have:");
}

#[test]
fn every_make_target_tells_what_it_does() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let targets = makefile.lines().filter(|line| {
        line.split_once(':').is_some_and(|(name, rest)| {
            !rest.starts_with('=') && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        })
    });
    for target in targets {
        assert!(target.contains("## "), "{target}");
    }
}

#[test]
fn every_file_that_the_map_names_exists() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut findings = Vec::new();
    for name in map.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "tests/", "deploy/", "rules/", "probes/", "docs/", "dashboards/", ".ci/"]
            .iter()
            .any(|folder| name.starts_with(folder));
        if is_path && !name.contains('*') && !root().join(name).exists() {
            findings.push(name.to_owned());
        }
    }
    none(&findings, "ARCHITECTURE.md names what is not there:");
}

#[test]
fn every_problem_that_the_server_tells_is_explained() {
    let page = fs::read_to_string(root().join("docs/http.md")).expect("docs/http.md");
    for kind in probegate::server::ProblemKind::ALL {
        let (slug, _, status) = kind.parts();
        let row = format!("| `{slug}` | {} |", status.as_u16());
        assert!(page.contains(&row), "{row} is missing in docs/http.md");
    }
}
