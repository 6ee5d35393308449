//! Workflow commands of GitHub Actions: failures and warnings as annotations.

use std::fmt::Write;

use super::{Case, CaseResult, Suite};

/// One command for each case that is not as it should be, and a line that sums up.
pub(super) fn commands(suite: &Suite) -> String {
    let bad = suite.cases.iter().filter(|case| case.result == CaseResult::Failed).count();
    let mut text: String = suite.cases.iter().filter_map(|case| command(case, &suite.name)).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {bad} of {} failed", data(&suite.name), suite.cases.len());
    text
}

fn command(case: &Case, suite: &str) -> Option<String> {
    let level = match case.result {
        CaseResult::Failed => "error",
        CaseResult::Warned => "warning",
        CaseResult::Skipped => "notice",
        CaseResult::Passed => return None,
    };
    let place = case.place.as_ref().map_or(String::new(), |place| {
        format!("file={},line={},col={},", property(&place.file), place.line, place.column)
    });
    let title = property(&format!("{suite}: {}", case.name));
    Some(format!("::{level} {place}title={title}::{}\n", data(&case.message)))
}

/// Text after `::`, as the runner unescapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, in which two more characters mean something.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn a_failure_points_at_its_line_and_a_message_cannot_forge_a_command() {
        let suite = Suite {
            name: "gates".into(),
            cases: vec![
                Case {
                    name: "a.yaml".into(),
                    result: CaseResult::Failed,
                    message: "100% wrong\n::error::forged".into(),
                    place: Some(Place { file: "gates/a,b.yaml".into(), line: 3, column: 7 }),
                },
                Case { name: "fine".into(), result: CaseResult::Passed, message: String::new(), place: None },
            ],
        };
        assert_eq!(
            commands(&suite),
            "::error file=gates/a%2Cb.yaml,line=3,col=7,title=gates%3A a.yaml::100%25 wrong%0A::error::forged\n\
             gates: 1 of 2 failed\n"
        );
    }
}
