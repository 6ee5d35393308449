//! From the states of a probe's targets to its own: pure.
//!
//! With a quorum of `q` (at least 1, at most as many as there are targets) a probe is `down` when
//! `q` of its targets are, `unknown` when those that are down and those that are unknown could
//! make `q` together, `degraded` when any is down or degraded, and `up` otherwise. Without targets
//! it is `unknown`.
//!
//! Over that lie, in this order, a suspension or a maintenance (nobody is to act on the state: it
//! is `unknown`), a parent that is down (it explains what is not up: that is `unknown`; what answers
//! is up all the same), a failing self-check of the prober (every target whose failure a prober
//! without a way out would see of a healthy one counts as `unknown`), and flapping targets (it is
//! `degraded` at best).

use std::fmt::Write;

use jiff::Timestamp;

use super::machine::Cause;
use super::result::Reason;
use crate::model::ProbeState;

/// The longest reason, in characters: it is one line of a status, a table and a mail.
pub const MAX_REASON: usize = 400;
/// The longest message of one target where several are named, in characters.
const MAX_MESSAGE: usize = 80;
/// The longest name of a target, a parent or a window in a reason, in characters.
const MAX_NAME: usize = 100;
/// How many targets or parents a reason names; of more it tells the number.
const MAX_NAMED: usize = 3;

/// One target, as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its address or name.
    pub name: &'a str,
    /// The state.
    pub state: ProbeState,
    /// Why.
    pub cause: Cause,
    /// Whether it changes too often.
    pub flapping: bool,
    /// Reason and message of its last round, where that was not as expected.
    pub last: Option<(Reason, &'a str)>,
}

/// Nobody is to act on the state.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    /// Somebody has suspended the probe.
    Suspended {
        /// Their reason; may be empty.
        why: &'a str,
        /// Until when, where it is known.
        until: Option<Timestamp>,
    },
    /// A window says that there is maintenance.
    Maintenance {
        /// The window's name.
        window: &'a str,
        /// Until when, where it is known.
        until: Option<Timestamp>,
    },
}

/// Everything that a probe's state depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Its targets.
    pub targets: &'a [Target<'a>],
    /// How many of them must be down for the probe to be.
    pub quorum: usize,
    /// Whether it is suspended or in maintenance.
    pub held: Option<Held<'a>>,
    /// Those of its parents that are down.
    pub parents_down: &'a [&'a str],
    /// What is wrong with the prober, where a self-check fails that stands for this probe.
    pub self_check: Option<&'a str>,
}

/// What the state of a probe comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its targets.
    Targets,
    /// It has no targets.
    NoTargets,
    /// Too few rounds were made yet to tell.
    WarmUp,
    /// It is suspended.
    Suspended,
    /// It is in maintenance.
    Maintenance,
    /// A parent is down.
    Parent,
    /// The prober's own check fails.
    SelfCheck,
    /// Targets flap.
    Flapping,
}

/// How many targets are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Up.
    pub up: usize,
    /// Degraded.
    pub degraded: usize,
    /// Down.
    pub down: usize,
    /// Unknown.
    pub unknown: usize,
}

impl Counts {
    /// Counts states.
    #[must_use]
    pub fn of(states: impl IntoIterator<Item = ProbeState>) -> Self {
        let mut counts = Self::default();
        for state in states {
            match state {
                ProbeState::Up => counts.up += 1,
                ProbeState::Degraded => counts.degraded += 1,
                ProbeState::Down => counts.down += 1,
                ProbeState::Unknown => counts.unknown += 1,
            }
        }
        counts
    }

    /// All targets.
    #[must_use]
    pub const fn all(&self) -> usize {
        self.up + self.degraded + self.down + self.unknown
    }
}

/// The state of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: ProbeState,
    /// What it comes from.
    pub why: Why,
    /// Until when, where it is held and that is known.
    pub until: Option<Timestamp>,
    /// One line for a person, at most [`MAX_REASON`] characters.
    pub reason: String,
    /// Its targets.
    pub counts: Counts,
    /// Its state hangs on targets that flap: it may turn with any round, and that is no news.
    pub restless: bool,
}

/// Judges a probe.
#[must_use]
pub fn aggregate(situation: &Situation<'_>) -> Standing {
    let targets = situation.targets;
    let counts = Counts::of(targets.iter().map(|target| target.state));
    let quorum = effective(situation.quorum, counts);
    let state = by_quorum(counts, quorum);
    let (state, why, until, reason) = overlay(situation, state, counts, quorum).unwrap_or_else(|| {
        let why = if targets.is_empty() { Why::NoTargets } else { unknown_why(state, targets) };
        (state, why, None, explain(targets, state, counts, quorum))
    });
    let restless = matches!(why, Why::Targets | Why::Flapping) && hangs_on_flapping(targets, situation.quorum);
    Standing { state, why, until, reason: shortened(&reason, MAX_REASON), counts, restless }
}

