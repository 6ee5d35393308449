//! Arithmetic on days.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Weekday, date};

const EPOCH: Date = date(1970, 1, 1);

/// The day's number, counted from 1 January 1970.
pub(super) fn number_of(date: Date) -> i64 {
    date.duration_since(EPOCH).as_secs().div_euclid(86_400)
}

/// The day of a number; `None` outside the calendar.
pub(super) fn of_number(number: i64) -> Option<Date> {
    // The calendar ends at the year 9999 in both directions: about 3.7 million days.
    if number.unsigned_abs() > 4_000_000 {
        return None;
    }
    EPOCH.checked_add(number.days()).ok()
}

/// Days from the last `first` day of a week up to `day`: 0 to 6.
pub(super) fn into_week(day: Weekday, first: Weekday) -> i64 {
    i64::from(day.since(first))
}

/// A whole day later, as a local time.
pub(super) fn day_after(at: DateTime) -> DateTime {
    at.saturating_add(1.day())
}

/// The week's number in the year that holds most of the week, and how many weeks that year has
/// (RFC 5545, BYWEEKNO: week 1 is the first with at least four days in the year).
pub(super) fn week_of_year(date: Date, first: Weekday) -> Option<(i64, i64)> {
    // The fourth day of a week lies in the year that the week belongs to.
    let fourth = of_number(number_of(date) - into_week(date.weekday(), first) + 3)?;
    let nth = i64::from(fourth.day_of_year());
    let first_fourth = (nth - 1) % 7 + 1;
    Some(((nth - 1) / 7 + 1, (i64::from(fourth.days_in_year()) - first_fourth) / 7 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-01-01", Weekday::Monday, 1, 53)]
    #[case("2024-12-31", Weekday::Monday, 1, 52)]
    #[case("2021-01-03", Weekday::Monday, 53, 53)]
    #[case("2021-01-03", Weekday::Sunday, 1, 52)]
    #[case("2026-12-31", Weekday::Monday, 53, 53)]
    fn a_week_belongs_to_the_year_of_its_fourth_day(
        #[case] day: Date,
        #[case] first: Weekday,
        #[case] week: i64,
        #[case] weeks: i64,
    ) {
        assert_eq!(week_of_year(day, first), Some((week, weeks)));
    }

    #[test]
    fn a_number_comes_back_as_its_day() {
        for number in [-700_000, -1, 0, 1, 20_000, 2_000_000] {
            assert_eq!(number_of(of_number(number).unwrap()), number);
        }
        assert_eq!(of_number(i64::MAX), None);
    }
}
