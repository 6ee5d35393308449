//! JUnit XML: what CI systems read as test results.

use std::fmt::Write;

use super::{Case, CaseResult, Suite};

/// The whole document.
pub(super) fn document(suite: &Suite) -> String {
    let count = |result| suite.cases.iter().filter(|case| case.result == result).count();
    let counts = format!(
        r#"tests="{}" failures="{}" errors="0" skipped="{}""#,
        suite.cases.len(),
        count(CaseResult::Failed),
        count(CaseResult::Skipped)
    );
    let name = escaped(&suite.name);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "<testsuites {counts}>\n  <testsuite name=\"{name}\" {counts}>");
    for case in &suite.cases {
        write_case(&mut xml, case, &name);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn write_case(xml: &mut String, case: &Case, class: &str) {
    let message = escaped(&case.message);
    let place = case
        .place
        .as_ref()
        .map_or(String::new(), |place| format!(r#" file="{}" line="{}""#, escaped(&place.file), place.line));
    let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"{}\"{place}", escaped(&case.name));
    let _ = match case.result {
        CaseResult::Failed => {
            writeln!(xml, ">\n      <failure message=\"{message}\">{message}</failure>\n    </testcase>")
        }
        CaseResult::Skipped => writeln!(xml, ">\n      <skipped message=\"{message}\"/>\n    </testcase>"),
        CaseResult::Passed | CaseResult::Warned if !message.is_empty() => {
            writeln!(xml, ">\n      <system-out>{message}</system-out>\n    </testcase>")
        }
        CaseResult::Passed | CaseResult::Warned => writeln!(xml, "/>"),
    };
}

/// Text as XML 1.0 allows it, in an element or an attribute. Characters that XML cannot hold at
/// all become the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn every_result_has_its_element_and_nothing_breaks_the_xml() {
        let case = |name: &str, result, message: &str| Case {
            name: name.into(),
            result,
            message: message.into(),
            place: None,
        };
        let mut failed = case("errors", CaseResult::Failed, "5 > 1 & \"bad\"\u{1b}[0m");
        failed.place = Some(Place { file: "gates/a.yaml".into(), line: 3, column: 7 });
        let suite = Suite {
            name: "shop/<checkout>".into(),
            cases: vec![
                case("window", CaseResult::Passed, ""),
                failed,
                case("slow", CaseResult::Warned, "advice: it is slow"),
                case("load", CaseResult::Skipped, "still measuring"),
            ],
        };
        insta::assert_snapshot!(document(&suite));
    }
}
