//! Counting the past: which changes began, are in flight, failed, or passed somewhere else.
//!
//! A change is counted once, however many gates, batches and attempts it had. Its identity is that
//! of a question without batch and point: cluster, namespace, target, change and revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::facts::Facts;
use crate::model::{Action, Labels, PastRun, Point, Verdict, glob_matches};

/// Which runs to look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Only what happened at or after this instant.
    pub(super) since: Option<Timestamp>,
    /// Only in this scope.
    pub(super) scope: Scope,
    /// Only these actions; empty means all but rollbacks.
    pub(super) actions: Vec<Action>,
    /// Only at these points; empty means both.
    pub(super) points: Vec<Point>,
    /// Only with this verdict.
    pub(super) verdict: Option<Verdict>,
}

/// A part of the world: everything that is given must fit. Names may have `*` and `?`.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) cluster: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) gate: Option<String>,
    pub(super) target: Option<String>,
    pub(super) change: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) labels: Labels,
}

impl Scope {
    fn holds(&self, run: &PastRun) -> bool {
        let fits = |pattern: &Option<String>, value: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern == value || glob_matches(pattern, value))
        };
        fits(&self.cluster, run.change.cluster.as_deref().unwrap_or(""))
            && fits(&self.namespace, &run.namespace)
            && fits(&self.gate, &run.gate)
            && fits(&self.target, &run.change.target)
            && fits(&self.change, &run.change.id)
            && fits(&self.revision, &run.change.revision)
            && fits(&self.actor, &run.change.actor)
            && self.labels.iter().all(|(key, pattern)| {
                run.change.labels.get(key).is_some_and(|value| pattern == value || glob_matches(pattern, value))
            })
    }
}

impl Filter {
    /// Whether a run is to be looked at, whatever its time and verdict.
    fn selects(&self, run: &PastRun) -> bool {
        let action = run.change.action;
        let acts = if self.actions.is_empty() { action != Action::Rollback } else { self.actions.contains(&action) };
        acts && self.scope.holds(run)
    }

    fn at_points(&self, run: &PastRun) -> bool {
        self.points.is_empty() || self.points.contains(&run.point)
    }

    fn recent(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since)
    }
}

type Key<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn key(run: &PastRun) -> Key<'_> {
    let change = &run.change;
    (change.cluster.as_deref().unwrap_or(""), &run.namespace, &change.target, &change.id, &change.revision)
}

/// One change as the past has it.
#[derive(Debug, Clone)]
pub(super) struct PastChange<'a> {
    /// Its runs, oldest first.
    runs: Vec<&'a PastRun>,
    /// When it began: its first pass at pre, or the first question at post.
    pub(super) began: Option<Timestamp>,
}

impl<'a> PastChange<'a> {
    fn new(mut runs: Vec<&'a PastRun>) -> Self {
        runs.sort_by_key(|run| (run.created_at, &run.name));
        let began = runs.iter().filter_map(|run| began(run)).min();
        Self { runs, began }
    }

    /// The latest run.
    pub(super) fn latest(&self) -> Option<&'a PastRun> {
        self.runs.last().copied()
    }

    /// The last decided run of each gate: its final word.
    fn final_words(&self) -> impl Iterator<Item = &'a PastRun> {
        let mut words: BTreeMap<&str, &PastRun> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.decided_at.is_some()) {
            let word = words.entry(&run.gate).or_insert(run);
            if run.decided_at >= word.decided_at {
                *word = run;
            }
        }
        words.into_values()
    }

    /// When it was blocked for good, where a gate's final word is block.
    pub(super) fn blocked(&self, points: impl Fn(&PastRun) -> bool) -> Option<Timestamp> {
        self.final_words()
            .filter(|run| run.verdict == Verdict::Block && points(run))
            .filter_map(|run| run.decided_at)
            .max()
    }

    /// When it had passed the post of its last batch.
    fn finished(&self) -> Option<Timestamp> {
        self.runs
            .iter()
            .filter(|run| {
                run.point == Point::Post && run.verdict == Verdict::Pass && run.batch.index >= run.batch.total
            })
            .filter_map(|run| run.decided_at)
            .max()
    }

    /// Whether another revision has taken its place.
    fn superseded(&self) -> bool {
        self.runs.iter().any(|run| run.void)
    }
}

/// When a run shows that its change had begun, where it does.
fn began(run: &PastRun) -> Option<Timestamp> {
    match (run.point, run.verdict) {
        (Point::Pre, Verdict::Pass) => Some(run.decided_at.unwrap_or(run.created_at)),
        (Point::Pre, _) => None,
        (Point::Post, _) => Some(run.created_at),
    }
}

impl Facts {
    /// The past, as far as it is known: callers have asked whether it is.
    fn past(&self) -> &[Arc<PastRun>] {
        self.runs.as_deref().unwrap_or_default()
    }

