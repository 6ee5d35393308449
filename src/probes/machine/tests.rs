use std::fmt::Write;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const STALE: SignedDuration = SignedDuration::from_secs(30);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn judgement(letter: char) -> Judgement {
    match letter {
        'g' => Judgement::Good,
        's' => Judgement::Degraded,
        'f' => Judgement::Failed,
        _ => Judgement::Trouble,
    }
}

fn letter(state: ProbeState) -> char {
    match state {
        ProbeState::Up => 'u',
        ProbeState::Degraded => 's',
        ProbeState::Down => 'd',
        ProbeState::Unknown => '?',
    }
}

fn rules(down: (u32, u32), up: (u32, u32)) -> Rules {
    let threshold = |(count, of)| Threshold { count, of };
    Rules { down: threshold(down), up: threshold(up), stale_after: STALE, flap: None }
}

fn in_a_row(failures: u32, successes: u32) -> Rules {
    rules((failures, failures), (successes, successes))
}

fn flapping(window: u32, high_percent: u32, low_percent: u32) -> Rules {
    Rules { flap: Some(Flap { window, high_percent, low_percent }), ..in_a_row(2, 1) }
}

/// Makes the rounds of the letters, one a second from second `from` on.
fn feed(machine: &mut Machine, rounds: &str, from: i64, rules: &Rules) {
    for (letter, second) in rounds.chars().zip(from..) {
        machine.round(judgement(letter), at(second), at(second), rules);
    }
}

/// Good, slow, failed, trouble: one round a second. Up, slow (degraded), down or ? after each.
fn states(rounds: &str, rules: &Rules) -> String {
    let mut machine = Machine::new(at(0));
    let after = |(round, second): (char, i64)| {
        machine.round(judgement(round), at(second), at(second), rules);
        letter(machine.state())
    };
    rounds.chars().zip(0..).map(after).collect()
}

#[rstest]
#[case::one_failure_is_not_down("gfg", 2, 1, "uuu")]
#[case::two_in_a_row_are("gff", 2, 1, "uud")]
#[case::and_one_success_is_up_again("ffg", 2, 1, "?du")]
#[case::or_as_many_as_it_takes("ffgggfg", 2, 3, "?ddduuu")]
#[case::a_failure_in_between_starts_anew("ffggfgg", 2, 3, "?dddddd")]
#[case::slow_rounds_make_it_degraded("gsss", 2, 1, "uuss")]
#[case::slow_and_failed_ones_too("gsfs", 2, 1, "uuss")]
#[case::it_is_up_after_good_rounds("gssg", 2, 1, "uusu")]
#[case::a_slow_answer_ends_down("ffs", 2, 1, "?ds")]
#[case::trouble_is_never_down("gttttt", 2, 1, "uu????")]
#[case::trouble_between_failures_does_not_excuse_them("gftf", 2, 1, "uuud")]
#[case::after_trouble_failures_count_from_the_start("fttf", 2, 1, "????")]
#[case::the_first_round_may_be_enough("f", 1, 1, "d")]
#[case::warming_up_takes_its_rounds("ggg", 2, 3, "??u")]
fn states_follow_the_rounds_in_a_row(#[case] rounds: &str, #[case] down: u32, #[case] up: u32, #[case] expected: &str) {
    assert_eq!(states(rounds, &in_a_row(down, up)), expected);
}

#[rstest]
#[case::three_of_five_are_down("gfgfgf", (3, 5), (1, 1), "uuuuud")]
#[case::two_of_five_are_not("gfggfgggf", (3, 5), (1, 1), "uuuuuuuuu")]
#[case::fewer_rounds_than_the_window_may_be_enough("fff", (3, 5), (1, 1), "??d")]
#[case::it_stays_down_while_the_rule_for_down_holds("fffggg", (3, 5), (1, 1), "??dddu")]
#[case::a_target_that_fails_every_other_round_stays_down("fgfgfgfgfg", (3, 5), (3, 3), "????dddddd")]
#[case::up_may_look_back_as_well("ffgfggfgg", (2, 2), (3, 4), "?dddduuuu")]
#[case::slow_ones_are_counted_alike("gsgsgs", (3, 5), (1, 1), "uuuuus")]
#[case::trouble_is_no_round_of_the_window("gftftf", (3, 4), (1, 1), "uuuuud")]
fn states_follow_so_many_of_the_last_rounds(
    #[case] rounds: &str,
    #[case] down: (u32, u32),
    #[case] up: (u32, u32),
    #[case] expected: &str,
) {
    assert_eq!(states(rounds, &rules(down, up)), expected);
}

