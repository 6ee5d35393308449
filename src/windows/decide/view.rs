//! One window in the light of one question: overrides, budgets, what it says about changes under
//! way.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Evidence, Query, WindowState, counted, name};
use crate::api::{Effect, Override, WindowType, namespace_of};
use crate::model::{PastRun, Running, glob_matches};
use crate::windows::compile::{Compiled, Standing};
use crate::windows::select::why_not;
use crate::windows::stretch::Stretch;

/// A window that binds the change.
pub(super) struct Bound<'a> {
    pub(super) window: &'a Arc<Compiled>,
    /// The instant of the question, and the stretch that contains it: it is looked at often.
    here: (Timestamp, Option<Stretch>),
    /// Overrides for this window and change that count.
    overrides: Vec<&'a Override>,
    /// Of an allow window whose budget is used up: the stretch that this is about.
    exhausted: Option<Stretch>,
    /// How many changes its present stretch has let in.
    used: usize,
}

impl<'a> Bound<'a> {
    pub(super) fn new(
        window: &'a Arc<Compiled>,
        query: &Query,
        past: &[Arc<PastRun>],
        overrides: &'a [Arc<Override>],
    ) -> Self {
        let overrides = overrides.iter().map(Arc::as_ref).filter(|by| is_for(by, window, query)).collect();
        let here = (query.at, window.covering(query.at));
        let mut bound = Self { window, here, overrides, exhausted: None, used: 0 };
        bound.count(query, past);
        bound
    }

    fn count(&mut self, query: &Query, past: &[Arc<PastRun>]) {
        let Some(most) = self.window.spec.max_changes else { return };
        let Some(stretch) = self.covering(query.at) else { return };
        let changes = counted(self.window, past, stretch.since, query.at);
        self.used = changes.len();
        let own = query.change.as_ref().zip(query.target.as_ref()).is_some_and(|(change, target)| {
            changes.contains(&[change.clone(), target.clone(), query.cluster.clone().unwrap_or_default()])
        });
        if !own && changes.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            self.exhausted = Some(stretch);
        }
    }

    /// The stretch that contains `at`.
    pub(super) fn covering(&self, at: Timestamp) -> Option<Stretch> {
        if at == self.here.0 { self.here.1 } else { self.window.covering(at) }
    }

    pub(super) fn kind(&self) -> WindowType {
        self.window.kind()
    }

    pub(super) fn lifted_by(&self, at: Timestamp) -> Option<&'a Override> {
        self.by(at, Effect::Pass)
    }

    pub(super) fn blocked_by(&self, at: Timestamp) -> Option<&'a Override> {
        self.by(at, Effect::Block)
    }

    fn by(&self, at: Timestamp, effect: Effect) -> Option<&'a Override> {
        self.overrides.iter().copied().find(|by| by.spec.effect == effect && by.in_force(at))
    }

    /// When overrides for it end, after `at`.
    pub(super) fn override_ends(&self, at: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.overrides.iter().filter(move |by| by.in_force(at)).map(|by| by.spec.expires)
    }

    /// Whether its schedule is unknown.
    pub(super) fn unknown(&self) -> bool {
        matches!(self.window.standing, Standing::Unknown(_))
    }

    /// The window's own word on changes under way, else the gate's, else hold.
    pub(super) fn running(&self, query: &Query) -> Running {
        self.window.spec.running.or(query.gate_running).unwrap_or_default()
    }

    /// Of a freeze: whether it holds the change now, or cannot be read and might.
    pub(super) fn holds(&self, query: &Query) -> bool {
        self.in_force(query.at) && !self.passed_over(query)
    }

    /// Of a freeze in force: whether this change need not mind it.
    pub(super) fn passed_over(&self, query: &Query) -> bool {
        self.in_force(query.at)
            && (self.lifted_by(query.at).is_some() || query.under_way && self.running(query) == Running::Finish)
    }

    fn in_force(&self, at: Timestamp) -> bool {
        self.window.exists(at) && (self.unknown() || self.covering(at).is_some())
    }

    /// Of an allow window: whether it is open by its own schedule and has changes left.
    pub(super) fn open_at(&self, at: Timestamp) -> bool {
        !self.unknown()
            && self.covering(at).is_some()
            && !self.exhausted.is_some_and(|exhausted| exhausted.contains(at))
    }

    /// Of an allow window that is shut: since when and until when.
    pub(super) fn shut_stretch(&self, at: Timestamp) -> Stretch {
        if self.unknown() {
            return Stretch { since: None, until: None };
        }
        let until = match self.exhausted {
            Some(exhausted) => exhausted.until.and_then(|until| self.window.next_start(until)),
            None => self.window.next_start(at),
        };
        let since = if self.exhausted.is_some() { None } else { self.window.last_end(at) };
        Stretch { since, until }
    }

    /// `freeze year-end (year-end quiet, OPS-1, platform-team)`.
    pub(super) fn title(&self) -> String {
        let spec = &self.window.spec;
        let kind = match self.kind() {
            WindowType::Freeze => "freeze",
            WindowType::Allow => "allow window",
        };
        let beside = [&spec.reason, &spec.ticket, &spec.owner].into_iter().flatten().map(String::as_str);
        let beside: Vec<&str> = beside.collect();
        let beside = if beside.is_empty() { String::new() } else { format!(" ({})", beside.join(", ")) };
        format!("{kind} {}{beside}", self.window.name)
    }

    pub(super) fn trouble(&self) -> String {
        match &self.window.standing {
            Standing::Unknown(why) => format!("{} cannot be read: {why}", self.title()),
            Standing::Known => self.title(),
        }
    }

    pub(super) fn why_open(&self, at: Timestamp, bound: &[Bound<'_>]) -> String {
        let used = match self.window.spec.max_changes {
            Some(most) => format!("; {} of {most} changes used", self.used),
            None => String::new(),
        };
        let until = self.covering(at).and_then(|stretch| stretch.until);
        let freeze = super::opening::next_freeze(bound, at)
            .filter(|(start, _)| until.is_none_or(|until| *start < until))
            .map(|(start, freeze)| {
                format!("; {} begins before it shuts, {}", freeze.title(), freeze.window.say(start, at))
            });
        format!("inside {}{used}{}", self.title(), freeze.unwrap_or_default())
    }

    pub(super) fn why_shut(&self, at: Timestamp) -> String {
        match (self.exhausted, self.window.spec.max_changes) {
            (Some(_), Some(most)) => format!("{} has let {} of {most} changes in", self.title(), self.used),
            _ if self.window.next_start(at).is_none() => format!("outside {}, which does not open again", self.title()),
            _ => format!("outside {}", self.title()),
        }
    }

    pub(super) fn why_passed_over(&self, query: &Query) -> String {
        match self.lifted_by(query.at) {
            Some(by) => {
                format!("{} is lifted by override {} of {}: {}", self.title(), name(by), by.spec.actor, by.spec.reason)
            }
            None => format!("the change is under way, and {} lets it finish", self.title()),
        }
    }
}

