use proptest::prelude::*;
use rstest::rstest;

use super::*;

const NAMES: [&str; 6] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80", "10.0.0.6:80"];

/// One target for each letter: up, slow (degraded), down, ? for one that warms up, ! for trouble,
/// and a capital letter for one that flaps.
fn targets(letters: &str) -> Vec<Target<'static>> {
    let rounds = Cause::Rounds { count: 2, of: 2 };
    let target = |(letter, name): (char, &'static str)| {
        let (state, cause, last) = match letter.to_ascii_lowercase() {
            'u' => (ProbeState::Up, rounds, None),
            's' => (ProbeState::Degraded, rounds, Some((Reason::Latency, "took 2s, 300ms are allowed"))),
            'd' => (ProbeState::Down, rounds, Some((Reason::Refused, "the connection was refused"))),
            '?' => (ProbeState::Unknown, Cause::WarmUp, None),
            _ => (ProbeState::Unknown, Cause::Trouble(2), Some((Reason::Resolver, "the resolver does not answer"))),
        };
        Target { name, state, cause, flapping: letter.is_ascii_uppercase(), last }
    };
    letters.chars().zip(NAMES.into_iter().cycle()).map(target).collect()
}

fn situation<'a>(targets: &'a [Target<'a>], quorum: usize) -> Situation<'a> {
    Situation { targets, quorum, held: None, parents_down: &[], self_check: None }
}

fn said(letters: &str, quorum: usize) -> String {
    let standing = aggregate(&situation(&targets(letters), quorum));
    format!("{}: {}", standing.state, standing.reason)
}

#[rstest]
#[case("uuuuu", 1, ProbeState::Up)]
#[case("uuuud", 1, ProbeState::Down)]
#[case("uuuud", 2, ProbeState::Degraded)]
#[case("uuudd", 2, ProbeState::Down)]
#[case("uuus", 1, ProbeState::Degraded)]
#[case::an_unknown_one_may_be_the_quorum("uuu?", 1, ProbeState::Unknown)]
#[case::one_short_of_the_quorum("uuu?", 2, ProbeState::Up)]
#[case::down_and_unknown_together("uud?", 2, ProbeState::Unknown)]
#[case::degraded_beside_an_unknown_one("uus?", 2, ProbeState::Degraded)]
#[case::a_quorum_beyond_the_targets_is_all_of_them("dd", 5, ProbeState::Down)]
#[case::and_not_one_less("du", 5, ProbeState::Degraded)]
#[case::a_quorum_of_zero_is_one("du", 0, ProbeState::Down)]
#[case::without_targets_nothing_is_known("", 1, ProbeState::Unknown)]
fn the_quorum_decides(#[case] letters: &str, #[case] quorum: usize, #[case] expected: ProbeState) {
    assert_eq!(aggregate(&situation(&targets(letters), quorum)).state, expected);
}

#[rstest]
#[case("", 1, "unknown: there are no targets")]
#[case("u", 1, "up: 2 rounds in a row as expected")]
#[case("d", 1, "down: 2 rounds failed in a row: refused: the connection was refused")]
#[case("s", 1, "degraded: 2 rounds in a row outside a limit: latency: took 2s, 300ms are allowed")]
#[case("?", 1, "unknown: not probed often enough yet")]
#[case("!", 1, "unknown: the prober was in trouble in 2 rounds in a row: resolver: the resolver does not answer")]
#[case("uuu", 1, "up: all 3 targets are up")]
#[case("uuu?", 2, "up: 3 of 4 targets are up (down takes 2): 10.0.0.4:80 (not probed often enough yet)")]
#[case("ud", 1, "down: 1 of 2 targets is down: 10.0.0.2:80 (refused: the connection was refused)")]
#[case(
    "udd",
    2,
    "down: 2 of 3 targets are down (down takes 2): 10.0.0.2:80 (refused: the connection was refused), \
     10.0.0.3:80 (refused: the connection was refused)"
)]
#[case("uus", 1, "degraded: 1 of 3 targets is degraded: 10.0.0.3:80 (latency: took 2s, 300ms are allowed)")]
#[case(
    "ud?",
    2,
    "unknown: 1 of 3 targets is down and 1 unknown (down takes 2): 10.0.0.2:80 (refused: the connection was \
     refused), 10.0.0.3:80 (not probed often enough yet)"
)]
fn reasons_are_for_people(#[case] letters: &str, #[case] quorum: usize, #[case] expected: &str) {
    assert_eq!(said(letters, quorum), expected);
}

