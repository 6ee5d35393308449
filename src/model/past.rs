//! What is remembered of a run when later questions are judged.

use jiff::Timestamp;

use super::change::{Batch, Change};
use super::words::{Point, Verdict};

/// One run as budgets, circuit breakers and windows see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// The run's name.
    pub name: String,
    /// The namespace of its gate.
    pub namespace: String,
    /// Its gate.
    pub gate: String,
    /// The change that asked.
    pub change: Change,
    /// The batch.
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
    /// The verdict; [`Verdict::Wait`] while it is open.
    pub verdict: Verdict,
    /// Of an open run: the known instant that it waits for, where there is one.
    pub until: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was decided, where it was.
    pub decided_at: Option<Timestamp>,
    /// Whether another revision has made it void.
    pub void: bool,
}
