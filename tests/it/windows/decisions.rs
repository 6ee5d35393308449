//! What the windows together say about a change.

use std::sync::Arc;

use super::given::{ask, at, resource, window};
use jiff::Timestamp;
use probegate::api::{Effect, Override, OverrideSpec, Revocation, WindowType};
use probegate::model::{Action, Batch, Change, Invoker, Labels, PastRun, Point, Running, Verdict};
use probegate::windows::{
    CalendarInput, Compiled, Decision, Query, State, WindowState, Zones, compile, decide, outlook,
};
use rstest::rstest;
use serde_json::{Value, json};

/// Mondays to Thursdays, 09:00 to 17:00 in Berlin.
fn hours() -> Arc<Compiled> {
    window(
        "hours",
        json!({"type": "allow", "timeZone": "Europe/Berlin",
        "schedule": {"weekly": [{"days": ["mon", "tue", "wed", "thu"], "from": "09:00", "to": "17:00"}]}}),
    )
}

fn year_end(more: Value) -> Arc<Compiled> {
    let mut spec = json!({"type": "freeze", "timeZone": "Europe/Berlin", "reason": "year-end quiet", "ticket": "OPS-1",
        "schedule": {"dates": [{"from": "2026-12-24T12:00", "to": "2027-01-02T08:00"}]}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    window("year-end", spec)
}

fn facts(decision: &Decision) -> (State, Option<&str>, Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) {
    (decision.state, decision.rule_name(), decision.since, decision.until, decision.next_opening)
}

const FROZEN: &str = "2026-12-28T10:00:00Z";

#[test]
fn without_windows_everything_is_allowed_and_nobody_decides() {
    assert_eq!(facts(&ask(&[], FROZEN)), (State::Allowed, None, None, None, None));
}

#[test]
fn a_freeze_alone_allows_everything_outside_it() {
    let decision = ask(&[year_end(json!({}))], "2026-12-01T10:00:00Z");
    assert_eq!(facts(&decision), (State::Allowed, None, None, None, None));
    assert!(
        decision.reason.contains("year-end") && decision.reason.contains("Thu 24 Dec 12:00"),
        "{}",
        decision.reason
    );
}

#[test]
fn inside_an_allow_window_its_stretch_and_the_next_one_are_told() {
    assert_eq!(
        facts(&ask(&[hours()], "2026-11-26T10:00:00Z")),
        (
            State::Allowed,
            Some("hours"),
            Some(at("2026-11-26T08:00:00Z")),
            Some(at("2026-11-26T16:00:00Z")),
            Some(at("2026-11-30T08:00:00Z")),
        )
    );
}

#[test]
fn outside_every_allow_window_the_next_opening_is_the_next_start() {
    assert_eq!(
        facts(&ask(&[hours()], "2026-11-26T16:00:00Z")),
        (
            State::Shut,
            Some("hours"),
            Some(at("2026-11-26T16:00:00Z")),
            Some(at("2026-11-30T08:00:00Z")),
            Some(at("2026-11-30T08:00:00Z")),
        )
    );
}

#[test]
fn a_freeze_beats_an_allow_window_and_the_opening_is_when_both_allow() {
    let decision = ask(&[hours(), year_end(json!({}))], FROZEN);
    assert_eq!(
        facts(&decision),
        (
            State::Shut,
            Some("year-end"),
            Some(at("2026-12-24T11:00:00Z")),
            // The freeze ends on a Saturday; the first hours after it are on Monday.
            Some(at("2027-01-02T07:00:00Z")),
            Some(at("2027-01-04T08:00:00Z")),
        )
    );
    assert_eq!(decision.rule_type(), Some(WindowType::Freeze));
    assert!(decision.reason.contains("year-end quiet") && decision.reason.contains("OPS-1"));
    let states: Vec<_> = decision.windows.iter().map(|window| window.state).collect();
    assert_eq!(states, [WindowState::Open, WindowState::Shut]);
}

#[test]
fn of_several_freezes_the_one_that_ends_last_decides() {
    let short = window("a-short", json!({"type": "freeze", "schedule": {"dates": [{"day": "2026-12-28"}]}}));
    assert_eq!(ask(&[short, year_end(json!({}))], FROZEN).rule_name(), Some("year-end"));
}

#[test]
fn an_opening_that_another_freeze_shuts_is_none() {
    let chain = |name: &str, day: &str| window(name, json!({"type": "freeze", "schedule": {"dates": [{"day": day}]}}));
    let decision =
        ask(&[chain("a", "2026-12-01"), chain("b", "2026-12-02"), chain("c", "2026-12-03")], "2026-12-01T12:00:00Z");
    assert_eq!(decision.until, Some(at("2026-12-02T00:00:00Z")));
    assert_eq!(decision.next_opening, Some(at("2026-12-04T00:00:00Z")));
}

#[test]
fn windows_that_never_open_together_have_no_next_opening() {
    let nights = window(
        "nights",
        json!({"type": "freeze", "schedule": {"weekly": [{
        "days": ["mon", "tue", "wed", "thu"], "from": "00:00", "to": "24:00"}]}}),
    );
    let decision = ask(&[hours(), nights], "2026-11-26T10:00:00Z");
    assert_eq!((decision.state, decision.next_opening), (State::Shut, None));
}

#[test]
fn a_stop_the_line_freeze_is_in_force_until_it_expires() {
    let stop = window(
        "stop",
        json!({"type": "freeze", "owner": "a", "reason": "incident", "ticket": "INC-1",
        "expires": "2026-11-26T12:00:00Z"}),
    );
    let decision = ask(&[stop.clone(), hours()], "2026-11-26T10:00:00Z");
    assert_eq!(facts(&decision).0, State::Shut);
    assert_eq!(decision.until, Some(at("2026-11-26T12:00:00Z")));
    assert_eq!(decision.next_opening, Some(at("2026-11-26T12:00:00Z")));
    assert_eq!(ask(&[stop, hours()], "2026-11-26T12:00:00Z").state, State::Allowed);
}

#[test]
fn an_expired_window_does_not_exist() {
    let expired = year_end(json!({"expires": "2026-12-26T00:00:00Z"}));
    assert_eq!(ask(std::slice::from_ref(&expired), FROZEN).state, State::Allowed);
    // And a stretch ends with it.
    assert_eq!(ask(&[expired], "2026-12-25T10:00:00Z").until, Some(at("2026-12-26T00:00:00Z")));
    let last = window(
        "last",
        json!({"type": "allow", "expires": "2026-11-28T00:00:00Z",
        "schedule": {"weekly": [{"days": ["mon"], "from": "09:00", "to": "17:00"}]}}),
    );
    // With the last allow window the need for one ends as well.
    assert_eq!(ask(&[last], "2026-11-26T10:00:00Z").next_opening, Some(at("2026-11-28T00:00:00Z")));
}

fn query(at_text: &str) -> Query {
    Query {
        cluster: Some("eu-1".into()),
        namespace: Some("shop".into()),
        target: Some("checkout".into()),
        labels: Labels::from([("tier".into(), "web".into())]),
        change: Some("c-1".into()),
        ..Query::at(at(at_text))
    }
}

#[rstest]
#[case(json!({}), true)]
#[case(json!({"clusters": ["eu-*"]}), true)]
#[case(json!({"clusters": ["us-*"]}), false)]
#[case(json!({"clusters": ["us-*", "eu-?"]}), true)]
#[case(json!({"namespaces": ["shop"]}), true)]
#[case(json!({"namespaces": ["bank"]}), false)]
#[case(json!({"targets": ["check*"]}), true)]
#[case(json!({"targets": ["cart"]}), false)]
#[case(json!({"matchLabels": {"tier": "web"}}), true)]
#[case(json!({"matchLabels": {"tier": "db"}}), false)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "db"]}]}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}), false)]
#[case(json!({"matchExpressions": [{"key": "canary", "operator": "DoesNotExist"}]}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true)]
#[case(json!({"clusters": ["eu-*"], "namespaces": ["bank"]}), false)]
fn a_selector_binds_when_everything_given_holds(#[case] selector: Value, #[case] binds: bool) {
    let decision = decide(&[year_end(json!({"selector": selector}))], &query(FROZEN), &[], &[]);
    assert_eq!(decision.state == State::Shut, binds);
    assert_eq!(decision.windows[0].state == WindowState::NotSelecting, !binds, "{:?}", decision.windows);
}

#[test]
fn what_is_not_told_fits_a_star_and_nothing_else() {
    let any = year_end(json!({"selector": {"clusters": ["*"]}}));
    let some = year_end(json!({"selector": {"clusters": ["eu-*"]}}));
    assert_eq!(ask(&[any], FROZEN).state, State::Shut);
    assert_eq!(ask(&[some], FROZEN).state, State::Allowed);
}

#[rstest]
#[case(json!({}), Action::Release, true)]
#[case(json!({}), Action::Config, false)]
#[case(json!({}), Action::Rollback, false)]
#[case(json!({"actions": ["config"]}), Action::Release, false)]
#[case(json!({"actions": ["config"]}), Action::Config, true)]
#[case(json!({"actions": ["release", "rollback"]}), Action::Rollback, true)]
fn a_freeze_binds_the_actions_it_names_and_else_releases_alone(
    #[case] more: Value,
    #[case] action: Action,
    #[case] binds: bool,
) {
    let decision = decide(&[year_end(more)], &Query { action, ..query(FROZEN) }, &[], &[]);
    assert_eq!(decision.state == State::Shut, binds);
}

#[test]
fn no_allow_window_ever_holds_a_rollback() {
    let named = window(
        "hours",
        json!({"type": "allow", "actions": ["release", "rollback"],
        "schedule": {"weekly": [{"days": ["mon"], "from": "09:00", "to": "10:00"}]}}),
    );
    let rollback = Query { action: Action::Rollback, ..query("2026-11-26T22:00:00Z") };
    assert_eq!(decide(&[named, hours()], &rollback, &[], &[]).state, State::Allowed);
}

#[test]
fn a_window_may_bind_automation_alone() {
    let freeze = year_end(json!({"invokers": ["automation"]}));
    let person = Query { invoker: Invoker::Person, ..query(FROZEN) };
    assert_eq!(decide(std::slice::from_ref(&freeze), &person, &[], &[]).state, State::Allowed);
    assert_eq!(decide(&[freeze], &query(FROZEN), &[], &[]).state, State::Shut);
}

#[rstest]
// The window's word, the gate's word, whether the change under way may finish.
#[case(None, None, false)]
#[case(None, Some(Running::Finish), true)]
#[case(Some("finish"), None, true)]
#[case(Some("finish"), Some(Running::Hold), true)]
#[case(Some("hold"), Some(Running::Finish), false)]
fn the_window_s_word_on_changes_under_way_beats_the_gate_s(
    #[case] own: Option<&str>,
    #[case] gate_running: Option<Running>,
    #[case] finishes: bool,
) {
    let more = own.map_or(json!({}), |own| json!({"running": own}));
    let under_way = Query { under_way: true, gate_running, ..query(FROZEN) };
    assert_eq!(decide(&[year_end(more.clone())], &under_way, &[], &[]).allowed(), finishes);
    let fresh = Query { under_way: false, ..under_way };
    assert!(!decide(&[year_end(more)], &fresh, &[], &[]).allowed());
}

#[test]
fn hours_that_shut_let_a_change_finish_only_if_all_of_them_say_so() {
    let other = window(
        "other",
        json!({"type": "allow", "running": "hold",
        "schedule": {"weekly": [{"days": ["fri"], "from": "09:00", "to": "10:00"}]}}),
    );
    let night = Query { under_way: true, gate_running: Some(Running::Finish), ..query("2026-11-26T22:00:00Z") };
    assert!(decide(&[hours()], &night, &[], &[]).allowed());
    assert!(!decide(&[hours(), other], &night, &[], &[]).allowed());
}

fn passed(change: &str, target: &str, when: &str) -> Arc<PastRun> {
    Arc::new(PastRun {
        name: format!("{change}-{target}-{when}"),
        namespace: "shop".into(),
        gate: "g".into(),
        change: Change {
            id: change.into(),
            target: target.into(),
            revision: "v".into(),
            action: Action::Release,
            actor: String::new(),
            invoker: Invoker::Automation,
            cluster: Some("eu-1".into()),
            labels: Labels::new(),
        },
        batch: Batch::default(),
        point: Point::Pre,
        verdict: Verdict::Pass,
        created_at: at(when),
        decided_at: Some(at(when)),
        until: None,
        void: false,
    })
}

#[test]
fn a_window_lets_so_many_changes_in_and_those_that_are_in_go_on() {
    let limited = window(
        "limited",
        json!({"type": "allow", "maxChanges": 2, "selector": {"namespaces": ["shop"]},
        "schedule": {"weekly": [{"days": ["mon", "thu"], "from": "09:00", "to": "17:00"}]}}),
    );
    let windows = [limited];
    let now = "2026-11-26T12:00:00Z";
    let mut past = vec![
        passed("c-7", "cart", "2026-11-26T10:00:00Z"),
        // The same change again, and one of an earlier stretch: neither counts.
        passed("c-7", "cart", "2026-11-26T11:00:00Z"),
        passed("c-5", "cart", "2026-11-23T11:00:00Z"),
    ];
    let decision = decide(&windows, &query(now), &past, &[]);
    assert!(decision.allowed() && decision.reason.contains("1 of 2"), "{}", decision.reason);
    past.push(passed("c-8", "cart", "2026-11-26T11:30:00Z"));
    let decision = decide(&windows, &query(now), &past, &[]);
    assert_eq!((decision.state, decision.rule_name()), (State::Shut, Some("limited")));
    assert_eq!(decision.next_opening, Some(at("2026-11-30T09:00:00Z")));
    assert!(decision.reason.contains("2 of 2"), "{}", decision.reason);
    let own = Query { change: Some("c-8".into()), target: Some("cart".into()), ..query(now) };
    assert!(decide(&windows, &own, &past, &[]).allowed());
}

fn exception(effect: Effect, actor: &str, more: impl FnOnce(&mut Override)) -> Arc<Override> {
    let spec = OverrideSpec {
        gate: None,
        window: Some("year-end".into()),
        change: "c-1".into(),
        check: None,
        effect,
        actor: actor.into(),
        reason: "urgent".into(),
        ticket: None,
        expires: at("2026-12-29T00:00:00Z"),
    };
    let mut by = Override::new("o-1", spec);
    by.metadata.namespace = Some("default".into());
    more(&mut by);
    Arc::new(by)
}

#[test]
fn an_override_lifts_one_window_for_one_change() {
    let windows = [year_end(json!({}))];
    let by = exception(Effect::Pass, "ann", |_| {});
    let decision = decide(&windows, &query(FROZEN), &[], std::slice::from_ref(&by));
    assert!(decision.allowed());
    assert_eq!(decision.overrides, ["o-1"]);
    assert!(decision.reason.contains("o-1") && decision.reason.contains("ann"), "{}", decision.reason);
    let other = Query { change: Some("c-2".into()), ..query(FROZEN) };
    assert!(!decide(&windows, &other, &[], std::slice::from_ref(&by)).allowed());
    // It lifts the freeze, not the hours.
    assert!(!decide(&[windows[0].clone(), hours()], &query("2026-12-27T10:00:00Z"), &[], &[by]).allowed());
}

#[rstest]
#[case(exception(Effect::Pass, "ann", |by| by.spec.expires = at("2026-12-28T00:00:00Z")))]
#[case(exception(Effect::Pass, "ann", |by| by.metadata.namespace = Some("elsewhere".into())))]
#[case(exception(Effect::Pass, "ann", |by| by.spec.window = Some("another".into())))]
#[case(exception(Effect::Pass, "ann", |by| {
    let revoked = Revocation { actor: "bob".into(), reason: String::new(), at: at("2026-12-01T00:00:00Z") };
    by.status = Some(probegate::api::OverrideStatus { revoked: Some(revoked), ..Default::default() });
}))]
fn an_override_that_does_not_count_lifts_nothing(#[case] by: Arc<Override>) {
    assert!(!decide(&[year_end(json!({}))], &query(FROZEN), &[], &[by]).allowed());
}

