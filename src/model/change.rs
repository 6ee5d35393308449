//! What a gate is asked about.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::selector::Labels;
use super::words::{Action, Invoker, Point};

/// One release of one target to one new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Identity of the change, chosen by the caller; the same for all batches of it.
    #[schemars(length(min = 1, max = 253))]
    pub id: String,
    /// The name of what is being changed, usually a workload.
    #[schemars(length(min = 1, max = 253))]
    pub target: String,
    /// The revision that the change brings: an image tag, a template hash, a checksum.
    #[schemars(length(min = 1, max = 253))]
    pub revision: String,
    /// What the change does to its target.
    #[serde(default)]
    pub action: Action,
    /// Who or what asks for it.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub actor: String,
    /// Whether a person or automation set it off.
    #[serde(default)]
    pub invoker: Invoker,
    /// The cluster that the target runs in. Absent: the cluster that the server was told it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster: Option<String>,
    /// Labels of the target, for window selectors and rules.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub labels: Labels,
}

/// One step of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// Which step this is, from 1.
    #[schemars(range(min = 1, max = 10_000))]
    pub index: u32,
    /// How many steps the change has.
    #[schemars(range(min = 1, max = 10_000))]
    pub total: u32,
    /// The share of the target that is changed when this step is done, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

impl Default for Batch {
    /// The whole change in one step.
    fn default() -> Self {
        Self { index: 1, total: 1, percent: 100 }
    }
}

/// What a gate is asked: may this change pass this point of this batch?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The namespace that the gate stands in.
    pub namespace: String,
    /// The gate's name.
    pub gate: String,
    /// The change.
    pub change: Change,
    /// The batch.
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
}

impl Question {
    /// What makes two questions the same one: gate, cluster, target, change, revision, batch index
    /// and point. The action is part of it as well, so that a rollback never meets the verdict of a
    /// release. Batch total and percent, actor and labels are not: they describe, they do not
    /// identify.
    #[must_use]
    pub fn key(&self) -> QuestionKey {
        QuestionKey::over(&[
            &self.namespace,
            &self.gate,
            self.change.cluster.as_deref().unwrap_or(""),
            &self.change.target,
            &self.change.id,
            &self.change.revision,
            self.change.action.as_str(),
            &self.batch.index.to_string(),
            self.point.as_str(),
        ])
    }

    /// The identity of the revision within its subject: what a block after a batch is final for.
    #[must_use]
    pub fn revision_key(&self) -> QuestionKey {
        QuestionKey::over(&[&self.subject().key().to_string(), &self.change.revision])
    }

    /// What verdicts pile up about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            namespace: self.namespace.clone(),
            gate: self.gate.clone(),
            cluster: self.change.cluster.clone().unwrap_or_default(),
            target: self.change.target.clone(),
        }
    }
}

/// One target as one gate sees it: verdicts are made void, blocks are final and batches follow one
/// another within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The gate's namespace.
    pub namespace: String,
    /// The gate's name.
    pub gate: String,
    /// The cluster, or nothing where there is only one.
    pub cluster: String,
    /// The target's name.
    pub target: String,
}

impl Subject {
    /// A short identity, fit for a label's value.
    #[must_use]
    pub fn key(&self) -> QuestionKey {
        QuestionKey::over(&[&self.namespace, &self.gate, &self.cluster, &self.target])
    }
}

/// 128 bits of SHA-256 in hexadecimal: fit for a label's value, and never equal by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionKey([u8; 16]);

impl QuestionKey {
    /// Hashes `parts` with their lengths, so that no two lists of parts run together.
    #[must_use]
    pub fn over(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut short = [0; 16];
        short.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self(short)
    }
}

impl fmt::Display for QuestionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            namespace: "shop".into(),
            gate: "checkout".into(),
            change: Change {
                id: "c-17".into(),
                target: "checkout".into(),
                revision: "v42".into(),
                action: Action::Release,
                actor: "ci".into(),
                invoker: Invoker::Automation,
                cluster: None,
                labels: Labels::new(),
            },
            batch: Batch { index: 2, total: 5, percent: 10 },
            point: Point::Post,
        }
    }

    #[test]
    fn who_asks_does_not_make_another_question() {
        let mut other = question();
        other.change.actor = "someone-else".into();
        other.batch.percent = 11;
        assert_eq!(question().key(), other.key());
    }

    #[test]
    fn every_identifying_part_makes_another_question() {
        let base = question();
        let mut others = vec![base.clone(); 8];
        others[0].namespace = "x".into();
        others[1].gate = "x".into();
        others[2].change.id = "x".into();
        others[3].change.target = "x".into();
        others[4].change.revision = "x".into();
        others[5].change.cluster = Some("x".into());
        others[6].batch.index = 3;
        others[7].point = Point::Pre;
        for other in others {
            assert_ne!(base.key(), other.key(), "{other:?}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(QuestionKey::over(&["ab", "c"]), QuestionKey::over(&["a", "bc"]));
    }
}
