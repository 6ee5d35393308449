//! Overrides: in force, used, expired, revoked.

use jiff::Timestamp;
use tokio::sync::watch;

use super::condition;
use super::keeper::{Judge, Judged};
use crate::api::{Override, OverrideState, OverrideStatus, set_condition};

/// The condition that tells whether it has its effect.
const IN_FORCE: &str = "InForce";

/// Judges overrides.
pub(super) struct Overrides;

impl Judge for Overrides {
    type Resource = Override;

    fn judge(&self, resource: &Override, now: Timestamp) -> Option<Judged<OverrideStatus>> {
        let mut status = resource.status.clone().unwrap_or_default();
        let expires = resource.spec.expires;
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
        let holds = resource.in_force(now);
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
    fn a_condition_that_stays_keeps_its_time() {
        let first = judged(&json!({}), "2026-11-21T17:00:00Z").status;
        let second = judged(&serde_json::to_value(&first).unwrap(), "2026-11-21T17:30:00Z").status;
        assert_eq!(first, second);
    }
}