#[rstest]
#[case("sre-ann", true)]
#[case("dev-bob", false)]
fn only_who_may_override_a_window_does(#[case] actor: &str, #[case] lifts: bool) {
    let windows = [year_end(json!({"overridableBy": ["sre-*"]}))];
    let by = exception(Effect::Pass, actor, |_| {});
    assert_eq!(decide(&windows, &query(FROZEN), &[], &[by]).allowed(), lifts);
}

#[test]
fn an_override_can_stop_one_change_by_hand() {
    let by = exception(Effect::Block, "ann", |by| by.spec.expires = at("2026-12-02T00:00:00Z"));
    let decision = decide(&[year_end(json!({}))], &query("2026-12-01T10:00:00Z"), &[], &[by]);
    assert_eq!((decision.state, decision.until), (State::Shut, Some(at("2026-12-02T00:00:00Z"))));
    assert_eq!(decision.next_opening, Some(at("2026-12-02T00:00:00Z")));
    assert_eq!(decision.overrides, ["o-1"]);
}

fn with_calendar(kind: &str, input: CalendarInput) -> Arc<Compiled> {
    let spec = json!({"type": kind, "schedule": {"calendars": [{"file": "x.ics"}]}});
    Arc::new(compile(&resource("cal", spec), &Zones::bundled(), &[input]).unwrap())
}

