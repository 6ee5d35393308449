//! Exit codes, from one place.

use std::io::Write;
use std::process::ExitCode;

use crate::model::Verdict;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: pass, or done.
    Pass,
    /// 1: block, or not valid.
    Block,
    /// 2: wait, or unknown.
    Wait,
    /// 3: wrong use, or an error that was already printed.
    Error,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Pass => 0,
            Exit::Block => 1,
            Exit::Wait => 2,
            Exit::Error => 3,
        })
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Block => Self::Block,
            Verdict::Wait => Self::Wait,
        }
    }
}

/// Prints an error with its causes and tells the exit code.
pub(super) fn code_of(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            Exit::Error.into()
        }
    }
}

/// Prints what the argument parser has to say: help and version are what was asked for, the rest is
/// wrong use. (The parser's own exit code for that is 2, which means wait here.)
pub(super) fn code_of_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::Error.into() } else { Exit::Pass.into() }
}
