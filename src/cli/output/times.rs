//! Instants and lengths of time for people.

use jiff::{SignedDuration, Timestamp};

/// An instant to the second, in UTC.
pub(in crate::cli) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A length of time in its two largest units, such as `2d 3h` or `45s`.
pub(in crate::cli) fn lasting(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// How long ago `at` was, or in how long it will be.
pub(in crate::cli) fn ago(at: Timestamp, now: Timestamp) -> String {
    let length = now.duration_since(at);
    if length.is_negative() { format!("in {}", lasting(length.abs())) } else { format!("{} ago", lasting(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(45, "45s")]
    #[case(60, "1m")]
    #[case(61, "1m 1s")]
    #[case(3_600, "1h")]
    #[case(3_605, "1h")]
    #[case(183_600, "2d 3h")]
    #[case(-5, "0s")]
    fn a_length_shows_its_two_largest_units(#[case] seconds: i64, #[case] text: &str) {
        assert_eq!(lasting(SignedDuration::from_secs(seconds)), text);
    }

    #[test]
    fn the_past_and_the_future_read_apart() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(ago("2026-11-21T11:59:00Z".parse().unwrap(), now), "1m ago");
        assert_eq!(ago("2026-11-21T14:30:00Z".parse().unwrap(), now), "in 2h 30m");
        assert_eq!(instant(now), "2026-11-21T12:00:00Z");
    }
}
