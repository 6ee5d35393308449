use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::minute::{ARCHIVED, FULL_MINUTES};
use super::super::query::{Summary, Window, summarize};
use super::super::ring::DEFAULT_ROUNDS;
use super::super::rollup::Rollup;
use super::*;
use crate::probes::machine::Machine;
use crate::probes::result::{Durations, Judgement, Phase, Reason};

/// A whole minute, so that seconds count from its start.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

fn round(start: i64, judgement: Judgement) -> Recent {
    Recent {
        at: at(start),
        late: Duration::ZERO,
        took: Duration::from_millis(20),
        ended: at(start + 20),
        judgement,
        reason: None,
        phase: None,
    }
}

fn words(start: i64, reason: Reason) -> Failed {
    Failed {
        at: at(start),
        ended: at(start + 20),
        judgement: Judgement::Failed,
        reason,
        phase: Some(Phase::Connect),
        message: Arc::from("it failed"),
        durations: Durations::default(),
        log: None,
    }
}

/// A round each second of a number of minutes; gives the minutes that were handed out.
fn feed(
    history: &mut TargetHistory,
    minutes: std::ops::Range<i64>,
    judgement: Judgement,
    reason: Reason,
) -> Vec<Finished> {
    let mut finished = Vec::new();
    for second in minutes.start * 60..minutes.end * 60 {
        let words = words(second * 1_000, reason);
        let words = (judgement == Judgement::Failed).then_some(&words);
        finished.extend(history.record(&round(second * 1_000, judgement), words));
    }
    finished
}

#[test]
fn a_minute_is_handed_out_when_it_is_over() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(0));
    assert_eq!(feed(&mut history, 0..1, Judgement::Good, Reason::Dns), []);
    assert_eq!(history.miss(2, at(59_999)), None);

    let finished = history.record(&round(60_000, Judgement::Good), None).unwrap();

    assert_eq!((finished.minute, finished.rollup.good, finished.rollup.missed), (30_000_000, 60, 2));
    assert_eq!((history.live().rollup.good, history.live().from), (1, at(60_000)));
    assert_eq!(history.finish(at(119_999)), None);
    assert_eq!(history.finish(at(120_000)).unwrap().rollup.good, 1);
    assert_eq!(history.finish(at(900_000)), None, "minutes in which nothing happened are not handed out");
}

#[test]
fn a_round_counts_in_the_minute_in_which_it_ended() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(0));
    history.record(&round(59_990, Judgement::Good), None);
    assert_eq!((history.live().from, history.live().rollup.good), (at(60_000), 1));
}

#[test]
fn a_clock_that_steps_back_loses_nothing() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(600_000));
    history.record(&round(600_000, Judgement::Good), None);
    assert_eq!(history.record(&round(0, Judgement::Good), None), None);
    assert_eq!(history.flush().unwrap().rollup.good, 2);
    assert_eq!(history.flush(), None);
}

#[test]
fn the_first_failure_of_each_kind_in_a_minute_goes_to_the_archive() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(0));
    let reasons = [Reason::Refused, Reason::Refused, Reason::Timeout, Reason::Reset, Reason::Tls];
    for (reason, second) in reasons.into_iter().zip(0..) {
        history.record(&round(second * 1_000, Judgement::Failed), Some(&words(second * 1_000, reason)));
    }
    let finished = history.flush().unwrap();
    let kept: Vec<_> = finished.failures.iter().map(|failed| failed.reason).collect();
    assert_eq!((kept.len(), kept), (ARCHIVED, vec![Reason::Refused, Reason::Timeout, Reason::Reset]));
    assert_eq!((finished.rollup.failed, history.failures().failed().count()), (5, 5));
}

#[test]
fn a_target_that_fails_for_long_does_not_fill_the_archive() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(0));
    let told = |finished: &[Finished]| finished.iter().filter(|finished| !finished.failures.is_empty()).count();

    let finished = feed(&mut history, 0..61, Judgement::Failed, Reason::Refused);
    assert_eq!((finished.len(), told(&finished)), (60, FULL_MINUTES as usize + 5));

    let finished = feed(&mut history, 61..63, Judgement::Failed, Reason::Timeout);
    assert_eq!(told(&finished), 2, "another reason is news, and so is the first minute that ends with it");
    feed(&mut history, 63..64, Judgement::Good, Reason::Refused);
    let finished = feed(&mut history, 64..67, Judgement::Failed, Reason::Refused);
    assert_eq!(told(&finished), 2, "after an answer it begins anew");
}

#[test]
fn ten_thousand_targets_fit() {
    let mut minute = Rollup::default();
    for second in 0..60 {
        minute.record(&Recent { took: Duration::from_millis(1 << (second % 10)), ..round(0, Judgement::Good) });
    }
    let buckets = minute.latencies.buckets().count() * 8;
    let bytes = size_of::<Machine>() + size_of::<TargetHistory>() + DEFAULT_ROUNDS * 24 + 2 * buckets;
    assert!(bytes < 2_560, "a healthy target takes {bytes} bytes");
}

