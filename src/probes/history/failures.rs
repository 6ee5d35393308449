//! Rounds that were not as expected, with their words: kept apart from the recent ones, so that a
//! target that has recovered can still say what it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ring::{instant, later, micros, micros_between};
use crate::probes::result::{Durations, Judgement, Observation, Phase, Reason};

/// The failed rounds that are kept of one target.
pub(super) const FAILED: usize = 32;
/// The slow ones, and those with trouble of the prober; apart, so that they push out no failure.
pub(super) const OTHERS: usize = 8;
/// The longest log of one round, in bytes: it begins with how and ends with why, and what is left
/// out is in the middle.
pub(super) const MAX_LOG: usize = 2_048;
/// All logs of the failed rounds of one target, in bytes; beyond it the oldest lose theirs. Ten
/// thousand targets that fail at once take 20 MB with it.
const ALL_LOGS: usize = 2_048;
/// The longest message, in characters, as for a line of a log.
const MAX_MESSAGE: usize = 400;

/// One round that was not as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// When it began.
    pub at: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it says about the target.
    pub judgement: Judgement,
    /// Why.
    pub reason: Reason,
    /// Where.
    pub phase: Option<Phase>,
    /// The reason as a sentence.
    pub message: Arc<str>,
    /// How long each phase took.
    pub durations: Durations,
    /// What happened, line by line; absent where it was too long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Arc<str>>,
}

impl Failed {
    /// Takes what is worth keeping of a round; nothing where it was as expected.
    #[must_use]
    pub fn of(at: Timestamp, ended: Timestamp, seen: &Observation) -> Option<Self> {
        let reason = seen.reason?;
        let mut message = String::new();
        message.extend(seen.message.chars().take(MAX_MESSAGE));
        Some(Self {
            at,
            ended,
            judgement: seen.judgement(),
            reason,
            phase: seen.phase,
            message: message.into(),
            durations: seen.durations,
            log: Some(joined(&seen.log.lines().collect::<Vec<_>>()).into()),
        })
    }
}

/// The lines as one text, without the middle where it is too long.
fn joined(lines: &[String]) -> String {
    const LEFT_OUT: &str = "…";
    if lines.iter().map(|line| line.len() + 1).sum::<usize>() <= MAX_LOG {
        return lines.join("\n");
    }
    let half = (MAX_LOG - LEFT_OUT.len() - 2) / 2;
    let fitting = |lengths: &mut dyn Iterator<Item = usize>| {
        let mut left = half;
        lengths
            .take_while(|length| {
                let fits = *length < left;
                left = left.saturating_sub(length + 1);
                fits
            })
            .count()
    };
    let head = fitting(&mut lines.iter().map(String::len));
    let tail = fitting(&mut lines.iter().rev().map(String::len)).min(lines.len() - head);
    let (first, last) = (lines.iter().take(head), lines.iter().skip(lines.len() - tail));
    let middle = std::iter::once(LEFT_OUT);
    first.map(String::as_str).chain(middle).chain(last.map(String::as_str)).collect::<Vec<_>>().join("\n")
}

/// The same, smaller: microseconds, and [`u32::MAX`] for a phase that was not reached.
#[derive(Debug, Clone)]
struct Stored {
    at: i64,
    lasted: u32,
    phases: [u32; Phase::ALL.len()],
    judgement: Judgement,
    reason: Reason,
    phase: Option<Phase>,
    message: Arc<str>,
    log: Option<Arc<str>>,
}

// Forty of them take 3 KiB beside their words.
const _: () = assert!(size_of::<Stored>() <= 80);

impl Stored {
    fn of(failed: &Failed, before: Option<&Self>) -> Self {
        let mut phases = [u32::MAX; Phase::ALL.len()];
        for (slot, phase) in phases.iter_mut().zip(Phase::ALL) {
            *slot = failed.durations.get(*phase).map_or(u32::MAX, micros);
        }
        // Failures in a row mostly say the same.
        let same = before.map(|before| &before.message).filter(|message| **message == failed.message);
        Self {
            at: failed.at.as_microsecond(),
            lasted: micros_between(failed.at, failed.ended),
            phases,
            judgement: failed.judgement,
            reason: failed.reason,
            phase: failed.phase,
            message: Arc::clone(same.unwrap_or(&failed.message)),
            log: failed.log.clone(),
        }
    }

