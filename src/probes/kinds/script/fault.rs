//! What ends a script before its end: a failure of the target, or of the script itself.

use rhai::{Dynamic, EvalAltResult, Position};

use crate::probes::result::{Failure, Phase, Reason};
use crate::rules::ScriptError;

/// The result of our functions inside a script.
pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// A failure as a script can catch it: `err.reason`, `err.phase`, `err.message`, `err.step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    /// Where a call of the network failed.
    pub(super) phase: Option<Phase>,
    pub(super) message: String,
    /// The innermost step that it happened in.
    pub(super) step: Option<String>,
    /// The line of the script, from 1.
    pub(super) line: Option<usize>,
}

impl Fault {
    /// A failure without a place.
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, phase: None, message: message.into(), step: None, line: None }
    }

    /// A call of the network that failed in a phase.
    pub(super) fn of_call(failure: Failure, phase: Option<Phase>) -> Self {
        Self { phase, ..Self::new(failure.reason, failure.message) }
    }

    /// What a script's own call of one of our functions got wrong.
    pub(super) fn of_script(message: impl Into<String>) -> Self {
        Self::new(Reason::Script, message)
    }

    /// The error that a script sees.
    #[expect(clippy::unnecessary_box_returns, reason = "the script engine's errors are boxed")]
    pub(super) fn thrown(self) -> Box<EvalAltResult> {
        EvalAltResult::ErrorRuntime(Dynamic::from(self), Position::NONE).into()
    }

    /// What an error of the engine says. One that nobody can catch (a limit, the end of the time) is
    /// the caller's to judge, and `None` here.
    pub(super) fn read(error: &EvalAltResult) -> Option<Self> {
        let (cause, position) = innermost(error);
        if !cause.is_catchable() {
            return None;
        }
        let known = match cause {
            EvalAltResult::ErrorRuntime(value, _) => value.read_lock::<Self>().map(|fault| fault.clone()),
            _ => None,
        };
        let mut fault = known.unwrap_or_else(|| {
            let told = ScriptError::from_eval(error);
            Self { line: told.line, ..Self::of_script(told.why) }
        });
        fault.line = fault.line.or(position.line());
        Some(fault)
    }

    /// The whole sentence.
    pub(super) fn sentence(&self) -> String {
        match (&self.step, self.line) {
            (Some(step), Some(line)) => format!("in step `{step}`, line {line}: {}", self.message),
            (Some(step), None) => format!("in step `{step}`: {}", self.message),
            (None, Some(line)) => format!("line {line}: {}", self.message),
            (None, None) => self.message.clone(),
        }
    }
}

/// The cause within calls, at the innermost place that is known.
pub(super) fn innermost(error: &EvalAltResult) -> (&EvalAltResult, Position) {
    let (mut cause, mut position) = (error, error.position());
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) = cause {
        if !inner.position().is_none() {
            position = inner.position();
        }
        cause = inner;
    }
    (cause, position)
}