    fn own_key(&self) -> Key<'_> {
        let change = &self.change;
        (change.cluster.as_deref().unwrap_or(""), &self.namespace, &change.target, &change.id, &change.revision)
    }

    /// Whether the change that asks has begun: it is asked about after a batch or before a later
    /// one, or a gate has let a batch of it pass.
    pub(super) fn under_way(&self) -> bool {
        self.point == Point::Post
            || self.batch.index > 1
            || self.past().iter().any(|run| {
                run.verdict == Verdict::Pass
                    && !run.void
                    && run.change.action == self.change.action
                    && key(run) == self.own_key()
            })
    }

    /// Who asked first about the change that asks now.
    pub(super) fn initiator(&self) -> &str {
        self.past()
            .iter()
            .filter(|run| key(run) == self.own_key())
            .min_by_key(|run| (run.created_at, &run.name))
            .map_or(&self.change.actor, |run| &run.change.actor)
    }

    /// All changes that the filter selects, without the one that asks.
    fn other_changes(&self, filter: &Filter) -> Vec<PastChange<'_>> {
        let own = self.own_key();
        let mut groups: BTreeMap<Key<'_>, Vec<&PastRun>> = BTreeMap::new();
        for run in self.past().iter().filter(|run| filter.selects(run)) {
            if key(run) != own {
                groups.entry(key(run)).or_default().push(run);
            }
        }
        groups.into_values().map(PastChange::new).collect()
    }

    /// Other changes that began within the filter's time, and those that asked before this one and
    /// can begin at any moment: of two that ask at once, only the first may take the last place.
    pub(super) fn changes_begun(&self, filter: &Filter) -> Vec<PastChange<'_>> {
        let mut changes = self.other_changes(filter);
        changes.retain_mut(|change| {
            if change.began.is_none() {
                change.began = self.about_to_begin(change);
            }
            change.began.is_some_and(|began| filter.recent(began))
        });
        changes.sort_by_key(|change| change.began);
        changes
    }

    /// When a change that has not begun asked, where it asked before this one and waits for no
    /// instant in the future.
    fn about_to_begin(&self, change: &PastChange<'_>) -> Option<Timestamp> {
        let own = self.past().iter().find(|run| run.name == self.run && run.namespace == self.namespace);
        let own = own.map_or((self.now, self.run.as_str()), |run| (run.created_at, run.name.as_str()));
        change
            .runs
            .iter()
            .filter(|run| run.verdict == Verdict::Wait && run.decided_at.is_none() && !run.void)
            .filter(|run| run.until.is_none_or(|until| until <= self.now))
            .find(|run| (run.created_at, run.name.as_str()) < own)
            .map(|run| run.created_at)
    }

    /// Other changes that have begun (or are about to, see [`Self::changes_begun`]) and have neither
    /// passed their last batch nor been blocked nor been superseded, and that gave a sign of life
    /// within the filter's time.
    pub(super) fn changes_in_flight(&self, filter: &Filter) -> Vec<PastChange<'_>> {
        let mut changes = self.changes_begun(&Filter { since: None, ..filter.clone() });
        changes.retain(|change| {
            let alive = change.latest().is_some_and(|run| filter.recent(run.decided_at.unwrap_or(run.created_at)));
            let over = change.finished().is_some()
                || change.superseded()
                || change.blocked(|run| run.point == Point::Post).is_some();
            alive && !over
        });
        changes
    }

    /// Other changes whose final word is block, with when it was said, oldest first.
    pub(super) fn changes_blocked(&self, filter: &Filter) -> Vec<(Timestamp, PastChange<'_>)> {
        let mut changes: Vec<_> = self
            .other_changes(filter)
            .into_iter()
            .filter_map(|change| Some((change.blocked(|run| filter.at_points(run))?, change)))
            .filter(|(at, _)| filter.recent(*at))
            .collect();
        changes.sort_by_key(|(at, _)| *at);
        changes
    }

    /// Runs with a verdict, newest first: attempts count one by one.
    pub(super) fn verdicts(&self, filter: &Filter) -> Vec<&PastRun> {
        let mut runs: Vec<&PastRun> = self
            .past()
            .iter()
            .map(std::convert::AsRef::as_ref)
            .filter(|run| filter.selects(run) && filter.at_points(run))
            .filter(|run| filter.verdict.is_none_or(|verdict| run.verdict == verdict))
            .filter(|run| filter.recent(run.decided_at.unwrap_or(run.created_at)))
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, &run.name)));
        runs
    }

    /// When the same revision of the same target had passed the post of its last batch in `filter`'s
    /// scope, in every gate that saw it there; the earliest, where it passed in several places.
    pub(super) fn passed_elsewhere(&self, filter: &Filter, superseded_counts: bool) -> Option<Timestamp> {
        let scope = Scope {
            target: filter.scope.target.clone().or_else(|| Some(self.change.target.clone())),
            revision: Some(self.change.revision.clone()),
            ..filter.scope.clone()
        };
        let mut places: BTreeMap<(&str, &str), Vec<&PastRun>> = BTreeMap::new();
        let filter = Filter { scope, ..filter.clone() };
        for run in self.past().iter().filter(|run| filter.selects(run)) {
            places.entry((run.change.cluster.as_deref().unwrap_or(""), &run.namespace)).or_default().push(run);
        }
        places
            .into_values()
            .map(PastChange::new)
            .filter(|there| superseded_counts || !there.superseded())
            .filter(|there| there.blocked(|run| run.point == Point::Post).is_none())
            .filter_map(|there| there.finished())
            .filter(|at| filter.recent(*at))
            .min()
    }
}
