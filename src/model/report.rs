//! What one execution of a check says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::words::Outcome;

/// What a check saw, by name: values, thresholds, window, query, sample count, probe run ids.
pub type Evidence = BTreeMap<String, Value>;

/// The longest summary that is kept; a summary is one line for a person.
const MAX_SUMMARY: usize = 400;

/// The answer of one execution of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the check says.
    pub outcome: Outcome,
    /// One line for a person: what was seen, by how much it is off, since when.
    pub summary: String,
    /// What it saw.
    pub evidence: Evidence,
    /// Since when the condition has been failing or shut, where the check knows.
    pub since: Option<Timestamp>,
    /// Of a pending check: the known instant that it waits for (a window's next opening). While an
    /// enforced check waits for a known instant nothing is being measured, so the run's timeout
    /// does not run out on it. `None`: still measuring.
    pub until: Option<Timestamp>,
    /// When to ask again, where the check knows better than its interval.
    pub again: Option<SignedDuration>,
    /// Names of overrides that changed the answer.
    pub overrides: Vec<String>,
    /// What the check wants to find again at its next execution, also after a restart: the address
    /// of a job that it has started, for instance.
    pub carry: Option<Value>,
}

impl Report {
    /// A report of `outcome` with a one-line summary.
    #[must_use]
    pub fn new(outcome: Outcome, summary: impl Into<String>) -> Self {
        let mut summary: String = summary.into();
        if summary.chars().count() > MAX_SUMMARY {
            summary = summary.chars().take(MAX_SUMMARY - 1).chain(['…']).collect();
        }
        Self {
            outcome,
            summary: summary.replace(['\n', '\r'], " "),
            evidence: Evidence::new(),
            since: None,
            until: None,
            again: None,
            overrides: Vec::new(),
            carry: None,
        }
    }

    /// The condition holds.
    #[must_use]
    pub fn pass(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Pass, summary)
    }

    /// The condition does not hold.
    #[must_use]
    pub fn fail(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Fail, summary)
    }

    /// Nothing can be said, and why.
    #[must_use]
    pub fn unknown(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Unknown, summary)
    }

    /// Still measuring.
    #[must_use]
    pub fn pending(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Pending, summary)
    }

    /// Waiting for a known instant.
    #[must_use]
    pub fn held(summary: impl Into<String>, until: Timestamp) -> Self {
        Self { until: Some(until), ..Self::new(Outcome::Pending, summary) }
    }

    /// Adds one piece of evidence.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }
}
