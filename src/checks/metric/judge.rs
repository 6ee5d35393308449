//! Samples against a threshold: pure.
//!
//! `max` and `min` are allowed themselves: a value fails above `max` or below `min`. What is no
//! finite number is no data. Over a range, a series fails when it has been beyond the threshold
//! without a break for the whole length; a shorter stretch that is still going on is pending, one
//! that has ended is evidence. A gap (a missing step) breaks a stretch: it is neither good nor bad.
//! A series that has ended (a pod that has gone) is not judged as long as another goes on.

use std::collections::BTreeMap;

/// The part of the expected points that a series must have before it can pass: with less than half
/// of them, what was not seen could be anything.
const LEAST_COVERAGE: f64 = 0.5;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub(super) max: Option<f64>,
    pub(super) min: Option<f64>,
}

impl Limits {
    /// How far a value is beyond the nearest limit; positive means that it is not allowed.
    fn excess(&self, value: f64) -> f64 {
        let above = self.max.map(|max| value - max);
        let below = self.min.map(|min| min - value);
        above.into_iter().chain(below).fold(f64::NEG_INFINITY, f64::max)
    }

    fn allows(&self, value: f64) -> bool {
        self.max.is_none_or(|max| value <= max) && self.min.is_none_or(|min| value >= min)
    }
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// Seconds since 1970 and values, oldest first.
    pub(super) points: Vec<(f64, f64)>,
}

/// The range that was asked for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) step: f64,
}

/// What one series says; the order is that of importance.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Says {
    /// Beyond the threshold, over a range for all of it; since when.
    Fails { since: f64 },
    /// Beyond the threshold, not for long enough yet; since when.
    Beyond { since: f64 },
    /// Too little to say anything: so many points of so many.
    Few { points: usize, expected: usize },
    /// No finite number.
    NoNumber,
    /// Within the threshold.
    Within,
    /// It has ended before the range has.
    Ended,
}

/// A series with what it says, and its value that is furthest beyond or nearest to the threshold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    pub(super) series: Series,
    pub(super) says: Says,
    pub(super) worst: Option<f64>,
    excess: f64,
}

/// Judges every series; the worst first.
pub(super) fn judge(series: Vec<Series>, limits: &Limits, range: Option<&Range>) -> Vec<Judged> {
    let mut judged: Vec<Judged> = series.into_iter().map(|series| judge_one(series, limits, range)).collect();
    judged.sort_by(|a, b| {
        rank(&a.says)
            .cmp(&rank(&b.says))
            .then(b.excess.total_cmp(&a.excess))
            .then(a.series.labels.cmp(&b.series.labels))
    });
    judged
}

const fn rank(says: &Says) -> u8 {
    match says {
        Says::Fails { .. } => 0,
        Says::Beyond { .. } => 1,
        Says::Few { .. } => 2,
        Says::NoNumber => 3,
        Says::Within => 4,
        Says::Ended => 5,
    }
}

fn judge_one(series: Series, limits: &Limits, range: Option<&Range>) -> Judged {
    let finite: Vec<(f64, f64)> = series.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let ends_in_nonsense = series.points.last().is_some_and(|(_, value)| !value.is_finite());
    let says = match (range, finite.last()) {
        (_, None) => Says::NoNumber,
        (Some(_), _) if ends_in_nonsense => Says::NoNumber,
        (None, Some((at, value))) if !limits.allows(*value) => Says::Fails { since: *at },
        (None, Some(_)) if finite.len() < series.points.len() => Says::NoNumber,
        (None, Some(_)) => Says::Within,
        (Some(range), Some((last, _))) => over(&finite, *last, limits, range),
    };
    let worst = finite.iter().map(|(_, value)| *value).max_by(|a, b| limits.excess(*a).total_cmp(&limits.excess(*b)));
    let excess = worst.map_or(f64::NEG_INFINITY, |worst| limits.excess(worst));
    Judged { series, says, worst, excess }
}

/// What a series says over a range; `points` are finite and not empty.
fn over(points: &[(f64, f64)], last: f64, limits: &Limits, range: &Range) -> Says {
    // Points stand at whole steps: half a step more is a missing one.
    let gap = range.step * 1.5;
    if range.end - last > gap {
        return Says::Ended;
    }
    let mut since = None;
    let mut next = range.end;
    for (at, value) in points.iter().rev() {
        if limits.allows(*value) || next - at > gap {
            break;
        }
        since = Some(*at);
        next = *at;
    }
    if let Some(since) = since {
        // From the first step to the last one; the range may end between two.
        let last_step = range.start + ((range.end - range.start) / range.step).floor() * range.step;
        let whole = since - range.start < range.step / 2.0 && last_step - last < range.step / 2.0;
        return if whole { Says::Fails { since } } else { Says::Beyond { since } };
    }
    let expected = expected(range);
    if (points.len() as f64) < expected as f64 * LEAST_COVERAGE {
        return Says::Few { points: points.len(), expected };
    }
    Says::Within
}