#[test]
fn slow_is_degraded_and_not_down() {
    assert_eq!(states("sss", &in_a_row(2, 1)), "sss");
}

#[test]
fn trouble_makes_it_unknown_once_it_lasts() {
    let rules = in_a_row(2, 1);
    let mut machine = Machine::new(at(0));
    let turn = |from, to| Some(Turn { from, to });
    let (up, unknown) = (ProbeState::Up, ProbeState::Unknown);

    assert_eq!(machine.round(Judgement::Good, at(1), at(1), &rules), turn(unknown, up));
    assert_eq!(machine.round(Judgement::Trouble, at(2), at(2), &rules), None);
    assert_eq!(machine.round(Judgement::Trouble, at(3), at(3), &rules), turn(up, unknown));
    assert_eq!((machine.state(), machine.cause(), machine.since()), (unknown, Cause::Trouble(2), at(3)));
    assert_eq!(machine.round(Judgement::Good, at(4), at(4), &rules), turn(unknown, up));
}

#[test]
fn a_state_without_rounds_is_stale() {
    let rules = in_a_row(2, 1);
    let mut machine = Machine::new(at(0));
    machine.round(Judgement::Good, at(0), at(0), &rules);

    assert_eq!(machine.tick(at(30), &rules), None);
    assert_eq!(machine.tick(at(31), &rules), Some(Turn { from: ProbeState::Up, to: ProbeState::Unknown }));
    assert_eq!((machine.state(), machine.cause(), machine.since()), (ProbeState::Unknown, Cause::Stale, at(31)));
    assert_eq!(machine.tick(at(32), &rules), None);
}

#[test]
fn shorter_rules_give_a_fresh_state_their_whole_time_and_give_it_once() {
    let long = in_a_row(2, 1);
    let short = Rules { stale_after: SignedDuration::from_secs(5), ..long };
    let mut machine = Machine::new(at(0));
    machine.round(Judgement::Good, at(0), at(0), &long);
    machine.renew(at(20), &long);
    assert_eq!(machine.tick(at(25), &short), None);
    machine.renew(at(25), &short);
    assert_eq!(machine.tick(at(26), &short), Some(Turn { from: ProbeState::Up, to: ProbeState::Unknown }));

    let mut stale = Machine::new(at(0));
    stale.round(Judgement::Good, at(0), at(0), &long);
    stale.renew(at(31), &long);
    assert!(stale.tick(at(31), &short).is_some(), "what was stale already is not made fresh");
}

#[test]
fn a_target_that_never_answered_anything_says_that_it_is_stale() {
    let mut machine = Machine::new(at(0));

    assert_eq!(machine.tick(at(31), &in_a_row(2, 1)), None);
    assert_eq!((machine.state(), machine.cause(), machine.since()), (ProbeState::Unknown, Cause::Stale, at(0)));
}

#[test]
fn the_first_failed_round_is_remembered() {
    let rules = in_a_row(3, 1);
    let mut machine = Machine::new(at(0));
    feed(&mut machine, "ftf", 1, &rules);
    assert_eq!(machine.failing_since(), Some(at(1)));
    feed(&mut machine, "g", 4, &rules);
    assert_eq!(machine.failing_since(), None);
}

#[test]
fn while_it_is_down_a_single_answer_does_not_hide_the_first_failure() {
    let rules = in_a_row(2, 3);
    let mut machine = Machine::new(at(0));
    feed(&mut machine, "ffgg", 1, &rules);
    assert_eq!(machine.failing_since(), Some(at(1)));
    feed(&mut machine, "g", 5, &rules);
    assert_eq!((machine.state(), machine.failing_since()), (ProbeState::Up, None));
}

#[rstest]
#[case("g", 1, true)]
#[case("g", 2, false)]
#[case("gf", 2, true)]
#[case("gfg", 2, false)]
#[case("f", 2, true)]
#[case::it_is_down_already("ff", 2, false)]
#[case::trouble_hides_no_failure("gft", 2, true)]
#[case::nothing_is_known("", 2, false)]
fn it_can_be_asked_what_a_failure_would_do(#[case] rounds: &str, #[case] failures: u32, #[case] expected: bool) {
    let rules = in_a_row(failures, 1);
    let mut machine = Machine::new(at(0));
    feed(&mut machine, rounds, 0, &rules);
    assert_eq!(machine.would_turn_down(&rules), expected);
}