/// Whether the state would be another one if all targets that flap were up, or all were down.
fn hangs_on_flapping(targets: &[Target<'_>], quorum: usize) -> bool {
    let if_they_were = |state: ProbeState| {
        let states = targets.iter().map(|target| if target.flapping { state } else { target.state });
        together(Counts::of(states), quorum)
    };
    targets.iter().any(|target| target.flapping) && if_they_were(ProbeState::Up) != if_they_were(ProbeState::Down)
}

/// The state that targets speak for together, without anything that lies over it.
#[must_use]
pub fn together(counts: Counts, quorum: usize) -> ProbeState {
    by_quorum(counts, effective(quorum, counts))
}

/// At least one, and not more than there are targets.
fn effective(quorum: usize, counts: Counts) -> usize {
    quorum.clamp(1, counts.all().max(1))
}

const fn by_quorum(counts: Counts, quorum: usize) -> ProbeState {
    if counts.down >= quorum {
        ProbeState::Down
    } else if counts.down + counts.unknown >= quorum || counts.all() == 0 {
        ProbeState::Unknown
    } else if counts.down + counts.degraded > 0 {
        ProbeState::Degraded
    } else {
        ProbeState::Up
    }
}

type Overlaid = (ProbeState, Why, Option<Timestamp>, String);

fn overlay(situation: &Situation<'_>, state: ProbeState, counts: Counts, quorum: usize) -> Option<Overlaid> {
    let unknown = ProbeState::Unknown;
    match situation.held {
        Some(Held::Suspended { why, until }) => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            return Some((unknown, Why::Suspended, until, format!("suspended{}{why}", until_when(until))));
        }
        Some(Held::Maintenance { window, until }) => {
            let reason = format!("maintenance by window {}{}", shortened(window, MAX_NAME), until_when(until));
            return Some((unknown, Why::Maintenance, until, reason));
        }
        None => {}
    }
    if situation.targets.is_empty() || state == ProbeState::Up {
        return flapping(situation.targets, state);
    }
    if let Some(reason) = parents(situation.parents_down) {
        return Some((unknown, Why::Parent, None, reason));
    }
    situation
        .self_check
        .and_then(|what| self_check(what, situation.targets, counts, quorum))
        .or_else(|| flapping(situation.targets, state))
}

fn parents(down: &[&str]) -> Option<String> {
    match down {
        [] => None,
        [parent] => Some(format!("parent {} is down", shortened(parent, MAX_NAME))),
        parents => {
            let names = list(parents.len(), parents.iter().map(|parent| shortened(parent, MAX_NAME)));
            Some(format!("parents are down: {names}"))
        }
    }
}

/// Takes what the prober's own trouble explains out of the count: `None` where it changes nothing.
fn self_check(what: &str, targets: &[Target<'_>], counts: Counts, quorum: usize) -> Option<Overlaid> {
    let explains = |target: &&Target<'_>| {
        let way = target.last.is_some_and(|(reason, _)| reason.is_about_the_way() || reason.is_own());
        way && matches!(target.state, ProbeState::Down | ProbeState::Degraded)
    };
    let mut left = counts;
    for target in targets.iter().filter(explains) {
        left.unknown += 1;
        match target.state {
            ProbeState::Down => left.down -= 1,
            _ => left.degraded -= 1,
        }
    }
    let state = by_quorum(left, quorum);
    let changed = state != by_quorum(counts, quorum) && state == ProbeState::Unknown;
    changed.then(|| (state, Why::SelfCheck, None, format!("the prober's own check fails: {what}")))
}

