//! Reads the sources of this package, with what is no code taken out.

use std::fs;
use std::path::{Path, PathBuf};

/// The package's directory.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One source file.
pub struct Source {
    /// Its path from the package's directory, with slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// The top-level module that it belongs to: `gate` for `src/gate/plan.rs` and `src/gate.rs`.
    pub fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
    }

    /// How many `super::` lead from its top level to the root of the crate.
    pub fn depth(&self) -> usize {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inner.split('/').count()
    }

    /// Every line with its number from 1.
    pub fn all_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines outside the test module that ends the file.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.all_lines().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    /// The code outside tests: lines without comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter_map(|(number, line)| {
            let code = without_comment(line);
            (!code.trim().is_empty()).then_some((number, code))
        })
    }
}

/// The line up to `//`, unless that stands in a string, as in a URL.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        let quotes = line[..at].matches('"').count() - line[..at].matches("\\\"").count();
        if quotes.is_multiple_of(2) {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// Every Rust file of `src` that is not a test, by path.
pub fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let mut sources: Vec<Source> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| relative(&path))
        // Modules of tests in files of their own.
        .filter(|path| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .map(|path| Source::read(&path))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    sources
}

/// A path from the package's directory, with slashes.
pub fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("a path below the package").to_string_lossy().replace('\\', "/")
}

/// Every file below `directory`.
pub fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("an entry of a directory").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
