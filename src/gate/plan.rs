//! A gate's spec resolved for one question: every default filled in.

use serde::{Deserialize, Serialize};

use crate::api;
use crate::model::{Action, Mode, OnUnknown, Period, Point};

/// How long a run at pre measures before what is pending counts as unknown.
const DEFAULT_PRE_TIMEOUT: Period = Period::from_secs(5 * 60);
/// The same at post: PRODUCT's example, and longer than most soaks.
const DEFAULT_POST_TIMEOUT: Period = Period::from_secs(30 * 60);
/// How long a pass at pre counts: long enough for a controller's next tick, short enough that the
/// world is still the same.
const DEFAULT_VALID_FOR: Period = Period::from_secs(10 * 60);
/// How long a block at pre stands.
pub const DEFAULT_RETRY_AFTER: Period = Period::from_secs(60);
/// How often a check is executed while its run is open.
pub const DEFAULT_INTERVAL: Period = Period::from_secs(10);
/// How long one execution of a check may take.
const DEFAULT_CHECK_TIMEOUT: Period = Period::from_secs(10);
/// The shortest interval: a check that asks every few milliseconds would be a load test.
const MIN_INTERVAL: Period = Period::from_millis(100);
/// How long a rollback waits for the answer whether a freeze names rollbacks. Going back is the
/// safe direction: after this it may go.
const ROLLBACK_PATIENCE: Period = Period::from_secs(5);
/// What a run has left at the end of its soak, beside the longest execution, to gather the last
/// evidence.
const AFTER_SOAK_MILLIS: u32 = 5_000;

/// Everything that decides one question, resolved once and recorded with the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The generation of the gate's spec.
    pub gate_generation: Option<i64>,
    /// Before or after the batch.
    pub point: Point,
    /// Whether the change goes back, which nothing but a freeze may hold.
    pub rollback: bool,
    /// The least time before a pass.
    pub soak: Period,
    /// How long to measure before what is pending counts as unknown.
    pub timeout: Period,
    /// What unknown at the timeout becomes.
    pub on_unknown: OnUnknown,
    /// How long a pass counts; nothing at post.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<Period>,
    /// How long a block stands before the question is judged anew; nothing at post, where it is
    /// final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Period>,
    /// The checks.
    pub checks: Vec<PlannedCheck>,
    /// Names of checks that a rollback is not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<String>,
}

/// One check with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedCheck {
    /// The spec as the gate had it.
    pub spec: api::Check,
    /// The field that its kind stands under.
    pub kind: String,
    /// How much it counts.
    pub mode: Mode,
    /// How long one execution may take.
    pub timeout: Period,
    /// How often it is executed.
    pub interval: Period,
    /// Whether one pass is enough for the whole run.
    pub once: bool,
    /// How many executions in a row may fail before the check has failed.
    pub retries: u8,
    /// The version of what decides beside the spec: a rule's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Plan {
    /// Resolves `gate` at `point` for a change that does `action`.
    #[must_use]
    pub fn resolve(gate: &api::Gate, point: Point, action: Action) -> Self {
        let pre = gate.spec.pre.clone().unwrap_or_default();
        let post = gate.spec.post.clone().unwrap_or_default();
        let mut plan = match point {
            Point::Pre => Self {
                gate_generation: gate.metadata.generation,
                point,
                rollback: false,
                soak: Period::ZERO,
                timeout: pre.timeout.unwrap_or(DEFAULT_PRE_TIMEOUT),
                on_unknown: pre.on_unknown,
                valid_for: Some(pre.valid_for.unwrap_or(DEFAULT_VALID_FOR)),
                retry_after: Some(pre.retry_after.unwrap_or(DEFAULT_RETRY_AFTER)),
                checks: pre.checks.into_iter().map(PlannedCheck::new).collect(),
                spared: Vec::new(),
            },
            Point::Post => Self {
                gate_generation: gate.metadata.generation,
                point,
                rollback: false,
                soak: post.soak.unwrap_or(Period::ZERO),
                timeout: post.timeout.unwrap_or(DEFAULT_POST_TIMEOUT),
                on_unknown: post.on_unknown,
                valid_for: None,
                retry_after: None,
                checks: post.checks.into_iter().map(PlannedCheck::new).collect(),
                spared: Vec::new(),
            },
        };
        if action == Action::Rollback {
            plan.free_rollback();
        }
        plan.timeout = plan.timeout_with_soak();
        plan
    }

    /// A rollback is asked nothing but its windows, and these only for a freeze that names it.
    fn free_rollback(&mut self) {
        let (windows, others) = std::mem::take(&mut self.checks).into_iter().partition(|check| check.kind == "window");
        self.checks = windows;
        self.spared = others.into_iter().map(|check: PlannedCheck| check.spec.name).collect();
        self.rollback = true;
        self.soak = Period::ZERO;
        self.timeout = ROLLBACK_PATIENCE;
        self.on_unknown = OnUnknown::Pass;
    }

    /// The timeout, but never so short that the evidence after the soak cannot be gathered.
    fn timeout_with_soak(&self) -> Period {
        if self.soak.is_zero() {
            return self.timeout;
        }
        let longest = self.checks.iter().map(|check| check.timeout.exact()).max().unwrap_or_default();
        let least = self.soak.exact().as_millis() + longest.as_millis() + i128::from(AFTER_SOAK_MILLIS);
        match u32::try_from(least) {
            Ok(least) if Period::from_millis(least).exact() > self.timeout.exact() => Period::from_millis(least),
            _ => self.timeout,
        }
    }
}

impl PlannedCheck {
    fn new(spec: api::Check) -> Self {
        let interval = spec.interval.unwrap_or(DEFAULT_INTERVAL);
        Self {
            kind: spec.kind().map_or_else(|| "none".to_owned(), |kind| kind.name().to_owned()),
            mode: spec.mode,
            timeout: spec.timeout.unwrap_or(DEFAULT_CHECK_TIMEOUT),
            interval: if interval.exact() < MIN_INTERVAL.exact() { MIN_INTERVAL } else { interval },
            once: false,
            retries: spec.retries.unwrap_or(0),
            version: None,
            spec,
        }
    }

    /// Whether the check decides the verdict.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}
