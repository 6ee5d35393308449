//! iCalendar files: what they mean, and what makes them unreadable.

use super::given::{at, calendar, errors, events, freeze, stretches};
use probegate::windows::{Zones, check_calendar, to_ics};
use rstest::rstest;
use serde_json::json;

const SPRING: (&str, &str) = ("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z");

fn event(body: &str) -> String {
    format!("BEGIN:VEVENT\nUID:a\n{body}\nEND:VEVENT")
}

fn of(body: &str) -> Vec<String> {
    stretches(&events(&event(body)), SPRING.0, SPRING.1)
}

#[test]
fn a_date_alone_lasts_a_day_and_a_time_alone_contains_nothing() {
    assert_eq!(of("DTSTART;VALUE=DATE:20260302"), ["2026-03-01T23:00:00Z/2026-03-02T23:00:00Z"]);
    assert_eq!(of("DTSTART:20260302T090000"), [""; 0]);
    assert_eq!(of("DTSTART:20260302T090000\nRRULE:FREQ=DAILY;COUNT=3"), [""; 0]);
}

#[test]
fn the_end_of_an_all_day_event_is_not_part_of_it() {
    assert_eq!(
        of("DTSTART;VALUE=DATE:20260302\nDTEND;VALUE=DATE:20260304"),
        ["2026-03-01T23:00:00Z/2026-03-03T23:00:00Z"]
    );
}

#[test]
fn an_end_on_a_recurring_event_means_the_exact_length_of_the_first_occurrence() {
    assert_eq!(
        of("DTSTART:20260327T010000\nDTEND:20260327T040000\nRRULE:FREQ=DAILY;COUNT=3"),
        [
            "2026-03-27T00:00:00Z/2026-03-27T03:00:00Z",
            "2026-03-28T00:00:00Z/2026-03-28T03:00:00Z",
            // Three hours, which are four on the clock.
            "2026-03-29T00:00:00Z/2026-03-29T03:00:00Z",
        ]
    );
}

#[test]
fn a_tzid_is_an_iana_name_first_and_then_a_zone_of_the_file() {
    let zone = |id: &str, offset: &str| {
        format!(
            "BEGIN:VTIMEZONE\nTZID:{id}\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:{offset}\nTZOFFSETTO:{offset}\nEND:STANDARD\nEND:VTIMEZONE\n"
        )
    };
    let with = |id: &str| {
        let body = format!("DTSTART;TZID=\"{id}\":20260302T090000\nDURATION:PT1H");
        stretches(&events(&format!("{}{}", zone(id, "+0530"), event(&body))), SPRING.0, SPRING.1)
    };
    assert_eq!(with("Europe/Lisbon"), ["2026-03-02T09:00:00Z/2026-03-02T10:00:00Z"]);
    assert_eq!(with("Our Time"), ["2026-03-02T03:30:00Z/2026-03-02T04:30:00Z"]);
    assert_eq!(with("W. Europe Standard Time"), ["2026-03-02T03:30:00Z/2026-03-02T04:30:00Z"]);
}

#[test]
fn the_zone_that_a_calendar_recommends_is_not_used() {
    let text = format!(
        "BEGIN:VCALENDAR\nX-WR-TIMEZONE:America/New_York\n{}\nEND:VCALENDAR",
        event("DTSTART:20260302T090000\nDURATION:PT1H")
    );
    let window = freeze("Europe/Berlin", json!({"calendars": [{"inline": text}]}));
    assert_eq!(stretches(&window, SPRING.0, SPRING.1), ["2026-03-02T08:00:00Z/2026-03-02T09:00:00Z"]);
}

#[test]
fn an_exception_beats_a_further_date_and_is_compared_as_an_instant() {
    assert_eq!(
        of(
            "DTSTART:20260302T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\nRDATE:20260310T090000,20260311T090000\nEXDATE:20260303T080000Z,20260310T080000Z"
        ),
        [
            "2026-03-02T08:00:00Z/2026-03-02T09:00:00Z",
            "2026-03-04T08:00:00Z/2026-03-04T09:00:00Z",
            "2026-03-11T08:00:00Z/2026-03-11T09:00:00Z",
        ]
    );
}

#[test]
fn an_exception_that_is_a_date_takes_the_occurrence_of_that_day() {
    assert_eq!(
        of("DTSTART:20260302T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20260302"),
        ["2026-03-03T08:00:00Z/2026-03-03T09:00:00Z"]
    );
}

#[test]
fn a_further_date_may_have_a_length_of_its_own() {
    assert_eq!(
        of(
            "DTSTART:20260302T090000\nDURATION:PT1H\nRDATE;VALUE=PERIOD:20260305T090000/PT3H,20260306T080000Z/20260306T093000Z"
        ),
        [
            "2026-03-02T08:00:00Z/2026-03-02T09:00:00Z",
            "2026-03-05T08:00:00Z/2026-03-05T11:00:00Z",
            "2026-03-06T08:00:00Z/2026-03-06T09:30:00Z",
        ]
    );
}

