//! The rollout controllers' own ways to ask: their payloads, their reading of status codes.

pub(super) mod argo;
pub(super) mod flagger;
mod release;

use crate::engine::Answer;
use crate::model::Verdict;

/// The verdict in the words of metrics.
const fn word(verdict: Verdict) -> &'static str {
    verdict.as_str()
}

/// What an answer says, in one line for a controller's log.
fn line(answer: &Answer) -> String {
    let until = match (answer.verdict, answer.until) {
        (Verdict::Wait, Some(until)) => format!(" (until {until})"),
        _ => String::new(),
    };
    format!("{}: {}{until} [run {}]", answer.verdict, answer.reason, answer.id)
}
