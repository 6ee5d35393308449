//! The judgement: from what the checks say to a verdict. Semantics of PRODUCT.md, "The verdict".

use jiff::Timestamp;

use super::check_state::CheckState;
use super::event::{ActiveOverride, Moment};
use super::machine::Machine;
use super::plan::PlannedCheck;
use crate::api::{Cause, Effect, UsedOverride};
use crate::model::{OnUnknown, Outcome, Verdict};

/// A final verdict.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruling {
    pub(super) verdict: Verdict,
    pub(super) cause: Cause,
    pub(super) reason: String,
    pub(super) at: Timestamp,
    pub(super) overrides: Vec<UsedOverride>,
}

/// Why there is no final verdict yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Opening {
    pub(super) reason: String,
    pub(super) until: Option<Timestamp>,
}

/// What the machine stands at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Judgement {
    Final(Ruling),
    Open(Opening),
}

/// A check with its plan and the override that speaks for it.
struct Heard<'a> {
    planned: &'a PlannedCheck,
    state: &'a CheckState,
    overridden: Option<&'a ActiveOverride>,
}

impl Heard<'_> {
    fn name(&self) -> &str {
        &self.planned.spec.name
    }

    fn fails(&self) -> bool {
        match self.overridden {
            Some(by) => by.effect == Effect::Block,
            None => self.state.outcome == Outcome::Fail,
        }
    }

    fn lifted(&self) -> bool {
        self.overridden.is_some_and(|by| by.effect == Effect::Pass)
    }
}

impl Machine {
    /// Judges what is known now. Pure: asking twice gives the same answer.
    pub(super) fn judge(&self, now: Moment) -> Judgement {
        if let Some(ruling) = self.ruled_from_outside(now) {
            return Judgement::Final(ruling);
        }
        let heard: Vec<Heard<'_>> = self.heard(now).filter(|heard| heard.planned.enforced()).collect();
        if let Some(ruling) = Self::failed(&heard, now) {
            return Judgement::Final(ruling);
        }
        if let Some(back) = self.clock_back {
            let back = back.round(jiff::Unit::Second).unwrap_or(back);
            return open(
                format!("the clock stands {back:#} before an instant already seen: waiting until it is right again"),
                None,
            );
        }
        let missing: Vec<&Heard<'_>> = heard
            .iter()
            .filter(|heard| !heard.lifted() && !heard.state.passed(heard.planned, self.fresh_from))
            .collect();
        if let Some(held) = held(&missing, now) {
            return Judgement::Open(held);
        }
        let timed_out = self.measured >= self.plan.timeout.to_std();
        if !missing.is_empty() {
            return if timed_out { self.unknown(&missing, &heard, now) } else { measuring(&missing) };
        }
        if !self.soaked {
            let until = self.started_at + self.plan.soak.exact();
            return open(format!("soaking for {}: every check passes so far", self.plan.soak), Some(until));
        }
        match self.unheard(timed_out) {
            Some(name) => open(format!("every enforced check passed; {name} has not answered yet"), None),
            None => Judgement::Final(Self::rule(Verdict::Pass, Cause::Checks, self.pass_reason(&heard), &heard, now)),
        }
    }

    /// The checks that an enforced one of holds until a known instant, overrides considered.
    pub(super) fn holding(&self, now: Moment) -> impl Iterator<Item = &CheckState> {
        self.heard(now)
            .filter(|heard| heard.planned.enforced() && heard.state.held() && !heard.lifted())
            .map(|heard| heard.state)
    }

    /// The override that speaks for a check at `now`; one that blocks goes before one that passes.
    pub(super) fn override_of(&self, check: Option<&str>, now: Timestamp) -> Option<&ActiveOverride> {
        let matching = || self.overrides.iter().filter(|o| o.check.as_deref() == check && now < o.expires);
        matching().find(|o| o.effect == Effect::Block).or_else(|| matching().next())
    }