const SERIES: &str =
    "BEGIN:VEVENT\nUID:a\nDTSTART:20260302T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=4\nEND:VEVENT\n";

#[test]
fn a_changed_occurrence_replaces_its_own_wherever_it_moves_to() {
    let change =
        "BEGIN:VEVENT\nUID:a\nRECURRENCE-ID:20260309T080000Z\nDTSTART:20260418T120000\nDURATION:PT2H\nEND:VEVENT";
    assert_eq!(
        stretches(&events(&format!("{SERIES}{change}")), SPRING.0, SPRING.1),
        [
            "2026-03-02T08:00:00Z/2026-03-02T09:00:00Z",
            "2026-03-16T08:00:00Z/2026-03-16T09:00:00Z",
            "2026-03-23T08:00:00Z/2026-03-23T09:00:00Z",
            "2026-04-18T10:00:00Z/2026-04-18T12:00:00Z",
        ]
    );
}

#[test]
fn a_change_of_this_and_future_moves_the_rest_on_the_clock() {
    let change = "BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260316T090000\nDTSTART:20260317T140000\nDURATION:PT30M\nEND:VEVENT";
    let longer = SERIES.replace("COUNT=4", "COUNT=5");
    assert_eq!(
        stretches(&events(&format!("{longer}{change}")), SPRING.0, SPRING.1),
        [
            "2026-03-02T08:00:00Z/2026-03-02T09:00:00Z",
            "2026-03-09T08:00:00Z/2026-03-09T09:00:00Z",
            "2026-03-17T13:00:00Z/2026-03-17T13:30:00Z",
            "2026-03-24T13:00:00Z/2026-03-24T13:30:00Z",
            // Summer time: still 14:00.
            "2026-03-31T12:00:00Z/2026-03-31T12:30:00Z",
        ]
    );
}

#[rstest]
#[case("BEGIN:VEVENT\nUID:a\nRECURRENCE-ID:20260309T090000\nDTSTART:20260309T090000\nDURATION:PT1H\nSTATUS:CANCELLED\nEND:VEVENT", &["02", "16", "23"])]
#[case("BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260309T090000\nDTSTART:20260309T090000\nDURATION:PT1H\nSTATUS:CANCELLED\nEND:VEVENT", &["02"])]
#[case("BEGIN:VEVENT\nUID:b\nDTSTART:20260304T090000\nDURATION:PT1H\nSTATUS:CANCELLED\nEND:VEVENT", &["02", "09", "16", "23"])]
#[case("BEGIN:VEVENT\nUID:b\nDTSTART:20260304T090000\nDURATION:PT1H\nSTATUS:TENTATIVE\nTRANSP:TRANSPARENT\nEND:VEVENT", &["02", "04", "09", "16", "23"])]
fn cancelled_removes_and_tentative_stays(#[case] more: &str, #[case] days: &[&str]) {
    let found = stretches(&events(&format!("{SERIES}{more}")), SPRING.0, SPRING.1);
    assert_eq!(found.iter().map(|text| &text[8..10]).collect::<Vec<_>>(), days);
}

#[test]
fn of_two_versions_of_an_event_the_later_one_counts() {
    let older = event("SEQUENCE:1\nDTSTART:20260302T090000\nDURATION:PT1H");
    let newer = event("SEQUENCE:2\nDTSTART:20260303T090000\nDURATION:PT1H");
    let found = stretches(&events(&format!("{newer}\n{older}")), SPRING.0, SPRING.1);
    assert_eq!(found, ["2026-03-03T08:00:00Z/2026-03-03T09:00:00Z"]);
}

#[test]
fn the_start_of_an_event_is_its_first_occurrence_whatever_the_rule_says() {
    let found = of("DTSTART:20260303T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3");
    assert_eq!(found.iter().map(|text| &text[8..10]).collect::<Vec<_>>(), ["03", "09", "16"]);
}

#[test]
fn alarms_and_other_components_say_nothing_about_time() {
    let found =
        of("DTSTART:20260302T090000\nDURATION:PT1H\nBEGIN:VALARM\nTRIGGER:-PT15M\nDURATION:PT5M\nREPEAT:2\nEND:VALARM");
    assert_eq!(found, ["2026-03-02T08:00:00Z/2026-03-02T09:00:00Z"]);
}