#[rstest]
#[case::nothing_since("", false)]
#[case::as_it_is("gg", false)]
#[case::a_first_failure("ggf", true)]
#[case::a_slow_round("ggs", true)]
#[case::down("ggff", false)]
#[case::answering_while_down("ffg", true)]
#[case::warming_up("f", true)]
#[case::lost_to_trouble("gttt", false)]
fn a_round_against_the_state_contradicts_it(#[case] rounds: &str, #[case] expected: bool) {
    let rules = in_a_row(2, 3);
    let mut machine = Machine::new(at(0));
    feed(&mut machine, "ggg", 0, &rules);
    if rounds.starts_with('f') {
        machine = Machine::new(at(0));
    }
    feed(&mut machine, rounds, 3, &rules);
    assert_eq!(machine.contradicted(), expected);
}

#[test]
fn other_rules_keep_the_state_and_judge_the_next_round() {
    let mut machine = Machine::new(at(0));
    feed(&mut machine, "ggf", 0, &in_a_row(5, 1));
    let stricter = in_a_row(2, 1);
    assert_eq!(machine.state(), ProbeState::Up);
    assert_eq!(machine.tick(at(3), &stricter), None);

    feed(&mut machine, "f", 3, &stricter);

    assert_eq!((machine.state(), machine.failing_since()), (ProbeState::Down, Some(at(2))));
}

#[test]
fn numbers_outside_their_limits_are_read_as_the_nearest_inside() {
    assert_eq!(Threshold { count: 0, of: 0 }.bounded(), Threshold::in_a_row(1));
    assert_eq!(Threshold { count: 3, of: 2 }.bounded(), Threshold::in_a_row(3));
    assert_eq!(Threshold { count: 7, of: 500 }.bounded(), Threshold { count: 7, of: 100 });
    assert_eq!(Threshold { count: 500, of: 500 }.bounded(), Threshold::in_a_row(100));
}

#[test]
fn changes_weigh_more_the_newer_they_are() {
    let percent = |rounds: &str| {
        let mut machine = Machine::new(at(0));
        feed(&mut machine, rounds, 0, &in_a_row(1, 1));
        machine.change_percent(21)
    };
    let good = |count| "g".repeat(count);

    assert_eq!(percent(&good(21)), 0);
    assert_eq!(percent(&"gf".repeat(20)), 100);
    // One change of twenty is five percent: six as the newest, four as the oldest.
    assert_eq!(percent(&format!("{}f", good(20))), 6);
    assert_eq!(percent(&format!("g{}", "f".repeat(20))), 4);
    assert_eq!(percent(&format!("g{}", "f".repeat(21))), 0);
    // Rounds that were not made are no changes, and slow ones do not fail.
    assert_eq!(percent("gf"), 6);
    assert_eq!(percent(&"gs".repeat(20)), 0);
}

#[test]
fn flapping_begins_at_the_high_band_and_ends_below_the_low_one() {
    let rules = flapping(11, 40, 20);
    let mut machine = Machine::new(at(0));
    let mut story = String::new();
    for (round, second) in "gggggggggggfgfgfgggggggggggg".chars().zip(0..) {
        let before = machine.flapping();
        machine.round(judgement(round), at(second), at(second), &rules);
        if before != machine.flapping() {
            let word = if machine.flapping() { "flaps" } else { "rests" };
            writeln!(story, "{second}: {word} at {} %", machine.change_percent(11)).unwrap();
        }
    }
    assert_eq!(story, "14: flaps at 45 %\n24: rests at 16 %\n");
}

#[test]
fn trouble_of_the_prober_does_not_end_flapping_and_a_gap_does() {
    let rules = flapping(5, 40, 20);
    let mut machine = Machine::new(at(0));
    feed(&mut machine, "gfgfg", 0, &rules);
    feed(&mut machine, "tttt", 5, &rules);
    assert_eq!((machine.state(), machine.flapping()), (ProbeState::Unknown, true));

    feed(&mut machine, "g", 9, &rules);
    machine.tick(at(60), &rules);

    assert_eq!((machine.cause(), machine.flapping()), (Cause::Stale, false));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Machine>() <= 160, "{} bytes", size_of::<Machine>());
}

/// The rules again, on the whole past as text.
fn naive(state: ProbeState, heard: &[char], rules: &Rules) -> ProbeState {
    let last = |of: u32, wanted: &str| {
        let hits = heard.iter().rev().take(of as usize).filter(|letter| wanted.contains(**letter)).count();
        u32::try_from(hits).unwrap()
    };
    let (down, up) = (rules.down, rules.up);
    let degraded = last(down.of, "sf") >= down.count;
    if last(down.of, "f") >= down.count {
        return ProbeState::Down;
    }
    match state {
        ProbeState::Up if degraded => ProbeState::Degraded,
        ProbeState::Up => ProbeState::Up,
        _ if last(up.of, "g") >= up.count && !degraded => ProbeState::Up,
        ProbeState::Down | ProbeState::Unknown if last(up.of, "gs") >= up.count => ProbeState::Degraded,
        state => state,
    }
}

