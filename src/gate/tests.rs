//! Stories of one machine under a clock that the test moves.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{ActiveOverride, Effect, Event, Machine, Moment, Plan, Resume, Standing};
use crate::api::{self, Cause};
use crate::model::{Action, Outcome, Point, Report, Verdict};

/// A machine, its clock, and the executions that it has asked for.
struct Story {
    machine: Machine,
    now: Moment,
    running: Vec<(usize, u32)>,
    decided: bool,
}

fn gate(spec: &serde_json::Value) -> api::Gate {
    serde_json::from_value(json!({"metadata": {"name": "checkout", "generation": 3}, "spec": spec})).unwrap()
}

fn checks(names: &[&str]) -> Vec<serde_json::Value> {
    names.iter().map(|name| json!({"name": name, "probes": {"selector": {"app": name}}})).collect()
}

fn plan(point: Point, spec: serde_json::Value, action: Action) -> Plan {
    let mut spec = spec;
    spec["target"] = json!({"names": ["*"]});
    Plan::resolve(&gate(&spec), point, action)
}

impl Story {
    fn new(plan: Plan) -> Self {
        Self::with(plan, None)
    }

    fn with(plan: Plan, standing: Option<Standing>) -> Self {
        let now = Moment { wall: "2026-11-21T12:00:00Z".parse().unwrap(), mono: Duration::from_secs(5) };
        let machine = Machine::new(plan, standing, &Resume { started_at: now.wall, status: None }, now);
        let mut story = Self { machine, now, running: Vec::new(), decided: false };
        story.tell(Event::Started);
        story
    }

    fn post(names: &[&str]) -> Self {
        Self::new(plan(Point::Post, json!({"post": {"checks": checks(names)}}), Action::Release))
    }

    fn tell(&mut self, event: Event) {
        for effect in self.machine.step(self.now, event) {
            match effect {
                Effect::Execute { check, execution } => self.running.push((check, execution)),
                Effect::Abandon { check } => self.running.retain(|(running, _)| *running != check),
                Effect::Decide => self.decided = true,
                Effect::Save => {}
            }
        }
    }

    /// Lets time pass in the steps that the machine asks for.
    fn pass(&mut self, length: Duration) {
        let end = self.now.mono + length;
        while self.now.mono < end {
            let step = self
                .machine
                .wake_after(self.now)
                .unwrap_or(length)
                .clamp(Duration::from_millis(1), end.saturating_sub(self.now.mono));
            self.now.mono += step;
            self.now.wall += SignedDuration::try_from(step).unwrap();
            self.tell(Event::Tick);
        }
    }

    fn answer(&mut self, check: usize, report: Report) {
        let place = self.running.iter().position(|(running, _)| *running == check).expect("the check is running");
        let (check, execution) = self.running.remove(place);
        self.tell(Event::Reported { check, execution, report });
    }

    fn answer_all(&mut self, report: &Report) {
        for (check, _) in self.running.clone() {
            if self.running.iter().any(|(running, _)| *running == check) {
                self.answer(check, report.clone());
            }
        }
    }

    fn verdict(&self) -> (Verdict, String) {
        let status = self.machine.status(self.now, 1, None);
        (status.verdict, status.reason)
    }

    fn cause(&self) -> Option<Cause> {
        self.machine.status(self.now, 1, None).cause
    }
}

fn passed() -> Report {
    Report::pass("fine")
}

fn an_override(check: Option<&str>, effect: api::Effect, expires: Timestamp) -> ActiveOverride {
    ActiveOverride {
        name: "o-1".into(),
        check: check.map(str::to_owned),
        effect,
        actor: "on-call".into(),
        reason: "known slow start".into(),
        ticket: Some("OPS-2".into()),
        expires,
    }
}

