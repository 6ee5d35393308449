//! The steps of an exchange, compiled: pure.

use regex::bytes::{Captures, Regex};

use crate::api::MatchedFact;
use crate::probes::SpecError;
use crate::probes::wire::{expression, unescape};

/// The most named groups of all steps together.
const MAX_GROUPS: usize = 64;
/// The most bytes of a fact, as its field says: it becomes a label of a metric, and a version or a
/// name has fewer.
const MAX_FACT: usize = 256;

/// One step: expects first, then sends.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) expect: Option<Expect>,
    /// What is sent, in pieces.
    pub(super) send: Vec<Piece>,
}

/// What must come back.
#[derive(Debug)]
pub(super) struct Expect {
    pub(super) regex: Regex,
    /// The groups of the expression that are kept, each with where.
    pub(super) groups: Vec<(usize, usize)>,
    /// What is told of what it has matched: names, and texts that name groups.
    facts: Vec<(String, String)>,
}

/// A piece of what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// What a named group has caught.
    Group(usize),
}

/// The names of groups, in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Groups {
    names: Vec<String>,
    /// There are none, and a dollar is a dollar.
    literal: bool,
}

impl Groups {
    /// For a text in which no group can be named.
    pub(super) const fn none() -> Self {
        Self { names: Vec::new(), literal: true }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn add(&mut self, name: &str) -> Option<usize> {
        if self.place(name).is_none() && self.names.len() < MAX_GROUPS {
            self.names.push(name.to_owned());
        }
        self.place(name)
    }
}

impl Step {
    /// Compiles a step whose parts stand under these fields; `None` where it has none. What it
    /// sends can name groups of earlier steps, and, where `own` says so, its own.
    pub(super) fn compile(
        (expect_field, expect): (&str, Option<&str>),
        (send_field, send): (&str, Option<&str>),
        groups: &mut Groups,
        own: bool,
    ) -> Result<Option<Self>, SpecError> {
        debug_assert!(own || expect.is_none() || send.is_none());
        let expect = match expression(expect_field, expect)? {
            Some(regex) => Some(Expect::new(expect_field, regex, groups)?),
            None => None,
        };
        let send = template(send.unwrap_or_default(), groups).map_err(|why| SpecError::new(send_field, why))?;
        Ok((expect.is_some() || !send.is_empty()).then_some(Self { expect, send }))
    }
}

impl Expect {
    fn new(field: &str, regex: Regex, groups: &mut Groups) -> Result<Self, SpecError> {
        let named = regex.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?)));
        let kept = named.map(|(group, name)| {
            let place = groups.add(name);
            place.map(|place| (group, place)).ok_or_else(|| {
                SpecError::new(
                    field,
                    format!("the group `{name}` is one too many: all steps have {MAX_GROUPS} at most"),
                )
            })
        });
        let kept = kept.collect::<Result<_, _>>()?;
        Ok(Self { regex, groups: kept, facts: Vec::new() })
    }

    /// Takes what is to be told, which stands under `field`.
    ///
    /// # Errors
    /// Two have one name, or a text names a group that the expression does not have.
    pub(super) fn tell(&mut self, field: &str, facts: &[MatchedFact]) -> Result<(), SpecError> {
        for (place, fact) in facts.iter().enumerate() {
            if self.facts.iter().any(|(name, _)| *name == fact.name) {
                return Err(SpecError::new(format!("{field}[{place}].name"), format!("`{}` is told twice", fact.name)));
            }
            if let Some(name) = references(&fact.value).find(|name| !self.has_group(name)) {
                let why = format!("`{name}` is no group of `{}`", self.regex);
                return Err(SpecError::new(format!("{field}[{place}].value"), why));
            }
            self.facts.push((fact.name.clone(), fact.value.clone()));
        }
        Ok(())
    }

    fn has_group(&self, name: &str) -> bool {
        let number = name.parse().is_ok_and(|number: usize| number < self.regex.captures_len());
        number || self.regex.capture_names().flatten().any(|known| known == name)
    }

    /// Whether nothing but the match itself is of interest.
    pub(super) fn is_plain(&self) -> bool {
        self.groups.is_empty() && self.facts.is_empty()
    }

    /// What is told of a match.
    pub(super) fn told<'a>(&'a self, found: &'a Captures<'_>) -> impl Iterator<Item = (&'a str, String)> {
        self.facts.iter().map(move |(name, value)| {
            let mut text = Vec::new();
            found.expand(value.as_bytes(), &mut text);
            text.truncate(MAX_FACT);
            (name.as_str(), String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// The groups that a text names, as [`Captures::expand`] reads it.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            if let Some(after) = after.strip_prefix('$') {
                rest = after;
                continue;
            }
            if let Some((name, behind)) = after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
                rest = behind;
                return Some(name);
            }
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, behind) = after.split_at_checked(end)?;
            rest = behind;
            if !name.is_empty() {
                return Some(name);
            }
        }
    })
}

