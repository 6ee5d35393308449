//! How releases end, and batches that went out without a pass.

use super::gating::asks;
use super::{Action, Bypass, How, IDLE, MANAGER, Next, Observation, Record, View, open_record};
use crate::model::{Point, Verdict};

/// Deleted or disabled: whatever was still held goes out.
pub(super) fn ended(view: &View<'_>, how: How) -> Next {
    let seen = view.seen;
    let Some(record) = open_record(seen) else { return IDLE };
    let back = seen.workload.as_ref().is_some_and(|workload| workload.back);
    if back || record.batch > seen.total() {
        return Next::Do(Action::Note(record.closed()));
    }
    bypassed(view, &record.change, record.batch, record.batch.saturating_add(1), how, record.closed())
}

/// Nothing is being released: the record is closed, and the rollout paused for whatever comes next.
pub(super) fn resting(view: &View<'_>, succeeded: Option<bool>) -> Next {
    let seen = view.seen;
    match open_record(seen) {
        Some(record) if succeeded == Some(true) && record.batch <= seen.total() && !is_back(seen) => {
            at_the_end(view, record, record.closed())
        }
        Some(record) => Next::Do(Action::Note(record.closed())),
        None if !seen.paused => Next::Do(Action::Hold),
        None => IDLE,
    }
}

/// The engine cleans up: everything is out.
pub(super) fn finishing(view: &View<'_>) -> Next {
    let seen = view.seen;
    match open_record(seen) {
        Some(record) if record.batch <= seen.total() && !is_back(seen) => {
            let after = Record { batch: seen.total().saturating_add(1), percent: 100, ..record.clone() };
            at_the_end(view, record, after)
        }
        _ if !seen.paused => Next::Do(Action::Hold),
        _ => IDLE,
    }
}

fn is_back(seen: &Observation) -> bool {
    // At rest every template is the stable one: only what was rolled back tells by its revision.
    let revision = seen.workload.as_ref().map(|workload| workload.revision.as_str());
    seen.record.as_ref().is_some_and(|record| revision.is_some_and(|revision| revision != record.revision))
}

/// Everything went out while the record stands at an earlier batch.
fn at_the_end(view: &View<'_>, record: &Record, after: Record) -> Next {
    let seen = view.seen;
    let how = match seen.step(record.batch) {
        _ if record.batch < seen.total() => How::Jump,
        Some(step) if step.after_seconds.is_some() => How::Duration,
        Some(step) if step.never_stops => How::LastStep,
        _ => How::Approval,
    };
    bypassed(view, &record.change, record.batch, seen.total().saturating_add(1), how, after)
}

/// Records that `batch` went out after batch `from` without a pass; where there was one after all,
/// the record alone is written.
pub(super) fn bypassed(view: &View<'_>, change: &str, from: u32, batch: u32, how: How, record: Record) -> Next {
    let seen = view.seen;
    let mut questions = Vec::new();
    if from > 0 {
        questions.push((from, Point::Post));
    }
    if from < seen.total() {
        questions.push((from.saturating_add(1), Point::Pre));
    }
    let mut missed = None;
    for (index, point) in questions {
        let asks = asks(view, change, &record.revision, index, point);
        let open: Vec<_> = asks.iter().filter(|ask| !view.answers.contains_key(ask)).cloned().collect();
        if !open.is_empty() {
            return Next::Ask(open);
        }
        missed = asks.iter().filter_map(|ask| view.answers.get(ask)).find(|told| told.verdict != Verdict::Pass);
        if missed.is_some() {
            break;
        }
    }
    let unknown_gate = view.gates.iter().any(|gate| gate.missing);
    if missed.is_none() && !unknown_gate {
        return Next::Do(Action::Note(record));
    }
    let run = missed.and_then(|told| told.run.clone());
    Next::Do(Action::Bypass(Bypass { run, batch, how, by: who(view, how), record }))
}

fn who(view: &View<'_>, how: How) -> Option<String> {
    let hands = &view.seen.hands;
    let foreign = |hand: &Option<String>| hand.clone().filter(|hand| hand != MANAGER);
    match how {
        How::Approval | How::Jump => {
            let unpaused = if view.seen.paused { None } else { foreign(&hands.paused) };
            view.hand.map(str::to_owned).or_else(|| foreign(&hands.ready)).or(unpaused)
        }
        How::Disabled => foreign(&hands.disabled),
        How::EditedStep => foreign(&hands.steps),
        How::NewRevision => view.seen.workload.as_ref().and_then(|workload| workload.written_by.clone()),
        How::Duration | How::LastStep | How::Deleted => None,
    }
}