/// Whether an override is for this window and change, and its maker may override the window.
fn is_for(by: &Override, window: &Compiled, query: &Query) -> bool {
    by.spec.window.as_deref() == Some(window.name.as_str())
        && namespace_of(by) == window.namespace
        && query.change.as_deref() == Some(by.spec.change.as_str())
        && window
            .spec
            .overridable_by
            .as_ref()
            .is_none_or(|names| names.iter().any(|pattern| glob_matches(pattern, &by.spec.actor)))
}

/// Of several windows in force, the one that ends last; of those the first by name.
pub(super) fn latest_until<'b, 'a: 'b>(
    candidates: impl Iterator<Item = (&'b Bound<'a>, Stretch)>,
) -> Option<(&'b Bound<'a>, Stretch)> {
    candidates.max_by(|(left, by_left), (right, by_right)| {
        let end = |stretch: &Stretch| stretch.until.unwrap_or(Timestamp::MAX);
        // Greater is later, and then earlier in the alphabet.
        end(by_left).cmp(&end(by_right)).then_with(|| right.window.name.cmp(&left.window.name))
    })
}

/// What one window contributed, for the record.
pub(super) fn evidence(window: &Arc<Compiled>, query: &Query, bound: &[Bound<'_>]) -> Evidence {
    let at = query.at;
    let found = bound.iter().find(|bound| Arc::ptr_eq(bound.window, window));
    let stretch = found.map_or_else(|| window.covering(at), |bound| bound.covering(at));
    let state_and_why = || {
        let Some(bound) = found else {
            let why = why_not(window, query).unwrap_or_default();
            return (WindowState::NotSelecting, why);
        };
        if !window.exists(at) {
            return (WindowState::Expired, "it has expired".to_owned());
        }
        if let Standing::Unknown(why) = &window.standing {
            return (WindowState::Unreadable, why.clone());
        }
        if let Some(by) = bound.blocked_by(at) {
            return (WindowState::Shut, format!("override {} holds the change", name(by)));
        }
        match window.kind() {
            WindowType::Freeze if stretch.is_none() => (WindowState::Open, "it is not in force".to_owned()),
            WindowType::Freeze if bound.passed_over(query) => (WindowState::Open, bound.why_passed_over(query)),
            WindowType::Freeze => (WindowState::Shut, "it is in force".to_owned()),
            WindowType::Allow if bound.open_at(at) => (WindowState::Open, "it is open".to_owned()),
            WindowType::Allow if bound.lifted_by(at).is_some() => (WindowState::Open, bound.why_passed_over(query)),
            WindowType::Allow => (WindowState::Shut, bound.why_shut(at)),
        }
    };
    let (state, why) = state_and_why();
    let stretch = stretch.unwrap_or(Stretch { since: None, until: None });
    Evidence {
        namespace: window.namespace.clone(),
        name: window.name.clone(),
        kind: window.kind(),
        state,
        why,
        since: stretch.since,
        until: stretch.until,
    }
}
