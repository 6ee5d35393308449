//! What is to be done about one rollout now. Pure: the same view gives the same answer, and what
//! is done twice does no harm.

mod ends;
mod gating;
#[cfg(test)]
mod tests;
mod words;

use self::ends::{bypassed, ended, finishing, resting};
use self::gating::{Gated, frozen, gated};
pub use self::words::{Action, Answers, Ask, Bypass, GateView, Next, Tell, Told, View};
use super::observation::{Observation, Position, WorkloadSeen};
use super::record::{How, Record};
use crate::model::Point;

/// The field manager of everything that is written to rollouts and workloads here.
pub const MANAGER: &str = "probegate-rollouts";
/// The longest part of a change's id that comes from the workload's name.
const MAX_NAME_PART: usize = 200;
/// The characters of a revision in a change's id: enough to tell two revisions of one workload apart.
const REVISION_PART: usize = 10;
/// The characters of an edited plan in a change's id.
const PLAN_PART: usize = 6;
/// What stands between a change's id and the plan that was edited into it.
const PLAN_MARK: char = '~';

pub(super) const IDLE: Next = Next::Rest { tell: None, waits: Vec::new() };

/// Decides.
#[must_use]
pub fn decide(view: &View<'_>) -> Next {
    let seen = view.seen;
    if view.gates.is_empty() {
        return abandoned(seen);
    }
    match seen.position {
        Position::Strange => IDLE,
        Position::Leaving => ended(view, How::Deleted),
        Position::Disabled => ended(view, How::Disabled),
        Position::Resting { succeeded } => resting(view, succeeded),
        Position::Finishing => finishing(view),
        Position::RollingBack => match open_record(seen) {
            Some(record) => Next::Do(Action::Note(record.closed())),
            None => IDLE,
        },
        Position::Entering | Position::Asking | Position::Moving(_) | Position::Waiting(_) | Position::Ready(_) => {
            match &seen.workload {
                Some(workload) if workload.back => back(view, workload),
                Some(workload) => under_way(view, workload),
                None => rest_with("NoWorkload", "the workload cannot be found: nothing is let out"),
            }
        }
    }
}

/// A rollout that no gate stands in front of any more keeps the pause that we gave it: taking a
/// gate away lets nothing out.
fn abandoned(seen: &Observation) -> Next {
    if seen.record.is_some() && seen.paused && seen.hands.paused.as_deref() == Some(MANAGER) {
        let text = "no gate stands in front of this rollout any more; it stays paused until spec.strategy.paused is \
                    set to false";
        return rest_with("GateGone", text);
    }
    IDLE
}

/// A rollback is held by nothing but a freeze that names rollbacks.
fn back(view: &View<'_>, workload: &WorkloadSeen) -> Next {
    let seen = view.seen;
    if let Some(next) = frozen(view, &change_of(workload), &workload.revision) {
        return next;
    }
    let closed = open_record(seen).map(Record::closed);
    if seen.paused {
        return Next::Do(Action::Resume(closed));
    }
    if let Some(closed) = closed {
        return Next::Do(Action::Note(closed));
    }
    // A rollback in batches stops at each of them.
    if matches!(seen.position, Position::Waiting(_)) && seen.current {
        return Next::Do(Action::Approve);
    }
    IDLE
}

fn under_way(view: &View<'_>, workload: &WorkloadSeen) -> Next {
    let seen = view.seen;
    let record = open_record(seen);
    let known = record.filter(|record| record.revision == workload.revision);
    if !workload.settled {
        return match known {
            None => another_revision(view, workload, record),
            Some(record) if record.batch == 0 || still_about_another(seen, record) => begin(view, record),
            // The engine is about to catch up with what was let out.
            Some(_) => IDLE,
        };
    }
    match known {
        None => begun(view, workload, record),
        Some(record) if record.plan != seen.plan => edited(view, record),
        Some(record) => release(view, record, false),
    }
}