    fn heard(&self, now: Moment) -> impl Iterator<Item = Heard<'_>> {
        self.plan.checks.iter().zip(&self.checks).map(move |(planned, state)| Heard {
            planned,
            state,
            overridden: self.override_of(Some(&planned.spec.name), now.wall),
        })
    }

    /// What decides before any check is heard.
    fn ruled_from_outside(&self, now: Moment) -> Option<Ruling> {
        let ruling = |verdict, cause, reason, overrides| Ruling { verdict, cause, reason, at: now.wall, overrides };
        if let Some((actor, reason)) = &self.cancelled {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            return Some(ruling(Verdict::Block, Cause::Cancelled, format!("cancelled by {actor}{why}"), Vec::new()));
        }
        if let Some((revision, change)) = &self.superseded {
            let reason = format!("void: revision {revision} of change {change} has come");
            return Some(ruling(Verdict::Block, Cause::Void, reason, Vec::new()));
        }
        if let Some(by) = self.override_of(None, now.wall) {
            // A clock in trouble cannot tell whether an override is still in force.
            if by.effect == Effect::Block || self.clock_back.is_none() {
                let verdict = if by.effect == Effect::Pass { Verdict::Pass } else { Verdict::Block };
                return Some(ruling(verdict, Cause::Override, spoken(by), vec![by.used()]));
            }
        }
        let standing = self.standing.as_ref().filter(|_| !self.plan.rollback)?;
        let lifted = !standing.failed.is_empty()
            && standing
                .failed
                .iter()
                .all(|name| self.override_of(Some(name), now.wall).is_some_and(|by| by.effect == Effect::Pass));
        (!lifted).then(|| {
            let reason = format!(
                "this revision was blocked after batch {} by run {}: {}",
                standing.batch, standing.run, standing.reason
            );
            ruling(Verdict::Block, Cause::Standing, reason, Vec::new())
        })
    }

    /// A block as soon as one enforced check has failed: nothing waits for the rest.
    fn failed(heard: &[Heard<'_>], now: Moment) -> Option<Ruling> {
        let failed: Vec<&Heard<'_>> = heard.iter().filter(|heard| heard.fails()).collect();
        let first = failed.first()?;
        let what = match first.overridden {
            Some(by) => spoken(by),
            None => first.state.summary.clone(),
        };
        let more = if failed.len() > 1 { format!(" (and {} more)", failed.len() - 1) } else { String::new() };
        Some(Self::rule(Verdict::Block, Cause::Checks, format!("{} failed: {what}{more}", first.name()), heard, now))
    }

    /// The timeout is over and something is still not known: the gate's policy decides.
    fn unknown(&self, missing: &[&Heard<'_>], heard: &[Heard<'_>], now: Moment) -> Judgement {
        let Some(first) = missing.first() else { return measuring(missing) };
        let what = format!("{} is still not known after {}: {}", first.name(), self.plan.timeout, first.state.summary);
        let verdict = match self.plan.on_unknown {
            OnUnknown::Block => Verdict::Block,
            // A rollback may go all the same; what else a gate lets pass has to have soaked.
            OnUnknown::Pass if self.soaked => Verdict::Pass,
            OnUnknown::Wait | OnUnknown::Pass => return open(what, None),
        };
        let reason = match (verdict, self.plan.rollback) {
            (Verdict::Pass, true) => format!("a rollback is not held: {what}"),
            (Verdict::Pass, false) => format!("passed by the gate's onUnknown policy: {what}"),
            _ => what,
        };
        Judgement::Final(Self::rule(verdict, Cause::Unknown, reason, heard, now))
    }

    /// The first check that does not count and has not looked once: it is recorded, so it is given
    /// the time of its first look.
    fn unheard(&self, timed_out: bool) -> Option<&str> {
        let mut checks = self.plan.checks.iter().zip(&self.checks);
        checks
            .find(|(planned, state)| {
                let first = state.executions == 0 || (state.in_flight.is_some() && !state.has_looked());
                !timed_out && !planned.enforced() && first
            })
            .map(|(planned, _)| planned.spec.name.as_str())
    }

    fn pass_reason(&self, heard: &[Heard<'_>]) -> String {
        let lifted: Vec<&str> = heard.iter().filter(|heard| heard.lifted()).map(Heard::name).collect();
        let passed = heard.len() - lifted.len();
        let mut reason = match (passed, self.plan.rollback) {
            (0, true) => "a rollback is not held".to_owned(),
            (0, false) if lifted.is_empty() => format!("the gate has no enforced checks at {}", self.plan.point),
            (1, _) => "the one check passed".to_owned(),
            (n, _) => format!("all {n} checks passed"),
        };
        if !lifted.is_empty() {
            reason = format!("{reason}; overridden: {}", lifted.join(", "));
        }
        reason
    }

    fn rule(verdict: Verdict, cause: Cause, reason: String, heard: &[Heard<'_>], now: Moment) -> Ruling {
        let overrides = heard.iter().filter_map(|heard| heard.overridden.map(ActiveOverride::used)).collect();
        Ruling { verdict, cause, reason, at: now.wall, overrides }
    }
}

fn spoken(by: &ActiveOverride) -> String {
    let ticket = by.ticket.as_ref().map(|ticket| format!(", {ticket}")).unwrap_or_default();
    format!("override {} by {}: {}{ticket}", by.name, by.actor, by.reason)
}

fn open(reason: String, until: Option<Timestamp>) -> Judgement {
    Judgement::Open(Opening { reason, until })
}

/// Held until a known instant: the latest, because all of them must open.
fn held(missing: &[&Heard<'_>], now: Moment) -> Option<Opening> {
    let held = missing.iter().filter(|heard| heard.state.held() && !heard.lifted());
    let last = held.max_by_key(|heard| heard.state.until)?;
    let until = last.state.until.filter(|until| *until > now.wall);
    Some(Opening { reason: format!("{}: {}", last.name(), last.state.summary), until })
}

fn measuring(missing: &[&Heard<'_>]) -> Judgement {
    let unknown = missing.iter().find(|heard| heard.state.outcome == Outcome::Unknown);
    let pending = missing.iter().find(|heard| heard.state.outcome == Outcome::Pending);
    let reason = match unknown.or(pending).or(missing.first()) {
        Some(heard) if heard.state.outcome == Outcome::Pass => format!("{} is looked at once more", heard.name()),
        Some(heard) => {
            let more = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
            format!("{} is {}: {}{more}", heard.name(), heard.state.outcome, heard.state.summary)
        }
        None => "measuring".to_owned(),
    };
    open(reason, None)
}
