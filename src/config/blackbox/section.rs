//! A mapping of the file, read key by key: what was not asked for at the end is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::config::diagnostic::{Diagnostic, Position, shorten};
use crate::config::scalar::{Scalar, is_old_boolean};
use crate::config::tree::{Content, Key, Node};

/// A mapping of the file.
pub(super) struct Section<'a> {
    file: &'a str,
    path: String,
    at: Position,
    entries: &'a [(Key, Node)],
    known: RefCell<BTreeSet<String>>,
    notes: &'a RefCell<Vec<Diagnostic>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn top(file: &'a str, node: &'a Node, notes: &'a RefCell<Vec<Diagnostic>>) -> Option<Self> {
        let top = Self { file, path: String::new(), at: node.at, entries: &[], known: RefCell::default(), notes };
        top.below("", node)
    }

    /// What stands at `path`, which must be a mapping, or nothing.
    pub(super) fn below(&self, path: &str, node: &'a Node) -> Option<Self> {
        let entries: &[(Key, Node)] = match &node.content {
            Content::Map(entries) => entries,
            Content::Scalar(Scalar::Null { .. }) => &[],
            _ => {
                let message = format!("a mapping is needed here, found {}", node.describe());
                self.note(Diagnostic::error("type", self.file, node.at, message).with_path(path));
                return None;
            }
        };
        let (path, known) = (path.to_owned(), RefCell::default());
        Some(Self { file: self.file, path, at: node.at, entries, known, notes: self.notes })
    }

    /// A section that is not there.
    pub(super) fn empty(&self, key: &str) -> Self {
        let (path, known) = (self.path_of(key), RefCell::default());
        Self { file: self.file, path, at: self.at, entries: &[], known, notes: self.notes }
    }

    /// The value under a key; nothing where it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.known.borrow_mut().insert(key.to_owned());
        let node = self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)?;
        (!node.is_null()).then_some(node)
    }

    /// Says that every key that was not asked for is unknown.
    pub(super) fn end(&self) {
        let known = self.known.borrow();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text)) {
            let message = format!("blackbox_exporter has no option `{}` here", shorten(&key.text));
            let error = Diagnostic::error("unknown-field", self.file, key.at, message);
            self.note(error.with_path(self.path_of(&shorten(&key.text))).with_nearest(&key.text, names.clone()));
        }
    }

    /// A text. Numbers and booleans count as they were typed.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let node = self.get(key)?;
        node.text().map(str::to_owned).or_else(|| {
            self.wrong_type(key, node, "a text");
            None
        })
    }

    /// The bytes of a text, or of what is written as `!!binary`.
    pub(super) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        if let Content::Scalar(Scalar::Binary { bytes, .. }) = &self.get(key)?.content {
            return Some(bytes.clone());
        }
        self.text(key).map(String::into_bytes)
    }

    /// A boolean; `yes` and `off` are some, as they are for the exporter.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        match &node.content {
            Content::Scalar(Scalar::Bool { value, .. }) => Some(*value),
            Content::Scalar(Scalar::Text { text, plain: true }) if is_old_boolean(text) => {
                Some(matches!(text.to_ascii_lowercase().as_str(), "y" | "yes" | "on"))
            }
            _ => {
                self.wrong_type(key, node, "true or false");
                None
            }
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        let node = self.get(key)?;
        let number = whole(node);
        if number.is_none() {
            self.wrong_type(key, node, "a whole number");
        }
        number
    }

    /// A length of time, in milliseconds.
    pub(super) fn duration(&self, key: &str) -> Option<u32> {
        let node = self.get(key)?;
        let millis = node.text().and_then(millis);
        if millis.is_none() {
            self.wrong_type(key, node, "a duration such as `5s`");
        }
        millis
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.items(key).into_iter().filter_map(|node| self.text_of(key, node)).collect()
    }

    fn text_of(&self, key: &str, node: &Node) -> Option<String> {
        let text = node.text().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(key, node, "a text");
        }
        text
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&self, key: &str) -> Vec<u64> {
        let number = |node| {
            let number = whole(node);
            if number.is_none() {
                self.wrong_type(key, node, "a whole number");
            }
            number
        };
        self.items(key).into_iter().filter_map(number).collect()
    }

    fn items(&self, key: &str) -> Vec<&'a Node> {
        let Some(node) = self.get(key) else { return Vec::new() };
        if let Content::List(items) = &node.content {
            return items.iter().collect();
        }
        self.wrong_type(key, node, "a list");
        Vec::new()
    }

    /// A mapping of anything, in the order of the file.
    pub(super) fn entries(&self, key: &str) -> Vec<(&'a str, &'a Node)> {
        let Some(node) = self.get(key) else { return Vec::new() };
        if let Content::Map(entries) = &node.content {
            return entries.iter().map(|(key, node)| (key.text.as_str(), node)).collect();
        }
        self.wrong_type(key, node, "a mapping");
        Vec::new()
    }

    /// A mapping of texts.
    pub(super) fn pairs(&self, key: &str) -> Vec<(String, String)> {
        let pair = |(name, node): (&str, &Node)| Some((name.to_owned(), self.text_of(key, node)?));
        self.entries(key).into_iter().filter_map(pair).collect()
    }

    /// A mapping of its own.
    pub(super) fn section(&self, key: &str) -> Option<Self> {
        let node = self.get(key)?;
        self.below(&self.path_of(key), node)
    }

    /// A list of mappings.
    pub(super) fn sections(&self, key: &str) -> Vec<Self> {
        let section = |(index, node)| self.below(&format!("{}[{index}]", self.path_of(key)), node);
        self.items(key).into_iter().enumerate().filter_map(section).collect()
    }

    /// Says of an option, where it is given, that a probe has no counterpart.
    pub(super) fn lost(&self, key: &str, instead: &str) {
        if self.get(key).is_some() {
            self.warn(key, "no-counterpart", instead);
        }
    }

    /// Says something about an option that is there.
    pub(super) fn warn(&self, key: &str, rule: &'static str, message: impl Into<String>) {
        self.note(Diagnostic::warning(rule, self.file, self.place(key), message).with_path(self.path_of(key)));
    }

    /// Says that a value is wrong.
    pub(super) fn error(&self, key: &str, rule: &'static str, message: impl Into<String>) {
        self.note(Diagnostic::error(rule, self.file, self.place(key), message).with_path(self.path_of(key)));
    }

    /// Says that something is wrong with the whole section.
    pub(super) fn error_here(&self, rule: &'static str, message: &str) {
        self.note(Diagnostic::error(rule, self.file, self.at, message).with_path(self.path.as_str()));
    }

    /// Says that a word is wrong, and which are right.
    pub(super) fn wrong<const N: usize>(&self, key: &str, rule: &'static str, message: String, allowed: [&str; N]) {
        let error = Diagnostic::error(rule, self.file, self.place(key), message).with_path(self.path_of(key));
        let found = self.get(key).and_then(Node::text).unwrap_or("");
        self.note(error.with_nearest(found, allowed));
    }

    fn wrong_type(&self, key: &str, node: &Node, wanted: &str) {
        // What was found is not repeated: it may be a secret.
        let found = match &node.content {
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        };
        let message = format!("{wanted} is needed here, found {found}");
        self.note(Diagnostic::error("type", self.file, node.at, message).with_path(self.path_of(key)));
    }

    fn place(&self, key: &str) -> Position {
        self.entries.iter().find(|(found, _)| found.text == key).map_or(self.at, |(key, _)| key.at)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn note(&self, note: Diagnostic) {
        self.notes.borrow_mut().push(note);
    }
}