const HOLIDAY: &[u8] = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261228\nEND:VEVENT\nEND:VCALENDAR";

#[rstest]
#[case("freeze")]
#[case("allow")]
fn a_window_that_cannot_be_read_opens_nothing(#[case] kind: &str) {
    let missing = with_calendar(kind, CalendarInput::Missing("it is gone".into()));
    let decision = ask(&[missing], FROZEN);
    assert_eq!((decision.state, decision.rule_name(), decision.next_opening), (State::Unknown, Some("cal"), None));
    assert!(decision.reason.contains("it is gone"), "{}", decision.reason);
    assert_eq!(decision.windows[0].state, WindowState::Unreadable);
}

#[test]
fn a_copy_that_is_too_old_keeps_its_freezes_and_opens_nothing() {
    let stale = |kind| with_calendar(kind, CalendarInput::Stale(HOLIDAY.into(), "30h old".into()));
    // In force by the old copy: shut, and nobody knows when it opens.
    let decision = ask(&[stale("freeze")], FROZEN);
    assert_eq!((decision.state, decision.next_opening), (State::Shut, None));
    assert_eq!(ask(&[stale("freeze")], "2026-12-29T10:00:00Z").state, State::Unknown);
    assert_eq!(ask(&[stale("allow")], FROZEN).state, State::Unknown);
}

