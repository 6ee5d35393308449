//! Who wrote a field last, from `metadata.managedFields`.

use serde_json::Value;

use super::status;
use crate::operator::rollouts::observation::{Hands, Position};

/// The subresource in which the steps stand.
const STATUS: Option<&str> = Some("status");

pub(super) fn hands(rollout: &Value, position: Position) -> Hands {
    let ready = status::sub_status(rollout).filter(|_| matches!(position, Position::Ready(_)));
    let strategy = ["f:spec", "f:strategy"];
    let of = |field: &str| writer(rollout, &[strategy[0], strategy[1], field], None);
    Hands {
        paused: of("f:paused"),
        ready: ready
            .and_then(|field| writer(rollout, &["f:status", &format!("f:{field}"), "f:currentStepState"], STATUS)),
        disabled: writer(rollout, &["f:spec", "f:disabled"], None),
        steps: of("f:canary").or_else(|| of("f:blueGreen")),
    }
}

/// The manager that wrote the field, or something below it, last.
pub(super) fn writer(object: &Value, path: &[&str], subresource: Option<&str>) -> Option<String> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let owns = |entry: &&Value| {
        let own = entry.get("subresource").and_then(Value::as_str);
        let mut fields = entry.get("fieldsV1");
        for name in path {
            fields = fields.and_then(|fields| fields.get(name));
        }
        own == subresource && fields.is_some()
    };
    // Instants of one form and zone: the later one is the greater text.
    let time = |entry: &&Value| entry.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
    let last = entries.iter().filter(owns).max_by_key(time)?;
    Some(last.get("manager")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_of_several_managers_is_named() {
        let fields = json!({"f:spec": {"f:strategy": {"f:paused": {}}}});
        let object = json!({"metadata": {"managedFields": [
            {"manager": "kubectl-apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
            {"manager": "alice", "time": "2026-01-01T00:01:00Z", "fieldsV1": fields},
            {"manager": "rollouts", "subresource": "status", "time": "2026-01-01T00:02:00Z", "fieldsV1": fields},
        ]}});
        assert_eq!(writer(&object, &["f:spec", "f:strategy", "f:paused"], None), Some("alice".to_owned()));
        assert_eq!(writer(&object, &["f:spec", "f:disabled"], None), None);
    }
}