/// Reads a text to send: `${name}` stands for a group, and escapes are understood beside it.
fn template(text: &str, groups: &Groups) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let found = if groups.literal { None } else { rest.split_once("${") };
        let (literal, after) = found.map_or((rest, None), |(literal, after)| (literal, Some(after)));
        let bytes = unescape(literal)?;
        if !bytes.is_empty() {
            pieces.push(Piece::Bytes(bytes));
        }
        let Some(after) = after else { return Ok(pieces) };
        let Some((name, behind)) = after.split_once('}') else {
            return Err("`${` has no `}`; a dollar before a brace is written `\\x24`".to_owned());
        };
        let place =
            groups.place(name).ok_or_else(|| format!("`${{{name}}}` is no named group of an earlier expect"))?;
        pieces.push(Piece::Group(place));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn groups() -> Groups {
        Groups { names: vec!["user".into(), "nonce".into()], literal: false }
    }

    #[rstest]
    #[case("", &[])]
    #[case(r"PING\r\n", &[Piece::Bytes(b"PING\r\n".to_vec())])]
    #[case(r"a${nonce}\n", &[Piece::Bytes(b"a".to_vec()), Piece::Group(1), Piece::Bytes(b"\n".to_vec())])]
    #[case("${user}${nonce}", &[Piece::Group(0), Piece::Group(1)])]
    #[case(r"\x24{user} $5", &[Piece::Bytes(b"${user} $5".to_vec())])]
    fn a_text_to_send_has_pieces(#[case] text: &str, #[case] pieces: &[Piece]) {
        assert_eq!(template(text, &groups()).unwrap(), pieces);
    }

    #[rstest]
    #[case("${nobody}", "`${nobody}` is no named group of an earlier expect")]
    #[case("${user", "`${` has no `}`")]
    #[case(r"\q", r"`\q` at character 1")]
    fn what_cannot_be_sent_is_named(#[case] text: &str, #[case] message: &str) {
        let error = template(text, &groups()).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn groups_are_known_from_their_step_on() {
        let mut groups = Groups::default();
        let send = Some("${token}");
        let early = Step::compile(("tcp.steps[0].expect", None), ("tcp.steps[0].send", send), &mut groups, true);
        assert_eq!(early.unwrap_err().field, "tcp.steps[0].send");
        let expect = Some("<(?P<token>[^>]+)>");
        let step = Step::compile(("tcp.steps[0].expect", expect), ("tcp.steps[0].send", send), &mut groups, true);
        let step = step.unwrap().unwrap();
        assert_eq!((step.send, step.expect.unwrap().groups), (vec![Piece::Group(0)], vec![(1, 0)]));
    }

    fn expect(regex: &str, facts: &[(&str, &str)]) -> Result<Expect, SpecError> {
        let facts: Vec<MatchedFact> = facts
            .iter()
            .map(|(name, value)| MatchedFact { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect();
        let mut expect = Expect::new("expect", Regex::new(regex).unwrap(), &mut Groups::default()).unwrap();
        expect.tell("facts", &facts).map(|()| expect)
    }

    #[rstest]
    #[case("${version}", "2.0")]
    #[case("${1} of $2, $$5", "2.0 of OpenSSH, $5")]
    #[case("a $ alone", "a $ alone")]
    fn a_fact_is_told_in_the_words_of_the_match(#[case] value: &str, #[case] told: &str) {
        let expect = expect("^SSH-(?P<version>[^-]+)-([A-Za-z]+)", &[("said", value)]).unwrap();
        let found = expect.regex.captures(b"SSH-2.0-OpenSSH_9.6").unwrap();
        assert_eq!(expect.told(&found).collect::<Vec<_>>(), [("said", told.to_owned())]);
    }

    #[rstest]
    #[case(&[("a", "${3}")], "facts[0].value")]
    #[case(&[("a", "$1"), ("b", "x${nobody}")], "facts[1].value")]
    #[case(&[("a", "1"), ("a", "2")], "facts[1].name")]
    fn a_fact_that_cannot_be_told_is_refused(#[case] facts: &[(&str, &str)], #[case] field: &str) {
        assert_eq!(expect("(a)(b)", facts).unwrap_err().field, field);
    }

    #[test]
    fn a_fact_has_an_end() {
        let expect = expect("(?s)(.*)", &[("all", "$1$1")]).unwrap();
        let found = expect.regex.captures(&[b'a'; 4_000]).unwrap();
        assert_eq!(expect.told(&found).map(|(_, text)| text.len()).collect::<Vec<_>>(), [MAX_FACT]);
    }

    #[test]
    fn groups_without_end_are_refused() {
        let text = (0..=MAX_GROUPS).map(|n| format!("(?P<g{n}>a)")).collect::<Vec<_>>().concat();
        let step = Step::compile(("tcp.expect", Some(&text)), ("tcp.send", None), &mut Groups::default(), false);
        assert_eq!(step.unwrap_err().field, "tcp.expect");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\\\$\\{\\}a-z0-9\\PC]{0,40}") {
            let _ = template(&text, &groups());
            let _ = template(&text, &Groups::none());
            let _ = references(&text).count();
        }

        #[test]
        fn a_text_without_dollar_and_backslash_is_sent_as_it_is(text in "[^\\\\$]{1,40}") {
            prop_assert_eq!(template(&text, &groups()).unwrap(), [Piece::Bytes(text.into_bytes())]);
        }
    }
}
