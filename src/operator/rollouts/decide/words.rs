//! What a decision stands on, and what comes of it.

use std::collections::BTreeMap;

use crate::model::{OnBlock, Point, Verdict};
use crate::operator::rollouts::observation::Observation;
use crate::operator::rollouts::record::{How, Record};

/// One gate in front of the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct GateView {
    /// Its name.
    pub name: String,
    /// It does not exist: the rollout names one that is not there.
    pub missing: bool,
    /// It has checks before a batch.
    pub pre: bool,
    /// It has checks after a batch.
    pub post: bool,
    /// It looks at windows before a batch: nothing else can hold a rollback.
    pub windows: bool,
    /// What becomes of a rollout whose batch it blocks.
    pub on_block: OnBlock,
}

/// One question at one gate; the rest of it is the observation's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The gate.
    pub gate: String,
    /// The change's id.
    pub change: String,
    /// The revision that is judged.
    pub revision: String,
    /// The batch, from 1.
    pub batch: u32,
    /// Before or after it.
    pub point: Point,
    /// It is about the way back.
    pub rollback: bool,
}

/// What a gate said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The run, as `namespace/name`; nothing where the question has no answer.
    pub run: Option<String>,
    /// A block that speaks of the revision, and not of somebody who cancelled the run.
    pub final_word: bool,
}

/// What was asked and answered while looking at this rollout now: never older answers.
pub type Answers = BTreeMap<Ask, Told>;

/// All that a decision stands on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The rollout and its workload.
    pub seen: &'a Observation,
    /// The gates in front of it; none: nobody asked us.
    pub gates: &'a [GateView],
    /// The answers so far.
    pub answers: &'a Answers,
    /// Who gave the word last, where it was seen only in passing.
    pub hand: Option<&'a str>,
}

/// What to tell people: on the rollout, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tell {
    /// The text of the annotation; where it stands there already, it was told.
    pub text: String,
    /// The Event's reason.
    pub event: &'static str,
    /// Something that a person should look at.
    pub warning: bool,
    /// The run that it is about.
    pub run: Option<String>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pause the rollout.
    Hold,
    /// Give the word for the next batch, which takes effect once the rollout is not paused.
    Approve,
    /// Take the pause away, and write down in the same patch what that lets out.
    Release(Record, Tell),
    /// Take the pause away from what was let out before, or from a rollback.
    Resume(Option<Record>),
    /// Write the record alone.
    Note(Record),
    /// Write the record of a release that began before anybody looked.
    Adopt(Record),
    /// Record that a batch went out without a pass.
    Bypass(Bypass),
    /// Give the workload its stable template back.
    RollBack(Tell),
}

/// A batch that went out without a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// The run that it should have waited for.
    pub run: Option<String>,
    /// The batch, or one more than there are for the end.
    pub batch: u32,
    /// How.
    pub how: How,
    /// Who.
    pub by: Option<String>,
    /// The record from then on.
    pub record: Record,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask, then decide again.
    Ask(Vec<Ask>),
    /// Write, then look and decide again.
    Do(Action),
    /// Nothing now.
    Rest {
        /// What to tell.
        tell: Option<Tell>,
        /// The questions whose answer is waited for.
        waits: Vec<Ask>,
    },
}
