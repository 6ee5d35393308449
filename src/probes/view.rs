//! What can be read of a probe, and which probes are meant.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::history::Known;
use super::result::{Judgement, Observation, Phase, Reason};
use crate::model::{Expression, Labels, ProbeState};

/// Labels that every probe has, beside its own, for selectors.
const LABEL_NAMESPACE: &str = "probegate.io/namespace";
const LABEL_NAME: &str = "probegate.io/name";

/// One round, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// Its run id: a UUID of version 7.
    #[serde(serialize_with = "as_text")]
    pub id: Uuid,
    /// The target.
    pub target: Arc<str>,
    /// When it began.
    pub at: Timestamp,
    /// What it says about the target.
    pub judgement: Judgement,
    /// Why it did not succeed, or is degraded.
    pub reason: Option<Reason>,
    /// Where it failed.
    pub phase: Option<Phase>,
    /// The reason as a sentence; absent where all was as expected, or where it is no longer known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long after its slot, or after it was asked for, it began, in seconds: from there on a user
    /// would have waited for `lateSeconds` and `seconds` together.
    pub late_seconds: f64,
}

/// One target of a probe, as it stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// The target.
    pub target: Arc<str>,
    /// The state.
    pub state: ProbeState,
    /// Since when.
    pub since: Timestamp,
    /// Whether it changes too often to be believed.
    pub flapping: bool,
    /// When the first of the rounds began that have failed in a row, where the last one has.
    pub failing_since: Option<Timestamp>,
    /// How many rounds were made.
    pub rounds: u64,
    /// In how many slots none could be made.
    pub missed: u64,
    /// The last round in full.
    pub last: Option<Arc<Observation>>,
}

/// One probe, as it stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its kind; nothing where the spec is invalid.
    pub kind: Option<&'static str>,
    /// The state.
    pub state: ProbeState,
    /// Since when.
    pub since: Timestamp,
    /// Why, in one line.
    pub reason: String,
    /// Until when the state is bound to stand, where that is known: the end of a maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What is wrong with its spec: then it is not probed at all.
    pub invalid: Option<String>,
    /// Whether no round has said anything yet.
    pub warming_up: bool,
    /// Where it is: the last state that an earlier process knew, to be shown and not to be relied on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Known>,
    /// Whether a target changes too often to be believed.
    pub flapping: bool,
    /// When the first of the rounds began that have failed in a row, where the last one has; of
    /// several targets the earliest.
    pub failing_since: Option<Timestamp>,
    /// The time between two slots.
    #[serde(serialize_with = "as_seconds", rename = "intervalSeconds")]
    pub interval: Duration,
    /// How long a round may take.
    #[serde(serialize_with = "as_seconds", rename = "timeoutSeconds")]
    pub timeout: Duration,
    /// How many failed rounds turn a target down.
    pub failures: u32,
    /// How many targets must be down.
    pub quorum: usize,
    /// How many rounds it has made.
    pub rounds: u64,
    /// In how many slots none could be made.
    pub missed: u64,
    /// Each target.
    pub targets: Vec<TargetView>,
}

/// Which probes: those whose labels meet every requirement, in all namespaces, and those named, in
/// one. An empty selector selects nothing.
///
/// Beside its own labels every probe has `probegate.io/namespace` and `probegate.io/name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeSelector {
    /// Labels by equality.
    pub labels: Labels,
    /// Set-based requirements.
    pub expressions: Vec<Expression>,
    /// The namespace of `names`.
    pub namespace: String,
    /// Names.
    pub names: Vec<String>,
}

impl ProbeSelector {
    /// Whether it means this probe.
    #[must_use]
    pub fn matches(&self, (namespace, name): &(String, String), labels: &Labels) -> bool {
        let named = *namespace == self.namespace && self.names.contains(name);
        named || self.matches_labels(namespace, name, labels)
    }

    fn matches_labels(&self, namespace: &str, name: &str, labels: &Labels) -> bool {
        if self.labels.is_empty() && self.expressions.is_empty() {
            return false;
        }
        let value = |key: &str| match key {
            LABEL_NAMESPACE => Some(namespace),
            LABEL_NAME => Some(name),
            _ => labels.get(key).map(String::as_str),
        };
        if !self.labels.iter().all(|(key, wanted)| value(key) == Some(wanted)) {
            return false;
        }
        if self.expressions.is_empty() {
            return true;
        }
        let mut labels = labels.clone();
        labels.insert(LABEL_NAMESPACE.to_owned(), namespace.to_owned());
        labels.insert(LABEL_NAME.to_owned(), name.to_owned());
        self.expressions.iter().all(|expression| expression.matches(&labels))
    }
}

fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
