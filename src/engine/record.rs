//! Runs as resources: names, labels, and how a question is read back from one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{
    GateRun, GateRunSpec, LABEL_CHANGE, LABEL_GATE, LABEL_QUESTION, LABEL_REVISION, LABEL_SUBJECT, name_of,
    namespace_of,
};
use crate::model::{Labels, Question};

/// The longest part of a run's name that comes from its gate: with the key and the attempt the
/// whole stays within what a label's value can hold.
const MAX_GATE_PART: usize = 36;
/// The hexadecimal digits of the question's key in a run's name: 64 bits.
const KEY_DIGITS: usize = 16;
/// What a label's value can hold.
const MAX_LABEL: usize = 63;

/// The name of attempt `attempt` at `question`. The same on every replica, so that creating it
/// twice is one run.
pub(super) fn run_name(question: &Question, attempt: u32) -> String {
    let gate: String = question.gate.chars().take(MAX_GATE_PART).collect();
    let key: String = question.key().to_string().chars().take(KEY_DIGITS).collect();
    format!("{}-{key}-{attempt}", gate.trim_end_matches(['-', '.']))
}

/// The labels by which runs are found again.
pub(super) fn labels(question: &Question) -> Labels {
    Labels::from([
        (LABEL_QUESTION.to_owned(), question.key().to_string()),
        (LABEL_SUBJECT.to_owned(), question.subject().key().to_string()),
        (LABEL_REVISION.to_owned(), question.revision_key().to_string()),
        (LABEL_GATE.to_owned(), label_value(&question.gate)),
        (LABEL_CHANGE.to_owned(), label_value(&question.change.id)),
    ])
}

/// A new run for `question`, without a status.
pub(super) fn new_run(question: &Question, attempt: u32) -> GateRun {
    GateRun {
        metadata: ObjectMeta {
            name: Some(run_name(question, attempt)),
            namespace: Some(question.namespace.clone()),
            labels: Some(labels(question)),
            ..ObjectMeta::default()
        },
        spec: GateRunSpec {
            gate: question.gate.clone(),
            change: question.change.clone(),
            batch: question.batch,
            point: question.point,
        },
        status: None,
    }
}

/// The question that a run is about. A run that names no cluster is about ours.
pub(super) fn question_of(run: &GateRun, cluster: Option<&str>) -> Question {
    let mut change = run.spec.change.clone();
    change.cluster = change.cluster.or_else(|| cluster.map(str::to_owned));
    Question {
        namespace: namespace_of(run).to_owned(),
        gate: run.spec.gate.clone(),
        change,
        batch: run.spec.batch,
        point: run.spec.point,
    }
}

/// The run as callers know it.
pub(super) fn id_of(run: &GateRun) -> String {
    format!("{}/{}", namespace_of(run), name_of(run))
}

/// `text` as far as a label's value can hold it.
fn label_value(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let cut: String = text.chars().map(plain).take(MAX_LABEL).collect();
    cut.trim_matches(['-', '_', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_makes_a_valid_label_value(text in "\\PC{0,100}") {
            let value = label_value(&text);
            prop_assert!(value.len() <= MAX_LABEL);
            let outer = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
            prop_assert!(outer(value.chars().next()) && outer(value.chars().last()));
        }
    }
}
