//! Where a Flagger release stands, from the runs in the store.
//!
//! Flagger tells neither weight nor iteration, so the batch is counted. Before every weight step it
//! asks `confirm-traffic-increase`, first at weight 0 and last at the full weight, where
//! `confirm-promotion` follows in the same tick. So the first of these questions is `pre` of batch
//! 1, every later one is `post` of the batch that the last pass let out, and `confirm-promotion`
//! asks about the last one again. A pass that was handed out there is marked on its run before the
//! answer leaves: the count survives restarts and is the same on every replica. If an answer is
//! lost on the way, the count runs ahead by one, and the next step is still not let out without a
//! pass of its own.
//!
//! At `confirm-rollout` the checksum is the old revision's, so the question is about "the change
//! after checksum X". From then on the checksum is the revision; the change keeps its id.

use std::collections::BTreeSet;

use crate::api::{Cause, Effect, GateRun, GateRunStatus, Override, name_of};
use crate::model::{Action, Point, Verdict};

/// On a run: when its pass was handed out before a weight step.
pub(super) const ANNOTATION_LET_OUT: &str = "probegate.io/let-out-at";

/// What the revision of a change is called while only the one before it is known.
pub(super) fn after(checksum: &str) -> String {
    format!("after-{checksum}")
}

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// The change's id.
    pub(super) change: String,
    /// How many passes were handed out before weight steps.
    pub(super) let_out: u32,
}

impl Release {
    /// The release of `checksum`, from the runs of its target at its gate, newest first.
    pub(super) fn of(runs: &[GateRun], target: &str, checksum: &str) -> Self {
        let ours = || runs.iter().filter(|run| is_of(run, checksum));
        // The change that was let in at confirm-rollout is this one, if nothing came in between.
        let let_in = runs.first().filter(|run| is_let_in(run));
        let change = ours().next().or(let_in).map(|run| run.spec.change.id.clone());
        let counted: BTreeSet<(Point, u32)> =
            ours().filter(|run| is_let_out(run)).map(|run| (run.spec.point, run.spec.batch.index)).collect();
        Self {
            change: change.unwrap_or_else(|| format!("{target}-{checksum}")),
            let_out: u32::try_from(counted.len()).unwrap_or(u32::MAX),
        }
    }

    /// What `confirm-traffic-increase` asks.
    pub(super) fn next_step(&self) -> (Point, u32) {
        if self.let_out == 0 { (Point::Pre, 1) } else { (Point::Post, self.let_out) }
    }

    /// What `rollout` asks: the batch that is out now.
    pub(super) fn current(&self) -> (Point, u32) {
        (Point::Post, self.let_out.max(1))
    }

    /// What `confirm-promotion` asks: the last batch, whose pass was handed out at full weight.
    pub(super) fn last(&self) -> (Point, u32) {
        (Point::Post, self.let_out.saturating_sub(1).max(1))
    }
}

fn is_of(run: &GateRun, checksum: &str) -> bool {
    let void = run.status.as_ref().is_some_and(|status| status.voided.is_some());
    run.spec.change.revision == checksum && run.spec.change.action == Action::Release && !void
}

fn is_let_in(run: &GateRun) -> bool {
    let passed = run.status.as_ref().is_some_and(|status| status.verdict == Verdict::Pass);
    passed && run.spec.point == Point::Pre && run.spec.change.revision.starts_with("after-")
}

fn is_let_out(run: &GateRun) -> bool {
    run.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ANNOTATION_LET_OUT))
}

/// The run whose block stands against a revision: the latest attempt at its question, decided,
/// after a batch, and not overridden since. A block before a batch says nothing about the revision.
pub(super) fn standing_block<'a>(
    runs: &'a [GateRun],
    checksum: &str,
    overrides: &[Override],
    now: jiff::Timestamp,
) -> Option<&'a GateRun> {
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    runs.iter().filter(|run| is_of(run, checksum) && run.spec.point == Point::Post).find(|run| {
        // Newest first: the first attempt at a question is the one that counts.
        let latest = seen.insert(run.spec.batch.index);
        let status = run.status.as_ref();
        let decided = status.filter(|status| is_blocked(status)).and_then(|status| status.decided_at);
        latest && decided.is_some_and(|at| !overrides.iter().any(|one| lifts(one, run, at, now)))
    })
}

/// Whether the word is about the revision: who cancels a run takes back the question.
fn is_blocked(status: &GateRunStatus) -> bool {
    status.verdict == Verdict::Block && !matches!(status.cause, Some(Cause::Cancelled | Cause::Void))
}

/// Whether an override may lift a block: then the question has to be asked again first. One that
/// was heard when the block was decided does not. Times of creation are whole seconds.
fn lifts(one: &Override, run: &GateRun, decided: jiff::Timestamp, now: jiff::Timestamp) -> bool {
    let created = one.metadata.creation_timestamp.as_ref().map(|created| created.0.as_second());
    let heard = run.status.iter().flat_map(|status| &status.overrides).any(|used| used.name == name_of(one));
    let spec = &one.spec;
    !heard
        && created.is_some_and(|created| created >= decided.as_second())
        && one.in_force(now)
        && spec.effect == Effect::Pass
        && spec.gate.as_deref() == Some(&run.spec.gate)
        && spec.change == run.spec.change.id
        && spec.check.as_ref().is_none_or(|check| has_failed(run, check))
}

fn has_failed(run: &GateRun, check: &str) -> bool {
    run.status.as_ref().is_some_and(|status| status.checks.iter().any(|one| one.name == check))
}
