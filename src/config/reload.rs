//! What must change in the store for it to hold what the files say: pure.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::diagnostic::{Diagnostic, Position};
use super::document::Sourced;
use super::load::Loaded;
use crate::api::{ANNOTATION_SOURCE, AnyResource, GateRun, Override, Resource};
use crate::store::Object;

/// What is stored, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The file that it came from, and the line.
    source: Option<String>,
    version: String,
    content: Content,
}

/// Hashes of what a file decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    spec: [u8; 32],
    /// Labels and annotations.
    metadata: [u8; 32],
}

impl Content {
    fn of(body: &Value) -> Self {
        let hash = |paths: &[&str]| {
            let mut hash = Sha256::new();
            for path in paths {
                // A zero stands in no JSON text.
                hash.update(body.pointer(path).map(Value::to_string).unwrap_or_default());
                hash.update([0]);
            }
            hash.finalize().into()
        };
        Self { spec: hash(&["/spec"]), metadata: hash(&["/metadata/labels", "/metadata/annotations"]) }
    }
}

impl Stored {
    pub(super) fn of(object: &Object) -> Self {
        let metadata = object.body.get("metadata");
        let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        Self {
            kind: object.kind,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            source: text(annotations.and_then(|annotations| annotations.get(ANNOTATION_SOURCE))),
            version: text(metadata.and_then(|metadata| metadata.get("resourceVersion"))).unwrap_or_default(),
            content: Content::of(&object.body),
        }
    }

    /// The file that it came from, without the line.
    fn file(&self) -> Option<&str> {
        let source = self.source.as_deref()?;
        Some(source.rsplit_once(':').map_or(source, |(file, _)| file))
    }
}

/// A hash of all that is stored, its versions and statuses left aside.
pub(super) fn digest(stored: &[Stored]) -> [u8; 32] {
    let mut all: Vec<&Stored> = stored.iter().collect();
    all.sort_by_key(|stored| (stored.kind, &stored.namespace, &stored.name));
    let mut hash = Sha256::new();
    for stored in all {
        for text in [stored.kind, &stored.namespace, &stored.name] {
            hash.update(text);
            hash.update([0]);
        }
        hash.update(stored.content.spec);
        hash.update(stored.content.metadata);
    }
    hash.finalize().into()
}

/// One change of the store.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A resource is new.
    Create(&'a AnyResource),
    /// A resource differs; with it the version that it was compared with.
    Put(&'a AnyResource, String),
    /// A resource whose spec never changes differs: it goes, and another one takes its name.
    Replace(&'a AnyResource),
    /// A resource is in no file any more.
    Delete(Stored),
}

/// The changes, and what stands against the rest.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) steps: Vec<Step<'a>>,
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
pub(super) fn plan<'a>(root: &str, loaded: &'a Loaded, stored: Vec<Stored>) -> Plan<'a> {
    let mut plan = Plan::default();
    let errors = loaded.diagnostics.iter().filter(|found| found.is_error());
    plan.broken = errors.map(|found| found.file.clone()).collect();
    let mut old: HashMap<(&'static str, String, String), Stored> = HashMap::new();
    for object in stored {
        old.insert((object.kind, object.namespace.clone(), object.name.clone()), object);
    }
    if loaded.files.is_empty() && plan.broken.is_empty() && old.values().any(|object| object.file().is_some()) {
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
    let mut gone: Vec<Stored> = old.into_values().collect();
    gone.sort_by(|a, b| (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name)));
    for object in gone {
        match object.file() {
            None => {}
            Some(file) if plan.keeps(file) => plan.resources += 1,
            Some(_) => plan.steps.push(Step::Delete(object)),
        }
    }
    plan
}

impl<'a> Plan<'a> {
    /// Whether a file, or a directory above it, is broken.
    fn keeps(&self, file: &str) -> bool {
        self.broken.iter().any(|broken| {
            file.strip_prefix(broken.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || broken.ends_with('/'))
        })
    }

    fn wanted(&mut self, sourced: &'a Sourced, old: &mut HashMap<(&'static str, String, String), Stored>) {
        let resource = &sourced.resource;
        let Some(object) = object_of(resource, None) else { return };
        self.resources += 1;
        let content = Content::of(&object.body);
        let Some(stored) = old.remove(&(object.kind, object.namespace, object.name)) else {
            self.steps.push(Step::Create(resource));
            return;
        };
        if stored.file().is_none() {
            self.resources -= 1;
            self.troubles.push(taken(sourced));
            return;
        }
        if content.spec != stored.content.spec && stored.kind == Override::KIND {
            self.steps.push(Step::Replace(resource));
        } else if content != stored.content {
            self.steps.push(Step::Put(resource, stored.version));
        }
    }
}

/// A resource as the store has it, with the version that it must have there.
pub(super) fn object_of(resource: &AnyResource, version: Option<&str>) -> Option<Object> {
    let mut body = resource.to_value().ok()?;
    if let (Some(version), Some(Value::Object(metadata))) = (version, body.pointer_mut("/metadata")) {
        metadata.insert("resourceVersion".to_owned(), Value::from(version));
    }
    Some(Object {
        kind: resource.kind(),
        namespace: resource.namespace().to_owned(),
        name: resource.name().to_owned(),
        body,
    })
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
