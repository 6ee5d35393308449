//! Texts of a probe's exchange: what is typed, and what is shown.

use regex::bytes::{Regex, RegexBuilder};

use super::MAX_REGEX;
use crate::probes::SpecError;

/// Reads `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`; everything else stands for itself.
///
/// # Errors
/// A backslash that begins nothing, with its place.
pub(in crate::probes) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let place = text.chars().count() - rest.clone().count();
        let wrong = |found: &str| {
            format!(
                "`\\{found}` at character {place} is not understood: allowed are \\r, \\n, \\t, \\0, \\\\ and \\xNN"
            )
        };
        match rest.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let value = u8::from_str_radix(&digits, 16).ok().filter(|_| hex);
                bytes.push(value.ok_or_else(|| wrong(&format!("x{digits}")))?);
            }
            Some(other) => return Err(wrong(&other.to_string())),
            None => return Err(wrong("")),
        }
    }
    Ok(bytes)
}

/// Compiles a regular expression that stands under `field`.
///
/// # Errors
/// It is none, or would take too much memory.
pub(in crate::probes) fn expression(field: &str, text: Option<&str>) -> Result<Option<Regex>, SpecError> {
    let compiled = text.map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build()).transpose();
    compiled.map_err(|error| SpecError::new(field, error.to_string()))
}

/// Shows bytes for a person, at most `limit` of them.
pub(in crate::probes) fn show(bytes: &[u8], limit: usize) -> String {
    let shown: String =
        bytes.iter().take(limit).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    if bytes.len() > limit { format!("\"{shown}…\"") } else { format!("\"{shown}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(r"PING\r\n", b"PING\r\n")]
    #[case(r"\x00\xfF\\", b"\x00\xff\\")]
    #[case("ü", "ü".as_bytes())]
    #[case("", b"")]
    fn escapes_are_read(#[case] text: &str, #[case] bytes: &[u8]) {
        assert_eq!(unescape(text).unwrap(), bytes);
    }

    #[rstest]
    #[case(r"ab\q", r"`\q` at character 3")]
    #[case(r"\x1", r"`\x1` at character 1")]
    #[case(r"\xg1", r"`\xg1`")]
    #[case(r"\x+1", r"`\x+1`")]
    #[case("\\", r"`\` at character 1")]
    fn what_is_no_escape_is_named(#[case] text: &str, #[case] message: &str) {
        let error = unescape(text).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }

    proptest! {
        #[test]
        fn bytes_that_are_shown_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shown = show(&bytes, 100);
            // Quotes are escaped for the eye alone.
            let typed = shown.strip_prefix('"').unwrap().strip_suffix('"').unwrap().replace("\\\"", "\"").replace("\\'", "'");
            prop_assume!(!bytes.contains(&b'\\'));
            prop_assert_eq!(unescape(&typed).unwrap(), bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = unescape(&text);
        }
    }
}
