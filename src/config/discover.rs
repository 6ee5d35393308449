//! Which files a list of paths means.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Position};

/// The most files of resources in one load: a config directory of a large company has thousands.
pub const MAX_FILES: usize = 10_000;
/// How deep a directory is searched.
pub const MAX_DIRECTORY_DEPTH: usize = 16;
/// The most entries of a directory tree that are looked at, of whatever kind: what keeps a path
/// such as `/` from being searched for hours.
pub const MAX_ENTRIES: usize = 100_000;

/// Names of directories whose scripts are no rules: probes, load tests and the like run them.
pub const NO_RULES_IN: [&str; 3] = ["probes", "load", "scripts"];

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called in messages: as it was named, or below the directory that was named.
    pub name: String,
    /// The directory that was named, or the one that a named file lies in: paths in resources are
    /// searched from here.
    pub root: PathBuf,
    /// Whether the user named this very file.
    pub named: bool,
}

/// What the paths mean.
#[derive(Debug, Default)]
pub(super) struct Discovered {
    /// Files of resources, in a stable order: that of the paths, and by name below each.
    pub(super) resources: Vec<Found>,
    /// Rule files (`*.rhai`) below directories, but not below those of [`NO_RULES_IN`].
    pub(super) scripts: Vec<Found>,
    /// Directories that could not be searched, and limits that were met.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A path that does not exist or cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("while looking at {}", path.display())]
pub struct PathError {
    /// The path.
    pub path: PathBuf,
    /// The system's reason.
    pub source: std::io::Error,
}

/// Finds the files. Directories are searched for `*.yaml`, `*.yml`, `*.json` and `*.rhai`; names
/// that begin with a dot are left out, and with them the `..data` directories that Kubernetes
/// keeps behind a mounted config map: its files are reached through their links, once.
///
/// # Errors
/// A path itself is not there; what goes wrong below a directory is a diagnostic.
pub(super) fn discover(paths: &[PathBuf]) -> Result<Discovered, PathError> {
    let mut search = Search { found: Discovered::default(), visited: HashSet::new(), entries: 0 };
    for path in paths {
        let error = |source| PathError { path: path.clone(), source };
        if std::fs::metadata(path).map_err(error)?.is_dir() {
            std::fs::read_dir(path).map_err(error)?;
            search.directory(path, path, 0);
        } else {
            let root = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.display().to_string();
            search.add(Found { path: path.clone(), name, root: root.to_owned(), named: true });
        }
    }
    Ok(search.found)
}

struct Search {
    found: Discovered,
    /// Directories by their real path: a link back up would be searched for ever.
    visited: HashSet<PathBuf>,
    entries: usize,
}

impl Search {
    fn add(&mut self, file: Found) {
        let limit = self.found.resources.len() >= MAX_FILES;
        if file.path.extension().is_some_and(|extension| extension == "rhai") {
            if self.found.scripts.len() < MAX_FILES && may_be_rule(&file) {
                self.found.scripts.push(file);
            }
        } else if !limit && !self.found.resources.iter().any(|old| old.named && old.path == file.path) {
            self.found.resources.push(file);
        } else if limit {
            self.trouble(&file.path, format!("more than {MAX_FILES} files: this one and the rest are left out"));
        }
    }

    fn trouble(&mut self, path: &Path, message: String) {
        // One is enough: the rest would say the same.
        if self.found.diagnostics.iter().any(|old| old.rule == "directory" && old.message == message) {
            return;
        }
        let file = path.display().to_string();
        self.found.diagnostics.push(Diagnostic::error("directory", &file, Position::START, message));
    }

    fn directory(&mut self, path: &Path, root: &Path, depth: usize) {
        if depth > MAX_DIRECTORY_DEPTH {
            self.trouble(path, format!("directories nested deeper than {MAX_DIRECTORY_DEPTH} are not searched"));
            return;
        }
        let entries = std::fs::canonicalize(path).and_then(|real| {
            if !self.visited.insert(real) {
                return Ok(Vec::new());
            }
            std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.trouble(path, format!("the directory cannot be read: {error}"));
                return;
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.trouble(root, format!("more than {MAX_ENTRIES} entries: the rest is left out"));
                return;
            }
            self.entry(&entry.path(), root, depth);
        }
    }

    fn entry(&mut self, path: &Path, root: &Path, depth: usize) {
        // Follows links: the files of a mounted ConfigMap are links.
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.directory(path, root, depth + 1),
            Ok(metadata) if metadata.is_file() && is_wanted(path) => {
                let name = path.display().to_string();
                self.add(Found { path: path.to_owned(), name, root: root.to_owned(), named: false });
            }
            Err(error) if is_wanted(path) => self.trouble(path, format!("the file cannot be read: {error}")),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether a script is a rule: where it stands says so. A script that the user names is one.
fn may_be_rule(file: &Found) -> bool {
    let is_none = |name: &std::ffi::OsStr| NO_RULES_IN.iter().any(|directory| name == *directory);
    let below = file.path.strip_prefix(&file.root).unwrap_or(&file.path);
    let mut directories = below.parent().into_iter().flat_map(Path::iter);
    // The library of probes may be the directory that was named, by whatever way.
    let root = std::fs::canonicalize(&file.root).ok();
    let in_root = root.as_deref().and_then(Path::file_name).is_some_and(is_none);
    file.named || !(in_root || directories.any(is_none))
}

fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or("");
    // Examples of rules stand beside them and are no resources.
    if name.ends_with(".examples.yaml") || name.ends_with(".examples.yml") {
        return false;
    }
    let extension = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or("");
    ["yaml", "yml", "json", "rhai"].iter().any(|wanted| extension.eq_ignore_ascii_case(wanted))
}