#[rstest]
#[case("", None, "is empty")]
#[case("  \r\n\r\n", None, "is empty")]
#[case("<!DOCTYPE html><html><body>Log in</body></html>", Some(1), "login")]
#[case("Log in first", Some(1), "not a line of a calendar")]
#[case("BEGIN:VCALENDAR\nEND:VCALENDAR", Some(1), "nothing in it")]
#[case("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101\n", Some(2), "cut off")]
#[case("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101\nEND:VEVENT\n", Some(1), "cut off")]
#[case("BEGIN:VCALENDAR\nEND:VEVENT\nEND:VCALENDAR", Some(2), "END:VEVENT where END:VCALENDAR is due")]
#[case("END:VEVENT", Some(1), "without BEGIN")]
#[case("BEGIN:VEVENT\nDTSTART:20260101\nEND:VEVENT", Some(1), "begins with BEGIN:VCALENDAR")]
#[case("BEGIN:VCALENDAR\nVERSION:1.0\nBEGIN:VEVENT\nDTSTART:20260101\nEND:VEVENT\nEND:VCALENDAR", Some(2), "only 2.0")]
fn a_broken_calendar_is_an_error_as_a_whole(#[case] text: &str, #[case] line: Option<usize>, #[case] why: &str) {
    let error = check_calendar(text.as_bytes(), None, &Zones::bundled()).unwrap_err();
    assert_eq!(error.line, line, "{error}");
    assert!(error.why.contains(why), "{error}");
}

#[rstest]
#[case("DTSTART;TZID=Nowhere/City:20260101T000000", "TZID `Nowhere/City` is unknown")]
#[case("DTSTART;TZID=Europe/Berln:20260101T000000", "did you mean Europe/Berlin?")]
#[case("DTSTART:20260102T000000\nDTEND:20260101T000000", "before DTSTART")]
#[case("DTSTART:20260102\nDTEND:20260101", "before DTSTART")]
#[case("DTSTART:20260102\nDTEND:20260103T000000", "do not go together")]
#[case("DTSTART:20260102T000000\nDTEND:20260103T000000\nDURATION:PT1H", "not both")]
#[case("DTSTART:20260102T000000\nDURATION:-PT1H", "DURATION")]
#[case("DTSTART:20260102T000000\nDURATION:1h", "does not begin with P")]
#[case("DTSTART:20260230", "20260230")]
#[case("DTSTART;VALUE=DATE:20260101T000000", "VALUE=DATE")]
#[case("DTSTART:20260101\nDTSTART:20260102", "stands twice")]
#[case("SUMMARY:no start", "without DTSTART")]
#[case("DTSTART:20260101T000000\nRRULE:FREQ=MINUTELY", "too often")]
#[case("DTSTART:20260101T000000\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "no occurrence in 20 years")]
#[case("DTSTART:20260101T000000\nEXDATE:never", "EXDATE")]
#[case("DTSTART:20260101T000000\nRDATE:20260101T000000/x", "RDATE")]
#[case("DTSTART:20260101T000000\nRECURRENCE-ID;RANGE=THISANDPRIOR:20260101T000000", "THISANDFUTURE")]
fn one_broken_event_among_good_ones_breaks_the_whole(#[case] body: &str, #[case] why: &str) {
    let good = "BEGIN:VEVENT\nUID:good\nDTSTART:20260101\nEND:VEVENT\n";
    let text = calendar(&format!("{good}{}", event(body)));
    let error = check_calendar(text.as_bytes(), Some("Europe/Berlin"), &Zones::bundled()).unwrap_err();
    assert!(error.why.contains(why), "{error}");
    assert!(error.line.is_some_and(|line| line > 6), "{error}");
}

#[test]
fn an_inline_calendar_that_is_broken_is_an_error_of_the_window_with_its_line() {
    let spec = json!({"type": "freeze", "schedule": {"calendars": [{"inline": "BEGIN:VCALENDAR\nBEGIN:VEVENT"}]}});
    let errors = errors(spec);
    assert_eq!(errors[0].field, "spec.schedule.calendars[0].inline");
    assert!(errors[0].why.starts_with("line 2: "), "{errors:?}");
}

#[test]
fn what_is_exported_reads_back_as_the_same_stretches() {
    let spec = json!({"type": "freeze", "timeZone": "Europe/Berlin", "reason": "quiet; \"please\", äöü — a long reason that has to be folded somewhere in the middle of it",
        "owner": "platform", "schedule": {"weekly": [{"days": ["sat"], "from": "22:00", "to": "06:00"}]}});
    let window = super::given::window("nights", spec);
    let text = to_ics([window.as_ref()], at(SPRING.0), at(SPRING.1), at("2026-01-01T00:00:00Z"));
    assert!(text.lines().all(|line| line.len() <= 75), "{text}");
    let read = freeze("UTC", json!({"calendars": [{"inline": text}]}));
    assert_eq!(stretches(&read, SPRING.0, SPRING.1), stretches(&window, SPRING.0, SPRING.1));
}
