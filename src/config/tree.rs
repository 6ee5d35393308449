//! YAML as a tree in which every key and every value knows its place.
//!
//! The library delivers events with positions; limits, duplicate keys, aliases, merge keys and tags
//! are judged here, and scalars get their YAML 1.2 meaning beside the text that was typed.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};

use super::diagnostic::{Diagnostic, Position, shorten};
use super::scalar::Scalar;

/// The largest file that is read: an inline calendar may have 256 KiB, and a file may hold several.
pub const MAX_FILE_BYTES: u64 = 4 << 20;
/// The most documents in one file: beyond a thousand it is generated, and generators can split.
pub const MAX_DOCUMENTS: usize = 1_000;
/// The deepest nesting: the deepest field of any kind lies at twelve, parameters are free below.
pub const MAX_DEPTH: usize = 48;
/// The most values in one file, those of aliases counted each time: what keeps a chain of anchors
/// from growing into gigabytes.
pub const MAX_NODES: usize = 200_000;
/// The most aliases in one file.
pub const MAX_ALIASES: usize = 1_000;
/// The longest key: the longest label key has 317 characters.
const MAX_KEY_CHARS: usize = 1_024;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file, without duplicate keys.
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub at: Position,
    /// Whether it stands without quotes.
    pub plain: bool,
}

impl Node {
    /// The value under a key of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key and the value under it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<(&Key, &Self)> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(found, _)| found.text == key).map(|(key, node)| (key, node))
    }

    /// The value at a path of keys and, as decimal numbers, of list indices.
    #[must_use]
    pub fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, part| match &node.content {
            Content::List(items) => items.get(part.parse::<usize>().ok()?),
            _ => node.get(part),
        })
    }

    /// The text of a scalar as it was typed, quotes taken off.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Content::Scalar(scalar) = &self.content { Some(scalar.text()) } else { None }
    }

    /// Whether it is nothing at all.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Scalar::Null { .. }))
    }

    /// What it is, for a message: `the list`, `the number 5`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Scalar(scalar) => scalar.describe(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads every document of a text. The documents before the first error are returned beside it.
pub(super) fn parse(file: &str, text: &str) -> (Vec<Node>, Option<Diagnostic>) {
    build(Builder::new(file), text)
}

/// As [`parse`], for a file of another program: it may hold bytes (`!!binary`).
pub(super) fn parse_foreign(file: &str, text: &str) -> (Vec<Node>, Option<Diagnostic>) {
    build(Builder { foreign: true, ..Builder::new(file) }, text)
}

fn build(mut builder: Builder<'_>, text: &str) -> (Vec<Node>, Option<Diagnostic>) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.simple_key_max_lookahead = MAX_KEY_CHARS;
    for next in Parser::with_options(StrInput::new(text), options) {
        let step = match next {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let marker = *error.marker();
                let at = Position { line: marker.line().max(1), column: marker.col() + 1 };
                Err(builder.error("syntax", at, syntax_message(text, at, &error.info())))
            }
        };
        if let Err(mut error) = step {
            if line_of(text, error.line).contains("{{") {
                error.message.push_str(" (is this a template? a value that begins with `{{` needs quotes)");
            }
            return (builder.documents, Some(*error));
        }
    }
    (builder.documents, None)
}

fn line_of(text: &str, line: usize) -> &str {
    text.lines().nth(line.saturating_sub(1)).unwrap_or("")
}

/// The parser's words, and for the trap that people meet the most, what to do.
fn syntax_message(text: &str, at: Position, info: &str) -> String {
    if line_of(text, at.line).bytes().take_while(u8::is_ascii_whitespace).any(|byte| byte == b'\t') {
        return "a tab in the indentation: YAML is indented with spaces".to_owned();
    }
    if info.contains("recursion limit") {
        return format!("nested deeper than {MAX_DEPTH} levels");
    }
    format!("not YAML: {info}")
}

/// A collection that is being read.
enum Open {
    List {
        at: Position,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Position,
        anchor: usize,
        entries: Vec<(Key, Node)>,
        seen: HashSet<String>,
        key: Option<Key>,
        merged: Vec<Node>,
    },
}

struct Builder<'a> {
    file: &'a str,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    aliases: usize,
    foreign: bool,
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