/// How many points a whole series has.
pub(super) fn expected(range: &Range) -> usize {
    // Bounded by the limit on steps before a query is made.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole, positive, small number")]
    let steps = ((range.end - range.start) / range.step).floor().clamp(0.0, 1e6) as usize;
    steps + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const MAX: Limits = Limits { max: Some(1.0), min: None };
    const RANGE: Range = Range { start: 0.0, end: 60.0, step: 15.0 };

    fn series(values: &[f64]) -> Series {
        let points = values.iter().zip(0_u32..).map(|(value, index)| (f64::from(index) * 15.0, *value)).collect();
        Series { labels: BTreeMap::new(), points }
    }

    /// One letter for each step: `+` beyond, `-` within, `n` not a number, `.` missing.
    fn steps(text: &str) -> Series {
        let points = text.chars().zip(0_u32..).filter_map(|(letter, index)| {
            let value = match letter {
                '+' => 2.0,
                '-' => 0.5,
                'n' => f64::NAN,
                _ => return None,
            };
            Some((f64::from(index) * 15.0, value))
        });
        Series { labels: BTreeMap::new(), points: points.collect() }
    }

    fn says(series: Series, limits: Limits, range: Option<&Range>) -> Says {
        judge(vec![series], &limits, range)[0].says
    }

    #[rstest]
    #[case(Some(1.0), None, 1.0, true)]
    #[case(Some(1.0), None, 1.000_001, false)]
    #[case(None, Some(1.0), 1.0, true)]
    #[case(None, Some(1.0), 0.999, false)]
    #[case(Some(2.0), Some(1.0), 1.5, true)]
    #[case(Some(2.0), Some(1.0), 3.0, false)]
    #[case(Some(2.0), Some(1.0), 0.0, false)]
    fn limits_are_allowed_themselves(
        #[case] max: Option<f64>,
        #[case] min: Option<f64>,
        #[case] value: f64,
        #[case] allowed: bool,
    ) {
        let limits = Limits { max, min };
        assert_eq!(limits.allows(value), allowed);
        assert_eq!(limits.excess(value) > 0.0, !allowed);
        assert_eq!(says(series(&[value]), limits, None) == Says::Within, allowed);
    }

    #[rstest]
    #[case(f64::NAN)]
    #[case(f64::INFINITY)]
    #[case(f64::NEG_INFINITY)]
    fn what_is_no_number_is_no_data(#[case] value: f64) {
        assert_eq!(says(series(&[value]), MAX, None), Says::NoNumber);
    }

    #[rstest]
    #[case::all_of_it("+++++", Says::Fails { since: 0.0 })]
    #[case::all_but_the_edge(".++++", Says::Beyond { since: 15.0 })]
    #[case::still_going_on("--+++", Says::Beyond { since: 30.0 })]
    #[case::over_again("++++-", Says::Within)]
    #[case::never("-----", Says::Within)]
    #[case::a_gap_is_not_beyond("++.++", Says::Beyond { since: 45.0 })]
    #[case::nor_is_what_is_no_number("++n++", Says::Beyond { since: 45.0 })]
    #[case::half_of_it_is_enough("..---", Says::Within)]
    #[case::less_is_not("...--", Says::Few { points: 2, expected: 5 })]
    #[case::gaps_are_not_within("-...-", Says::Few { points: 2, expected: 5 })]
    #[case::a_late_last_step_is_no_end("----.", Says::Within)]
    #[case::nor_does_it_count_as_beyond("++++.", Says::Beyond { since: 0.0 })]
    #[case::nonsense_at_the_end_is_no_data("++++n", Says::NoNumber)]
    #[case::a_series_that_has_gone("+++..", Says::Ended)]
    #[case::nothing_but_nonsense("nnnnn", Says::NoNumber)]
    fn a_stretch_must_last_without_a_break(#[case] text: &str, #[case] expected: Says) {
        assert_eq!(says(steps(text), MAX, Some(&RANGE)), expected);
    }

    #[test]
    fn a_range_may_end_between_two_steps() {
        let range = Range { start: 0.0, end: 59.0, step: 15.0 };
        assert_eq!(says(steps("++++"), MAX, Some(&range)), Says::Fails { since: 0.0 });
    }

    #[test]
    fn the_worst_series_comes_first() {
        let named = |name: &str, value: f64| Series {
            labels: [("pod".to_owned(), name.to_owned())].into(),
            ..series(&[value])
        };
        let judged = judge(vec![named("a", 0.1), named("b", 5.0), named("c", f64::NAN), named("d", 9.0)], &MAX, None);
        let order: Vec<&str> = judged.iter().map(|judged| judged.series.labels["pod"].as_str()).collect();
        assert_eq!(order, ["d", "b", "c", "a"]);
        assert_eq!(judged[0].worst, Some(9.0));
    }

    proptest! {
        #[test]
        fn nothing_fails_unless_every_step_was_beyond(text in "[+n.-]{5}") {
            let says = says(steps(&text), MAX, Some(&RANGE));
            prop_assert_eq!(matches!(says, Says::Fails { .. }), text == "+++++", "{}", text);
        }

        #[test]
        fn nothing_is_within_that_ends_beyond(text in "[+n.-]{5}") {
            let says = says(steps(&text), MAX, Some(&RANGE));
            if text.ends_with('+') {
                prop_assert!(matches!(says, Says::Fails { .. } | Says::Beyond { .. }), "{text} {says:?}");
            }
            if says == Says::Within {
                prop_assert!(text.matches(['+', '-']).count() >= 3, "{text}");
            }
        }
    }
}