fn whole(node: &Node) -> Option<u64> {
    let Content::Scalar(Scalar::Integer { value, .. }) = &node.content else { return None };
    value.as_u64()
}

/// A duration as Go writes it, such as `1m30s` or `1.5s`, in milliseconds.
fn millis(text: &str) -> Option<u32> {
    const UNITS: [(&str, f64); 7] =
        [("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3), ("m", 60e3), ("h", 3_600e3)];
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let (unit, size) = UNITS.iter().find(|(unit, _)| {
            // `m` begins `ms`, so the longer ones stand first.
            behind.starts_with(unit)
        })?;
        sum += number.parse::<f64>().ok()? * size;
        rest = behind.strip_prefix(unit)?;
    }
    // The range of the cast was looked at.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and the greatest")]
    let whole = (sum > 0.0 && sum <= f64::from(u32::MAX)).then_some(sum.ceil() as u32);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("5s", Some(5_000))]
    #[case("1m30s", Some(90_000))]
    #[case("1.5s", Some(1_500))]
    #[case("250ms", Some(250))]
    #[case("1h0m1s", Some(3_601_000))]
    #[case("1us", Some(1))]
    #[case("0", Some(0))]
    #[case("5", None)]
    #[case("s", None)]
    #[case("5 s", None)]
    #[case("-5s", None)]
    #[case("", None)]
    #[case("99999999h", None)]
    #[case("1.2.3s", None)]
    fn durations_are_read_as_go_writes_them(#[case] text: &str, #[case] expected: Option<u32>) {
        assert_eq!(millis(text), expected);
    }
}