#[test]
fn every_check_starts_at_once_and_a_pass_needs_all_of_them() {
    let mut story = Story::post(&["a", "b", "c"]);
    assert_eq!(story.running.len(), 3);
    story.answer(0, passed());
    story.answer(2, passed());
    assert_eq!(story.verdict().0, Verdict::Wait);
    story.answer(1, passed());
    assert_eq!(story.verdict(), (Verdict::Pass, "all 3 checks passed".into()));
}

#[test]
fn one_failed_check_blocks_at_once_and_the_rest_is_abandoned() {
    let mut story = Story::post(&["a", "b", "c"]);
    story.answer(1, Report::fail("errors at 4 %, 1 % is allowed"));
    assert_eq!(story.verdict(), (Verdict::Block, "b failed: errors at 4 %, 1 % is allowed".into()));
    assert!(story.decided && story.running.is_empty());
}

#[test]
fn a_decided_machine_asks_for_nothing_and_keeps_its_verdict() {
    let mut story = Story::post(&["a"]);
    story.answer(0, passed());
    story.tell(Event::Cancelled { actor: "me".into(), reason: "late".into() });
    story.tell(Event::Reported { check: 0, execution: 1, report: Report::fail("late") });
    story.pass(Duration::from_secs(3_600));
    assert_eq!(story.verdict().0, Verdict::Pass);
    assert!(story.running.is_empty());
}