#[test]
fn of_many_targets_some_are_named() {
    let said = said("dddddd", 1);
    assert!(
        said.starts_with("down: 6 of 6 targets are down: 10.0.0.1:80 (") && said.ends_with(" and 3 more"),
        "{said}"
    );
}

#[test]
fn so_many_of_the_last_rounds_are_said_as_such() {
    let target = Target { cause: Cause::Rounds { count: 3, of: 5 }, ..targets("d")[0] };
    let standing = aggregate(&situation(&[target], 1));
    assert_eq!(standing.reason, "3 of the last 5 rounds failed: refused: the connection was refused");
    let target = Target { cause: Cause::Rounds { count: 1, of: 1 }, ..targets("u")[0] };
    assert_eq!(aggregate(&situation(&[target], 1)).reason, "1 round as expected");
}

#[test]
fn a_held_probe_is_unknown_whatever_its_targets_say() {
    let until = Some("2026-11-21T18:00:00Z".parse().unwrap());
    let all = targets("ud");
    let suspended = Held::Suspended { why: "the team moves house", until };
    let maintenance = Held::Maintenance { window: "shop/db-upgrade", until: None };

    let standing = aggregate(&Situation { held: Some(suspended), parents_down: &["x"], ..situation(&all, 1) });
    assert_eq!((standing.state, standing.why, standing.until), (ProbeState::Unknown, Why::Suspended, until));
    assert_eq!(standing.reason, "suspended until 2026-11-21T18:00:00Z: the team moves house");

    let standing = aggregate(&Situation { held: Some(maintenance), self_check: Some("x"), ..situation(&all, 1) });
    assert_eq!((standing.state, standing.why, standing.until), (ProbeState::Unknown, Why::Maintenance, None));
    assert_eq!(standing.reason, "maintenance by window shop/db-upgrade");
}

#[rstest]
#[case::down("ud", ProbeState::Unknown)]
#[case::degraded("us", ProbeState::Unknown)]
#[case::what_answers_is_up_all_the_same("uu", ProbeState::Up)]
fn a_parent_explains_what_is_not_up(#[case] letters: &str, #[case] expected: ProbeState) {
    let all = targets(letters);
    let standing = aggregate(&Situation { parents_down: &["shop/db"], self_check: Some("x"), ..situation(&all, 1) });
    assert_eq!(standing.state, expected);
    if expected == ProbeState::Unknown {
        assert_eq!((standing.why, standing.reason.as_str()), (Why::Parent, "parent shop/db is down"));
    }
}

#[rstest]
#[case::what_a_prober_without_a_way_sees("ud", Reason::Timeout, 1, ProbeState::Unknown)]
#[case::what_it_would_not_see("ud", Reason::Status, 1, ProbeState::Down)]
#[case::slow_answers_did_come("us", Reason::Latency, 1, ProbeState::Degraded)]
#[case::what_answers_is_up("uu", Reason::Timeout, 1, ProbeState::Up)]
#[case::less_than_the_quorum_is_no_matter("uud", Reason::Timeout, 2, ProbeState::Degraded)]
fn a_failing_self_check_explains_what_it_can(
    #[case] letters: &str,
    #[case] reason: Reason,
    #[case] quorum: usize,
    #[case] expected: ProbeState,
) {
    let mut all = targets(letters);
    for target in &mut all {
        target.last = target.last.map(|(_, message)| (reason, message));
    }
    let standing = aggregate(&Situation { self_check: Some("no way out by 192.0.2.1"), ..situation(&all, quorum) });
    assert_eq!(standing.state, expected);
    if expected == ProbeState::Unknown {
        assert_eq!(standing.why, Why::SelfCheck);
        assert_eq!(standing.reason, "the prober's own check fails: no way out by 192.0.2.1");
    }
}

