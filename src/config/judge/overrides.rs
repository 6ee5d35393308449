//! Overrides and runs.

use super::Judge;
use super::spot::Spot;
use crate::api::{AnyResource, Gate, GateRun, Override};
use crate::model::glob_matches;

impl Judge<'_> {
    pub(super) fn exception(&mut self, spec: &Spot<'_>, exception: &Override) {
        let wanted = &exception.spec;
        if wanted.expires <= self.now {
            let message = format!("it has expired at {}: it has no effect any more", wanted.expires);
            self.report(spec.field("expires").warning("expired", message));
        }
        if wanted.actor.is_empty() {
            let message = "nobody is on record as having made it: say who in `actor`";
            self.report(spec.warning("no-actor", message));
        }
        if let Some(name) = &wanted.gate {
            let gate = self.reference(&spec.field("gate"), "gate", name, AnyResource::as_gate);
            if let (Some(gate), Some(check)) = (gate, &wanted.check) {
                self.check_name(&spec.field("check"), gate, name, check);
            }
        }
        if let Some(name) = &wanted.window {
            let window = self.reference(&spec.field("window"), "release window", name, AnyResource::as_window);
            let allowed = window.and_then(|window| window.spec.overridable_by.as_ref());
            if let Some(allowed) = allowed
                && !allowed.iter().any(|pattern| glob_matches(pattern, &wanted.actor))
            {
                let message = format!("`{}` may not override window {name}", wanted.actor);
                let error = spec.field("actor").error("not-allowed", message);
                self.report(error.with_allowed(allowed.iter().map(String::as_str)));
            }
        }
    }

    fn check_name(&mut self, spot: &Spot<'_>, gate: &Gate, gate_name: &str, check: &str) {
        let pre = gate.spec.pre.iter().flat_map(|point| &point.checks);
        let post = gate.spec.post.iter().flat_map(|point| &point.checks);
        let names: Vec<&str> = pre.chain(post).map(|check| check.name.as_str()).collect();
        if !names.contains(&check) {
            let error = spot.error("dangling", format!("gate {gate_name} has no check `{check}`"));
            self.report(error.with_nearest(check, names));
        }
    }

    pub(super) fn run(&mut self, spec: &Spot<'_>, run: &GateRun) {
        let gate = self.reference(&spec.field("gate"), "gate", &run.spec.gate, AnyResource::as_gate);
        let Some(gate) = gate else { return };
        let (target, change) = (&gate.spec.target, &run.spec.change);
        let why = if let Some(workload) = &target.workload_ref {
            (workload.name != change.target).then(|| format!("it stands in front of {}", workload.name))
        } else if let Some(names) = &target.names {
            let fits = names.iter().any(|pattern| glob_matches(pattern, &change.target));
            (!fits).then(|| format!("it stands in front of {}", names.join(", ")))
        } else {
            let fits = target.selector.as_ref().is_none_or(|selector| selector.matches(&change.labels));
            (!fits).then(|| "the change's labels do not meet its selector".to_owned())
        };
        if let Some(why) = why {
            let message = format!("gate {} does not select target `{}`: {why}", run.spec.gate, change.target);
            self.report(spec.field("change").field("target").error("target", message));
        }
        let asked = match run.spec.point {
            crate::model::Point::Pre => gate.spec.pre.is_some(),
            crate::model::Point::Post => gate.spec.post.is_some(),
        };
        if !asked {
            let message = format!("gate {} has no checks at {}: it always passes there", run.spec.gate, run.spec.point);
            self.report(spec.field("point").warning("no-checks", message));
        }
    }
}
