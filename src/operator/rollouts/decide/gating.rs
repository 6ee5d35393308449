//! Whether every gate lets a rollout on.

use super::{Action, Ask, Next, Tell, Told, View};
use crate::api::Gate;
use crate::model::{OnBlock, Point, Verdict};
use crate::operator::rollouts::record::Record;

/// What the gates say together.
pub(super) enum Gated {
    /// Somebody has not been asked yet.
    Ask(Vec<Ask>),
    /// Somebody does not let it on.
    Held { tell: Tell, waits: Vec<Ask>, rolls_back: bool },
    /// Everybody passed; the last run.
    Pass(Option<String>),
}

impl Gated {
    /// What to do where it is no pass.
    pub(super) fn next(self) -> Next {
        match self {
            Self::Ask(asks) => Next::Ask(asks),
            Self::Held { tell, rolls_back: true, .. } => Next::Do(Action::RollBack(tell)),
            Self::Held { tell, waits, .. } => Next::Rest { tell: Some(tell), waits },
            Self::Pass(_) => super::IDLE,
        }
    }
}

/// Asks each question at each gate that has something to say there: the next one only once the one
/// before has passed.
pub(super) fn gated(view: &View<'_>, record: &Record, questions: &[(u32, Point)]) -> Gated {
    if let Some(missing) = view.gates.iter().find(|gate| gate.missing) {
        let text = format!("held: there is no gate {}, which the rollout names", missing.name);
        let tell = Tell { text, event: "GateMissing", warning: true, run: None };
        return Gated::Held { tell, waits: Vec::new(), rolls_back: false };
    }
    let mut last = None;
    for (batch, point) in questions {
        let asks = asks(view, &record.change, &record.revision, *batch, *point);
        let open: Vec<Ask> = asks.iter().filter(|ask| !view.answers.contains_key(ask)).cloned().collect();
        if !open.is_empty() {
            return Gated::Ask(open);
        }
        let told: Vec<(&Ask, &Told)> = asks.iter().filter_map(|ask| Some((ask, view.answers.get(ask)?))).collect();
        let by = |verdict: Verdict| told.iter().find(|(_, told)| told.verdict == verdict).copied();
        match by(Verdict::Block).or_else(|| by(Verdict::Wait)) {
            Some((ask, told)) => {
                // Who has passed has nothing more to say.
                let passed = |ask: &&Ask| view.answers.get(*ask).is_some_and(|told| told.verdict == Verdict::Pass);
                let waits = asks.iter().filter(|ask| !passed(ask)).cloned().collect();
                return held(view, ask, told, waits);
            }
            None => last = told.last().and_then(|(_, told)| told.run.clone()).or(last),
        }
    }
    Gated::Pass(last)
}

/// One question at every gate that has something to say there.
pub(super) fn asks(view: &View<'_>, change: &str, revision: &str, batch: u32, point: Point) -> Vec<Ask> {
    let has = |gate: &&super::GateView| match point {
        Point::Pre => gate.pre,
        Point::Post => gate.post,
    };
    let asks = view.gates.iter().filter(|gate| !gate.missing).filter(has).map(|gate| Ask {
        gate: gate.name.clone(),
        change: change.to_owned(),
        revision: revision.to_owned(),
        batch,
        point,
        rollback: false,
    });
    asks.collect()
}

/// Whether a freeze that names rollbacks holds one. What was let out before is on its way back.
pub(super) fn frozen(view: &View<'_>, change: &str, revision: &str) -> Option<Next> {
    if !view.seen.paused {
        return None;
    }
    let asks = view.gates.iter().filter(|gate| gate.windows).map(|gate| Ask {
        gate: gate.name.clone(),
        change: change.to_owned(),
        revision: revision.to_owned(),
        batch: 1,
        point: Point::Pre,
        rollback: true,
    });
    let asks: Vec<Ask> = asks.collect();
    let open: Vec<Ask> = asks.iter().filter(|ask| !view.answers.contains_key(ask)).cloned().collect();
    if !open.is_empty() {
        return Some(Next::Ask(open));
    }
    let told = asks.iter().find_map(|ask| view.answers.get(ask).filter(|told| told.verdict != Verdict::Pass))?;
    let run = told.run.as_deref().filter(|_| told.verdict == Verdict::Wait).map(|run| format!("run {run}"));
    let text = format!("held: a freeze names rollbacks: {}", run.unwrap_or_else(|| told.reason.clone()));
    let tell = Tell { text, event: "RollbackHeld", warning: true, run: told.run.clone() };
    Some(Next::Rest { tell: Some(tell), waits: asks })
}

fn held(view: &View<'_>, ask: &Ask, told: &Told, waits: Vec<Ask>) -> Gated {
    let place = format!("{} of batch {} of {} at gate {}", ask.point, ask.batch, view.seen.total(), ask.gate);
    let rolls_back = told.verdict == Verdict::Block
        && told.final_word
        && ask.point == Point::Post
        && view.gates.iter().any(|gate| gate.name == ask.gate && gate.on_block == OnBlock::Rollback);
    let tell = if told.verdict == Verdict::Block {
        let text = format!("block: {place}: {}", told.reason);
        Tell { text, event: "Blocked", warning: true, run: told.run.clone() }
    } else {
        // What a wait is for changes as it goes on, and is read at the run.
        let run = told.run.as_deref().map_or_else(|| told.reason.clone(), |run| format!("run {run}"));
        Tell { text: format!("wait: {place}: {run}"), event: "Waiting", warning: false, run: told.run.clone() }
    };
    Gated::Held { tell, waits, rolls_back }
}

/// A gate as decisions see it.
impl From<&Gate> for super::GateView {
    fn from(gate: &Gate) -> Self {
        Self {
            name: crate::api::name_of(gate).to_owned(),
            missing: false,
            pre: gate.spec.pre.is_some(),
            post: gate.spec.post.is_some(),
            windows: gate.spec.pre.iter().flat_map(|pre| &pre.checks).any(|check| check.window.is_some()),
            on_block: gate.spec.post.as_ref().map(|post| post.on_block).unwrap_or_default(),
        }
    }
}
