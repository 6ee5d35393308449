//! One file: its documents, what kind each one is, and the resources in them.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::diagnostic::{Diagnostic, Position, nearest, shorten};
use super::shape::{SHAPES, Shape};
use super::tree::{self, Content, Node};
use super::walk::Walk;
use crate::api::{ANNOTATION_SOURCE, AnyResource, DEFAULT_NAMESPACE, GROUP, KINDS, VERSION, schema};

/// The fields of a whole resource.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// How many items one `List` may hold: as many as a file may have documents.
const MAX_LIST_ITEMS: usize = tree::MAX_DOCUMENTS;

static METADATA: LazyLock<Shape> = LazyLock::new(|| Shape::compile(&schema::metadata()));

/// A resource with the place that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced {
    /// The resource; its annotation `probegate.io/source` says `file:line`.
    pub resource: AnyResource,
    /// The file, as it was named or found.
    pub file: String,
    /// The line of its `kind`.
    pub line: usize,
    /// The document, for the places of its fields.
    pub tree: Node,
}

impl Sourced {
    /// The resource for a message, such as `Gate shop/checkout`.
    #[must_use]
    pub fn title(&self) -> String {
        title(self.resource.kind(), self.resource.namespace(), self.resource.name())
    }

    /// The place of a field given as keys and indices; where it does not stand, of the nearest
    /// field above it.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> Position {
        (0..=path.len())
            .rev()
            .find_map(|length| path.get(..length).and_then(|path| self.tree.find(path)))
            .map_or(self.tree.at, |node| node.at)
    }
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct FileContent {
    pub(super) resources: Vec<Sourced>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Documents of other API groups.
    pub(super) foreign: usize,
}

fn title(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

/// Reads a file's text. `named` says that the user named this very file, rather than a directory
/// that it lies in: then a document that is no resource is an error and no warning.
pub(super) fn read(file: &str, bytes: &[u8], named: bool) -> FileContent {
    let mut content = FileContent::default();
    let text = match decode(file, bytes) {
        Ok(text) => text,
        Err(error) => {
            content.diagnostics.push(*error);
            return content;
        }
    };
    let (documents, error) = tree::parse(file, text);
    for document in &documents {
        Reader { file, named, content: &mut content }.document(document);
    }
    content.diagnostics.extend(error);
    content
}

/// The text of a file: UTF-8, with or without a byte order mark.
pub(super) fn decode<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        let tail = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let at = Position { line, column: String::from_utf8_lossy(tail).chars().count() + 1 };
        let message = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16: save it as UTF-8".to_owned(),
            _ => format!(
                "byte {:#04x} is no UTF-8: save the file as UTF-8",
                bytes.get(error.valid_up_to()).unwrap_or(&0)
            ),
        };
        Box::new(Diagnostic::error("encoding", file, at, message))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// What the head of a document says about it.
enum Head {
    Ours(&'static str),
    List,
    Foreign,
    Bad,
}

struct Reader<'a> {
    file: &'a str,
    named: bool,
    content: &'a mut FileContent,
}

