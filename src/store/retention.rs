//! What is forgotten: decided runs beyond their gate's count and age, and exceptions long over. The
//! part that both homes share.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Object, Query, Store, StoreError};
use crate::api::{Gate, History, Override, Resource};
use crate::clock::Clock;
use crate::model::Period;

/// Decided runs that are kept of one gate, where it does not say: years of a usual gate.
pub const DEFAULT_RUNS: u32 = 1_000;
/// How old a decided run may become, where its gate does not say: a quarter of a year.
pub const DEFAULT_AGE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Decided runs that are kept of all gates together: some 2 GB at 4 KB each.
pub const MAX_RUNS: u32 = 500_000;
/// How long an override is kept after it was revoked or has expired. The runs that stand on it name
/// it in their own record.
pub const OVERRIDE_AGE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The time between two rounds: what is due may stay that much longer.
pub(super) const EVERY: Duration = Duration::from_secs(600);
/// The first round: after the start, which has more urgent things to do.
pub(super) const FIRST_AFTER: Duration = Duration::from_secs(30);
/// How far the wall clock may run ahead of the steady one: what setting it right takes.
const JUMP: Duration = Duration::from_secs(3_600);

/// How much is kept where a gate does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Decided runs of one gate.
    pub runs: u32,
    /// Age of a decided run.
    pub age: SignedDuration,
    /// Decided runs of all gates together.
    pub all_runs: u32,
    /// Age of an override since it was revoked or has expired.
    pub overrides: SignedDuration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { runs: DEFAULT_RUNS, age: DEFAULT_AGE, all_runs: MAX_RUNS, overrides: OVERRIDE_AGE }
    }
}

/// What one round has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Decided runs.
    pub runs: usize,
    /// Overrides.
    pub overrides: usize,
}

/// What gates say themselves, by namespace and name.
pub(super) type Policies = HashMap<(String, String), History>;

impl Retention {
    /// How many decided runs of a gate are kept, and the instant before which a run is too old.
    pub(super) fn of(
        &self,
        policies: &Policies,
        namespace: &str,
        gate: Option<&str>,
        now: Timestamp,
    ) -> (u32, Option<Timestamp>) {
        let history = policies.get(&(namespace.to_owned(), gate.unwrap_or_default().to_owned()));
        let runs = history.and_then(|history| history.runs).unwrap_or(self.runs);
        let age = history.and_then(|history| history.age).map_or(self.age, Period::exact);
        (runs, now.checked_sub(age).ok())
    }
}

/// Namespace and gate.
type Group = (String, Option<String>);

/// A decided run, as far as forgetting it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided<K> {
    pub(super) key: K,
    pub(super) namespace: String,
    /// `None` for a run that names no gate: a foreign one.
    pub(super) gate: Option<String>,
    pub(super) created: Timestamp,
}

/// The runs that are due, the oldest first of each gate: beyond the gate's count, beyond its age,
/// and then the oldest of all beyond the count of all together.
pub(super) fn due<K: Clone + Ord>(
    runs: Vec<Decided<K>>,
    retention: &Retention,
    policies: &Policies,
    now: Timestamp,
) -> Vec<K> {
    let mut groups: BTreeMap<Group, Vec<(Timestamp, K)>> = BTreeMap::new();
    for run in runs {
        groups.entry((run.namespace, run.gate)).or_default().push((run.created, run.key));
    }
    let (mut due, mut kept) = (Vec::new(), Vec::new());
    for ((namespace, gate), mut group) in groups {
        group.sort();
        let (most, before) = retention.of(policies, &namespace, gate.as_deref(), now);
        let excess = group.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        for (number, (created, key)) in group.into_iter().enumerate() {
            if number < excess || before.is_some_and(|before| created < before) {
                due.push(key);
            } else {
                kept.push((created, key));
            }
        }
    }
    kept.sort();
    let excess = kept.len().saturating_sub(usize::try_from(retention.all_runs).unwrap_or(usize::MAX));
    due.extend(kept.into_iter().take(excess).map(|(_, key)| key));
    due
}

/// When a home was opened, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    wall: Timestamp,
    steady: Duration,
}

impl Opened {
    pub(super) fn at(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.elapsed() }
    }

    /// The time, unless the wall clock has run ahead of the steady one since: a clock that jumps
    /// into the next year must not make everything old.
    pub(super) fn now(&self, clock: &dyn Clock) -> Timestamp {
        let passed = clock.elapsed().saturating_sub(self.steady).saturating_add(JUMP);
        let steady = SignedDuration::try_from(passed).ok().and_then(|passed| self.wall.checked_add(passed).ok());
        steady.map_or(self.wall, |steady| steady.min(clock.now()))
    }
}

/// The gates that say themselves how much is kept.
pub(super) async fn policies(store: &dyn Store) -> Result<Policies, StoreError> {
    let mut policies = Policies::new();
    let mut query = Query::default();
    loop {
        let page = store.list(Gate::KIND, &query).await?;
        for object in page.items {
            // A gate that cannot be read has the defaults, which keep more rather than less.
            if let Some(history) = object.body.pointer("/spec/history")
                && let Ok(history) = serde_json::from_value(history.clone())
            {
                policies.insert((object.namespace, object.name), history);
            }
        }
        let Some(next) = page.next else { return Ok(policies) };
        query.after = Some(next);
    }
}

/// An override that was over before `before`.
pub(super) fn over_since(object: Object, before: Timestamp) -> Option<Override> {
    let exception: Override = object.into_resource().ok()?;
    let revoked = exception.status.as_ref().and_then(|status| status.revoked.as_ref()).map(|revoked| revoked.at);
    let end = revoked.map_or(exception.spec.expires, |at| at.min(exception.spec.expires));
    (end < before).then_some(exception)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(key: u32, gate: u8, hour: i64) -> Decided<u32> {
        let created = Timestamp::from_second(1_800_000_000 + hour * 3_600).unwrap();
        Decided { key, namespace: "shop".to_owned(), gate: Some(format!("g{gate}")), created }
    }

    proptest! {
        #[test]
        fn each_gate_keeps_its_newest_and_nothing_too_old(
            runs in proptest::collection::vec((0_u8..3, 0_i64..100), 0..40), most in 0_u32..10, all in 0_u32..20, hours in 1_i64..100,
        ) {
            let now = Timestamp::from_second(1_800_000_000 + 100 * 3_600).unwrap();
            let retention = Retention { runs: most, age: SignedDuration::from_hours(hours), all_runs: all, ..Retention::default() };
            let runs: Vec<_> = (0_u32..).zip(runs).map(|(key, (gate, hour))| run(key, gate, hour)).collect();
            let due = due(runs.clone(), &retention, &Policies::new(), now);
            let kept: Vec<_> = runs.iter().filter(|run| !due.contains(&run.key)).collect();
            prop_assert!(kept.len() <= all as usize);
            for run in &kept {
                prop_assert!(now.duration_since(run.created) <= retention.age);
                let same: Vec<_> = kept.iter().filter(|other| other.gate == run.gate).collect();
                prop_assert!(same.len() <= most as usize);
            }
            // Nothing is forgotten without a reason: it is old, or so many newer ones are kept.
            for run in runs.iter().filter(|run| due.contains(&run.key)) {
                let newer = |other: &&Decided<u32>| (other.created, other.key) > (run.created, run.key);
                let of_gate = runs.iter().filter(|other| other.gate == run.gate).filter(newer).count();
                let of_all = kept.iter().filter(|other| newer(other)).count();
                prop_assert!(
                    now.duration_since(run.created) > retention.age || of_gate >= most as usize || of_all >= all as usize
                );
            }
        }
    }
}