proptest! {
    #[test]
    fn the_state_is_that_of_a_naive_count(
        rounds in "[gsf]{1,250}",
        down in (1_u32..=8, 0_u32..=92), up in (1_u32..=8, 0_u32..=92),
    ) {
        let rules = rules((down.0, down.0 + down.1), (up.0, up.0 + up.1));
        let (mut machine, mut expected) = (Machine::new(at(0)), ProbeState::Unknown);
        let mut heard = Vec::new();
        for (letter, second) in rounds.chars().zip(0..) {
            let would = machine.would_turn_down(&rules);
            heard.push('f');
            prop_assert_eq!(would, expected != ProbeState::Down && naive(expected, &heard, &rules) == ProbeState::Down);
            heard.pop();
            heard.push(letter);
            let before = expected;
            expected = naive(expected, &heard, &rules);
            let turn = machine.round(judgement(letter), at(second), at(second), &rules);
            prop_assert_eq!(machine.state(), expected);
            prop_assert_eq!(turn, (before != expected).then_some(Turn { from: before, to: expected }));
        }
    }

    #[test]
    fn down_takes_failed_rounds_and_up_takes_good_ones(
        rounds in "[gsft]{1,60}", failures in 1_u32..5, successes in 1_u32..5,
    ) {
        let rules = in_a_row(failures, successes);
        let mut machine = Machine::new(at(0));
        for (index, letter) in rounds.chars().enumerate() {
            let second = i64::try_from(index).unwrap();
            let Some(turn) = machine.round(judgement(letter), at(second), at(second), &rules) else { continue };
            let heard: Vec<char> = rounds.chars().take(index + 1).filter(|letter| *letter != 't').collect();
            let run = |wanted: &str| heard.iter().rev().take_while(|letter| wanted.contains(**letter)).count();
            match turn.to {
                ProbeState::Down => prop_assert!(run("f") >= failures as usize),
                ProbeState::Up => prop_assert!(run("g") >= successes as usize),
                ProbeState::Degraded => prop_assert!(run("gs") >= 1 || run("sf") >= failures as usize),
                ProbeState::Unknown => prop_assert_eq!(letter, 't'),
            }
        }
    }

    #[test]
    fn a_prober_in_trouble_never_says_down(rounds in "[gst]{0,60}", failures in 1_u32..5, of in 0_u32..50) {
        let rules = Rules { flap: Some(Flap::default()), ..rules((failures, failures + of), (1, 1)) };
        let mut machine = Machine::new(at(0));
        for (letter, second) in rounds.chars().zip(0..) {
            machine.round(judgement(letter), at(second), at(second), &rules);
            prop_assert_ne!(machine.state(), ProbeState::Down);
            prop_assert!(!machine.flapping());
        }
    }

    #[test]
    fn flapping_keeps_to_its_bands(
        rounds in "[gsft]{0,200}", window in 0_u32..120, high in 0_u32..130, low in 0_u32..130,
    ) {
        let rules = flapping(window, high, low);
        let mut machine = Machine::new(at(0));
        for (letter, second) in rounds.chars().zip(0..) {
            let before = machine.flapping();
            machine.round(judgement(letter), at(second), at(second), &rules);
            let (percent, after) = (machine.change_percent(window), machine.flapping());
            prop_assert!(percent <= 100);
            match (before, after) {
                _ if letter == 't' => prop_assert_eq!(before, after),
                (false, true) => prop_assert!(percent >= high),
                (false, false) => prop_assert!(percent < high),
                (true, true) => prop_assert!(percent >= low.min(high)),
                (true, false) => prop_assert!(percent < low),
            }
        }
    }

    #[test]
    fn no_order_of_times_and_no_numbers_make_it_panic(
        rounds in proptest::collection::vec((-100_i64..100, 0_usize..5), 0..200),
        down in any::<(u32, u32)>(), up in any::<(u32, u32)>(), flap in any::<(u32, u32, u32)>(),
    ) {
        let stale_after = SignedDuration::from_secs(5);
        let flap = Flap { window: flap.0, high_percent: flap.1, low_percent: flap.2 };
        let rules = Rules { stale_after, flap: Some(flap), ..rules(down, up) };
        let mut machine = Machine::new(at(0));
        for (second, what) in rounds {
            match Judgement::ALL.get(what) {
                Some(judgement) => machine.round(*judgement, at(second), at(second), &rules),
                None => machine.tick(at(second), &rules),
            };
            let _ = (machine.would_turn_down(&rules), machine.contradicted(), machine.change_percent(flap.window));
        }
    }
}
