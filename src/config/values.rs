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
            let bare = scalar.text().replace(['_', ','], "");
            let whole = bare.parse::<f64>().ok().filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
            let quoted = matches!(scalar, Scalar::Text { plain: false, .. }) && whole.is_some();
            let hint = if quoted { ": leave the quotes out" } else { "" };
            let message = format!("a whole number is needed here, found {}{hint}", scalar.describe());
            if let Some(error) = self.error("type", at, message) {
                error.found = Some(shorten(scalar.text()));
                error.suggestion = whole.filter(|_| !quoted).map(|value| format!("{value:.0}"));
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
            found.suggestion = as_duration(text);
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
        } else {
            return self.pattern(shape, about, text, at);
        };
        if let Some(error) = self.error("text", at, message) {
            error.found = Some(shorten(text));
        }
    }

    fn pattern(&mut self, shape: &Text, about: &str, text: &str, at: Position) {
        let Some(pattern) = shape.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) else { return };
        let words = alternatives(pattern.as_str());
        let message = match (&words, phrase(pattern.as_str())) {
            (Some(_), _) => format!("unknown word `{}`", shorten(text)),
            (None, Some(phrase)) => format!("`{}` is not {phrase}", shorten(text)),
            (None, None) => format!("`{}` does not fit `{pattern}`: {}", shorten(text), first_sentence(about)),
        };
        let fits = |text: &String| pattern.is_match(text) && shape.max.is_none_or(|max| text.chars().count() <= max);
        let suggestion = repaired(text).into_iter().find(fits);
        if let Some(error) = self.error("text", at, message) {
            error.found = Some(shorten(text));
            error.allowed = words.unwrap_or_default();
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
                Scalar::Text { text, .. } | Scalar::Binary { text, .. } => Value::String(text.clone()),
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

/// The words of a pattern such as `^(GET|POST)$`.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix("^(")?.strip_suffix(")$")?;
    let plain = inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '|');
    plain.then(|| inner.split('|').map(str::to_owned).collect())
}

/// What a pattern of our schemas asks for, in words.
pub(super) fn phrase(pattern: &str) -> Option<&'static str> {
    PHRASES.iter().find(|(known, _)| *known == pattern).map(|(_, phrase)| *phrase)
}

const PHRASES: [(&str, &str); 7] = [
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a name such as `checkout`: lower-case letters, digits, `-` and `.`",
    ),
    (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a name such as `still-up`: lower-case letters, digits and `-`"),
    (
        r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        "a label's value such as `control-plane`: letters, digits, `-`, `_` and `.`",
    ),
    (r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "a time of the day such as `09:00`"),
    (r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "a time of the day such as `17:00` or `24:00`"),
    (r"^[A-Za-z_][A-Za-z0-9_]*$", "a name such as `server_version`: letters, digits and `_`, no digit first"),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "a day such as `2026-05-01`"),
];

/// A length of time that was written like a clock (`01:30`) or with a fraction (`1.5h`), as a
/// duration.
fn as_duration(text: &str) -> Option<String> {
    if let Some((hours, minutes)) = text.split_once(':') {
        let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
        let period = Period::from_secs(hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?);
        return (minutes < 60 && !period.is_zero()).then(|| period.to_string());
    }
    let (number, seconds) = [("d", 86_400_f64), ("h", 3_600.0), ("m", 60.0), ("s", 1.0)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, seconds)))?;
    let millis = (number * seconds * 1_000.0).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (millis > 0.0 && millis < f64::from(u32::MAX)).then(|| Period::from_millis(millis as u32).to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema;
    use rstest::rstest;

    #[rstest]
    #[case("01:30", Some("1h30m"))]
    #[case("1.5h", Some("1h30m"))]
    #[case("0.5s", Some("500ms"))]
    #[case("soon", None)]
    #[case("1.5", None)]
    fn a_length_written_otherwise_is_recognised(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(as_duration(text).as_deref(), expected);
    }

    fn patterns(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if map.get(schema::TEXT_KIND).is_none() {
                    found.extend(map.get("pattern").and_then(Value::as_str).map(str::to_owned));
                }
                map.values().for_each(|value| patterns(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| patterns(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_pattern_is_said_in_words() {
        let mut found = Vec::new();
        patterns(&schema::metadata(), &mut found);
        for kind in schema::kinds() {
            patterns(&kind.schema, &mut found);
        }
        for pattern in found {
            assert!(alternatives(&pattern).is_some() || phrase(&pattern).is_some(), "{pattern}");
        }
    }
}