impl<'a> Builder<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            aliases: 0,
            foreign: false,
        }
    }

    fn error(&self, rule: &'static str, at: Position, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(rule, self.file, at, message))
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        let at = position(&span);
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                if self.documents.len() >= MAX_DOCUMENTS {
                    return Err(self.error("limit", at, format!("more than {MAX_DOCUMENTS} documents in one file")));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let quoted = style != ScalarStyle::Plain;
                let scalar = self.scalar(&text, quoted, tag.as_deref(), at)?;
                self.finish(Node { at, content: Content::Scalar(scalar) }, anchor, !quoted)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", at)?;
                self.begin(Open::List { at, anchor, items: Vec::new() }, at)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", at)?;
                let (entries, seen, merged) = (Vec::new(), HashSet::new(), Vec::new());
                self.begin(Open::Map { at, anchor, entries, seen, key: None, merged }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Box<Diagnostic>> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.error("limit", at, format!("more than {MAX_NODES} values in one file, aliases counted")));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, at: Position) -> Result<(), Box<Diagnostic>> {
        self.count(1, at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error("limit", at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(self.error("syntax", at, "a list or a mapping cannot be a key"));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Box<Diagnostic>> {
        match self.open.pop() {
            Some(Open::List { at, anchor, items }) => {
                self.finish(Node { at, content: Content::List(items) }, anchor, false)
            }
            Some(Open::Map { at, anchor, mut entries, mut seen, merged, .. }) => {
                merge(&mut entries, &mut seen, merged);
                self.finish(Node { at, content: Content::Map(entries) }, anchor, false)
            }
            None => Ok(()),
        }
    }

    /// Puts a finished node where it belongs: below the open collection, or among the documents.
    fn finish(&mut self, node: Node, anchor: usize, plain: bool) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            let size = size_of(&node);
            self.anchors.insert(anchor, (node.clone(), size));
            self.count(size, node.at)?;
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, seen, key, merged, .. }) => match key.take() {
                Some(name) if name.plain && name.text == "<<" => match merge_sources(node) {
                    Ok(sources) => merged.extend(sources),
                    Err(at) => {
                        return Err(self.error("syntax", at, "`<<` takes an alias of a mapping, or a list of them"));
                    }
                },
                Some(name) => entries.push((name, node)),
                None => {
                    let Some(next) = key_of(&node, plain) else {
                        return Err(self.error("syntax", node.at, "a key must be a text"));
                    };
                    if !seen.insert(next.text.clone()) {
                        let line =
                            entries.iter().find(|(old, _)| old.text == next.text).map_or(0, |(old, _)| old.at.line);
                        let message =
                            format!("key `{}` stands twice: the first is on line {line}", shorten(&next.text));
                        return Err(self.error("duplicate-key", node.at, message));
                    }
                    *key = Some(next);
                }
            },
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Box<Diagnostic>> {
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(self.error("limit", at, format!("more than {MAX_ALIASES} aliases in one file")));
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(self.error("syntax", at, "an alias of the value that it stands in"));
        };
        let (node, size, depth) = (node.clone(), *size, depth_of(node));
        self.count(size, at)?;
        if self.open.len() + depth > MAX_DEPTH {
            return Err(self.error("limit", at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.finish(node, 0, false)
    }

    fn scalar(&self, text: &str, quoted: bool, tag: Option<&Tag>, at: Position) -> Result<Scalar, Box<Diagnostic>> {
        let Some(tag) = tag else {
            return Ok(if quoted { Scalar::quoted(text) } else { Scalar::plain(text) });
        };
        let name = tag.to_string();
        let suffix = name.rsplit([':', '!']).next().unwrap_or("");
        match suffix {
            "str" | "" => Ok(Scalar::quoted(text)),
            "int" | "float" | "bool" | "null" => Ok(Scalar::plain(text)),
            "binary" if self.foreign => {
                let packed: String = text.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
                let bytes = bytes.map_err(|error| self.error("syntax", at, format!("not base64: {error}")))?;
                Ok(Scalar::Binary { text: text.to_owned(), bytes })
            }
            _ => Err(self.unknown_tag(&name, at)),
        }
    }

    fn collection_tag(&self, tag: Option<&Tag>, expected: &str, at: Position) -> Result<(), Box<Diagnostic>> {
        match tag.map(ToString::to_string) {
            Some(name) if !name.ends_with(expected) => Err(self.unknown_tag(&name, at)),
            _ => Ok(()),
        }
    }

    fn unknown_tag(&self, name: &str, at: Position) -> Box<Diagnostic> {
        self.error("syntax", at, format!("the tag `{}` has no meaning here: leave it out", shorten(name)))
    }
}

fn key_of(node: &Node, plain: bool) -> Option<Key> {
    let text = node.text()?;
    Some(Key { text: text.to_owned(), at: node.at, plain })
}

/// The mappings that a merge key names, or the place of what is none.
fn merge_sources(node: Node) -> Result<Vec<Node>, Position> {
    match node.content {
        Content::Map(_) => Ok(vec![node]),
        Content::List(items) => match items.iter().find(|item| !matches!(item.content, Content::Map(_))) {
            Some(other) => Err(other.at),
            None => Ok(items),
        },
        Content::Scalar(_) => Err(node.at),
    }
}

/// Keys that stand in the mapping win over merged ones, and earlier sources over later ones.
fn merge(entries: &mut Vec<(Key, Node)>, seen: &mut HashSet<String>, merged: Vec<Node>) {
    for source in merged {
        let Content::Map(more) = source.content else { continue };
        entries.extend(more.into_iter().filter(|(key, _)| seen.insert(key.text.clone())));
    }
}

/// How many values a node has, itself included. The depth is bounded while reading.
fn size_of(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 1,
        Content::List(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|(_, node)| size_of(node)).sum::<usize>(),
    }
}

fn depth_of(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 0,
        Content::List(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Content::Map(entries) => 1 + entries.iter().map(|(_, node)| depth_of(node)).max().unwrap_or(0),
    }
}
