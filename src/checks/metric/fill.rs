//! The names in a query: found once, filled in safely: pure.
//!
//! A value comes from whoever asks the gate. It must not be able to change the query, so a name may
//! stand only inside a quoted string, and its value is escaped for that string. In a string that
//! follows `=~` or `!~`, and with `${name:re}` anywhere, it is escaped as a regular expression too:
//! a target named `.*` matches itself and nothing else.

use std::fmt::Write;

use crate::model::Question;

/// The names that can be filled in.
const NAMES: [(&str, Name); 5] = [
    ("target", Name::Target),
    ("namespace", Name::Namespace),
    ("cluster", Name::Cluster),
    ("revision", Name::Revision),
    ("change", Name::Change),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Target,
    Namespace,
    Cluster,
    Revision,
    Change,
}

impl Name {
    fn value(self, question: &Question) -> &str {
        match self {
            Self::Target => &question.change.target,
            Self::Namespace => &question.namespace,
            // No label and an empty one are the same to Prometheus.
            Self::Cluster => question.change.cluster.as_deref().unwrap_or(""),
            Self::Revision => &question.change.revision,
            Self::Change => &question.change.id,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { name: Name, regex: bool },
}

/// A query with names to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    parts: Vec<Part>,
}

/// Where the reader of a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    Comment,
    /// In a string of this quote, which follows a regular expression's operator.
    String {
        quote: char,
        regex: bool,
    },
}

impl Query {
    /// Finds the names in a query.
    ///
    /// # Errors
    /// An unknown name, or one where a value could change the query.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut place = Place::Code;
        // The last two characters of code that are no space.
        let mut before = (' ', ' ');
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("${") {
                let (name, tail) = after.split_once('}').ok_or("`${` without `}`")?;
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(part(name, place)?);
                rest = tail;
                continue;
            }
            rest = rest.get(c.len_utf8()..).unwrap_or("");
            plain.push(c);
            place = match place {
                Place::Code if matches!(c, '"' | '\'' | '`') => {
                    Place::String { quote: c, regex: matches!(before, ('=' | '!', '~')) }
                }
                Place::Code if c == '#' => Place::Comment,
                Place::Comment if c == '\n' => Place::Code,
                Place::String { quote, .. } if c == quote => Place::Code,
                Place::String { quote: '"' | '\'', .. } if c == '\\' => {
                    // What follows a backslash ends no string.
                    if let Some(escaped) = rest.chars().next() {
                        plain.push(escaped);
                        rest = rest.get(escaped.len_utf8()..).unwrap_or("");
                    }
                    place
                }
                same => same,
            };
            if place == Place::Code && !c.is_whitespace() {
                before = (before.1, c);
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    /// The query for a question.
    pub(super) fn fill(&self, question: &Question) -> String {
        let mut query = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => query.push_str(text),
                Part::Value { name, regex: false } => quote(&mut query, name.value(question)),
                Part::Value { name, regex: true } => quote(&mut query, &regex::escape(name.value(question))),
            }
        }
        query
    }
}

fn part(text: &str, place: Place) -> Result<Part, String> {
    let (word, forced) = text.strip_suffix(":re").map_or((text, false), |word| (word, true));
    let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == word) else {
        let known: Vec<String> = NAMES.iter().map(|(known, _)| format!("${{{known}}}")).collect();
        return Err(format!("`${{{text}}}` is not known: allowed are {}", known.join(", ")));
    };
    match place {
        Place::String { quote: '"' | '\'', regex } => Ok(Part::Value { name: *name, regex: regex || forced }),
        _ => Err(format!("`${{{text}}}` must stand inside double or single quotes, as in label=\"${{{text}}}\"")),
    }
}

