//! What an engine's rollout and its workload say, in the words that every engine shares. Pure.

use crate::api::WorkloadRef;
use crate::model::{Batch, Labels};

use super::record::Record;

/// Where a rollout stands. Batches count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Nothing is being released. How the last release ended, where one did.
    Resting {
        /// `Some(false)`: it was rolled back or cancelled.
        succeeded: Option<bool>,
    },
    /// A release is being prepared: no pod has changed yet.
    Entering,
    /// A release waits for its first batch: no pod has changed yet.
    Asking,
    /// A batch is on its way.
    Moving(u32),
    /// A batch is out, and the next one waits for a word.
    Waiting(u32),
    /// A batch is out and the word was given; it takes effect once the rollout is not paused.
    Ready(u32),
    /// All batches are out, and the engine cleans up.
    Finishing,
    /// The engine gives the workload its old template back.
    RollingBack,
    /// The engine does not look at the workload.
    Disabled,
    /// The rollout is being deleted, and lets everything out.
    Leaving,
    /// Words that this program does not know: nothing is done.
    Strange,
}

/// One step of a rollout's plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The share of the workload that is new when it is done.
    pub percent: u8,
    /// It goes on by itself after so many seconds.
    pub after_seconds: Option<i64>,
    /// The engine does not stop after it, though it looks as if it would.
    pub never_stops: bool,
}

/// The workload that a rollout moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSeen {
    /// Which one it is.
    pub reference: WorkloadRef,
    /// Its labels.
    pub labels: Labels,
    /// Its generation.
    pub generation: i64,
    /// The identity of its own pod template: what is judged.
    pub revision: String,
    /// Who wrote that template, as the field managers tell.
    pub written_by: Option<String>,
    /// The template is the stable one again: whatever is under way is a rollback.
    pub back: bool,
    /// The engine says that its status is about this very template.
    pub settled: bool,
}

/// Who wrote what last, as far as the field managers tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hands {
    /// Set or cleared the pause.
    pub paused: Option<String>,
    /// Gave the word for the next batch, while that stands there.
    pub ready: Option<String>,
    /// Disabled the rollout.
    pub disabled: Option<String>,
    /// Wrote the steps.
    pub steps: Option<String>,
}

/// Everything that a decision needs to know of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Observation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The engine has seen the spec that is in force.
    pub current: bool,
    /// The rollout is paused as a whole.
    pub paused: bool,
    /// The engine has taken note of the pause.
    pub stopped: bool,
    /// Who did what there last.
    pub hands: Hands,
    /// Where it stands.
    pub position: Position,
    /// What the engine calls the revision that its words are about.
    pub engine_revision: Option<String>,
    /// The workload, where there is one that can be read.
    pub workload: Option<WorkloadSeen>,
    /// The plan's steps.
    pub steps: Vec<Step>,
    /// The identity of the plan.
    pub plan: String,
    /// The plan was edited, and the engine has not acted on that yet.
    pub plan_pending: bool,
    /// A new revision in mid-release starts at the first batch; otherwise the engine refuses it.
    pub restarts: bool,
    /// How far the release was let out, from the annotation.
    pub record: Option<Record>,
    /// The last word that was told there, from the annotation.
    pub told: Option<String>,
}

impl Observation {
    /// How many batches there are, at least one.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX).max(1)
    }

    /// One step; batches count from 1.
    #[must_use]
    pub fn step(&self, batch: u32) -> Option<&Step> {
        self.steps.get(usize::try_from(batch.checked_sub(1)?).ok()?)
    }

    /// The share of the workload that is new when a batch is done.
    #[must_use]
    pub fn percent(&self, batch: u32) -> u8 {
        self.step(batch).map_or(100, |step| step.percent)
    }

    /// A batch, as questions name it.
    #[must_use]
    pub fn batch(&self, index: u32) -> Batch {
        let total = self.total();
        Batch { index: index.clamp(1, total), total, percent: self.percent(index) }
    }

    /// What the plan lets out without waiting for anybody, in words.
    #[must_use]
    pub fn ungated(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.position == Position::Disabled {
            found.push("it is disabled: every change of the workload goes out at once".to_owned());
        }
        for (index, step) in self.steps.iter().enumerate() {
            let number = index + 1;
            if let Some(seconds) = step.after_seconds {
                found.push(format!("step {number} goes on by itself after {seconds} s: leave pause.duration out"));
            } else if step.never_stops {
                found.push(format!(
                    "step {number} is the last one with replicas 100%, where the engine never stops: use a number"
                ));
            }
        }
        found
    }
}
