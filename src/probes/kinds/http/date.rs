//! Dates of HTTP headers (RFC 9110, 5.6.7): pure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// The two older notations, which still have to be understood.
const OLDER: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Reads a date.
pub(super) fn read_date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = rfc2822::parse(text) {
        return Some(date.timestamp());
    }
    let older = OLDER.iter().find_map(|format| DateTime::strptime(format, text).ok())?;
    older.to_zoned(TimeZone::UTC).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777))]
    #[case("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777))]
    #[case("Sun Nov  6 08:49:37 1994", Some(784_111_777))]
    #[case("yesterday", None)]
    #[case("", None)]
    fn every_notation_is_read(#[case] text: &str, #[case] seconds: Option<i64>) {
        assert_eq!(read_date(text).map(Timestamp::as_second), seconds);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = read_date(&text);
        }
    }
}
