//! What filters look at.

use serde_json::{Map, Value};

use super::Query;
use crate::api::condition_types;

/// Labels, by key. A map of one or two would take half a kilobyte, for each of ten thousand objects.
pub(super) type LabelPairs = Box<[(Box<str>, Box<str>)]>;

/// What of a resource decides whether it is among those that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) labels: LabelPairs,
    pub(super) decided: bool,
}

impl Facts {
    /// Of a whole resource.
    pub(super) fn of(body: &Value) -> Self {
        let labels = body.as_object().map(labels).unwrap_or_default();
        Self { labels, decided: decided(body.get("status")) }
    }

    /// Whether the resource is among those that a query asks for, its page aside.
    pub(super) fn match_query(&self, query: &Query, namespace: &str) -> bool {
        query.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && query.decided.is_none_or(|wanted| wanted == self.decided)
            && query.labels.iter().all(|(key, value)| self.label(key) == Some(value.as_str()))
    }

    fn label(&self, wanted: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| **key == *wanted).map(|(_, value)| &**value)
    }
}

pub(super) fn labels(body: &Map<String, Value>) -> LabelPairs {
    let labels = body.get("metadata").and_then(|metadata| metadata.get("labels")).and_then(Value::as_object);
    let pair = |(key, value): (&String, &Value)| Some((key.as_str().into(), value.as_str()?.into()));
    labels.into_iter().flatten().filter_map(pair).collect()
}

/// Whether a status has the condition `Decided` that is `True`.
pub(super) fn decided(status: Option<&Value>) -> bool {
    let conditions = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some(condition_types::DECIDED)
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}
