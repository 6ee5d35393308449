//! Overrides: in force, used, expired, revoked.

use jiff::Timestamp;
use tokio::sync::watch;

use super::condition;
use super::keeper::{Judge, Judged};
use crate::api::{ANNOTATION_REVOKE, Override, OverrideState, OverrideStatus, Revocation, Wish, set_condition};

/// The condition that tells whether it has its effect.
const IN_FORCE: &str = "InForce";

/// Judges overrides.
pub(super) struct Overrides;

impl Judge for Overrides {
    type Resource = Override;

    fn judge(&self, resource: &Override, now: Timestamp) -> Option<Judged<OverrideStatus>> {
        let mut status = resource.status.clone().unwrap_or_default();
        let expires = resource.spec.expires;
        if status.revoked.is_none() {
            // Whoever may not write a status writes that wish, such as somebody at a terminal.
            let wish = Wish::of(resource, ANNOTATION_REVOKE);
            status.revoked = wish.map(|Wish { actor, reason }| Revocation { actor, reason, at: now });
        }
        let (state, why) = match &status.revoked {
            Some(revoked) => {
                let why = if revoked.reason.is_empty() { String::new() } else { format!(": {}", revoked.reason) };
                (OverrideState::Revoked, format!("{} took it back at {}{why}", revoked.actor, revoked.at))
            }
            None if now >= expires => (OverrideState::Expired, format!("its time was over at {expires}")),
            None if !status.used_by.is_empty() => (
                OverrideState::Used,
                format!("{} of {} stand on it", count(status.used_by.len()), resource.spec.change),
            ),
            None => (OverrideState::InForce, format!("until {expires}")),
        };
        status.state = Some(state);
        let holds = now < expires && status.revoked.is_none();
        let reason = match state {
            OverrideState::InForce => "InForce",
            OverrideState::Used => "Used",
            OverrideState::Expired => "Expired",
            OverrideState::Revoked => "Revoked",
        };
        let new = condition(IN_FORCE, holds, (reason, why), resource.metadata.generation, now);
        set_condition(&mut status.conditions, new);
        Some(Judged { status, due: holds.then_some(expires) })
    }

    fn around(&self) -> Vec<watch::Receiver<u64>> {
        Vec::new()
    }
}

fn count(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn judged(status: &serde_json::Value, now: &str) -> Judged<OverrideStatus> {
        let resource = json!({
            "metadata": {"name": "o-1", "namespace": "shop", "generation": 1},
            "spec": {
                "gate": "checkout", "change": "c-17", "effect": "pass", "actor": "alice", "reason": "slow start",
                "expires": "2026-11-21T18:00:00Z",
            },
            "status": status,
        });
        let resource: Override = serde_json::from_value(resource).unwrap();
        Overrides.judge(&resource, now.parse().unwrap()).unwrap()
    }

    #[rstest]
    #[case::fresh(json!({}), "2026-11-21T17:00:00Z", OverrideState::InForce, true)]
    #[case::used(json!({"usedBy": ["r-1"]}), "2026-11-21T17:00:00Z", OverrideState::Used, true)]
    #[case::over(json!({"usedBy": ["r-1"]}), "2026-11-21T18:00:00Z", OverrideState::Expired, false)]
    #[case::taken_back(
        json!({"revoked": {"actor": "bob", "reason": "wrong", "at": "2026-11-21T16:00:00Z"}}),
        "2026-11-21T17:00:00Z", OverrideState::Revoked, false
    )]
    fn an_override_tells_what_has_become_of_it(
        #[case] status: serde_json::Value,
        #[case] now: &str,
        #[case] state: OverrideState,
        #[case] in_force: bool,
    ) {
        let judged = judged(&status, now);
        assert_eq!(judged.status.state, Some(state));
        let holds = judged.status.conditions[0].status == crate::api::ConditionStatus::True;
        assert_eq!((holds, judged.due.is_some()), (in_force, in_force));
    }

    #[test]
    fn an_override_is_taken_back_by_an_annotation_once_and_for_all() {
        let mut resource: Override = serde_json::from_value(json!({
            "metadata": {"name": "o-1", "namespace": "shop", "annotations": {
                "probegate.io/revoke": r#"{"actor": "bob", "reason": "fixed"}"#,
            }},
            "spec": {
                "gate": "checkout", "change": "c-17", "effect": "pass", "actor": "alice", "reason": "slow start",
                "expires": "2026-11-21T18:00:00Z",
            },
        }))
        .unwrap();
        let first = Overrides.judge(&resource, "2026-11-21T16:00:00Z".parse().unwrap()).unwrap();
        let revoked = first.status.revoked.clone().unwrap();
        assert_eq!((revoked.actor.as_str(), revoked.reason.as_str()), ("bob", "fixed"));
        assert_eq!(first.status.conditions[0].status, crate::api::ConditionStatus::False);
        assert_eq!((first.status.state, first.due), (Some(OverrideState::Revoked), None));
        resource.status = Some(first.status.clone());
        let second = Overrides.judge(&resource, "2026-11-21T17:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(second.status, first.status, "who did it first, and when, stays on record");
    }

    #[test]
    fn a_condition_that_stays_keeps_its_time() {
        let first = judged(&json!({}), "2026-11-21T17:00:00Z").status;
        let second = judged(&serde_json::to_value(&first).unwrap(), "2026-11-21T17:30:00Z").status;
        assert_eq!(first, second);
    }
}
