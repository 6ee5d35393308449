//! Holds a tree against a shape: finds everything that is wrong, not only the first, and makes the
//! JSON that the types read.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::diagnostic::{Diagnostic, Position, nearest, shorten};
use super::shape::{Form, Shape, Text, TextKind, Unique};
use super::tree::{Content, Key, Node};

/// The most that is reported about one document: beyond it a file is of another kind altogether.
const MAX_PER_DOCUMENT: usize = 50;

/// Walks one document.
pub(super) struct Walk<'a> {
    file: &'a str,
    resource: &'a str,
    path: String,
    /// What was found so far.
    pub(super) found: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(file: &'a str, resource: &'a str) -> Self {
        Self { file, resource, path: String::new(), found: Vec::new() }
    }

    /// Holds the value at `path` against its shape. The JSON is whole unless an error was found.
    pub(super) fn value(&mut self, path: &str, shape: &Shape, node: &Node) -> Value {
        path.clone_into(&mut self.path);
        self.visit(shape, node)
    }

    /// An unknown field of the whole resource.
    pub(super) fn unknown_top(&mut self, key: &Key, fields: &[&str]) {
        self.path.clear();
        let suggestion = nearest(&key.text, fields.iter().copied()).map(str::to_owned);
        if let Some(error) = self.error("unknown-field", key.at, format!("unknown field `{}`", shorten(&key.text))) {
            error.found = Some(shorten(&key.text));
            error.allowed = fields.iter().map(|field| (*field).to_owned()).collect();
            error.suggestion = suggestion;
        }
    }

    /// A missing part of the whole resource.
    pub(super) fn missing(&mut self, name: &str, at: Position, about: &str) -> Value {
        self.path.clear();
        self.error("missing-field", at, format!("`{name}` is missing: {about}"));
        Value::Null
    }

    /// A status in a file.
    pub(super) fn status_ignored(&mut self, at: Position) {
        "status".clone_into(&mut self.path);
        self.warning("status", at, "the status is written by Probegate: in a file it is left out");
    }

    pub(super) fn error(
        &mut self,
        rule: &'static str,
        at: Position,
        message: impl Into<String>,
    ) -> Option<&mut Diagnostic> {
        if self.found.len() >= MAX_PER_DOCUMENT {
            return None;
        }
        let error = Diagnostic::error(rule, self.file, at, message).with_path(&*self.path).with_resource(self.resource);
        self.found.push(error);
        self.found.last_mut()
    }

    pub(super) fn warning(&mut self, rule: &'static str, at: Position, message: impl Into<String>) {
        let warning = Diagnostic::warning(rule, self.file, at, message);
        if self.found.len() < MAX_PER_DOCUMENT {
            self.found.push(warning.with_path(&*self.path).with_resource(self.resource));
        }
    }

    /// Runs `visit` one step deeper in the path.
    pub(super) fn below<T>(&mut self, step: impl std::fmt::Display, visit: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "{step}");
        let value = visit(self);
        self.path.truncate(length);
        value
    }

    pub(super) fn field<T>(&mut self, name: &str, visit: impl FnOnce(&mut Self) -> T) -> T {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let name = shorten(name);
        match (plain && !name.is_empty(), self.path.is_empty()) {
            (true, true) => self.below(name, visit),
            (true, false) => self.below(format_args!(".{name}"), visit),
            (false, _) => self.below(format_args!("[{name:?}]"), visit),
        }
    }

    fn visit(&mut self, shape: &Shape, node: &Node) -> Value {
        if node.is_null() && (shape.nullable || matches!(shape.form, Form::Any)) {
            return Value::Null;
        }
        let before = self.found.len();
        let value = match (&shape.form, &node.content) {
            (Form::Any, _) => self.free(node),
            (Form::List { item, min, max, unique }, Content::List(items)) => {
                self.list(item, (*min, *max), unique, items, node.at)
            }
            (Form::Fields { fields, required }, Content::Map(entries)) => {
                self.fields(fields, required, entries, node.at)
            }
            (Form::Map { value, max }, Content::Map(entries)) => self.map(value, *max, entries, node.at),
            (Form::Bool, Content::Scalar(scalar)) => self.boolean(scalar, node.at),
            (Form::Integer { min, max }, Content::Scalar(scalar)) => self.integer((*min, *max), scalar, node.at),
            (Form::Decimal, Content::Scalar(scalar)) => self.decimal(scalar, node.at),
            (Form::Text(text), Content::Scalar(scalar)) => self.text(text, &shape.about, scalar, node.at),
            _ => self.wrong_type(shape, node),
        };
        // A rule about a value that is broken in itself would only say it twice.
        if self.found.get(before..).is_none_or(|new| new.iter().all(|found| !found.is_error())) {
            for rule in shape.rules.iter().filter(|rule| !rule.holds(node)) {
                self.error("rule", node.at, rule.message.as_str());
            }
        }
        value
    }

    fn wrong_type(&mut self, shape: &Shape, node: &Node) -> Value {
        let wanted = match &shape.form {
            Form::Any => "a value",
            Form::Bool => "true or false",
            Form::Integer { .. } => "a whole number",
            Form::Decimal => "a number",
            Form::Text(Text { kind: TextKind::Duration, .. }) => "a duration such as `30s` or `1h30m`",
            Form::Text(Text { kind: TextKind::Instant, .. }) => "an instant such as `2026-12-31T00:00:00Z`",
            Form::Text(_) => "a text",
            Form::List { .. } => "a list",
            Form::Map { .. } | Form::Fields { .. } => "a mapping",
        };
        let found = node.describe();
        let mut message = format!("{wanted} is needed here, found {found}");
        if matches!(shape.form, Form::List { .. }) && matches!(node.content, Content::Scalar(_)) && !node.is_null() {
            let _ = write!(message, ": write it as a list, `[{}]`", shorten(node.text().unwrap_or("")));
        } else if node.is_null() {
            message.push_str(": leave the field out where there is nothing to say");
        }
        if let Some(error) = self.error("type", node.at, message) {
            error.found = Some(found);
        }
        Value::Null
    }

    fn fields(
        &mut self,
        fields: &BTreeMap<String, Shape>,
        required: &[String],
        entries: &[(Key, Node)],
        at: Position,
    ) -> Value {
        let mut map = Map::new();
        let before = self.found.len();
        for (key, _) in entries.iter().filter(|(key, _)| !fields.contains_key(&key.text)) {
            self.unknown_field(fields, entries, key);
        }
        let misspelt: Vec<String> =
            self.found.get(before..).unwrap_or_default().iter().filter_map(|found| found.suggestion.clone()).collect();
        for (key, node) in entries {
            if let Some(shape) = fields.get(&key.text) {
                let value = self.field(&key.text, |walk| walk.visit(shape, node));
                map.insert(key.text.clone(), value);
            }
        }
        // A field that was only misspelt has been named already.
        let there = |name: &String| entries.iter().any(|(key, _)| key.text == *name);
        for name in required.iter().filter(|name| !there(name) && !misspelt.contains(name)) {
            let about = fields.get(name).map(|shape| first_sentence(&shape.about)).unwrap_or_default();
            let colon = if about.is_empty() { "" } else { ": " };
            self.error("missing-field", at, format!("`{name}` is missing{colon}{about}"));
        }
        Value::Object(map)
    }

    fn unknown_field(&mut self, fields: &BTreeMap<String, Shape>, entries: &[(Key, Node)], key: &Key) {
        let free: Vec<&str> = fields
            .keys()
            .map(String::as_str)
            .filter(|name| !entries.iter().any(|(key, _)| key.text == *name))
            .collect();
        let suggestion = nearest(&key.text, free.iter().copied()).map(str::to_owned);
        let allowed: Vec<String> = fields.keys().cloned().collect();
        if let Some(error) = self.error("unknown-field", key.at, format!("unknown field `{}`", shorten(&key.text))) {
            error.found = Some(shorten(&key.text));
            error.allowed = allowed;
            error.suggestion = suggestion;
        }
    }

    fn map(&mut self, shape: &Shape, max: usize, entries: &[(Key, Node)], at: Position) -> Value {
        if entries.len() > max {
            self.error("too-many", at, format!("{} entries, at most {max} are allowed", entries.len()));
        }
        let mut map = Map::new();
        for (key, node) in entries {
            let value = self.field(&key.text, |walk| walk.visit(shape, node));
            map.insert(key.text.clone(), value);
        }
        Value::Object(map)
    }

    fn list(
        &mut self,
        shape: &Shape,
        (min, max): (usize, usize),
        unique: &Unique,
        items: &[Node],
        at: Position,
    ) -> Value {
        if items.len() < min {
            self.error("too-few", at, format!("{} items, at least {min} is needed", items.len()));
        }
        if items.len() > max {
            self.error("too-many", at, format!("{} items, at most {max} are allowed", items.len()));
            return Value::Null;
        }
        let mut values = Vec::with_capacity(items.len());
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, node) in items.iter().enumerate() {
            let value = self.below(format_args!("[{index}]"), |walk| {
                let value = walk.visit(shape, node);
                walk.duplicate(unique, node, &mut seen);
                value
            });
            values.push(value);
        }
        Value::Array(values)
    }

    fn duplicate(&mut self, unique: &Unique, node: &Node, seen: &mut HashMap<String, usize>) {
        let (place, what) = match unique {
            Unique::No => return,
            Unique::Items => (Some(node), "value"),
            Unique::Field(field) => (node.get(field), field.as_str()),
        };
        let Some((place, text)) = place.and_then(|place| Some((place, place.text()?))) else { return };
        if let Some(line) = seen.insert(text.to_owned(), place.at.line) {
            let message = format!("the {what} `{}` stands twice: the first is on line {line}", shorten(text));
            self.error("duplicate", place.at, message);
        }
    }
}

/// The first sentence of a field's documentation.
pub(super) fn first_sentence(about: &str) -> String {
    let line = about.replace('\n', " ");
    match line.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => line,
    }
}
