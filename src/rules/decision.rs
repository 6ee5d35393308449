//! What a rule says.

use jiff::Timestamp;
use rhai::{Dynamic, Engine};
use serde_json::Value;

use super::complaint::{Answer, complain};
use super::convert::type_name;
use super::error::{ScriptError, bounded};
use super::time::Time;
use crate::model::Outcome;

/// The longest reason of a decision: one line of a mail.
const MAX_REASON: usize = 300;

/// The answer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The change may go on.
    Pass,
    /// It must not, and why.
    Block {
        /// Why.
        why: String,
    },
    /// Not yet: why, and until when where that is known.
    Wait {
        /// Why, or for what.
        why: String,
        /// The known instant, always after the one that was asked about.
        until: Option<Timestamp>,
    },
    /// Nothing can be said, and why: also where the rule failed.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Decision {
    /// The word for it: `pass`, `block`, `wait` or `unknown`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Block { .. } => "block",
            Self::Wait { .. } => "wait",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The reason; a pass has none.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Block { why } | Self::Wait { why, .. } | Self::Unknown { why } => why,
        }
    }

    /// The known instant that it waits for.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Wait { until, .. } => *until,
            _ => None,
        }
    }

    /// The outcome of a check that stands on it.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Pass => Outcome::Pass,
            Self::Block { .. } => Outcome::Fail,
            Self::Wait { .. } => Outcome::Pending,
            Self::Unknown { .. } => Outcome::Unknown,
        }
    }
}

/// A decision, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// What is wrong with the rule, where it failed; the decision is unknown then.
    pub error: Option<ScriptError>,
    /// What the rule looked up in the past and among the probes: function, filter and answer.
    pub looked_up: Vec<Value>,
    /// What the rule printed.
    pub log: Vec<String>,
}

impl Decided {
    /// The decision of a rule that failed.
    pub(super) fn failed(error: ScriptError) -> Self {
        Self {
            decision: Decision::Unknown { why: bounded(&error.to_string(), MAX_REASON) },
            error: Some(error),
            looked_up: Vec::new(),
            log: Vec::new(),
        }
    }
}

fn reason(word: &str, why: &str) -> Answer<String> {
    let why = bounded(why.trim(), MAX_REASON);
    if why.is_empty() { Err(complain(format!("{word} needs a reason"))) } else { Ok(why) }
}

fn wait(why: &str, until: Option<Timestamp>) -> Answer<Decision> {
    Ok(Decision::Wait { why: reason("wait", why)?, until })
}

/// Makes the four words known to scripts.
pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Decision>("Decision")
        .register_fn("pass", || Decision::Pass)
        .register_fn("block", |why: &str| -> Answer<Decision> { Ok(Decision::Block { why: reason("block", why)? }) })
        .register_fn("unknown", |why: &str| -> Answer<Decision> {
            Ok(Decision::Unknown { why: reason("unknown", why)? })
        })
        .register_fn("wait", |why: &str| wait(why, None))
        .register_fn("wait", |why: &str, until: Dynamic| -> Answer<Decision> {
            if until.is_unit() {
                return wait(why, None);
            }
            if let Some(time) = until.read_lock::<Time>() {
                return wait(why, Some(time.0.timestamp()));
            }
            let Ok(text) = until.as_immutable_string_ref() else {
                return Err(complain(format!("until is {}; it is a time or a text in RFC 3339", type_name(&until))));
            };
            let at = text.parse().map_err(|_| {
                complain(format!(
                    "until is `{}`; it is a text in RFC 3339 such as `2026-12-24T12:00:00Z`",
                    text.as_str()
                ))
            })?;
            wait(why, Some(at))
        })
        .register_fn("to_string", |decision: &mut Decision| format!("{}({})", decision.word(), decision.why()));
}
