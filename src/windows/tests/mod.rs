//! How much work an answer is, counted in steps.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::pattern::Pattern;
use super::rrule::{Recurrence, Rule};
use super::series::{Series, Steps};
use super::timeline::Timeline;
use super::zone::{Length, Zone, Zones};

fn series(zone: &str, start: &str, rule: &str, length: Length) -> Series {
    let start: DateTime = start.parse().unwrap();
    let recurrence = Recurrence::new(rule.parse::<Rule>().unwrap(), start, false).unwrap();
    let zone = Zone::Known(Zones::bundled().get(zone).unwrap());
    Series::new(Pattern::Recurrence(Box::new(recurrence)), zone, length).unwrap()
}

fn hours(hours: i64) -> Length {
    Length::Period { days: 0, rest: SignedDuration::from_hours(hours) }
}

const DAY: Length = Length::Period { days: 1, rest: SignedDuration::ZERO };

/// More than a few blocks around the asked instant, and far less than the 13,000 days in between.
const FEW: usize = 200;

#[rstest]
#[case("FREQ=DAILY", hours(8))]
#[case("FREQ=DAILY", DAY)]
#[case("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", hours(8))]
#[case("FREQ=MONTHLY;BYDAY=-1FR", hours(8))]
#[case("FREQ=YEARLY", DAY)]
#[case("FREQ=HOURLY", Length::Period { days: 0, rest: SignedDuration::from_mins(10) })]
fn an_answer_about_2026_does_not_walk_from_1990(#[case] rule: &str, #[case] length: Length) {
    let series = series("Europe/Berlin", "1990-01-01T09:00", rule, length);
    for at in ["2026-07-01T12:05:00Z", "2026-07-01T07:05:00Z", "2026-03-29T01:00:00Z"] {
        let at: Timestamp = at.parse().unwrap();
        let (mut back, mut on, mut next) = (Steps::default(), Steps::default(), Steps::default());
        Timeline::new(Vec::new(), vec![series.clone()]).covering_within(at, &mut back, &mut on);
        series.next_after(at, &mut next);
        series.last_end_before(at, &mut next);
        let taken = [back.taken(), on.taken(), next.taken()];
        assert!(taken.iter().all(|taken| *taken < FEW), "{rule}: {taken:?}");
    }
}

#[test]
fn a_chain_without_an_end_that_can_be_found_has_none() {
    let series = series("UTC", "2026-01-03T00:00", "FREQ=HOURLY;BYHOUR=2;BYMINUTE=15,45", hours(25));
    let timeline = Timeline::new(Vec::new(), vec![series]);
    let stretch = timeline.covering("2026-01-04T02:15:00Z".parse().unwrap()).unwrap();
    assert_eq!((stretch.since, stretch.until), (Some("2026-01-03T02:15:00Z".parse().unwrap()), None));
}