#[test]
fn a_window_that_cuts_a_minute_is_exact_while_the_rounds_are_there() {
    let mut history = TargetHistory::new(1_000, at(0));
    let mut stretches: Vec<Stretch> = feed(&mut history, 0..5, Judgement::Good, Reason::Dns)
        .into_iter()
        .map(|finished| Stretch::minute(finished.minute, finished.rollup))
        .collect();
    stretches.push(history.live());
    let window = Window { from: at(90_000), to: at(200_000) };

    let exact = summarize(window, &stretches, Some(history.recent()), at(300_000));
    assert_eq!((exact.window, exact.rounds), (window, 110));

    let whole = summarize(window, &stretches, None, at(300_000));
    assert_eq!(whole.window, Window { from: at(60_000), to: at(240_000) });
    assert_eq!(whole.rounds, 180);

    history.resize(10);
    assert_eq!(summarize(window, &stretches, Some(history.recent()), at(300_000)), whole);
}

#[test]
fn the_minute_under_way_is_whole_up_to_now() {
    let mut history = TargetHistory::new(1, at(0));
    feed(&mut history, 0..1, Judgement::Good, Reason::Dns);
    let window = Window::last(Duration::from_secs(60), at(60_000));
    let summary = summarize(window, &[history.live()], Some(history.recent()), at(60_000));
    assert_eq!((summary.window, summary.rounds), (window, 60));
    assert_eq!(Window::last(Duration::MAX, at(0)).from, Timestamp::MIN);
}

#[test]
fn a_summary_reads_as_json() {
    let mut history = TargetHistory::new(DEFAULT_ROUNDS, at(0));
    for (judgement, second) in Judgement::ALL.iter().zip(0..) {
        history.record(&round(second * 1_000, *judgement), None);
    }
    history.miss(3, at(5_000));
    let window = Window { from: at(0), to: at(60_000) };
    let summary = summarize(window, &[history.live()], None, at(60_000));
    insta::assert_json_snapshot!(summary, @r#"
    {
      "window": {
        "from": "2027-01-15T08:00:00Z",
        "to": "2027-01-15T08:01:00Z"
      },
      "rounds": 4,
      "good": 1,
      "degraded": 1,
      "failed": 1,
      "trouble": 1,
      "missed": 3,
      "availability": 0.6666666666666666,
      "latency": {
        "p50": 0.02,
        "p90": 0.02,
        "p99": 0.02,
        "max": 0.02
      },
      "firstFailure": "2027-01-15T08:00:02Z",
      "lastFailure": "2027-01-15T08:00:02Z"
    }
    "#);
    let nothing = Summary::of(window, &Rollup::default());
    assert_eq!((nothing.availability, nothing.latency, nothing.first_failure), (None, None, None));
}

proptest! {
    #[test]
    fn a_summary_is_that_of_the_rounds_in_its_window(
        pauses in proptest::collection::vec((1_i64..70_000, 0_usize..4), 0..80),
        from in 0_i64..3_000_000, length in 0_i64..3_000_000, capacity in 1_usize..100, restart in 0_usize..80,
    ) {
        let (mut history, mut stretches, mut all, mut now) = (TargetHistory::new(capacity, at(0)), Vec::new(), Vec::new(), 0);
        let stretch = |finished: Finished| Stretch::minute(finished.minute, finished.rollup);
        for (index, (pause, judgement)) in pauses.into_iter().enumerate() {
            if index == restart {
                stretches.extend(history.flush().map(stretch));
                history = TargetHistory::new(capacity, at(now));
            }
            let round = round(now, Judgement::ALL[judgement]);
            stretches.extend(history.record(&round, None).map(stretch));
            all.push(round);
            now += pause + 20;
        }
        stretches.push(history.live());
        let window = Window { from: at(from), to: at(from + length) };
        let summary = summarize(window, &stretches, Some(history.recent()), at(now));
        prop_assert!(summary.window.from <= window.from && window.to <= summary.window.to);
        prop_assert!(window.from.duration_since(summary.window.from).as_secs() < 60);
        prop_assert!(summary.window.to.duration_since(window.to).as_secs() < 60);
        let mut expected = Rollup::default();
        let counted = |round: &&Recent| summary.window.from <= round.ended && round.ended < summary.window.to;
        all.iter().filter(counted).for_each(|round| expected.record(round));
        if length > 0 {
            prop_assert_eq!(Summary::of(summary.window, &expected), summary);
        } else {
            prop_assert_eq!(summary.rounds, 0);
        }
    }
}
