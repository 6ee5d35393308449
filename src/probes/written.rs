//! A probe as its own status tells it: what can be said where another process probes.

use super::kinds::kind_of;
use super::plan::plan;
use super::view::{ProbeView, TargetView};
use crate::api::{Probe, name_of, namespace_of};
use crate::model::ProbeState;

/// A probe as its status tells it; before there is one, not known. Rounds are not in it: they are known
/// where they are made.
#[must_use]
pub fn as_written(probe: &Probe) -> ProbeView {
    let status = probe.status.as_ref();
    let created = probe.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let planned = plan(&probe.spec);
    let invalid = planned.as_ref().err().map(ToString::to_string);
    let plan = planned.ok();
    let targets = status.iter().flat_map(|status| &status.targets).map(|target| TargetView {
        target: target.target.as_str().into(),
        state: target.state,
        since: target.since,
        flapping: false,
        failing_since: None,
        rounds: 0,
        missed: 0,
        last: None,
    });
    ProbeView {
        namespace: namespace_of(probe).to_owned(),
        name: name_of(probe).to_owned(),
        labels: probe.metadata.labels.clone().unwrap_or_default(),
        kind: kind_of(&probe.spec).ok(),
        state: status.map_or(ProbeState::Unknown, |status| status.state),
        since: status.map(|status| status.since).or(created).unwrap_or_default(),
        reason: status.map_or_else(|| "no operator has probed it yet".to_owned(), |status| status.reason.clone()),
        until: None,
        invalid,
        warming_up: status.is_none_or(|status| status.state == ProbeState::Unknown),
        before: None,
        flapping: false,
        failing_since: None,
        interval: plan.as_ref().map(|plan| plan.interval).unwrap_or_default(),
        timeout: plan.as_ref().map(|plan| plan.timeout).unwrap_or_default(),
        failures: plan.as_ref().map_or(1, |plan| plan.rules.down.count),
        quorum: plan.as_ref().map_or(1, |plan| plan.quorum),
        rounds: 0,
        missed: 0,
        targets: targets.collect(),
    }
}
