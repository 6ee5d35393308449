//! What must change in the store for it to hold what the files say: pure.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::diagnostic::{Diagnostic, Position};
use super::document::Sourced;
use super::load::Loaded;
use crate::api::{ANNOTATION_SOURCE, AnyResource, GateRun, Override, Resource};
use crate::store::Object;

/// One change of the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// A resource is new.
    Create(Object),
    /// A resource differs; the body carries the version that it was compared with.
    Put(Object),
    /// A resource whose spec never changes differs: it goes, and another one takes its name.
    Replace(Object),
    /// A resource is in no file any more.
    Delete(Object),
}

/// The changes, and what stands against the rest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) troubles: Vec<Diagnostic>,
    /// Files with an error in them, and directories that could not be read.
    pub(super) broken: BTreeSet<String>,
    /// How many resources the files hold, the last good ones of broken files counted.
    pub(super) resources: usize,
}

/// Compares what is stored (everything but runs) with what was loaded.
///
/// A file with an error in it is left as it was last: none of its resources is touched. A resource
/// that did not come from a file is never touched.
pub(super) fn plan(root: &str, loaded: &Loaded, stored: Vec<Object>) -> Plan {
    let mut plan = Plan::default();
    let errors = loaded.diagnostics.iter().filter(|found| found.is_error());
    plan.broken = errors.map(|found| found.file.clone()).collect();
    let mut old: HashMap<(&'static str, String, String), Object> = HashMap::new();
    for object in stored {
        old.insert((object.kind, object.namespace.clone(), object.name.clone()), object);
    }
    if loaded.files.is_empty() && plan.broken.is_empty() && old.values().any(|object| source(object).is_some()) {
        let message = "the directory holds no resources any more: the last good state stays in force \
                       (to delete everything, leave a file with a comment in it)";
        plan.troubles.push(Diagnostic::error("directory", root, Position::START, message));
        plan.broken.insert(root.to_owned());
    }
    for sourced in &loaded.resources {
        if sourced.resource.kind() == GateRun::KIND {
            plan.troubles.push(run_in_a_file(sourced));
        } else if !plan.broken.contains(&sourced.file) {
            plan.wanted(sourced, &mut old);
        }
    }
    let mut gone: Vec<Object> = old.into_values().collect();
    gone.sort_by(|a, b| (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name)));
    for object in gone {
        match source(&object) {
            None => {}
            Some(file) if plan.keeps(file) => plan.resources += 1,
            Some(_) => plan.steps.push(Step::Delete(object)),
        }
    }
    plan
}

impl Plan {
    /// Whether a file, or a directory above it, is broken.
    fn keeps(&self, file: &str) -> bool {
        self.broken.iter().any(|broken| {
            file.strip_prefix(broken.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || broken.ends_with('/'))
        })
    }

    fn wanted(&mut self, sourced: &Sourced, old: &mut HashMap<(&'static str, String, String), Object>) {
        let Some(object) = object_of(&sourced.resource) else { return };
        self.resources += 1;
        let Some(stored) = old.remove(&(object.kind, object.namespace.clone(), object.name.clone())) else {
            self.steps.push(Step::Create(object));
            return;
        };
        if source(&stored).is_none() {
            self.resources -= 1;
            self.troubles.push(taken(sourced));
            return;
        }
        let same = |path: &str| stored.body.pointer(path) == object.body.pointer(path);
        if !same("/spec") && object.kind == Override::KIND {
            self.steps.push(Step::Replace(object));
        } else if !["/spec", "/metadata/labels", "/metadata/annotations"].into_iter().all(same) {
            self.steps.push(Step::Put(with_version(object, &stored)));
        }
    }
}

/// The file that a stored resource came from, without the line.
fn source(object: &Object) -> Option<&str> {
    let source = object.body.pointer("/metadata/annotations")?.get(ANNOTATION_SOURCE)?.as_str()?;
    Some(source.rsplit_once(':').map_or(source, |(file, _)| file))
}

pub(super) fn object_of(resource: &AnyResource) -> Option<Object> {
    Some(Object {
        kind: resource.kind(),
        namespace: resource.namespace().to_owned(),
        name: resource.name().to_owned(),
        body: resource.to_value().ok()?,
    })
}

fn with_version(mut object: Object, stored: &Object) -> Object {
    let version = stored.body.pointer("/metadata/resourceVersion").cloned().unwrap_or(Value::Null);
    if let Some(Value::Object(metadata)) = object.body.pointer_mut("/metadata") {
        metadata.insert("resourceVersion".to_owned(), version);
    }
    object
}

fn run_in_a_file(sourced: &Sourced) -> Diagnostic {
    let at = Position { line: sourced.line, column: 1 };
    let message = "a run is not started from a config directory, where it would start again after its record has \
                   gone: ask with `probegate check` or POST /v1/check";
    Diagnostic::warning("run-in-a-file", &sourced.file, at, message).with_resource(sourced.title())
}

fn taken(sourced: &Sourced) -> Diagnostic {
    let at = Position { line: sourced.line, column: 1 };
    let message = format!("{} exists already and did not come from a file: it is left as it is", sourced.title());
    Diagnostic::error("taken", &sourced.file, at, message).with_resource(sourced.title())
}