impl Reader<'_> {
    fn document(&mut self, node: &Node) {
        if node.is_null() {
            return;
        }
        match self.head(node) {
            Head::Ours(kind) => self.resource(kind, node),
            Head::List => self.list(node),
            Head::Foreign => self.content.foreign += 1,
            Head::Bad => {}
        }
    }

    fn error(&mut self, rule: &'static str, at: Position, message: impl Into<String>) {
        self.report(Diagnostic::error(rule, self.file, at, message));
    }

    fn report(&mut self, found: Diagnostic) {
        self.content.diagnostics.push(found);
    }

    fn head(&mut self, node: &Node) -> Head {
        if !matches!(node.content, Content::Map(_)) {
            let message = format!("a resource is a mapping with kind, metadata and spec, found {}", node.describe());
            self.error("not-a-resource", node.at, message);
            return Head::Bad;
        }
        let kind = node.get("kind");
        if kind.is_none() && node.get("$schema").is_some() {
            // A JSON Schema, such as our own for editors.
            return Head::Foreign;
        }
        match node.get("apiVersion") {
            None if TOP.iter().all(|field| node.get(field).is_none()) => {
                let message = "this is no resource (it has no kind, metadata or spec) and is left out";
                if self.named {
                    self.error("not-a-resource", node.at, message);
                } else {
                    self.content.diagnostics.push(Diagnostic::warning("not-a-resource", self.file, node.at, message));
                }
                Head::Bad
            }
            None => self.kind(node, kind),
            Some(version) => match self.version(version, kind) {
                Head::Ours(_) => self.kind(node, kind),
                other => other,
            },
        }
    }

    /// Whose document it is by its apiVersion; `Ours` stands for any kind.
    fn version(&mut self, version: &Node, kind: Option<&Node>) -> Head {
        let ours = format!("{GROUP}/{VERSION}");
        let text = version.text().unwrap_or("").to_owned();
        if text == ours {
            return Head::Ours("");
        }
        let kind = kind.and_then(Node::text).unwrap_or("");
        if text == "v1" && kind == "List" {
            return Head::List;
        }
        let group = text.split('/').next().unwrap_or("");
        let our_kind = KINDS.contains(&kind);
        if group == GROUP || nearest(group, [GROUP]).is_some() || (our_kind && (text.is_empty() || !text.contains('.')))
        {
            let message = format!("unknown apiVersion `{}`", shorten(&text));
            let error = Diagnostic::error("api-version", self.file, version.at, message).with_path("apiVersion");
            self.report(error.with_found(&text).with_allowed([ours.as_str()]).with_suggestion(Some(ours.as_str())));
            return Head::Bad;
        }
        if our_kind {
            let message = format!("this {kind} belongs to another API group and is left out");
            let warning = Diagnostic::warning("api-version", self.file, version.at, message);
            self.content.diagnostics.push(warning.with_path("apiVersion").with_nearest(&text, [ours.as_str()]));
        }
        Head::Foreign
    }

    fn kind(&mut self, node: &Node, kind: Option<&Node>) -> Head {
        let Some(kind) = kind else {
            let error = Diagnostic::error("missing-field", self.file, node.at, "`kind` is missing");
            self.report(error.with_allowed(KINDS));
            return Head::Bad;
        };
        let text = kind.text().unwrap_or("").to_owned();
        if text == "List" {
            return Head::List;
        }
        if let Some(kind) = KINDS.into_iter().find(|kind| *kind == text) {
            return Head::Ours(kind);
        }
        let message = format!("unknown kind: found {}", kind.describe());
        let error = Diagnostic::error("kind", self.file, kind.at, message).with_path("kind");
        self.report(error.with_nearest(&text, KINDS));
        Head::Bad
    }

    fn list(&mut self, node: &Node) {
        match node.get("items").map(|items| (&items.content, items.at)) {
            Some((Content::List(items), at)) if items.len() > MAX_LIST_ITEMS => {
                self.error("limit", at, format!("more than {MAX_LIST_ITEMS} items in one List"));
            }
            Some((Content::List(items), _)) => {
                for item in items {
                    if matches!(self.head_of_item(item), Head::List) {
                        self.error("kind", item.at, "a List inside a List");
                    }
                }
            }
            Some((_, at)) => {
                self.error("type", at, "a List's items are a list of resources");
            }
            None => {
                self.error("missing-field", node.at, "`items` is missing: a List holds its resources there");
            }
        }
    }

    fn head_of_item(&mut self, item: &Node) -> Head {
        let head = self.head(item);
        match head {
            Head::Ours(kind) => self.resource(kind, item),
            Head::Foreign => self.content.foreign += 1,
            Head::List | Head::Bad => {}
        }
        head
    }

    fn resource(&mut self, kind: &'static str, node: &Node) {
        let text = |path: &[&str]| node.find(path).and_then(Node::text).filter(|text| !text.is_empty()).map(shorten);
        let namespace = text(&["metadata", "namespace"]).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let resource = title(kind, &namespace, &text(&["metadata", "name"]).unwrap_or_else(|| "?".to_owned()));
        let line = node.entry("kind").map_or(node.at.line, |(key, _)| key.at.line);
        let mut walk = Walk::new(self.file, &resource);
        let body = body(&mut walk, kind, node);
        let broken = walk.found.iter().any(Diagnostic::is_error);
        let found = std::mem::take(&mut walk.found);
        self.content.diagnostics.extend(found);
        if broken {
            return;
        }
        match AnyResource::from_value(kind, body) {
            Some(Ok(mut read)) => {
                let source = format!("{}:{line}", self.file);
                read.meta_mut().annotations.get_or_insert_default().insert(ANNOTATION_SOURCE.to_owned(), source);
                let file = self.file.to_owned();
                self.content.resources.push(Sourced { resource: read, file, line, tree: node.clone() });
            }
            // The validator holds everything that the types ask for; should it ever miss
            // something, the types' own words are better than nothing.
            Some(Err(error)) => {
                let error = Diagnostic::error("schema", self.file, node.at, error.to_string());
                self.report(error.with_resource(resource));
            }
            None => {}
        }
    }
}

/// The JSON of a resource, everything in it held against the schema. What the server writes (the
/// status and most of the metadata) is left out: a file says what is wanted, not what is.
fn body(walk: &mut Walk<'_>, kind: &'static str, node: &Node) -> Value {
    let Content::Map(entries) = &node.content else { return Value::Null };
    for (key, _) in entries.iter().filter(|(key, _)| !TOP.contains(&key.text.as_str())) {
        walk.unknown_top(key, &TOP);
    }
    let metadata = match node.get("metadata") {
        Some(metadata) => walk.value("metadata", &METADATA, metadata),
        None => walk.missing("metadata", node.at, "name, namespace and labels"),
    };
    let shape = SHAPES.get(kind).and_then(|shape| shape.field("spec"));
    let spec = match (shape, node.get("spec")) {
        (Some(shape), Some(spec)) => walk.value("spec", shape, spec),
        _ => walk.missing("spec", node.at, "what is wanted"),
    };
    if let Some((key, _)) = node.entry("status").filter(|(_, status)| !status.is_null()) {
        walk.status_ignored(key.at);
    }
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": wanted(&metadata), "spec": spec})
}

/// The part of the metadata that a file decides.
fn wanted(metadata: &Value) -> Value {
    let kept = ["name", "namespace", "labels", "annotations"].into_iter();
    let mut map: Map<String, Value> =
        kept.filter_map(|key| Some((key.to_owned(), metadata.get(key)?.clone()))).collect();
    map.entry("namespace").or_insert_with(|| Value::from(DEFAULT_NAMESPACE));
    Value::Object(map)
}