/// The workload's template is not the one that the engine's words are about.
fn another_revision(view: &View<'_>, workload: &WorkloadSeen, old: Option<&Record>) -> Next {
    let seen = view.seen;
    if !seen.paused {
        return Next::Do(Action::Hold);
    }
    if let Some(before) = before(old, workload) {
        return Next::Do(Action::Note(before.clone()));
    }
    if !seen.stopped || seen.position == Position::Entering {
        return IDLE;
    }
    if !seen.restarts {
        let text = "a new revision came in mid-release, which the engine refuses: roll back first";
        return rest_with("Refused", text);
    }
    Next::Do(Action::Note(fresh(seen, workload, 0, old)))
}

/// The release that this template belonged to before another one came in between.
fn before<'a>(old: Option<&'a Record>, workload: &WorkloadSeen) -> Option<&'a Record> {
    old.and_then(|old| old.before.as_deref()).filter(|before| before.revision == workload.revision)
}

/// The engine has not begun what was let out: its words are those of before.
fn still_about_another(seen: &Observation, record: &Record) -> bool {
    seen.position == Position::Asking || (record.over.is_some() && record.over == seen.engine_revision)
}

/// Asks for the first batch, whatever the engine's words are about.
fn begin(view: &View<'_>, record: &Record) -> Next {
    let seen = view.seen;
    match () {
        () if !seen.paused && record.batch == 0 => Next::Do(Action::Hold),
        () if seen.stopped => let_out(view, record, &[(1, Point::Pre)], 1),
        () => IDLE,
    }
}

/// A release without a record of its own.
fn begun(view: &View<'_>, workload: &WorkloadSeen, old: Option<&Record>) -> Next {
    let seen = view.seen;
    let out = match seen.position {
        Position::Moving(batch) | Position::Waiting(batch) | Position::Ready(batch) => batch,
        _ if !seen.paused => return Next::Do(Action::Hold),
        Position::Asking => return Next::Do(Action::Note(fresh(seen, workload, 0, None))),
        _ => return IDLE,
    };
    if let Some(before) = before(old, workload) {
        return Next::Do(Action::Note(before.clone()));
    }
    let record = fresh(seen, workload, out, None);
    if seen.record.is_none() {
        return Next::Do(Action::Adopt(record));
    }
    bypassed(view, &record.change, 0, out, How::NewRevision, record.clone())
}

/// The plan is not the one that the release began with. Its verdicts are not those of this one.
fn edited(view: &View<'_>, record: &Record) -> Next {
    let seen = view.seen;
    let base = record.change.split(PLAN_MARK).next().unwrap_or_default();
    let plan: String = seen.plan.chars().take(PLAN_PART).collect();
    let change = format!("{base}{PLAN_MARK}{plan}");
    let next = Record { change: change.clone(), plan: seen.plan.clone(), ..record.clone() };
    if seen.plan_pending || record.batch == 0 {
        return release(view, &next, true);
    }
    match seen.position {
        // It was let out by the old plan, and has not begun: it is asked about anew.
        Position::Entering | Position::Asking => release(view, &next, true),
        Position::Moving(batch) | Position::Waiting(batch) | Position::Ready(batch)
            if batch > record.batch || seen.percent(batch) > record.percent =>
        {
            let next = Record { batch: batch.max(record.batch), percent: seen.percent(batch), ..next };
            bypassed(view, &change, batch.saturating_sub(1), batch, How::EditedStep, next)
        }
        _ => Next::Do(Action::Note(next)),
    }
}