#[test]
fn an_unreadable_allow_window_does_not_shut_another_one() {
    let missing = with_calendar("allow", CalendarInput::Missing("it is gone".into()));
    assert!(ask(&[missing.clone(), hours()], "2026-11-26T10:00:00Z").allowed());
    let shut = ask(&[missing, hours()], "2026-11-26T20:00:00Z");
    assert_eq!((shut.state, shut.next_opening), (State::Unknown, Some(at("2026-11-30T08:00:00Z"))));
}

#[test]
fn a_window_with_errors_is_unknown() {
    let broken =
        resource("broken", json!({"type": "freeze", "schedule": {"cron": [{"expression": "x", "duration": "1h"}]}}));
    let errors = compile(&broken, &Zones::bundled(), &[]).unwrap_err();
    let decision = ask(&[Arc::new(Compiled::broken(&broken, &errors))], FROZEN);
    assert_eq!(decision.state, State::Unknown);
    assert!(decision.reason.contains("expression"), "{}", decision.reason);
}

#[test]
fn the_next_opening_is_the_first_instant_that_is_allowed() {
    let windows = [
        hours(),
        year_end(json!({})),
        window(
            "nights",
            json!({"type": "freeze", "timeZone": "Europe/Berlin",
        "schedule": {"weekly": [{"days": ["mon", "wed"], "from": "08:00", "to": "13:30"}]}}),
        ),
    ];
    let mut now = at("2026-12-20T00:00:00Z");
    while now < at("2027-01-12T00:00:00Z") {
        let decision = decide(&windows, &Query::at(now), &[], &[]);
        let next = decision.next_opening.unwrap();
        assert!(next > now);
        let opened = decide(&windows, &Query::at(next), &[], &[]);
        let before = decide(&windows, &Query::at(next - jiff::SignedDuration::from_nanos(1)), &[], &[]);
        assert!(opened.allowed() && !before.allowed(), "{now}: {next}");
        // Nothing between is allowed that was not already.
        let mut between = now;
        let mut shut = !decision.allowed();
        while between < next {
            let allowed = decide(&windows, &Query::at(between), &[], &[]).allowed();
            assert!(!(shut && allowed), "{now}: open at {between}, before {next}");
            shut |= !allowed;
            between += jiff::SignedDuration::from_mins(30);
        }
        now += jiff::SignedDuration::from_hours(7);
    }
}

#[test]
fn an_outlook_tells_every_change_of_the_answer_in_order() {
    let windows = [hours(), year_end(json!({}))];
    let found = outlook(&windows, &Query::at(at("2026-12-23T12:00:00Z")), &[], at("2027-01-05T00:00:00Z"), 100);
    let told: Vec<_> = found
        .iter()
        .map(|(at, decision)| format!("{at} {:?} {}", decision.state, decision.rule_name().unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            "2026-12-23T12:00:00Z Allowed hours",
            "2026-12-23T16:00:00Z Shut hours",
            "2026-12-24T08:00:00Z Allowed hours",
            "2026-12-24T11:00:00Z Shut year-end",
            "2027-01-02T07:00:00Z Shut hours",
            "2027-01-04T08:00:00Z Allowed hours",
            "2027-01-04T16:00:00Z Shut hours",
        ]
    );
}
