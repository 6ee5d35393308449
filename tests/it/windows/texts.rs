//! Any text: no panic, and answers that agree with each other.

use super::given::{at, calendar, resource};
use jiff::{SignedDuration, Timestamp};
use probegate::windows::{Compiled, Zones, check_calendar, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

fn compiled(spec: Value) -> Option<Compiled> {
    compile(&resource("w", spec), &Zones::bundled(), &[]).ok()
}

/// Asks about a few instants; whatever the answer is, it agrees with itself.
fn consistent(window: &Compiled, now: Timestamp) -> Result<(), TestCaseError> {
    if let Some(stretch) = window.covering(now) {
        prop_assert!(stretch.contains(now));
        if let Some(until) = stretch.until {
            prop_assert!(window.covering(until).is_none(), "{until} is the end and still covered");
            let last = until - SignedDuration::from_nanos(1);
            prop_assert_eq!(window.covering(last), Some(stretch));
        }
        if let Some(since) = stretch.since {
            prop_assert_eq!(window.covering(since), Some(stretch));
            let before = since - SignedDuration::from_nanos(1);
            prop_assert!(window.covering(before).is_none(), "{} is the start and covered before", since);
        }
    } else {
        if let Some(next) = window.next_start(now) {
            prop_assert!(next > now && window.covering(next).is_some());
            prop_assert!(window.covering(next - SignedDuration::from_nanos(1)).is_none());
        }
        if let Some(end) = window.last_end(now) {
            prop_assert!(end <= now && window.covering(end).is_none());
        }
    }
    Ok(())
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Africa/Casablanca",
        "Europe/Lisbon",
        "America/St_Johns",
        "Asia/Kolkata",
    ])
}

fn rule() -> impl Strategy<Value = String> {
    let frequency = prop::sample::select(vec!["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]);
    let part = prop::sample::select(vec![
        "",
        ";INTERVAL=2",
        ";INTERVAL=5",
        ";BYMONTH=3,10",
        ";BYMONTHDAY=-1,29",
        ";BYDAY=SU",
        ";BYDAY=MO,TU,FR",
        ";BYDAY=-1SU",
        ";BYHOUR=0,2,23",
        ";BYHOUR=2;BYMINUTE=15,45",
        ";BYDAY=SA,SU;BYSETPOS=-1",
        ";COUNT=40",
        ";UNTIL=20270101",
        ";WKST=SU;INTERVAL=2",
    ]);
    (frequency, part).prop_map(|(frequency, part)| format!("FREQ={frequency}{part}"))
}

fn duration() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["10m", "1h", "90m", "8h", "24h", "1d", "25h", "2d", "1d12h"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn answers_about_any_rule_agree_with_each_other_and_with_a_walk(
        zone in zone(), rule in rule(), duration in duration(), minutes in 0_i64..1_500_000, minute in 0_u32..1_440,
    ) {
        let start = format!("2026-01-03T{:02}:{:02}", minute / 60, minute % 60);
        let rrule = json!([{"start": start, "rule": rule, "duration": duration}]);
        let spec = json!({"type": "freeze", "timeZone": zone, "schedule": {"rrule": rrule}});
        let Some(window) = compiled(spec) else { return Ok(()) };
        let now = at("2025-12-25T00:00:00Z") + SignedDuration::from_mins(minutes);
        consistent(&window, now)?;
        // A list begun anywhere gives the same stretches, disjoint and in order.
        let (from, to) = (now - SignedDuration::from_hours(300), now + SignedDuration::from_hours(300));
        let listed = window.stretches(from, to);
        for pair in listed.windows(2) {
            prop_assert!(pair[0].until < pair[1].since, "{:?}", pair);
        }
        let mut found = listed.iter().find(|stretch| stretch.contains(now)).copied();
        let covering = window.covering(now);
        // How far back a stretch without a gap is followed has a limit, in occurrences, and a list
        // begins elsewhere: what one of them finds just before it, the other does not.
        if let (Some(covering), Some(found)) = (&covering, &mut found)
            && covering.since.is_none()
        {
            found.since = None;
        }
        prop_assert_eq!(covering, found);
    }

    #[test]
    fn hours_agree_with_a_walk_day_by_day(
        zone in zone(), days in proptest::collection::btree_set(0_usize..7, 1..7), from in 0_u32..1_440, to in 0_u32..=1_440,
        minutes in 0_i64..8_000_000,
    ) {
        prop_assume!(from != to);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days: Vec<_> = days.into_iter().map(|day| names[day]).collect();
        let weekly = json!([{"days": days, "from": clock(from), "to": clock(to)}]);
        let window = compiled(json!({"type": "freeze", "timeZone": zone, "schedule": {"weekly": weekly}})).unwrap();
        consistent(&window, at("2011-12-01T00:00:00Z") + SignedDuration::from_mins(minutes))?;
    }

    #[test]
    fn no_text_makes_a_schedule_panic(text in "\\PC{0,60}", rule in "FREQ=[A-Z]{5,7};[A-Z]{2,9}=[-0-9,A-Z]{0,12}") {
        for rule in [&text, &rule] {
            let _ = compiled(json!({"type": "freeze", "timeZone": text, "schedule": {
                "weekly": [{"days": ["mon"], "from": text, "to": text}],
                "cron": [{"expression": text, "duration": "1h"}],
                "rrule": [{"start": text, "rule": rule, "duration": "1h"}, {"start": "2026-01-01T00:00", "rule": rule, "duration": "1h"}],
                "dates": [{"from": text, "to": text}, {"day": text}],
                "calendars": [{"inline": text}, {"url": text}, {"file": text}],
            }}));
        }
    }

    #[test]
    fn no_calendar_makes_the_reader_panic(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("BEGIN:VEVENT".to_owned()), Just("END:VEVENT".to_owned()), Just("END:VCALENDAR".to_owned()),
                Just("BEGIN:VTIMEZONE".to_owned()), Just("END:VTIMEZONE".to_owned()), Just("BEGIN:STANDARD".to_owned()),
                "(DTSTART|DTEND|RDATE|EXDATE|RECURRENCE-ID|TZOFFSETTO|DURATION)(;TZID=[A-Z/a-z]{0,8}|;VALUE=DATE)?:[-+0-9TZP,/]{0,20}",
                "RRULE:FREQ=(DAILY|YEARLY|HOURLY);[A-Z]{5,8}=[-0-9A-Z,]{0,10}",
                "\\PC{0,30}",
            ],
            0..14,
        ),
    ) {
        let text = calendar(&lines.join("\n"));
        let _ = check_calendar(text.as_bytes(), Some("Europe/Berlin"), &Zones::bundled());
        let whole = lines.join("\r\n");
        let _ = check_calendar(whole.as_bytes(), None, &Zones::bundled());
    }
}
