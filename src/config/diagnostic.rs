//! What is wrong with a file, and where.

use std::fmt;

use serde::Serialize;

/// The most names that a list of allowed ones shows before it is cut.
const MAX_ALLOWED_SHOWN: usize = 24;
/// The longest piece of a file that a message repeats.
const MAX_FOUND: usize = 80;

/// A place in a file; line and column count from 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Position {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The resource cannot be used.
    Error,
    /// The resource can be used, and is probably not what was meant.
    Warning,
}

/// One thing that is wrong, where it stands, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named or found.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// A word for programs that stays the same from version to version, such as `unknown-field`.
    pub rule: &'static str,
    /// The resource that it belongs to, such as `Gate shop/checkout`; empty where there is none.
    pub resource: String,
    /// The field, such as `spec.post.checks[2].metric.query`; empty for a whole document.
    pub path: String,
    /// What is wrong, with what was found, for a person.
    pub message: String,
    /// What was found, where it is a short text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// The nearest right spelling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// An error at a place of a file; the rest is added with the `with_` methods.
    #[must_use]
    pub fn error(rule: &'static str, file: &str, at: Position, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            severity: Severity::Error,
            rule,
            resource: String::new(),
            path: String::new(),
            message: message.into(),
            found: None,
            allowed: Vec::new(),
            suggestion: None,
        }
    }

    /// A warning; see [`Self::error`].
    #[must_use]
    pub fn warning(rule: &'static str, file: &str, at: Position, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, file, at, message) }
    }

    /// With the field.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// With the resource.
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    /// With what was found.
    #[must_use]
    pub fn with_found(mut self, found: &str) -> Self {
        self.found = Some(shorten(found));
        self
    }

    /// With what is allowed.
    #[must_use]
    pub fn with_allowed<I: IntoIterator<Item = S>, S: Into<String>>(mut self, allowed: I) -> Self {
        self.allowed = allowed.into_iter().map(Into::into).collect();
        self
    }

    /// With the nearest right spelling.
    #[must_use]
    pub fn with_suggestion(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// With the one of the allowed spellings that is nearest to `found`, where one is near.
    #[must_use]
    pub fn with_nearest<'a>(self, found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Self {
        let allowed: Vec<&str> = allowed.into_iter().collect();
        let nearest = nearest(found, allowed.iter().copied()).map(str::to_owned);
        self.with_found(found).with_allowed(allowed).with_suggestion(nearest)
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The message with field, allowed spellings and suggestion, without the place.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.path.is_empty() {
            text.push_str(&self.path);
            text.push_str(": ");
        }
        text.push_str(&self.message);
        if !self.allowed.is_empty() {
            text.push_str("; allowed: ");
            let shown: Vec<&str> = self.allowed.iter().take(MAX_ALLOWED_SHOWN).map(String::as_str).collect();
            text.push_str(&shown.join(", "));
            if self.allowed.len() > MAX_ALLOWED_SHOWN {
                text.push_str(", …");
            }
        }
        if let Some(suggestion) = &self.suggestion {
            text.push_str("; did you mean `");
            text.push_str(suggestion);
            text.push_str("`?");
        }
        text
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.severity, self.text())
    }
}

/// One line of at most [`MAX_FOUND`] characters.
#[must_use]
pub(super) fn shorten(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_FOUND + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() > MAX_FOUND {
        line = line.chars().take(MAX_FOUND - 1).chain(['…']).collect();
    }
    line
}

/// The spelling among `allowed` that is nearest to `found`; `None` where none is near: another
/// case or dashes count as near, and so do about a third of the letters.
#[must_use]
pub fn nearest<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are not compared: the distance takes the product of the lengths.
    const MAX_COMPARED: usize = 128;
    if found.len() > MAX_COMPARED {
        return None;
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let wanted = plain(found);
    let limit = (wanted.chars().count() / 3).max(1);
    allowed
        .into_iter()
        .filter(|name| name.len() <= MAX_COMPARED)
        .map(|name| {
            let plain = plain(name);
            // A word that was spelled out (`monday`) or cut (`temp`).
            let begins =
                plain.len() >= 3 && wanted.starts_with(&plain) || wanted.len() >= 3 && plain.starts_with(&wanted);
            (if begins { 1 } else { strsim::damerau_levenshtein(&wanted, &plain) }, name)
        })
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("sok", Some("soak"))]
    #[case("time-out", Some("timeout"))]
    #[case("onunknown", Some("onUnknown"))]
    #[case("check", Some("checks"))]
    #[case("timeoutSeconds", Some("timeout"))]
    #[case("colour", None)]
    #[case("", None)]
    fn the_nearest_spelling_is_near(#[case] found: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(found, ["soak", "timeout", "onUnknown", "checks"]), expected);
    }
}