#[test]
fn advise_and_shadow_checks_never_block_but_are_heard_once() {
    let spec = json!({"post": {"checks": [
        {"name": "a", "probes": {"selector": {"app": "a"}}},
        {"name": "b", "mode": "advise", "probes": {"selector": {"app": "b"}}},
        {"name": "c", "mode": "shadow", "probes": {"selector": {"app": "c"}}},
    ]}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    story.answer(0, passed());
    assert_eq!(story.verdict().0, Verdict::Wait);
    story.answer(1, Report::fail("slow"));
    story.answer(2, Report::unknown("no data"));
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn a_soak_is_waited_for_and_every_check_looks_again_after_it() {
    let spec = json!({"post": {"soak": "5m", "checks": checks(&["a"])}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    for _ in 0..29 {
        story.answer_all(&passed());
        story.pass(Duration::from_secs(10));
    }
    story.answer_all(&passed());
    let (verdict, reason) = story.verdict();
    assert_eq!(verdict, Verdict::Wait);
    assert!(reason.contains("soaking for 5m"), "{reason}");
    story.pass(Duration::from_secs(10));
    assert_eq!(story.verdict().0, Verdict::Wait, "what was seen before the end of the soak is not enough");
    story.answer_all(&passed());
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn a_check_that_fails_in_the_soak_blocks() {
    let spec = json!({"post": {"soak": "5m", "checks": checks(&["a"])}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    story.answer_all(&passed());
    story.pass(Duration::from_secs(15));
    story.answer_all(&Report::fail("down"));
    assert_eq!(story.verdict().0, Verdict::Block);
}

#[test]
fn what_is_still_unknown_at_the_timeout_follows_the_gates_policy() {
    for (policy, verdict) in [("block", Verdict::Block), ("pass", Verdict::Pass), ("wait", Verdict::Wait)] {
        let spec = json!({"post": {"timeout": "2m", "onUnknown": policy, "checks": checks(&["a"])}});
        let mut story = Story::new(plan(Point::Post, spec, Action::Release));
        for _ in 0..13 {
            assert_eq!(story.verdict().0, Verdict::Wait, "before the timeout nothing is decided");
            story.answer_all(&Report::unknown("Prometheus does not answer"));
            story.pass(Duration::from_secs(10));
            if story.decided {
                break;
            }
        }
        let (found, reason) = story.verdict();
        assert_eq!(found, verdict, "{policy}: {reason}");
        assert!(reason.contains("Prometheus does not answer"), "{reason}");
        assert_eq!(story.cause(), (verdict != Verdict::Wait).then_some(Cause::Unknown));
    }
}

#[test]
fn a_check_that_never_answers_is_unknown_at_the_timeout() {
    let spec = json!({"pre": {"timeout": "30s", "checks": checks(&["a"])}});
    let mut story = Story::new(plan(Point::Pre, spec, Action::Release));
    story.pass(Duration::from_secs(31));
    assert_eq!(story.verdict().0, Verdict::Block);
}

#[test]
fn a_shut_window_is_waited_for_without_the_timeout_running_out() {
    let spec = json!({"pre": {"timeout": "1m", "checks": [{"name": "window", "window": {}}, {"name": "a", "probes": {"names": ["a"]}}]}});
    let mut story = Story::new(plan(Point::Pre, spec, Action::Release));
    let opens = story.now.wall + SignedDuration::from_hours(48);
    story.answer(1, passed());
    story.answer(0, Report::held("freeze year-end", opens));
    let status = story.machine.status(story.now, 1, None);
    assert_eq!((status.verdict, status.until), (Verdict::Wait, Some(opens)));
    for _ in 0..(48 * 12) {
        story.pass(Duration::from_secs(300));
        assert!(story.running.iter().all(|(check, _)| *check == 0), "the others rest while the run is held");
        if story.now.wall < opens {
            story.answer_all(&Report::held("freeze year-end", opens));
        }
        assert_eq!(story.verdict().0, Verdict::Wait);
    }
    story.answer(0, passed());
    assert_eq!(story.verdict().0, Verdict::Wait, "what was seen before the hold is not enough");
    story.answer(1, passed());
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn a_window_that_is_lifted_early_is_noticed_when_it_wakes() {
    let mut story =
        Story::new(plan(Point::Pre, json!({"pre": {"checks": [{"name": "w", "window": {}}]}}), Action::Release));
    let opens = story.now.wall + SignedDuration::from_hours(48);
    story.answer(0, Report::held("freeze", opens));
    story.pass(Duration::from_secs(1));
    story.tell(Event::Woken { check: 0 });
    story.answer(0, passed());
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn failed_tries_are_evidence_and_only_the_last_one_fails() {
    let spec = json!({"post": {"checks": [{"name": "a", "retries": 2, "interval": "5s", "probes": {"names": ["a"]}}]}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    for _ in 0..2 {
        story.answer(0, Report::fail("refused"));
        assert_eq!(story.verdict().0, Verdict::Wait);
        story.pass(Duration::from_secs(5));
    }
    story.answer(0, Report::fail("refused"));
    let status = story.machine.status(story.now, 1, None);
    assert_eq!((status.verdict, status.checks[0].attempts.len()), (Verdict::Block, 3));
}

#[test]
fn a_rollback_passes_whatever_the_checks_would_say() {
    let spec = json!({"post": {"soak": "1h", "checks": checks(&["a", "b"])}});
    let story = Story::new(plan(Point::Post, spec, Action::Rollback));
    assert_eq!(story.verdict(), (Verdict::Pass, "a rollback is not held".into()));
}

#[test]
fn a_rollback_is_held_by_a_freeze_that_names_rollbacks() {
    let spec =
        json!({"pre": {"checks": [{"name": "window", "window": {}}, {"name": "a", "probes": {"names": ["a"]}}]}});
    let mut story = Story::new(plan(Point::Pre, spec, Action::Rollback));
    assert_eq!(story.running, [(0, 1)], "nothing but the window is asked");
    story.answer(0, Report::held("freeze names rollbacks", story.now.wall + SignedDuration::from_hours(1)));
    story.pass(Duration::from_secs(60));
    assert_eq!(story.verdict().0, Verdict::Wait);
}

#[test]
fn a_rollback_passes_when_its_windows_cannot_be_read() {
    let spec = json!({"pre": {"checks": [{"name": "window", "window": {}}]}});
    let mut story = Story::new(plan(Point::Pre, spec, Action::Rollback));
    story.answer(0, Report::unknown("calendars cannot be read"));
    story.pass(Duration::from_secs(6));
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn an_override_of_one_check_counts_until_it_expires() {
    let spec = json!({"post": {"soak": "1m", "checks": checks(&["a", "b"])}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    let expires = story.now.wall + SignedDuration::from_secs(30);
    story.tell(Event::Overrides(vec![an_override(Some("a"), api::Effect::Pass, expires)]));
    story.answer(0, Report::fail("slow"));
    assert_eq!(story.verdict().0, Verdict::Wait);
    story.pass(Duration::from_secs(31));
    assert_eq!(story.verdict().0, Verdict::Block, "the failure counts again once the override has expired");
}

#[test]
fn an_override_of_the_whole_verdict_decides_at_once_and_is_on_record() {
    let mut story = Story::post(&["a"]);
    let expires = story.now.wall + SignedDuration::from_secs(30);
    story.tell(Event::Overrides(vec![an_override(None, api::Effect::Pass, expires)]));
    let status = story.machine.status(story.now, 1, None);
    assert_eq!(
        (status.verdict, status.cause, status.overrides[0].actor.as_str()),
        (Verdict::Pass, Some(Cause::Override), "on-call")
    );
}

#[test]
fn an_override_that_blocks_goes_before_one_that_passes() {
    let mut story = Story::post(&["a"]);
    let expires = story.now.wall + SignedDuration::from_secs(30);
    story.tell(Event::Overrides(vec![
        an_override(None, api::Effect::Pass, expires),
        an_override(None, api::Effect::Block, expires),
    ]));
    assert_eq!(story.verdict().0, Verdict::Block);
}

fn standing() -> Standing {
    Standing { run: "r-1".into(), batch: 2, reason: "b failed: slow".into(), failed: vec!["b".into()] }
}

#[test]
fn a_block_after_an_earlier_batch_is_final_for_its_revision() {
    let resolved = plan(Point::Pre, json!({"pre": {"checks": checks(&["a"])}}), Action::Release);
    let story = Story::with(resolved, Some(standing()));
    assert_eq!(story.verdict().0, Verdict::Block);
    assert_eq!(story.cause(), Some(Cause::Standing));
}

#[test]
fn a_rollback_does_not_meet_the_block_of_its_revision() {
    let resolved = plan(Point::Pre, json!({"pre": {"checks": checks(&["a"])}}), Action::Rollback);
    assert_eq!(Story::with(resolved, Some(standing())).verdict().0, Verdict::Pass);
}

#[test]
fn a_clock_that_steps_back_is_named_and_never_passes() {
    let mut story = Story::post(&["a"]);
    story.now.wall -= SignedDuration::from_secs(60);
    story.answer(0, passed());
    let (verdict, reason) = story.verdict();
    assert_eq!(verdict, Verdict::Wait);
    assert!(reason.contains("clock"), "{reason}");
    story.pass(Duration::from_secs(61));
    story.answer_all(&passed());
    assert_eq!(story.verdict().0, Verdict::Pass);
}

#[test]
fn a_clock_that_jumps_ahead_does_not_end_a_soak() {
    let spec = json!({"post": {"soak": "5m", "checks": checks(&["a"])}});
    let mut story = Story::new(plan(Point::Post, spec, Action::Release));
    story.answer_all(&passed());
    story.now.wall += SignedDuration::from_hours(1);
    story.pass(Duration::from_secs(30));
    story.answer_all(&passed());
    assert_eq!(story.verdict().0, Verdict::Wait);
}

#[test]
fn after_a_restart_every_check_looks_again() {
    let spec = json!({"post": {"checks": checks(&["a", "b"])}});
    let resolved = plan(Point::Post, spec, Action::Release);
    let mut story = Story::new(resolved.clone());
    story.answer(0, passed());
    let status = story.machine.status(story.now, 1, None);
    let resume = Resume { started_at: status.started_at.unwrap(), status: Some(status) };
    let mut again = Story { machine: Machine::new(resolved, None, &resume, story.now), running: Vec::new(), ..story };
    again.tell(Event::Started);
    assert_eq!(again.running.len(), 2);
    again.answer(1, passed());
    assert_eq!(again.verdict().0, Verdict::Wait, "a pass from before the restart does not count");
    again.answer(0, passed());
    assert_eq!(again.verdict().0, Verdict::Pass);
}

#[test]
fn after_a_restart_a_check_of_which_one_pass_is_enough_is_not_set_off_again() {
    let spec = json!({"post": {"checks": checks(&["a", "b"])}});
    let mut resolved = plan(Point::Post, spec, Action::Release);
    resolved.checks[0].once = true;
    let mut story = Story::new(resolved.clone());
    story.answer(0, passed());
    let status = story.machine.status(story.now, 1, None);
    let resume = Resume { started_at: status.started_at.unwrap(), status: Some(status) };
    let mut again = Story { machine: Machine::new(resolved, None, &resume, story.now), running: Vec::new(), ..story };
    again.tell(Event::Started);
    assert_eq!(again.running.iter().map(|(check, _)| *check).collect::<Vec<_>>(), [1]);
    again.answer(1, passed());
    assert_eq!(again.verdict().0, Verdict::Pass);
}

#[test]
fn a_restart_does_not_give_the_timeout_anew() {
    let spec = json!({"pre": {"timeout": "1m", "checks": checks(&["a"])}});
    let resolved = plan(Point::Pre, spec, Action::Release);
    let mut story = Story::new(resolved.clone());
    story.pass(Duration::from_secs(40));
    let status = story.machine.status(story.now, 1, None);
    let resume = Resume { started_at: status.started_at.unwrap(), status: Some(status) };
    let mut again = Story { machine: Machine::new(resolved, None, &resume, story.now), running: Vec::new(), ..story };
    again.tell(Event::Started);
    again.pass(Duration::from_secs(21));
    assert_eq!(again.verdict().0, Verdict::Block);
}

#[test]
fn an_answer_to_an_execution_that_is_not_in_flight_is_ignored() {
    let mut story = Story::post(&["a"]);
    story.tell(Event::Reported { check: 0, execution: 7, report: passed() });
    story.tell(Event::Reported { check: 9, execution: 1, report: Report::fail("nobody") });
    assert_eq!(story.verdict().0, Verdict::Wait);
}

#[test]
fn a_new_revision_ends_the_run_as_void_and_a_cancelled_run_says_who() {
    let mut story = Story::post(&["a"]);
    story.tell(Event::Superseded { revision: "v43".into(), change: "c-18".into() });
    assert_eq!((story.verdict().0, story.cause()), (Verdict::Block, Some(Cause::Void)));
    let mut story = Story::post(&["a"]);
    story.tell(Event::Cancelled { actor: "on-call".into(), reason: "wrong build".into() });
    assert_eq!(story.verdict().1, "cancelled by on-call: wrong build");
}

#[test]
fn a_gate_without_checks_at_the_point_passes_and_says_so() {
    let story = Story::new(plan(Point::Post, json!({"pre": {"checks": []}}), Action::Release));
    assert_eq!(story.verdict(), (Verdict::Pass, "the gate has no enforced checks at post".into()));
}

#[test]
fn a_pass_before_a_batch_tells_how_long_it_counts_and_a_block_when_to_ask_again() {
    let spec = json!({"pre": {"validFor": "3m", "retryAfter": "20s", "checks": checks(&["a"])}});
    let resolved = plan(Point::Pre, spec, Action::Release);
    let mut story = Story::new(resolved.clone());
    story.answer(0, passed());
    let until = story.machine.status(story.now, 1, None).until;
    assert_eq!(until, Some(story.now.wall + SignedDuration::from_mins(3)));
    let mut story = Story::new(resolved);
    story.answer(0, Report::fail("down"));
    assert_eq!(story.machine.retry_after(story.now), Some(Duration::from_secs(20)));
    assert_eq!(story.machine.status(story.now, 1, None).checks[0].outcome, Outcome::Fail);
}
