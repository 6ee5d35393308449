//! The reference vectors of tests/data/windows.

use jiff::Timestamp;
use probegate::api::{
    Calendar, CronSchedule, ReleaseWindow, ReleaseWindowSpec, RruleSchedule, Schedule, Weekday, WeeklyHours,
};
use probegate::windows::{Compiled, Zones, compile};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    zone: String,
    #[serde(default)]
    from: i64,
    #[serde(default)]
    to: i64,
    #[serde(default)]
    stretches: Vec<(i64, i64)>,
    #[serde(default)]
    error: bool,
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap()
}

fn freeze(zone: &str, schedule: Schedule) -> ReleaseWindow {
    let spec: ReleaseWindowSpec =
        serde_json::from_value(serde_json::json!({ "type": "freeze", "timeZone": zone })).unwrap();
    ReleaseWindow::new("w", ReleaseWindowSpec { schedule: Some(schedule), ..spec })
}

/// What differs between a schedule and its expected stretches, and between listing and asking.
fn differences(what: &str, schedule: Schedule, expected: &Expected) -> Vec<String> {
    let window = freeze(&expected.zone, schedule);
    let compiled = match compile(&window, &Zones::bundled(), &[]) {
        Ok(compiled) => compiled,
        Err(_) if expected.error => return Vec::new(),
        Err(errors) => return vec![format!("{what} in {}: {errors:?}", expected.zone)],
    };
    if expected.error {
        return vec![format!("{what} in {}: should be an error", expected.zone)];
    }
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let found: Vec<(i64, i64)> = compiled
        .stretches(at(expected.from), at(expected.to))
        .iter()
        .map(|stretch| {
            (stretch.since.map_or(i64::MIN, Timestamp::as_second), stretch.until.map_or(i64::MAX, Timestamp::as_second))
        })
        .collect();
    if found != expected.stretches {
        let first = found.iter().zip(&expected.stretches).position(|(left, right)| left != right);
        let index = first.unwrap_or(found.len().min(expected.stretches.len()));
        return vec![format!(
            "{what} in {}: {} stretches instead of {}, from {index} on {:?} instead of {:?}",
            expected.zone,
            found.len(),
            expected.stretches.len(),
            found.get(index).map(|(since, until)| (at(*since), at(*until))),
            expected.stretches.get(index).map(|(since, until)| (at(*since), at(*until))),
        )];
    }
    asked(what, &compiled, expected)
}

/// Asks at and around every edge.
fn asked(what: &str, compiled: &Compiled, expected: &Expected) -> Vec<String> {
    let mut out = Vec::new();
    for (index, (since, until)) in expected.stretches.iter().enumerate() {
        let next = expected.stretches.get(index + 1).map(|(since, _)| *since);
        let outside_next = next.unwrap_or(i64::MAX);
        for (second, inside) in [(since - 1, false), (*since, true), (until - 1, true), (*until, false)] {
            let at = Timestamp::from_second(second).unwrap();
            let stretch = compiled.covering(at);
            let right = match stretch {
                Some(stretch) => {
                    inside
                        && stretch.since.map(Timestamp::as_second) == Some(*since)
                        && stretch.until.map(Timestamp::as_second) == Some(*until)
                }
                None => !inside || second >= outside_next,
            };
            if !right {
                out.push(format!("{what} in {} at {at}: {stretch:?}", expected.zone));
            }
        }
        let starts = compiled.next_start(Timestamp::from_second(*until).unwrap()).map(Timestamp::as_second);
        if next.is_some() && starts != next {
            out.push(format!("{what} in {} after {until}: next {starts:?} instead of {next:?}", expected.zone));
        }
        let before = Timestamp::from_second(since - 1).unwrap();
        let ended = compiled.last_end(before).map(Timestamp::as_second);
        let last = index.checked_sub(1).map(|index| expected.stretches[index].1);
        if last.is_some() && ended != last {
            out.push(format!("{what} in {} before {since}: ended {ended:?} instead of {last:?}", expected.zone));
        }
    }
    out
}

fn none(differences: Vec<String>) {
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn recurrence_rules_agree_with_the_reference() {
    #[derive(Deserialize)]
    struct Case {
        rule: String,
        start: String,
        #[serde(default)]
        duration: Option<String>,
        #[serde(flatten)]
        expected: Expected,
    }
    let cases: Vec<Case> = read(include_str!("../../data/windows/rrule.json"));
    none(
        cases
            .iter()
            .flat_map(|case| {
                let rrule = RruleSchedule {
                    start: case.start.clone(),
                    rule: case.rule.clone(),
                    duration: case.duration.as_deref().unwrap_or("PT1H").parse().unwrap(),
                    exclude: Vec::new(),
                    include: Vec::new(),
                };
                let what = format!("{} from {}", case.rule, case.start);
                differences(&what, Schedule { rrule: vec![rrule], ..Schedule::default() }, &case.expected)
            })
            .collect(),
    );
}

#[test]
fn cron_expressions_agree_with_the_reference() {
    #[derive(Deserialize)]
    struct Case {
        expression: String,
        duration: String,
        #[serde(flatten)]
        expected: Expected,
    }
    let cases: Vec<Case> = read(include_str!("../../data/windows/cron.json"));
    none(
        cases
            .iter()
            .flat_map(|case| {
                let cron =
                    CronSchedule { expression: case.expression.clone(), duration: case.duration.parse().unwrap() };
                let schedule = Schedule { cron: vec![cron], ..Schedule::default() };
                differences(&case.expression, schedule, &case.expected)
            })
            .collect(),
    );
}

#[test]
fn weekly_hours_agree_with_the_reference() {
    #[derive(Deserialize)]
    struct Case {
        days: Vec<Weekday>,
        hours: (String, String),
        #[serde(flatten)]
        expected: Expected,
    }
    let cases: Vec<Case> = read(include_str!("../../data/windows/weekly.json"));
    none(
        cases
            .into_iter()
            .flat_map(|case| {
                let what = format!("{:?} {:?}", case.days, case.hours);
                let weekly = WeeklyHours { days: case.days, from: case.hours.0, to: case.hours.1 };
                differences(&what, Schedule { weekly: vec![weekly], ..Schedule::default() }, &case.expected)
            })
            .collect(),
    );
}

#[test]
fn calendars_agree_with_the_reference() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        calendar: String,
        #[serde(flatten)]
        expected: Expected,
    }
    let cases: Vec<Case> = read(include_str!("../../data/windows/calendars.json"));
    none(
        cases
            .into_iter()
            .flat_map(|case| {
                let calendar = Calendar { inline: Some(case.calendar), ..Calendar::default() };
                differences(&case.name, Schedule { calendars: vec![calendar], ..Schedule::default() }, &case.expected)
            })
            .collect(),
    );
}
