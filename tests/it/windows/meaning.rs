//! What a schedule means, doubtful case by doubtful case.

use super::given::{at, errors, freeze, stretches, window};
use rstest::rstest;
use serde_json::{Value, json};

fn rrule(start: &str, rule: &str, duration: &str) -> Value {
    json!({"rrule": [{"start": start, "rule": rule, "duration": duration}]})
}

// 1. Gaps, overlaps, skipped days.

#[test]
fn a_start_in_a_gap_moves_forward_by_the_gap_s_length() {
    let berlin = freeze("Europe/Berlin", rrule("2026-03-28T02:30", "FREQ=DAILY;COUNT=2", "1h"));
    assert_eq!(
        stretches(&berlin, "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"),
        ["2026-03-29T01:30:00Z/2026-03-29T02:30:00Z"]
    );
    let lord_howe = freeze("Australia/Lord_Howe", json!({"cron": [{"expression": "15 2 4 10 *", "duration": "10m"}]}));
    assert_eq!(
        stretches(&lord_howe, "2026-10-01T00:00:00Z", "2026-10-10T00:00:00Z"),
        // 02:15 becomes 02:45 at +11.
        ["2026-10-03T15:45:00Z/2026-10-03T15:55:00Z"]
    );
}

#[test]
fn an_end_in_a_gap_moves_forward_too() {
    let window = freeze("Europe/Berlin", json!({"weekly": [{"days": ["sun"], "from": "01:00", "to": "02:30"}]}));
    assert_eq!(
        stretches(&window, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-29T00:00:00Z/2026-03-29T01:30:00Z"]
    );
}

#[test]
fn a_time_that_exists_twice_is_the_earlier_instant_for_a_start_and_for_an_end() {
    let window = freeze(
        "Europe/Berlin",
        json!({"dates": [
            {"from": "2026-10-25T02:15", "to": "2026-10-25T02:45"},
            {"from": "2026-10-25T02:50", "to": "2026-10-25T03:00"},
        ]}),
    );
    assert_eq!(
        stretches(&window, "2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z"),
        ["2026-10-25T00:15:00Z/2026-10-25T00:45:00Z", "2026-10-25T00:50:00Z/2026-10-25T02:00:00Z"]
    );
}

#[rstest]
#[case(json!({"weekly": [{"days": ["fri"], "from": "22:00", "to": "06:00"}]}))]
#[case(json!({"cron": [{"expression": "0 12 30 12 *", "duration": "2h"}]}))]
#[case(json!({"rrule": [{"start": "2011-12-29T12:00", "rule": "FREQ=DAILY;INTERVAL=1;BYMONTHDAY=30", "duration": "1h"}]}))]
#[case(json!({"dates": [{"day": "2011-12-30"}]}))]
#[case(json!({"dates": [{"from": "2011-12-30T09:00", "to": "2011-12-30T17:00"}]}))]
fn a_day_that_the_zone_skips_has_no_occurrences(#[case] schedule: Value) {
    let apia = freeze("Pacific/Apia", schedule);
    assert_eq!(stretches(&apia, "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z"), [""; 0]);
}

#[test]
fn a_midnight_that_does_not_exist_is_the_start_of_its_day() {
    let sao_paulo = freeze("America/Sao_Paulo", json!({"dates": [{"day": "2018-11-04"}]}));
    assert_eq!(
        stretches(&sao_paulo, "2018-11-01T00:00:00Z", "2018-11-10T00:00:00Z"),
        ["2018-11-04T03:00:00Z/2018-11-05T02:00:00Z"]
    );
}

// 2. Durations.

#[test]
fn days_are_nominal_and_hours_exact() {
    let day = freeze("Europe/Berlin", rrule("2026-03-28T12:00", "FREQ=DAILY;COUNT=1", "1d"));
    let hours = freeze("Europe/Berlin", rrule("2026-03-28T12:00", "FREQ=DAILY;COUNT=1", "24h"));
    let (from, to) = ("2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
    assert_eq!(stretches(&day, from, to), ["2026-03-28T11:00:00Z/2026-03-29T10:00:00Z"]);
    assert_eq!(stretches(&hours, from, to), ["2026-03-28T11:00:00Z/2026-03-29T11:00:00Z"]);
}

// 3. Half-open, merged.

#[test]
fn the_first_instant_is_inside_and_the_last_is_not() {
    let window = freeze("UTC", json!({"dates": [{"from": "2026-01-05T09:00", "to": "2026-01-05T10:00"}]}));
    assert!(window.covering(at("2026-01-05T08:59:59.999999999Z")).is_none());
    assert!(window.covering(at("2026-01-05T09:00:00Z")).is_some());
    assert!(window.covering(at("2026-01-05T09:59:59.999999999Z")).is_some());
    assert!(window.covering(at("2026-01-05T10:00:00Z")).is_none());
}

#[test]
fn parts_of_different_kinds_that_touch_are_one_stretch() {
    let window = freeze(
        "Europe/Berlin",
        json!({
            "weekly": [{"days": ["mon"], "from": "09:00", "to": "12:00"}],
            "cron": [{"expression": "0 12 * * 1", "duration": "1h"}],
            "rrule": [{"start": "2026-01-05T13:00", "rule": "FREQ=WEEKLY", "duration": "1h30m"}],
            "dates": [{"from": "2026-01-05T14:00", "to": "2026-01-05T18:00"}],
        }),
    );
    assert_eq!(
        stretches(&window, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
        ["2026-01-05T08:00:00Z/2026-01-05T17:00:00Z"]
    );
    let stretch = window.covering(at("2026-01-05T12:30:00Z")).unwrap();
    assert_eq!((stretch.since, stretch.until), (Some(at("2026-01-05T08:00:00Z")), Some(at("2026-01-05T17:00:00Z"))));
}

#[test]
fn hours_of_all_days_have_no_edges() {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let window = freeze("Europe/Berlin", json!({"weekly": [{"days": days, "from": "00:00", "to": "24:00"}]}));
    assert_eq!(stretches(&window, "2026-01-05T00:00:00Z", "2026-12-05T00:00:00Z"), ["../.."]);
}

#[test]
fn whole_days_without_a_gap_are_one_stretch_from_the_first_to_the_last() {
    let endless = freeze("Europe/Berlin", rrule("1990-01-01", "FREQ=DAILY", "1d"));
    assert_eq!(stretches(&endless, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"), ["1989-12-31T23:00:00Z/.."]);
    let ended = freeze("Europe/Berlin", rrule("1990-01-01", "FREQ=DAILY;UNTIL=20301231", "1d"));
    assert_eq!(
        stretches(&ended, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
        ["1989-12-31T23:00:00Z/2030-12-31T23:00:00Z"]
    );
    let counted = freeze("Europe/Berlin", rrule("2000-01-01", "FREQ=DAILY;COUNT=10000", "1d"));
    assert_eq!(
        stretches(&counted, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
        ["1999-12-31T23:00:00Z/2027-05-18T22:00:00Z"]
    );
    let excepted = freeze(
        "Europe/Berlin",
        json!({"rrule": [{
            "start": "1990-01-01", "rule": "FREQ=DAILY", "duration": "1d", "exclude": ["2020-02-02", "2027-03-03"],
        }]}),
    );
    assert_eq!(
        stretches(&excepted, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"),
        ["2020-02-02T23:00:00Z/2027-03-02T23:00:00Z"]
    );
}

// 4. Zones of times.

#[test]
fn a_time_without_an_offset_is_in_the_window_s_zone_and_z_is_utc() {
    let window = freeze(
        "Asia/Kolkata",
        json!({"dates": [
            {"from": "2026-01-05T09:00", "to": "2026-01-05T10:00"},
            {"from": "2026-01-06T09:00Z", "to": "2026-01-06T10:00Z"},
            {"from": "2026-01-07T09:00+01:00", "to": "2026-01-07T10:00+01:00"},
        ]}),
    );
    assert_eq!(
        stretches(&window, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        [
            "2026-01-05T03:30:00Z/2026-01-05T04:30:00Z",
            "2026-01-06T09:00:00Z/2026-01-06T10:00:00Z",
            "2026-01-07T08:00:00Z/2026-01-07T09:00:00Z",
        ]
    );
}

#[test]
fn without_a_zone_times_are_in_utc() {
    let window = window("w", json!({"type": "freeze", "schedule": {"dates": [{"day": "2026-01-05"}]}}));
    assert_eq!(
        stretches(&window, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ["2026-01-05T00:00:00Z/2026-01-06T00:00:00Z"]
    );
}

// 5. UNTIL, COUNT, exceptions.

#[rstest]
// As an instant, itself included: 09:00 in Berlin is 08:00 UTC.
#[case("FREQ=DAILY;UNTIL=20260107T080000Z", 3)]
#[case("FREQ=DAILY;UNTIL=20260107T075959Z", 2)]
// Without Z it is in the zone.
#[case("FREQ=DAILY;UNTIL=20260107T090000", 3)]
#[case("FREQ=DAILY;UNTIL=20260107T085959", 2)]
// A date includes that whole day.
#[case("FREQ=DAILY;UNTIL=20260107", 3)]
#[case("FREQ=DAILY;COUNT=3", 3)]
fn until_is_an_instant_itself_included(#[case] rule: &str, #[case] count: usize) {
    let window = freeze("Europe/Berlin", rrule("2026-01-05T09:00", rule, "1h"));
    assert_eq!(stretches(&window, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z").len(), count);
}

#[test]
fn count_counts_before_exclude_takes_away_and_exclude_beats_include() {
    let window = freeze(
        "Europe/Berlin",
        json!({"rrule": [{
            "start": "2026-01-05T09:00", "rule": "FREQ=DAILY;COUNT=4", "duration": "1h",
            "exclude": ["2026-01-06T08:00:00Z", "2026-01-07", "2026-01-20T10:00"],
            "include": ["2026-01-20T10:00", "2026-01-21T10:00"],
        }]}),
    );
    assert_eq!(
        stretches(&window, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        [
            "2026-01-05T08:00:00Z/2026-01-05T09:00:00Z",
            "2026-01-08T08:00:00Z/2026-01-08T09:00:00Z",
            "2026-01-21T09:00:00Z/2026-01-21T10:00:00Z",
        ]
    );
}

// 6. RRULE.

#[test]
fn a_29th_of_february_exists_in_leap_years_alone() {
    let window = freeze("UTC", rrule("2024-02-29", "FREQ=YEARLY", "1d"));
    assert_eq!(
        stretches(&window, "2024-01-01T00:00:00Z", "2033-01-01T00:00:00Z"),
        [
            "2024-02-29T00:00:00Z/2024-03-01T00:00:00Z",
            "2028-02-29T00:00:00Z/2028-03-01T00:00:00Z",
            "2032-02-29T00:00:00Z/2032-03-01T00:00:00Z",
        ]
    );
}

#[test]
fn days_with_and_without_a_number_are_a_union() {
    let window = freeze("UTC", rrule("2026-01-01T09:00", "FREQ=MONTHLY;BYDAY=1MO,FR;COUNT=4", "1h"));
    let days: Vec<String> = stretches(&window, "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z")
        .iter()
        .map(|text| text[8..10].into())
        .collect();
    assert_eq!(days, ["02", "05", "09", "16"]);
}

#[test]
fn a_position_in_the_first_week_counts_from_the_whole_week() {
    // The start is a Wednesday: the first of Monday, Wednesday and Friday lies before it.
    let window = freeze("UTC", rrule("2026-01-07T09:00", "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1;COUNT=2", "1h"));
    assert_eq!(
        stretches(&window, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ["2026-01-12T09:00:00Z/2026-01-12T10:00:00Z", "2026-01-19T09:00:00Z/2026-01-19T10:00:00Z"]
    );
}

#[test]
fn a_week_of_the_year_alone_means_the_start_s_day_of_it() {
    let window = freeze("UTC", rrule("2026-01-06T09:00", "FREQ=YEARLY;BYWEEKNO=20", "1h"));
    assert_eq!(
        stretches(&window, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ["2026-05-12T09:00:00Z/2026-05-12T10:00:00Z"]
    );
}

#[rstest]
#[case("FREQ=SECONDLY", "too often")]
#[case("FREQ=MINUTELY;INTERVAL=30", "too often")]
#[case("FREQ=DAILY;INTERVAL=0", "never comes again")]
#[case("FREQ=DAILY;COUNT=2;UNTIL=20270101", "do not go together")]
#[case("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "no occurrence in 20 years")]
#[case("FREQ=DAILY;UNTIL=20200101", "no occurrence in 20 years")]
#[case("FREQ=HOURLY;INTERVAL=24;BYHOUR=5", "no occurrence in 20 years")]
fn a_rule_that_cannot_be_meant_is_an_error_with_its_field(#[case] rule: &str, #[case] why: &str) {
    let errors = errors(json!({"type": "freeze", "schedule": rrule("2026-01-05T09:00", rule, "1h")}));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].field, "spec.schedule.rrule[0].rule");
    assert!(errors[0].why.contains(why), "{errors:?}");
}

// 7. cron.

#[test]
fn cron_in_an_overlap_fires_once() {
    let window = freeze("Europe/Berlin", json!({"cron": [{"expression": "30 2 * * *", "duration": "10m"}]}));
    assert_eq!(
        stretches(&window, "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z"),
        ["2026-10-25T00:30:00Z/2026-10-25T00:40:00Z"]
    );
}

// 8. weekly.

#[test]
fn hours_over_midnight_belong_to_the_day_they_began_on_through_a_change_of_the_offset() {
    let window = freeze("Europe/Berlin", json!({"weekly": [{"days": ["sat"], "from": "22:00", "to": "06:00"}]}));
    assert_eq!(
        stretches(&window, "2026-03-27T00:00:00Z", "2026-03-30T00:00:00Z"),
        ["2026-03-28T21:00:00Z/2026-03-29T04:00:00Z"]
    );
    assert_eq!(
        stretches(&window, "2026-10-23T00:00:00Z", "2026-10-26T00:00:00Z"),
        ["2026-10-24T20:00:00Z/2026-10-25T05:00:00Z"]
    );
}

#[rstest]
#[case("09:00", "09:00", "spec.schedule.weekly[0].to", "00:00 to 24:00 for a whole day")]
#[case("24:00", "09:00", "spec.schedule.weekly[0].from", "00:00 to 23:59")]
#[case("9:00", "17:00", "spec.schedule.weekly[0].from", "`9:00`")]
#[case("09:00", "24:01", "spec.schedule.weekly[0].to", "`24:01`")]
fn wrong_hours_are_an_error_with_their_field(
    #[case] from: &str,
    #[case] to: &str,
    #[case] field: &str,
    #[case] why: &str,
) {
    let schedule = json!({"weekly": [{"days": ["mon"], "from": from, "to": to}]});
    let errors = errors(json!({"type": "freeze", "schedule": schedule}));
    assert_eq!(errors[0].field, field);
    assert!(errors[0].why.contains(why), "{errors:?}");
}

#[rstest]
#[case(json!({"type": "allow"}), "spec.schedule", "needs a schedule")]
#[case(json!({"type": "freeze", "schedule": {}}), "spec.schedule", "it is empty")]
#[case(json!({"type": "freeze", "owner": "a", "ticket": "b", "reason": "c"}), "spec.expires", "stop the line")]
#[case(json!({"type": "freeze", "timeZone": "Europe/Berln", "schedule": {"dates": [{"day": "2026-01-01"}]}}), "spec.timeZone", "did you mean Europe/Berlin?")]
#[case(json!({"type": "freeze", "maxChanges": 3, "schedule": {"dates": [{"day": "2026-01-01"}]}}), "spec.maxChanges", "allow window")]
#[case(json!({"type": "freeze", "schedule": {"cron": [{"expression": "0 9 * *", "duration": "1h"}]}}), "spec.schedule.cron[0].expression", "five are needed")]
#[case(json!({"type": "freeze", "schedule": {"cron": [{"expression": "0 9 * * *", "duration": "0s"}]}}), "spec.schedule.cron[0].duration", "contains nothing")]
#[case(json!({"type": "freeze", "schedule": {"cron": [{"expression": "0 9 30 2 *", "duration": "1h"}]}}), "spec.schedule.cron[0].expression", "no occurrence")]
#[case(json!({"type": "freeze", "schedule": {"dates": [{"day": "2026-02-30"}]}}), "spec.schedule.dates[0].day", "2026-02-30")]
#[case(json!({"type": "freeze", "schedule": {"dates": [{"from": "2026-02-02", "to": "2026-02-01"}]}}), "spec.schedule.dates[0].to", "after `from`")]
#[case(json!({"type": "freeze", "schedule": {"dates": [{"firstDay": "2026-02-02", "lastDay": "2026-02-01"}]}}), "spec.schedule.dates[0].lastDay", "before `firstDay`")]
#[case(json!({"type": "freeze", "schedule": {"dates": [{"from": "2026-02-02"}]}}), "spec.schedule.dates[0]", "`from` and `to`")]
#[case(json!({"type": "freeze", "schedule": {"rrule": [{"start": "soon", "rule": "FREQ=DAILY", "duration": "1h"}]}}), "spec.schedule.rrule[0].start", "`soon`")]
#[case(json!({"type": "freeze", "schedule": {"rrule": [{"start": "2026-01-01", "rule": "FREQ=HOURLY", "duration": "1h"}]}}), "spec.schedule.rrule[0].rule", "needs a start with a time")]
#[case(json!({"type": "freeze", "schedule": {"calendars": [{}]}}), "spec.schedule.calendars[0]", "exactly one")]
#[case(json!({"type": "freeze", "schedule": {"calendars": [{"file": "../../etc/passwd"}]}}), "spec.schedule.calendars[0].file", "beside or below")]
#[case(json!({"type": "freeze", "schedule": {"calendars": [{"url": "ftp://x/y"}]}}), "spec.schedule.calendars[0].url", "http or https")]
#[case(json!({"type": "freeze", "schedule": {"calendars": [{"url": "https://x/y", "refresh": "1s"}]}}), "spec.schedule.calendars[0].refresh", "1m")]
#[case(json!({"type": "freeze", "schedule": {"dates": [{"day": "2026-01-01"}]}, "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}}), "spec.selector.matchExpressions[0]", "at least one value")]
fn every_error_names_its_field_with_what_was_found_or_is_allowed(
    #[case] spec: Value,
    #[case] field: &str,
    #[case] why: &str,
) {
    let errors = errors(spec);
    assert!(errors.iter().any(|error| error.field == field && error.why.contains(why)), "{errors:?}");
}

#[test]
fn all_errors_are_told_at_once() {
    let errors = errors(json!({"type": "allow", "timeZone": "Mars", "schedule": {
        "weekly": [{"days": [], "from": "9", "to": "10"}],
        "cron": [{"expression": "x", "duration": "1h"}],
    }}));
    assert_eq!(errors.len(), 4, "{errors:?}");
}
