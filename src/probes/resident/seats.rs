//! From a spec and its targets to seats on the probing threads.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::board::Board;
use super::cell::{Cell, Chance, Flight};
use super::entry::{Entry, Explainer, Key};
use super::record::Record;
use super::round::Rounds;
use super::worker::{Pool, Seat};
use crate::api::{Maintenance, ProbeSpec, SelfCheck};
use crate::probes::SpecError;
use crate::probes::kinds::{Compiled, Tools, compile};
use crate::probes::places::Places;
use crate::probes::plan::{Plan, Slots};
use crate::probes::targets::bind;

/// Makes seats.
pub(super) struct Usher {
    pub(super) board: Board,
    pub(super) tools: Tools,
    pub(super) rounds: Arc<Rounds>,
    pub(super) pool: Pool,
    pub(super) places: Option<Arc<dyn Places>>,
}

impl Usher {
    /// Prepares the probe of one target.
    ///
    /// # Errors
    /// The spec is wrong, or the kind cannot take such a target.
    pub(super) fn compile(
        &self,
        (namespace, spec): (&str, &ProbeSpec),
        plan: &Plan,
        target: &str,
    ) -> Result<Compiled, SpecError> {
        let tools = self.tools.of(namespace);
        if spec.targets.is_none() {
            return compile(spec, plan.timeout, &tools);
        }
        compile(&bind(spec, target)?, plan.timeout, &tools)
    }

    /// Seats a probe's targets. What was known of a target stays known; those that are seated already
    /// stay where they are.
    ///
    /// # Errors
    /// A target cannot be probed; then all stays as it is.
    pub(super) fn seat(
        &self,
        entry: &Arc<Entry>,
        (spec, plan): (&ProbeSpec, &Arc<Plan>),
        targets: &[String],
        old: &[Arc<Record>],
    ) -> Result<(), SpecError> {
        let seated = entry.targets();
        let mut fresh = HashMap::new();
        for target in targets.iter().filter(|target| !seated.iter().any(|other| **other == ***target)) {
            fresh.insert(target.as_str(), self.compile((&entry.key.0, spec), plan, target)?);
        }
        let mut kept: HashMap<Arc<str>, (Arc<Cell>, Seat)> =
            entry.stand().into_iter().map(|(cell, seat)| (Arc::clone(&cell.record.target), (cell, seat))).collect();
        let mut seats = Vec::new();
        for target in targets {
            if let Some(seat) = kept.remove(target.as_str()) {
                seats.push(seat);
            } else if let Some(compiled) = fresh.remove(target.as_str()) {
                let record = old.iter().find(|record| *record.target == **target).map(Arc::clone);
                let record = record
                    .unwrap_or_else(|| Arc::new(Record::new(&entry.key, target.as_str().into(), self.board.now())));
                seats.extend(self.one(entry, (spec.targets.is_some(), plan), compiled, record));
            }
        }
        entry.sit(seats, None);
        Ok(())
    }

    fn one(
        &self,
        entry: &Arc<Entry>,
        (listed, plan): (bool, &Arc<Plan>),
        compiled: Compiled,
        record: Arc<Record>,
    ) -> Option<(Arc<Cell>, Seat)> {
        let (namespace, name) = &*entry.key;
        let listed = listed.then_some(&*record.target);
        let mut seed = DefaultHasher::new();
        (namespace, name, &record.target).hash(&mut seed);
        let cell = Arc::new(Cell {
            entry: Arc::downgrade(entry),
            slots: Slots::new(namespace, name, listed, plan.interval),
            host: self.rounds.gatekeeper.host(compiled.host()),
            suspended: entry.terms.suspend,
            chance: Chance::new(seed.finish()),
            flight: Flight::default(),
            plan: Arc::clone(plan),
            record,
            compiled,
        });
        let seat = self.pool.seat(&cell)?;
        Some((cell, seat))
    }

    /// Finds out which probes may explain the failures of which.
    pub(super) fn introduce(&self) {
        let entries = self.board.entries();
        let checks: Vec<(&Arc<Entry>, &SelfCheck)> =
            entries.iter().filter_map(|entry| Some((entry, entry.terms.self_check.as_deref()?))).collect();
        for entry in &entries {
            let parent = |name: &String| Explainer { key: Key::new((entry.key.0.clone(), name.clone())), parent: true };
            let mut explainers: Vec<Explainer> = entry.terms.parents.iter().map(parent).collect();
            if entry.terms.self_check.is_none() {
                let stands_for = |check: &SelfCheck| {
                    if check.match_labels.is_empty() {
                        !entry.is_local()
                    } else {
                        check.match_labels.iter().all(|(key, value)| entry.labels.get(key) == Some(value))
                    }
                };
                let found = checks.iter().filter(|(_, check)| stands_for(check));
                explainers.extend(found.map(|(other, _)| Explainer { key: other.key.clone(), parent: false }));
            }
            entry.explain_by(explainers);
        }
    }
}

/// Tells whether a maintenance of a probe is under way; composed by whoever knows the windows.
pub trait Maintenances: Send + Sync + 'static {
    /// The open window, where one of those is open that the probe names.
    fn away(&self, namespace: &str, maintenance: &Maintenance, now: jiff::Timestamp) -> Option<super::Away>;
}
