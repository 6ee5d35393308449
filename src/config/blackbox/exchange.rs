//! The probers `tcp` and `unix`: queries and responses as steps of an exchange.

use std::fmt::Write as _;

use super::section::Section;
use super::tls;
use crate::api::{ExchangeStep, MatchedFact, TcpProbe, UnixProbe};
use crate::probes::exposition::EXACT_BYTES;

/// The most steps of a probe's exchange, as its schema has it.
const MAX_STEPS: usize = 32;
/// The most facts of a step, as its schema has it.
const MAX_FACTS: usize = 16;
/// What a group without a name is called, before its number.
const GROUP: &str = "group";
/// A dollar and a brace that refer to nothing, as a probe writes them.
const DOLLAR_BRACE: &str = "\\x24{";

/// The prober `tcp`.
pub(super) fn tcp(module: &str, section: &Section<'_>) -> TcpProbe {
    tls::source(section);
    let steps = steps(section);
    let options = tls::options(module, section);
    let at_once = section.flag("tls").unwrap_or(false);
    let later = steps.iter().any(|step| step.start_tls);
    if at_once && later {
        section.error("tls", "contradiction", "TLS from the start and `starttls` exclude each other");
    }
    if options.is_some() && !at_once && !later {
        section.warn("tls_config", "no-effect", "without `tls` or `starttls` nothing reads it");
    }
    if steps.len() > MAX_STEPS {
        section.error("query_response", "limit", format!("a probe has at most {MAX_STEPS} steps"));
    }
    TcpProbe {
        family: tls::family(section),
        tls: (at_once || later).then(|| options.unwrap_or_default()),
        steps,
        ..TcpProbe::default()
    }
}

/// The prober `unix`.
pub(super) fn unix(section: &Section<'_>) -> UnixProbe {
    const ONE: &str = "over a Unix socket a probe sends once, then expects once: the rest is left out";
    let mut unix = UnixProbe::default();
    let steps = steps(section);
    if steps.iter().any(|step| !step.facts.is_empty()) {
        section.warn("query_response", "no-counterpart", "over a Unix socket a probe notes no `labels`");
    }
    let mut steps = steps.into_iter().peekable();
    if let Some(first) = steps.next_if(|step| step.expect.is_none() && !step.start_tls) {
        unix.send = first.send;
    }
    if let Some(second) = steps.next_if(|step| step.send.is_none() && !step.start_tls) {
        unix.expect = second.expect;
    }
    if steps.peek().is_some() {
        section.warn("query_response", "no-counterpart", ONE);
    }
    section.lost("tls", "a probe speaks no TLS over a Unix socket");
    section.lost("tls_config", "a probe speaks no TLS over a Unix socket");
    unix
}

fn steps(section: &Section<'_>) -> Vec<ExchangeStep> {
    section.sections("query_response").iter().map(step).filter(|step| *step != ExchangeStep::default()).collect()
}

fn step(section: &Section<'_>) -> ExchangeStep {
    let typed = section.text("expect").filter(|expect| !expect.is_empty());
    let bytes = section.bytes("expect_bytes").filter(|bytes| !bytes.is_empty());
    if typed.is_some() && bytes.is_some() {
        section.error("expect_bytes", "contradiction", "`expect` and `expect_bytes` exclude each other");
    }
    let expect = match (&typed, &bytes) {
        (Some(regex), _) => Some(format!("(?mR){}", named(regex))),
        (None, Some(bytes)) => Some(exactly(bytes)),
        (None, None) => None,
    };
    let send = section.bytes("send").filter(|send| !send.is_empty()).map(|mut send| {
        // The exporter ends whatever it sends with a line feed, bytes included.
        send.push(b'\n');
        let text = typed_as(&send);
        // Without an expression beside it a dollar is a dollar.
        if typed.is_some() { referring(&text) } else { text.replace("${", DOLLAR_BRACE) }
    });
    let start_tls = section.flag("starttls").unwrap_or(false);
    let facts = if typed.is_some() { facts(section) } else { Vec::new() };
    section.end();
    ExchangeStep { expect, send, start_tls, facts }
}

/// What becomes a label of `probe_expect_info` there.
fn facts(section: &Section<'_>) -> Vec<MatchedFact> {
    let labels = section.sections("labels");
    if labels.len() > MAX_FACTS {
        section.error("labels", "limit", format!("a step of a probe tells at most {MAX_FACTS} facts"));
    }
    let fact = |label: &Section<'_>| {
        let (name, value) = (label.text("name"), label.text("value"));
        label.end();
        Some(MatchedFact { name: name?, value: grouped(&value?) })
    };
    labels.iter().filter_map(fact).collect()
}