fn flapping(targets: &[Target<'_>], state: ProbeState) -> Option<Overlaid> {
    let count = targets.iter().filter(|target| target.flapping).count();
    if count == 0 || !matches!(state, ProbeState::Up | ProbeState::Degraded) {
        return None;
    }
    let reason = if targets.len() == 1 {
        "flapping between failing and answering".to_owned()
    } else {
        let names = targets.iter().filter(|target| target.flapping).map(|target| shortened(target.name, MAX_NAME));
        let verb = if count == 1 { "flaps" } else { "flap" };
        format!("{count} of {} targets {verb}: {}", targets.len(), list(count, names))
    };
    Some((ProbeState::Degraded, Why::Flapping, None, reason))
}

/// It is warming up where nothing but that keeps it from being known.
fn unknown_why(state: ProbeState, targets: &[Target<'_>]) -> Why {
    let mut unknown = targets.iter().filter(|target| target.state == ProbeState::Unknown);
    let warming = state == ProbeState::Unknown && unknown.all(|target| target.cause == Cause::WarmUp);
    if warming { Why::WarmUp } else { Why::Targets }
}

fn explain(targets: &[Target<'_>], state: ProbeState, counts: Counts, quorum: usize) -> String {
    match targets {
        [] => return "there are no targets".to_owned(),
        [target] => return told(target),
        _ => {}
    }
    let all = targets.len();
    let said = |count: usize, word: &str| {
        let verb = if count == 1 { "is" } else { "are" };
        format!("{count} of {all} targets {verb} {word}")
    };
    let mut text = match state {
        ProbeState::Down => said(counts.down, "down"),
        ProbeState::Up if counts.unknown == 0 => return format!("all {all} targets are up"),
        ProbeState::Up => said(counts.up, "up"),
        ProbeState::Degraded if counts.down > 0 => said(counts.down, "down"),
        ProbeState::Degraded => said(counts.degraded, "degraded"),
        ProbeState::Unknown if counts.down > 0 => {
            format!("{} and {} unknown", said(counts.down, "down"), counts.unknown)
        }
        ProbeState::Unknown => said(counts.unknown, "unknown"),
    };
    if quorum > 1 && counts.down + counts.unknown > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, " (down takes {quorum})");
    }
    let worst = |target: &&Target<'_>| match state {
        ProbeState::Degraded if counts.down == 0 => target.state == ProbeState::Degraded,
        ProbeState::Degraded | ProbeState::Down => target.state == ProbeState::Down,
        ProbeState::Up => target.state == ProbeState::Unknown,
        ProbeState::Unknown => matches!(target.state, ProbeState::Down | ProbeState::Unknown),
    };
    let count = targets.iter().filter(worst).count();
    let _ = write!(text, ": {}", list(count, targets.iter().filter(worst).map(named)));
    text
}

/// A target among others, with what it said last.
fn named(target: &Target<'_>) -> String {
    let name = shortened(target.name, MAX_NAME);
    let cause = match (target.last, target.cause) {
        (Some((reason, message)), _) => format!("{reason}: {}", shortened(message, MAX_MESSAGE)),
        (None, Cause::WarmUp) => "not probed often enough yet".to_owned(),
        (None, Cause::Stale) => "stale".to_owned(),
        (None, _) => return name,
    };
    format!("{name} ({cause})")
}

/// The only target: its cause in words.
fn told(target: &Target<'_>) -> String {
    let last = target.last.map_or_else(String::new, |(reason, message)| format!(": {reason}: {message}"));
    let rounds = |count: u32, of: u32, verb: &str| match (count, of) {
        (1, 1) => format!("1 round{verb}"),
        _ if count == of => format!("{count} rounds{verb} in a row"),
        _ => format!("{count} of the last {of} rounds{verb}"),
    };
    match (target.cause, target.state) {
        (Cause::WarmUp, _) => "not probed often enough yet".to_owned(),
        (Cause::Stale, _) => "no round has told anything for too long".to_owned(),
        (Cause::Trouble(count), _) => format!("the prober was in trouble in {}{last}", rounds(count, count, "")),
        (Cause::Rounds { count, of }, ProbeState::Down) => format!("{}{last}", rounds(count, of, " failed")),
        (Cause::Rounds { count, of }, ProbeState::Degraded) => {
            format!("{} outside a limit{last}", rounds(count, of, ""))
        }
        (Cause::Rounds { count, of }, _) => format!("{} as expected", rounds(count, of, "")),
    }
}

fn until_when(until: Option<Timestamp>) -> String {
    until.map_or_else(String::new, |until| format!(" until {until}"))
}

/// The first few of `count` items, and how many more there are.
fn list(count: usize, items: impl Iterator<Item = String>) -> String {
    let mut text = items.take(MAX_NAMED).collect::<Vec<_>>().join(", ");
    if count > MAX_NAMED {
        let _ = write!(text, " and {} more", count - MAX_NAMED);
    }
    text
}

/// One line of at most so many characters.
fn shortened(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().nth(most).is_none() {
        text.chars().map(clean).collect()
    } else {
        text.chars().take(most - 1).map(clean).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests;