/// Writes a value so that it stands for itself inside double and single quotes.
fn quote(query: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => query.push_str("\\\\"),
            '"' | '\'' | '`' | '\0'..='\x1f' | '\x7f' => {
                // Writing to a string cannot fail. \' is not allowed inside double quotes; this is.
                let _ = write!(query, "\\x{:02x}", u32::from(c));
            }
            _ => query.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Batch, Change, Invoker, Labels, Point};
    use proptest::prelude::*;
    use rstest::rstest;

    fn question(target: &str) -> Question {
        Question {
            namespace: "shop".into(),
            gate: "checkout".into(),
            change: Change {
                id: "c-17".into(),
                target: target.into(),
                revision: "v42".into(),
                action: Action::Release,
                actor: String::new(),
                invoker: Invoker::Automation,
                cluster: None,
                labels: Labels::new(),
            },
            batch: Batch::default(),
            point: Point::Post,
        }
    }

    #[rstest]
    #[case(r#"up{app="${target}",ns='${namespace}'}"#, "cart", r#"up{app="cart",ns='shop'}"#)]
    #[case(r#"up{app="x-${target}-y"}"#, "cart", r#"up{app="x-cart-y"}"#)]
    #[case(r#"up{cluster="${cluster}"}"#, "cart", r#"up{cluster=""}"#)]
    #[case(r#"up{a="${revision}",b="${change}"}"#, "cart", r#"up{a="v42",b="c-17"}"#)]
    #[case(r#"up{app="${target}"}"#, r#"a"} or vector(0) or up{b=""#, r#"up{app="a\x22} or vector(0) or up{b=\x22"}"#)]
    #[case(r#"up{app="${target}"}"#, r"a\", r#"up{app="a\\"}"#)]
    #[case(r"up{app='${target}'}", "a'b\n", r"up{app='a\x27b\x0a'}")]
    #[case(r#"up{app=~"${target}.*"}"#, ".*", r#"up{app=~"\\.\\*.*"}"#)]
    #[case(r#"up{app !~ "${target}"}"#, "a|b", r#"up{app !~ "a\\|b"}"#)]
    #[case(r#"up{app="\"${target}"}"#, "a", r#"up{app="\"a"}"#)]
    #[case(r#"label_replace(up,"a","$1","b","${target:re}")"#, "a.b", r#"label_replace(up,"a","$1","b","a\\.b")"#)]
    #[case("up # it's \"fine\n", "a", "up # it's \"fine\n")]
    #[case(r#"up{app=~".+$"}"#, "a", r#"up{app=~".+$"}"#)]
    fn a_value_stands_for_itself(#[case] query: &str, #[case] target: &str, #[case] filled: &str) {
        assert_eq!(Query::parse(query).unwrap().fill(&question(target)), filled);
    }

    #[rstest]
    #[case("sum(${target})", "must stand inside double or single quotes")]
    #[case("up{app=`${target}`}", "must stand inside double or single quotes")]
    #[case("up # \"${target}\"", "must stand inside double or single quotes")]
    #[case(r#"up{app="\\"} + ${target}"#, "must stand inside double or single quotes")]
    #[case(r#"up{app="${arm}"}"#, "`${arm}` is not known: allowed are ${target}, ${namespace}")]
    #[case(r#"up{app="${target"}"#, "is not known")]
    #[case("${", "without `}`")]
    fn a_name_in_the_wrong_place_is_refused(#[case] query: &str, #[case] why: &str) {
        let error = Query::parse(query).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    /// Reads a PromQL string as its lexer does; gives the value and what follows the string.
    fn unquote(text: &str) -> (String, &str) {
        let mut chars = text.char_indices();
        let (_, quote) = chars.next().unwrap();
        let mut value = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next().unwrap().1 {
                    '\\' => value.push('\\'),
                    'x' => {
                        let digits: String = [chars.next().unwrap().1, chars.next().unwrap().1].iter().collect();
                        value.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
                    }
                    other => panic!("no escape of ours: {other}"),
                },
                '\n' => panic!("a bare line end in a string"),
                c if c == quote => return (value, text.split_at(at + 1).1),
                c => value.push(c),
            }
        }
        panic!("the string does not end: {text}")
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_string(target in any::<String>(), double in any::<bool>()) {
            let quote = if double { '"' } else { '\'' };
            let query = format!("{quote}${{target}}{quote} tail");
            let filled = Query::parse(&query).unwrap().fill(&question(&target));
            prop_assert_eq!(unquote(&filled), (target, " tail"));
        }

        #[test]
        fn a_value_in_a_regular_expression_matches_itself_alone(target in "\\PC{1,20}", other in "\\PC{1,20}") {
            let filled = Query::parse("a=~\"${target}\"").unwrap().fill(&question(&target));
            let (pattern, _) = unquote(filled.strip_prefix("a=~").unwrap());
            let regex = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            prop_assert!(regex.is_match(&target));
            prop_assert_eq!(regex.is_match(&other), other == target);
        }

        #[test]
        fn no_query_makes_it_panic(text in "\\PC{0,60}|[\"'`${}a-z:#~=\\\\]{0,60}") {
            if let Ok(query) = Query::parse(&text) {
                let _ = query.fill(&question("x"));
            }
        }
    }
}