#[test]
fn failures_that_are_not_explained_still_count() {
    let mut all = targets("dd");
    all[1].last = Some((Reason::Status, "answered 500"));
    let state = |quorum| aggregate(&Situation { self_check: Some("x"), ..situation(&all, quorum) }).state;
    assert_eq!((state(1), state(2)), (ProbeState::Down, ProbeState::Unknown));
}

#[test]
fn several_parents_are_named() {
    let all = targets("d");
    let standing = aggregate(&Situation { parents_down: &["a", "b", "c", "d"], ..situation(&all, 1) });
    assert_eq!(standing.reason, "parents are down: a, b, c and 1 more");
}

#[rstest]
#[case("U", ProbeState::Degraded, "flapping between failing and answering")]
#[case("uUU", ProbeState::Degraded, "2 of 3 targets flap: 10.0.0.2:80, 10.0.0.3:80")]
#[case("uSu", ProbeState::Degraded, "1 of 3 targets flaps: 10.0.0.2:80")]
#[case::it_does_not_excuse_one_that_is_down(
    "Du",
    ProbeState::Down,
    "1 of 2 targets is down: 10.0.0.1:80 (refused: the connection was refused)"
)]
fn a_flapping_probe_is_degraded_at_best(#[case] letters: &str, #[case] state: ProbeState, #[case] reason: &str) {
    let standing = aggregate(&situation(&targets(letters), 1));
    assert_eq!((standing.state, standing.reason.as_str()), (state, reason));
}

#[rstest]
#[case("U", 1, true)]
#[case("D", 1, true)]
#[case("u", 1, false)]
#[case("d", 1, false)]
#[case("uD", 1, true)]
#[case::another_is_down_anyway("dU", 1, false)]
#[case::one_alone_is_no_quorum_but_degrades("uuD", 2, true)]
#[case::another_is_degraded_anyway("suD", 2, false)]
fn a_state_is_restless_while_it_hangs_on_targets_that_flap(
    #[case] letters: &str,
    #[case] quorum: usize,
    #[case] restless: bool,
) {
    let all = targets(letters);
    assert_eq!(aggregate(&situation(&all, quorum)).restless, restless);
    let held = Some(Held::Suspended { why: "", until: None });
    assert!(!aggregate(&Situation { held, ..situation(&all, quorum) }).restless);
}

#[test]
fn warming_up_can_be_told_from_trouble() {
    let why = |letters: &str| aggregate(&situation(&targets(letters), 1)).why;
    assert_eq!((why("u?"), why("?!"), why("d?"), why("")), (Why::WarmUp, Why::Targets, Why::Targets, Why::NoTargets));
}

proptest! {
    #[test]
    fn the_reason_is_one_short_line(letters in "[usd?!USD]{0,40}", quorum in 0_usize..50, text in "\\PC{0,600}\n") {
        let mut all = targets(&letters);
        for target in &mut all {
            target.name = &text;
            target.last = target.last.map(|(reason, _)| (reason, text.as_str()));
        }
        let held = Held::Suspended { why: &text, until: None };
        for (held, parents, check) in
            [(None, vec![], None), (Some(held), vec![], None), (None, vec![text.as_str(); 9], None), (None, vec![], Some(text.as_str()))]
        {
            let given = Situation { held, parents_down: &parents, self_check: check, ..situation(&all, quorum) };
            let reason = aggregate(&given).reason;
            prop_assert!(!reason.is_empty() && reason.chars().count() <= MAX_REASON && !reason.contains(char::is_control));
        }
    }

    #[test]
    fn a_worse_target_never_makes_a_better_probe(letters in "[usd]{1,12}", quorum in 1_usize..14, which in 0_usize..12) {
        let rank = |state| match state { ProbeState::Up => 0, ProbeState::Degraded => 1, ProbeState::Unknown => 2, ProbeState::Down => 3 };
        let before = targets(&letters);
        let mut after = before.clone();
        let index = which % after.len();
        after[index].state = ProbeState::Down;
        let state = |targets: &[Target<'_>]| rank(aggregate(&situation(targets, quorum)).state);
        prop_assert!(state(&after) >= state(&before));
    }
}