/// The text with its references in braces, by the names that the groups have in a probe.
fn grouped(text: &str) -> String {
    rewritten(text, "$$")
}

/// Bytes as a probe's `send` writes them.
fn typed_as(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Writing to a String cannot fail.
            let _ = match c {
                '\\' => write!(text, "\\\\"),
                '\r' => write!(text, "\\r"),
                '\n' => write!(text, "\\n"),
                '\t' => write!(text, "\\t"),
                '\0'..='\x1f' | '\x7f' => write!(text, "\\x{:02x}", u32::from(c)),
                c => write!(text, "{c}"),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// An expression for these very bytes at the beginning.
fn exactly(bytes: &[u8]) -> String {
    let mut regex = String::from(EXACT_BYTES);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = if byte.is_ascii_alphanumeric() {
            write!(regex, "{}", char::from(*byte))
        } else {
            write!(regex, "\\x{byte:02x}")
        };
    }
    regex
}

/// The expression with a name for each of its groups: a later step refers to them by it.
fn named(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut chars = regex.chars().peekable();
    let (mut in_class, mut number) = (false, 0_u32);
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '[' if !in_class => {
                in_class = true;
                // `[]a]` and `[^]a]` begin with a bracket that ends nothing.
                out.extend(chars.next_if_eq(&'^'));
                out.extend(chars.next_if_eq(&']'));
            }
            ']' => in_class = false,
            '(' if !in_class => {
                let plain = chars.peek() != Some(&'?');
                let mut ahead = chars.clone();
                ahead.next();
                let named = !plain && (ahead.peek() == Some(&'P') || is_name(ahead));
                number += u32::from(plain || named);
                if plain {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "?P<{GROUP}{number}>");
                }
            }
            _ => {}
        }
    }
    out
}

/// Whether `<name>` comes, and no look-around.
fn is_name(mut ahead: std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    ahead.next_if_eq(&'<').is_some() && ahead.peek().is_some_and(char::is_ascii_alphabetic)
}

/// The text with `$1`, `${1}`, `$name` and `${name}` as a probe refers to groups in what it sends.
fn referring(text: &str) -> String {
    rewritten(text, "\\x24")
}

/// The text with references as a probe has them. `$$` is a dollar, which is written as `dollar`.
fn rewritten(text: &str, dollar: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push_str(dollar);
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|braced| braced.split_once('}'));
        let (name, behind) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        if name.is_empty() {
            out.push('$');
        } else {
            let prefix = if name.bytes().all(|byte| byte.is_ascii_digit()) { GROUP } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(out, "${{{prefix}{name}}}");
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("PING :([^ ]+)", "PING :(?P<group1>[^ ]+)")]
    #[case(r"(a)\((?:b)(?P<x>c)([)(])", r"(?P<group1>a)\((?:b)(?P<x>c)(?P<group3>[)(])")]
    #[case("[](]([^](])", "[](](?P<group1>[^](])")]
    #[case("(?i)ok", "(?i)ok")]
    fn groups_get_names(#[case] regex: &str, #[case] expected: &str) {
        assert_eq!(named(regex), expected);
        assert!(regex::Regex::new(expected).is_ok());
    }

    #[rstest]
    #[case("PONG ${1}", "PONG ${group1}")]
    #[case("$1-$name $$5 $", r"${group1}-${name} \x245 $")]
    fn references_are_those_of_a_probe(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(referring(text), expected);
    }

    #[rstest]
    #[case("${1}", "${group1}")]
    #[case("v$1.$name $$5", "v${group1}.${name} $$5")]
    fn what_a_label_says_is_what_a_fact_says(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(grouped(text), expected);
    }

    #[test]
    fn bytes_are_written_as_they_are_typed() {
        assert_eq!(typed_as(b"EHLO a\\b\r\n\x00\xff"), r"EHLO a\\b\r\n\x00\xff");
        assert!(regex::bytes::Regex::new(&exactly(b"S\xff.")).unwrap().is_match(b"S\xff.x"));
        assert!(!regex::bytes::Regex::new(&exactly(b"S.")).unwrap().is_match(b"Sxx"));
    }

    proptest! {
        #[test]
        fn a_regex_stays_one(regex in "[ab(?:)|*\\[\\]\\\\^]{0,20}") {
            if let Ok(before) = regex::Regex::new(&regex) {
                let after = regex::Regex::new(&named(&regex));
                prop_assert!(after.is_ok(), "{regex}: {}", named(&regex));
                prop_assert_eq!(before.captures_len(), after.unwrap().captures_len());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = (named(&text), referring(&text), exactly(text.as_bytes()));
        }
    }
}
