//! Asking for rounds: by hand, and because a change is under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::board::Board;
use super::cell::Made;
use super::entry::Entry;
use crate::probes::view::ProbeSelector;

/// The longest that a run by hand waits for a place, where the interval is longer.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Why a probe cannot be run by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// There is no such probe.
    #[error("there is no probe {namespace}/{name}")]
    NotFound {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// Its spec is invalid.
    #[error("probe {name} cannot be run: {why}")]
    Invalid {
        /// `namespace/name`.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// It has no targets.
    #[error("probe {name} has no targets")]
    NoTargets {
        /// `namespace/name`.
        name: String,
    },
    /// No round could be made: too much is under way.
    #[error("probe {name} found no place for a round within {} s", .within.as_secs())]
    NoPlace {
        /// `namespace/name`.
        name: String,
        /// How long it was waited for.
        within: Duration,
    },
}

impl Board {
    /// Makes one round of every target at once, whether the probe is suspended or not, and gives
    /// what was made, by target.
    ///
    /// # Errors
    /// Any of [`RunError`].
    pub async fn run(&self, namespace: &str, name: &str) -> Result<Vec<Made>, RunError> {
        let not_found = || RunError::NotFound { namespace: namespace.to_owned(), name: name.to_owned() };
        let entry = self.named(namespace, name).ok_or_else(not_found)?;
        let name = entry.title();
        let plan = match &entry.plan {
            Ok((_, plan)) => Arc::clone(plan),
            Err(why) => return Err(RunError::Invalid { name, why: why.clone() }),
        };
        let mut asked = Vec::new();
        entry.each_seat(|_, seat| asked.push(seat.ask()));
        if asked.is_empty() {
            return Err(RunError::NoTargets { name });
        }
        // A round under way ends first, and a place may have to be waited for as long as an interval.
        let within = plan.timeout * 2 + plan.interval.min(MAX_WAIT) + Duration::from_secs(1);
        let mut made: Vec<Made> = match timeout(within, futures::future::join_all(asked)).await {
            Ok(made) => made.into_iter().flatten().collect(),
            Err(_) => Vec::new(),
        };
        made.sort_by(|a, b| a.target.cmp(&b.target));
        if made.is_empty() { Err(RunError::NoPlace { name, within }) } else { Ok(made) }
    }

    /// Fires every selected probe at once: a change begins, or a batch has ended.
    pub fn fire(&self, selector: &ProbeSelector) {
        for entry in self.selected(selector) {
            entry.each_seat(|_, seat| seat.fire());
        }
    }

    /// Has the selected probes make their rounds faster for so long, where they have a faster
    /// interval, and remember as many rounds as somebody looks at: a change is under way.
    pub fn attend(&self, selector: &ProbeSelector, hurry_for: Duration, rounds: usize) {
        let until = Instant::now() + hurry_for;
        for entry in self.selected(selector) {
            entry.records().iter().for_each(|record| record.keep(rounds));
            Self::hurry(&entry, until);
        }
    }

    fn hurry(entry: &Entry, until: Instant) {
        let Ok((_, plan)) = &entry.plan else { return };
        let Some(change) = plan.change else { return };
        let now = Instant::now();
        let anew = !entry.hurried(now);
        entry.hurry(until);
        if anew {
            entry.each_seat(|_, seat| seat.hasten(now + change));
        }
    }
}
