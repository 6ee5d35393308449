//! Exit codes, from one place.

use std::process::ExitCode;

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

/// Prints an error with its causes and tells the exit code.
#[expect(clippy::print_stderr, reason = "the last word of a command goes to the terminal")]
pub(super) fn code_of(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Error.into()
        }
    }
}
