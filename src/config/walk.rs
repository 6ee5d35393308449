//! Holds a tree against a shape: finds everything that is wrong, not only the first, and makes the
//! JSON that the types read.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::diagnostic::{Diagnostic, Position, nearest, shorten};
use super::scalar::{Scalar, is_old_boolean, is_old_octal};
use super::shape::{Form, Shape, Text, TextKind, Unique};
use super::tree::{Content, Key, Node};
use crate::model::{Decimal, Period};

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

    fn error(&mut self, rule: &'static str, at: Position, message: impl Into<String>) -> Option<&mut Diagnostic> {
        if self.found.len() >= MAX_PER_DOCUMENT {
            return None;
        }
        let error = Diagnostic::error(rule, self.file, at, message).with_path(&*self.path).with_resource(self.resource);
        self.found.push(error);
        self.found.last_mut()
    }

    fn warning(&mut self, rule: &'static str, at: Position, message: impl Into<String>) {
        let warning = Diagnostic::warning(rule, self.file, at, message);
        if self.found.len() < MAX_PER_DOCUMENT {
            self.found.push(warning.with_path(&*self.path).with_resource(self.resource));
        }
    }

    /// Runs `visit` one step deeper in the path.
    fn below<T>(&mut self, step: impl std::fmt::Display, visit: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "{step}");
        let value = visit(self);
        self.path.truncate(length);
        value
    }

    fn field<T>(&mut self, name: &str, visit: impl FnOnce(&mut Self) -> T) -> T {
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
        for (key, node) in entries {
            match fields.get(&key.text) {
                Some(shape) => {
                    let value = self.field(&key.text, |walk| walk.visit(shape, node));
                    map.insert(key.text.clone(), value);
                }
                None => self.unknown_field(fields, entries, key),
            }
        }
        for name in required.iter().filter(|name| !entries.iter().any(|(key, _)| key.text == **name)) {
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

    fn boolean(&mut self, scalar: &Scalar, at: Position) -> Value {
        if let Scalar::Bool { value, .. } = scalar {
            return Value::Bool(*value);
        }
        let lower = scalar.text().to_ascii_lowercase();
        let suggestion = match lower.as_str() {
            "yes" | "y" | "on" | "1" | "true" => Some("true"),
            "no" | "n" | "off" | "0" | "false" => Some("false"),
            _ => None,
        };
        if let Some(error) =
            self.error("type", at, format!("true or false is needed here, found {}", scalar.describe()))
        {
            error.found = Some(shorten(scalar.text()));
            error.allowed = vec!["true".to_owned(), "false".to_owned()];
            error.suggestion = suggestion.map(str::to_owned);
        }
        Value::Null
    }

    fn integer(&mut self, (min, max): (Option<i64>, Option<i64>), scalar: &Scalar, at: Position) -> Value {
        let Scalar::Integer { value, text } = scalar else {
            let whole = scalar.text().parse::<f64>().ok().filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
            let message = format!("a whole number is needed here, found {}", scalar.describe());
            if let Some(error) = self.error("type", at, message) {
                error.found = Some(shorten(scalar.text()));
                error.suggestion = whole.map(|value| format!("{value:.0}"));
            }
            return Value::Null;
        };
        if is_old_octal(text) {
            self.octal(text, at);
        }
        let number = value.as_i64().map_or(i128::MAX, i128::from);
        let within = min.is_none_or(|min| number >= i128::from(min)) && max.is_none_or(|max| number <= i128::from(max));
        if !within || value.as_i64().is_none() {
            let range = match (min, max) {
                (Some(min), Some(max)) => format!("it goes from {min} to {max}"),
                (Some(min), None) => format!("at least {min} is needed"),
                (None, Some(max)) => format!("at most {max} is allowed"),
                (None, None) => "it is too large".to_owned(),
            };
            if let Some(error) = self.error("range", at, format!("{} is out of range: {range}", shorten(text))) {
                error.found = Some(shorten(text));
            }
        }
        Value::Number(value.clone())
    }

    fn octal(&mut self, text: &str, at: Position) {
        let message = format!(
            "`{}` is decimal here and octal for older readers of YAML: write it without the leading zero",
            shorten(text)
        );
        let sign = if text.starts_with('-') { "-" } else { "" };
        let digits = text.trim_start_matches(['-', '+']).trim_start_matches('0');
        if let Some(error) = self.error("octal", at, message) {
            error.suggestion = Some(format!("{sign}{}", if digits.is_empty() { "0" } else { digits }));
        }
    }

    fn decimal(&mut self, scalar: &Scalar, at: Position) -> Value {
        let text = scalar.text();
        if matches!(scalar, Scalar::Integer { .. }) && is_old_octal(text) {
            self.octal(text, at);
        }
        match (scalar, text.parse::<Decimal>()) {
            (Scalar::Null { .. } | Scalar::Bool { .. }, _) => {
                self.error("type", at, format!("a number is needed here, found {}", scalar.describe()));
                Value::Null
            }
            (_, Ok(decimal)) => Value::String(decimal.to_string()),
            (_, Err(error)) => {
                if let Some(found) = self.error("number", at, error.to_string()) {
                    found.found = Some(shorten(text));
                }
                Value::Null
            }
        }
    }

    fn text(&mut self, shape: &Text, about: &str, scalar: &Scalar, at: Position) -> Value {
        let text = scalar.text();
        let Scalar::Text { plain, .. } = scalar else {
            self.not_a_text(shape, scalar, at);
            return Value::Null;
        };
        if *plain && is_old_boolean(text) && shape.words.is_empty() {
            let message = format!(
                "`{text}` is a text here and a boolean for older readers of YAML, kubectl among them: write \"{text}\""
            );
            self.warning("old-boolean", at, message);
        }
        match shape.kind {
            TextKind::Duration => self.duration(text, at),
            TextKind::Instant => self.instant(text, at),
            TextKind::Plain if !shape.words.is_empty() => self.word(&shape.words, text, at),
            TextKind::Plain => self.plain_text(shape, about, text, at),
        }
        Value::String(text.to_owned())
    }

    /// A number, a boolean or nothing where a text belongs.
    fn not_a_text(&mut self, shape: &Text, scalar: &Scalar, at: Position) {
        let text = scalar.text();
        let (message, suggestion) = match (shape.kind, scalar) {
            (TextKind::Duration, Scalar::Integer { .. }) => (
                format!(
                    "the duration {} has no unit: `s` is for seconds, `m` for minutes, `h` for hours",
                    shorten(text)
                ),
                Some(format!("{text}s")),
            ),
            (TextKind::Duration, _) => {
                (format!("a duration such as `30s` or `1h30m` is needed here, found {}", scalar.describe()), None)
            }
            (TextKind::Instant, _) => {
                (format!("an instant such as `2026-12-31T00:00:00Z` is needed here, found {}", scalar.describe()), None)
            }
            (TextKind::Plain, Scalar::Null { .. }) => ("a text is needed here, found nothing".to_owned(), None),
            (TextKind::Plain, _) if !shape.words.is_empty() => {
                (format!("a text is needed here, found {}", scalar.describe()), None)
            }
            (TextKind::Plain, _) => (
                format!("a text is needed here, found {}: put it in quotes", scalar.describe()),
                Some(format!("\"{text}\"")),
            ),
        };
        if let Some(error) = self.error("type", at, message) {
            error.found = Some(shorten(text));
            error.allowed.clone_from(&shape.words);
            error.suggestion = suggestion;
        }
    }

    fn word(&mut self, words: &[String], text: &str, at: Position) {
        if words.iter().any(|word| word == text) {
            return;
        }
        let suggestion = nearest(text, words.iter().map(String::as_str)).map(str::to_owned);
        if let Some(error) = self.error("word", at, format!("unknown word `{}`", shorten(text))) {
            error.found = Some(shorten(text));
            error.allowed = words.to_vec();
            error.suggestion = suggestion;
        }
    }

    fn duration(&mut self, text: &str, at: Position) {
        if let Err(error) = text.parse::<Period>()
            && let Some(found) = self.error("duration", at, error.to_string())
        {
            found.found = Some(shorten(text));
        }
    }

    fn instant(&mut self, text: &str, at: Position) {
        if is_rfc3339(text) && text.parse::<Timestamp>().is_ok() {
            return;
        }
        let message = format!("`{}` is no instant in RFC 3339 such as `2026-12-31T00:00:00Z`", shorten(text));
        let with_offset = [format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
        let suggestion = with_offset.into_iter().find(|text| is_rfc3339(text) && text.parse::<Timestamp>().is_ok());
        if let Some(error) = self.error("instant", at, message) {
            error.found = Some(shorten(text));
            error.suggestion = suggestion;
        }
    }

    fn plain_text(&mut self, shape: &Text, about: &str, text: &str, at: Position) {
        let length = text.chars().count();
        let message = if length < shape.min {
            match shape.min {
                1 => "it must not be empty".to_owned(),
                min => format!("`{}` is too short: at least {min} characters are needed", shorten(text)),
            }
        } else if shape.max.is_some_and(|max| length > max) {
            let max = shape.max.unwrap_or(0);
            format!("{length} characters, at most {max} are allowed")
        } else if let Some(pattern) = shape.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let about = first_sentence(about);
            format!("`{}` does not fit: {about} It matches `{}`", shorten(text), pattern.as_str())
        } else {
            return;
        };
        let suggestion =
            shape.pattern.as_ref().and_then(|pattern| repaired(text).into_iter().find(|text| pattern.is_match(text)));
        if let Some(error) = self.error("text", at, message) {
            error.found = Some(shorten(text));
            error.suggestion = suggestion;
        }
    }

    /// Any value as JSON; numbers that JSON cannot carry are errors.
    fn free(&mut self, node: &Node) -> Value {
        match &node.content {
            Content::List(items) => {
                let values = items.iter().enumerate();
                values.map(|(index, item)| self.below(format_args!("[{index}]"), |walk| walk.free(item))).collect()
            }
            Content::Map(entries) => {
                let pairs =
                    entries.iter().map(|(key, node)| (key.text.clone(), self.field(&key.text, |walk| walk.free(node))));
                Value::Object(pairs.collect())
            }
            Content::Scalar(scalar) => match scalar {
                Scalar::Null { .. } => Value::Null,
                Scalar::Bool { value, .. } => Value::Bool(*value),
                Scalar::Integer { value, text } => {
                    if is_old_octal(text) {
                        self.octal(text, node.at);
                    }
                    Value::Number(value.clone())
                }
                Scalar::Text { text, .. } => Value::String(text.clone()),
                Scalar::Float { text } => {
                    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
                    if number.is_none() {
                        self.error("number", node.at, format!("{} is no number that JSON can carry", shorten(text)));
                    }
                    number.map_or(Value::Null, Value::Number)
                }
            },
        }
    }
}

/// Spellings that people mean when they write something near to what a pattern asks for.
fn repaired(text: &str) -> [String; 4] {
    let dashed = text.to_lowercase().replace(['_', ' ', '.'], "-");
    [format!("0{text}"), format!("{text}:00"), text.to_uppercase(), dashed.trim_matches('-').to_owned()]
}

/// The first sentence of a field's documentation.
fn first_sentence(about: &str) -> String {
    let line = about.replace('\n', " ");
    match line.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => line,
    }
}

/// Whether a text has the form of RFC 3339 with `T` and an offset: what every home of resources
/// takes.
fn is_rfc3339(text: &str) -> bool {
    static FORM: std::sync::LazyLock<Option<regex::Regex>> = std::sync::LazyLock::new(|| {
        regex::Regex::new(
            r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        )
        .ok()
    });
    FORM.as_ref().is_some_and(|form| form.is_match(text))
}
