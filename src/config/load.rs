//! Loads files and directories into typed resources.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Position};
use super::discover::{Found, PathError, discover};
use super::document::{FileContent, Sourced, read};
use super::tree::MAX_FILE_BYTES;
use crate::api::{AnyResource, Gate, GateRun, Override, Probe, ReleaseWindow};

/// The largest rule file that is read: a rule is a page of text.
pub const MAX_SCRIPT_BYTES: u64 = 256 << 10;

/// What was loaded, and everything that is wrong with it. Resources with errors are not among the
/// resources; everything else is.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The resources, in the order of the files.
    pub resources: Vec<Sourced>,
    /// What is wrong, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read.
    pub files: Vec<Found>,
    /// Rule files below the directories: path relative to the directory that was named, and text.
    pub scripts: BTreeMap<String, String>,
    /// What the rule files are called in messages, by the same paths.
    pub script_files: BTreeMap<String, String>,
    /// How many documents of other API groups were left out.
    pub foreign: usize,
}

impl Loaded {
    /// Whether anything is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Every resource.
    pub fn all(&self) -> impl Iterator<Item = &AnyResource> {
        self.resources.iter().map(|sourced| &sourced.resource)
    }

    /// Every gate.
    pub fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.all().filter_map(AnyResource::as_gate)
    }

    /// Every probe.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.all().filter_map(AnyResource::as_probe)
    }

    /// Every release window and freeze.
    pub fn windows(&self) -> impl Iterator<Item = &ReleaseWindow> {
        self.all().filter_map(AnyResource::as_window)
    }

    /// Every override.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.all().filter_map(AnyResource::as_override)
    }

    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = &GateRun> {
        self.all().filter_map(AnyResource::as_run)
    }

    fn add(&mut self, content: FileContent) {
        self.resources.extend(content.resources);
        self.diagnostics.extend(content.diagnostics);
        self.foreign += content.foreign;
    }

    /// Leaves out every resource that an earlier one already is, and puts the messages in order.
    fn settle(mut self) -> Self {
        let mut seen: HashMap<(&'static str, String, String), String> = HashMap::new();
        let mut kept = Vec::with_capacity(self.resources.len());
        for sourced in std::mem::take(&mut self.resources) {
            let key =
                (sourced.resource.kind(), sourced.resource.namespace().to_owned(), sourced.resource.name().to_owned());
            let place = sourced.place(&["metadata", "name"]);
            if let Some(first) = seen.get(&key) {
                let message = format!("{} stands twice: the first is at {first}", sourced.title());
                let error = Diagnostic::error("duplicate-resource", &sourced.file, place, message);
                self.diagnostics.push(error.with_path("metadata.name").with_resource(sourced.title()));
                continue;
            }
            seen.insert(key, format!("{}:{}:{}", sourced.file, place.line, place.column));
            kept.push(sourced);
        }
        self.resources = kept;
        self.diagnostics.sort();
        self
    }
}

/// Loads files and directories: every document typed and checked by itself.
///
/// # Errors
/// A path is not there. What is wrong inside is in [`Loaded::diagnostics`].
pub fn load(paths: &[PathBuf]) -> Result<Loaded, PathError> {
    load_with(paths, Vec::new())
}

/// Loads files and directories, and texts as if each were a file of that name: standard input, or
/// the body of a request.
///
/// # Errors
/// As [`load`].
pub fn load_with(paths: &[PathBuf], texts: Vec<(String, Vec<u8>)>) -> Result<Loaded, PathError> {
    let discovered = discover(paths)?;
    let mut loaded = Loaded { diagnostics: discovered.diagnostics, ..Loaded::default() };
    for found in discovered.resources {
        let content = match read_limited(&found.path, MAX_FILE_BYTES) {
            Ok(bytes) => read(&found.name, &bytes, found.named),
            Err(why) => unreadable(&found.name, why),
        };
        loaded.add(content);
        loaded.files.push(found);
    }
    for script in discovered.scripts {
        let read = read_limited(&script.path, MAX_SCRIPT_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is no UTF-8".to_owned()));
        match read {
            Ok(text) => {
                let path = relative(&script.path, &script.root);
                loaded.script_files.insert(path.clone(), script.name);
                loaded.scripts.insert(path, text);
            }
            Err(why) => {
                loaded.diagnostics.push(Diagnostic::error("unreadable", &script.name, Position::START, why));
            }
        }
    }
    for (name, text) in texts {
        let content = if text.len() as u64 > MAX_FILE_BYTES {
            unreadable(&name, format!("it is larger than {MAX_FILE_BYTES} bytes"))
        } else {
            read(&name, &text, true)
        };
        loaded.add(content);
        loaded.files.push(Found { path: PathBuf::from(&name), name, root: PathBuf::from("."), named: true });
    }
    Ok(loaded.settle())
}

fn unreadable(name: &str, why: String) -> FileContent {
    let diagnostics = vec![Diagnostic::error("unreadable", name, Position::START, why)];
    FileContent { diagnostics, ..FileContent::default() }
}

/// A path below a directory, with `/` between its parts.
fn relative(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Reads a file, and never more than `limit` of it: the size is not known beforehand of a pipe or
/// of a file that grows.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("the file is larger than {limit} bytes"));
    }
    Ok(bytes)
}