/// A release whose record is known. `changed`: its plan was edited and nothing was let out by the
/// new one.
fn release(view: &View<'_>, record: &Record, changed: bool) -> Next {
    let seen = view.seen;
    let ready = seen.paused && seen.stopped;
    match seen.position {
        Position::Entering | Position::Asking if !seen.paused && (record.batch != 1 || changed) => {
            Next::Do(Action::Hold)
        }
        // It began anew behind our back, from the first batch.
        Position::Asking if record.batch > 1 => {
            Next::Do(Action::Note(Record { batch: 0, percent: 0, ..record.clone() }))
        }
        Position::Asking if ready => let_out(view, record, &[(1, Point::Pre)], 1),
        Position::Moving(batch) | Position::Waiting(batch) if batch > record.batch => slipped(view, record, batch),
        Position::Moving(_) if ready && seen.hands.paused.as_deref() == Some(MANAGER) => Next::Do(Action::Resume(None)),
        Position::Waiting(_) if !seen.paused && (!seen.plan_pending || changed) => Next::Do(Action::Hold),
        Position::Waiting(batch) | Position::Ready(batch) if ready && seen.plan_pending => {
            let_out(view, record, &[(batch, Point::Pre)], batch)
        }
        Position::Waiting(batch) if ready => match gated(view, record, &after(seen, batch)) {
            Gated::Pass(_) => Next::Do(Action::Approve),
            other => other.next(),
        },
        Position::Ready(batch) if !seen.paused && batch >= record.batch && !seen.plan_pending => {
            slipped(view, record, batch.saturating_add(1))
        }
        Position::Ready(batch) if ready => let_out(view, record, &after(seen, batch), batch.saturating_add(1)),
        _ => IDLE,
    }
}

/// The questions between a batch and the next one.
fn after(seen: &Observation, batch: u32) -> Vec<(u32, Point)> {
    let mut questions = vec![(batch, Point::Post)];
    if batch < seen.total() {
        questions.push((batch.saturating_add(1), Point::Pre));
    }
    questions
}

fn let_out(view: &View<'_>, record: &Record, questions: &[(u32, Point)], batch: u32) -> Next {
    let seen = view.seen;
    match gated(view, record, questions) {
        Gated::Pass(run) => {
            let settled = seen.workload.as_ref().is_some_and(|workload| workload.settled);
            let record = Record {
                batch,
                percent: seen.percent(batch),
                open: true,
                before: None,
                over: seen.engine_revision.clone().filter(|_| !settled),
                ..record.clone()
            };
            let text = if batch > seen.total() {
                "pass: the rollout may finish".to_owned()
            } else {
                format!("pass: batch {batch} of {} ({} %) let out", seen.total(), seen.percent(batch))
            };
            let tell = Tell { text, event: "LetOut", warning: false, run };
            Next::Do(Action::Release(record, tell))
        }
        other => other.next(),
    }
}

/// A batch went out that the record does not know.
fn slipped(view: &View<'_>, record: &Record, batch: u32) -> Next {
    let seen = view.seen;
    let from = record.batch;
    let step = seen.step(from);
    let how = match step {
        _ if batch > from.saturating_add(1) => How::Jump,
        Some(step) if step.after_seconds.is_some() => How::Duration,
        Some(step) if step.never_stops => How::LastStep,
        _ => How::Approval,
    };
    let after = Record { batch, percent: seen.percent(batch), ..record.clone() };
    bypassed(view, &record.change, from, batch, how, after)
}

fn open_record(seen: &Observation) -> Option<&Record> {
    seen.record.as_ref().filter(|record| record.open)
}

/// The id of the change that brings this template.
fn change_of(workload: &WorkloadSeen) -> String {
    let name: String = workload.reference.name.chars().take(MAX_NAME_PART).collect();
    let revision: String = workload.revision.chars().take(REVISION_PART).collect();
    format!("{name}-{revision}-{}", workload.generation)
}

/// The record of a release that is seen for the first time.
fn fresh(seen: &Observation, workload: &WorkloadSeen, batch: u32, old: Option<&Record>) -> Record {
    // What comes back goes on only if some batch of it was out.
    let before = old.filter(|old| old.batch > 0 || old.before.is_some());
    let before = before.map(|old| match &old.before {
        Some(before) if old.batch == 0 => before.clone(),
        _ => Box::new(Record { before: None, ..old.clone() }),
    });
    Record {
        change: change_of(workload),
        revision: workload.revision.clone(),
        plan: seen.plan.clone(),
        batch,
        percent: if batch == 0 { 0 } else { seen.percent(batch) },
        open: true,
        before,
        over: None,
    }
}

fn rest_with(event: &'static str, text: &str) -> Next {
    let text = format!("held: {text}");
    Next::Rest { tell: Some(Tell { text, event, warning: true, run: None }), waits: Vec::new() }
}
