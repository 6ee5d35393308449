//! What goes into the machine and what comes out of it.

use std::time::Duration;

use jiff::Timestamp;

use crate::api;
use crate::model::Report;

/// An instant on two clocks: the wall clock, which names instants and may jump, and a monotonic
/// one, which measures how long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since the driver's start; never goes back within one machine's life.
    pub mono: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The driver has begun, or has begun again after a restart.
    Started,
    /// Time has passed.
    Tick,
    /// An execution has answered. Answers to executions that are not in flight are ignored.
    Reported {
        /// The check's place in the plan.
        check: usize,
        /// Which execution.
        execution: u32,
        /// Its answer.
        report: Report,
    },
    /// The answer of a check may have changed before its time.
    Woken {
        /// The check's place in the plan.
        check: usize,
    },
    /// The overrides on this gate and change that exist now; always all of them.
    Overrides(Vec<ActiveOverride>),
    /// Somebody ended the run.
    Cancelled {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Another revision of the same target has come.
    Superseded {
        /// The revision.
        revision: String,
        /// Its change.
        change: String,
    },
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Execute a check.
    Execute {
        /// The check's place in the plan.
        check: usize,
        /// Which execution, from 1.
        execution: u32,
    },
    /// Stop an execution: nobody wants its answer any more.
    Abandon {
        /// The check's place in the plan.
        check: usize,
    },
    /// The record has changed in a way worth keeping over a restart.
    Save,
    /// The verdict is final: write it, and answer with it only once the write is acknowledged.
    Decide,
}

/// An override that is bound to the gate and the change of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveOverride {
    /// Its name.
    pub name: String,
    /// The check that it is for; nothing: the whole verdict.
    pub check: Option<String>,
    /// What it does.
    pub effect: api::Effect,
    /// Who made it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

impl ActiveOverride {
    /// The override as a run's record keeps it.
    #[must_use]
    pub fn used(&self) -> api::UsedOverride {
        api::UsedOverride {
            name: self.name.clone(),
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            ticket: self.ticket.clone(),
        }
    }
}

/// A block after an earlier batch of the same revision: final, unless overridden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The run that blocked.
    pub run: String,
    /// Its batch.
    pub batch: u32,
    /// Why.
    pub reason: String,
    /// The checks that failed in it.
    pub failed: Vec<String>,
}