    fn open(&self) -> Failed {
        let mut durations = Durations::default();
        for (micros, phase) in self.phases.iter().zip(Phase::ALL).filter(|(micros, _)| **micros != u32::MAX) {
            durations.add(*phase, Duration::from_micros((*micros).into()));
        }
        Failed {
            at: instant(self.at),
            ended: later(self.at, self.lasted),
            judgement: self.judgement,
            reason: self.reason,
            phase: self.phase,
            message: Arc::clone(&self.message),
            durations,
            log: self.log.clone(),
        }
    }
}

/// The last rounds of one target that were not as expected.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    failed: VecDeque<Stored>,
    others: VecDeque<Stored>,
}

impl Failures {
    /// Adds one.
    pub fn push(&mut self, failed: &Failed) {
        let (ring, capacity) = match failed.judgement {
            Judgement::Failed => (&mut self.failed, FAILED),
            _ => (&mut self.others, OTHERS),
        };
        if ring.len() >= capacity {
            ring.pop_front();
        }
        let stored = Stored::of(failed, ring.back());
        ring.push_back(stored);
        let mut bytes = 0;
        for stored in ring.iter_mut().rev() {
            bytes += stored.log.as_ref().map_or(0, |log| log.len());
            if bytes > ALL_LOGS {
                stored.log = None;
            }
        }
    }

    /// The failed ones, oldest first.
    pub fn failed(&self) -> impl DoubleEndedIterator<Item = Failed> + '_ {
        self.failed.iter().map(Stored::open)
    }

    /// The slow ones and those with trouble of the prober, oldest first.
    pub fn others(&self) -> impl DoubleEndedIterator<Item = Failed> + '_ {
        self.others.iter().map(Stored::open)
    }

    /// The one that began at `at`.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Option<Failed> {
        let at = at.as_microsecond();
        self.failed.iter().chain(&self.others).rev().find(|stored| stored.at == at).map(Stored::open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn failed(second: i64, judgement: Judgement, log: usize) -> Failed {
        let mut durations = Durations::default();
        durations.add(Phase::Connect, Duration::from_millis(3));
        Failed {
            at: at(second),
            ended: at(second + 1),
            judgement,
            reason: Reason::Refused,
            phase: Some(Phase::Connect),
            message: format!("refused {}", second / 10).into(),
            durations,
            log: Some("x".repeat(log).into()),
        }
    }

    #[test]
    fn it_comes_back_as_it_was_and_can_be_found() {
        let mut failures = Failures::default();
        let (bad, slow) = (failed(1, Judgement::Failed, 10), failed(2, Judgement::Degraded, 10));
        failures.push(&bad);
        failures.push(&slow);
        assert_eq!(failures.failed().collect::<Vec<_>>(), [bad]);
        assert_eq!((failures.at(at(2)), failures.at(at(3))), (Some(slow), None));
    }

    #[test]
    fn neither_good_nor_slow_rounds_push_a_failure_out() {
        let mut failures = Failures::default();
        for second in 0..40 {
            failures.push(&failed(second, Judgement::Failed, 0));
        }
        for second in 40..400 {
            failures.push(&failed(second, if second % 2 == 0 { Judgement::Degraded } else { Judgement::Trouble }, 0));
        }
        let kept: Vec<_> = failures.failed().map(|failed| failed.at).collect();
        assert_eq!((kept.len(), kept[0], kept[31]), (32, at(8), at(39)));
        assert_eq!(failures.others().count(), OTHERS);
    }

    #[test]
    fn the_oldest_logs_go_when_they_take_too_much_and_their_messages_stay() {
        let mut failures = Failures::default();
        for second in 0..5 {
            failures.push(&failed(second, Judgement::Failed, 1_000));
        }
        let logs: Vec<_> = failures.failed().map(|failed| failed.log.is_some()).collect();
        assert_eq!(logs, [false, false, false, true, true]);
        assert!(failures.failed().all(|failed| &*failed.message == "refused 0"));
        let shared =
            failures.failed.iter().skip(1).all(|stored| Arc::ptr_eq(&stored.message, &failures.failed[0].message));
        assert!(shared, "the same message is kept once");
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let lines: Vec<String> = (0..200).map(|line| format!("line {line} {}", "x".repeat(20))).collect();
        let text = joined(&lines);
        assert!(text.len() <= MAX_LOG && text.starts_with("line 0 ") && text.contains("\n…\n"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("line 199 "), "{text}");
        assert_eq!(joined(&lines[..2]), lines[..2].join("\n"));
        assert_eq!(joined(&["x".repeat(5_000)]), "…");
    }
}
