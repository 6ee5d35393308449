//! Content lines: unfolding, names, parameters and values (RFC 5545, section 3.1).

use super::{IcsError, MAX_CALENDAR_BYTES};

/// The longest content line after unfolding: descriptions may be long, pictures have no place here.
const MAX_LINE: usize = 256 * 1024;

/// One content line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins in the file, from 1.
    pub(super) number: usize,
    /// The name in capitals.
    pub(super) name: String,
    /// The parameters: names in capitals, values without their quotes.
    pub(super) parameters: Vec<(String, String)>,
    /// What follows the colon.
    pub(super) value: String,
}

impl Line {
    /// The value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Takes a file apart into its content lines; blank ones are left out.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Line>, IcsError> {
    if bytes.len() > MAX_CALENDAR_BYTES {
        return Err(IcsError::whole(format!(
            "the calendar has {} bytes: at most {MAX_CALENDAR_BYTES} are read",
            bytes.len()
        )));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    unfold(bytes)?.into_iter().map(|(number, line)| content(number, line)).collect()
}

/// Joins folded lines. Folding may cut a character in two, so this comes before reading characters.
fn unfold(bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, IcsError> {
    let mut out: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let number = index + 1;
        match (line.split_first(), out.last_mut()) {
            (None, _) => {}
            (Some((b' ' | b'\t', rest)), Some((begun, before))) => {
                before.extend_from_slice(rest);
                if before.len() > MAX_LINE {
                    return Err(IcsError::at(*begun, format!("a line is longer than {MAX_LINE} bytes")));
                }
            }
            (Some((b' ' | b'\t', _)), None) => {
                // White space before the first line, as templates leave it, is nothing.
                if !line.trim_ascii().is_empty() {
                    return Err(IcsError::at(number, "a continued line without a line before it"));
                }
            }
            (Some(_), _) if line.len() > MAX_LINE => {
                return Err(IcsError::at(number, format!("a line is longer than {MAX_LINE} bytes")));
            }
            (Some(_), _) => out.push((number, line.to_vec())),
        }
    }
    Ok(out)
}

fn content(number: usize, line: Vec<u8>) -> Result<Line, IcsError> {
    let error = |why: &str| IcsError::at(number, why);
    let line = String::from_utf8(line).map_err(|_| error("the line is not UTF-8"))?;
    let shown: String = line.chars().take(40).collect();
    let named = line.find([':', ';']).and_then(|end| line.split_at_checked(end));
    let Some((name, mut rest)) = named.filter(|(name, _)| is_name(name)) else {
        return Err(error(&format!("`{shown}` is not a line of a calendar: lines are written NAME:value")));
    };
    let mut parameters = Vec::new();
    while let Some(after) = rest.strip_prefix(';') {
        let (parameter, value, after) =
            parameter(after).ok_or_else(|| error(&format!("`{shown}` has a parameter that is not NAME=value")))?;
        parameters.push((parameter, value));
        rest = after;
    }
    let value = rest.strip_prefix(':').ok_or_else(|| error(&format!("`{shown}` has no colon before its value")))?;
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(error(&format!("`{shown}` has a control character")));
    }
    Ok(Line { number, name: name.to_ascii_uppercase(), parameters, value: value.to_owned() })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// One parameter and the rest behind it. Of several values only the text as a whole is kept.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, mut rest) = text.split_once('=')?;
    if !is_name(name) {
        return None;
    }
    let mut value = String::new();
    loop {
        let (text, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"')?
        } else {
            rest.split_at_checked(rest.find([';', ':', ',', '"'])?)?
        };
        value.push_str(text);
        rest = after;
        match rest.strip_prefix(',') {
            Some(after) => {
                value.push(',');
                rest = after;
            }
            None => break,
        }
    }
    rest.starts_with([';', ':']).then(|| (name.to_ascii_uppercase(), value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[test]
    fn folded_lines_are_joined_even_in_the_middle_of_a_character() {
        let lines = parse(b"SUMMARY:Sch\xc3\r\n \xb6n\r\nDESCRIPTION:a\n\tb\n").unwrap();
        assert_eq!(lines[0].value, "Schön");
        assert_eq!(lines[1], Line { number: 3, name: "DESCRIPTION".into(), parameters: vec![], value: "ab".into() });
    }

    #[test]
    fn parameters_may_be_quoted() {
        let lines = parse(b"dtstart;tzid=\"A:B;C\";VALUE=DATE-TIME:20260101T000000").unwrap();
        assert_eq!(lines[0].parameter("TZID"), Some("A:B;C"));
        assert_eq!(lines[0].parameter("VALUE"), Some("DATE-TIME"));
        assert_eq!(lines[0].value, "20260101T000000");
    }

    #[rstest]
    #[case(b"no colon here", "is not a line")]
    #[case(b"<html>:", "is not a line")]
    #[case(b"NAME;X:1", "not NAME=value")]
    #[case(b"NAME;X=\"open:1", "not NAME=value")]
    #[case(b" folded", "continued")]
    #[case(b"NAME:\xff", "not UTF-8")]
    #[case(b"NAME:a\x00b", "control character")]
    fn a_line_that_is_none_is_refused_with_its_number(#[case] text: &[u8], #[case] why: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, Some(1));
        assert!(error.why.contains(why), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
