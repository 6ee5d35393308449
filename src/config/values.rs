//! Single values against their shape: what was found, what is allowed, what was probably meant.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::diagnostic::{Position, nearest, shorten};
use super::scalar::{Scalar, is_old_boolean, is_old_octal};
use super::shape::{Text, TextKind};
use super::tree::{Content, Node};
use super::walk::{Walk, first_sentence};
use crate::model::{Decimal, Period};

impl Walk<'_> {
    pub(super) fn boolean(&mut self, scalar: &Scalar, at: Position) -> Value {
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

    pub(super) fn integer(&mut self, (min, max): (Option<i64>, Option<i64>), scalar: &Scalar, at: Position) -> Value {
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

    pub(super) fn decimal(&mut self, scalar: &Scalar, at: Position) -> Value {
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

    pub(super) fn text(&mut self, shape: &Text, about: &str, scalar: &Scalar, at: Position) -> Value {
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
    pub(super) fn free(&mut self, node: &Node) -> Value {
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

/// Whether a text has the form of RFC 3339 with `T` and an offset: what every home of resources
/// takes.
fn is_rfc3339(text: &str) -> bool {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$")
            .ok()
    });
    FORM.as_ref().is_some_and(|form| form.is_match(text))
}
