//! The engine of rollouts and its people, as a model with a version of everything.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::ANNOTATION_RELEASE;
use crate::operator::rollouts::adapter::Write;
use crate::operator::rollouts::decide::MANAGER;
use crate::operator::rollouts::record::Record;

pub(super) const STEPS: u32 = 3;
/// The engine's own pause before a release begins, in its turns.
const GRACE: u8 = 3;

/// Splitmix: small, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// The rollout, its workload, and the engine's hidden state.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Cluster {
    pub(super) version: u64,
    pub(super) generation: u64,
    pub(super) observed: u64,
    pub(super) paused: bool,
    pub(super) paused_by: &'static str,
    pub(super) ready_by: &'static str,
    pub(super) phase: &'static str,
    pub(super) reason: &'static str,
    pub(super) succeeded: Option<bool>,
    pub(super) index: u32,
    pub(super) state: &'static str,
    pub(super) releasing: u32,
    pub(super) stable_known: u32,
    pub(super) observed_workload: u64,
    pub(super) grace: u8,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) workload: u64,
    pub(super) template: u32,
    pub(super) stable: u32,
    pub(super) stable_label: u32,
    pub(super) in_progress: bool,
    pub(super) last_full: bool,
    pub(super) duration: bool,
    /// What went out: revision and batch.
    pub(super) out: Vec<(u32, u32)>,
}

impl Cluster {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            version: 1,
            generation: 1,
            observed: 1,
            paused: dice.roll(2) == 0,
            paused_by: "kubectl",
            ready_by: "rollouts",
            phase: "Healthy",
            reason: "",
            succeeded: None,
            index: STEPS,
            state: "Completed",
            releasing: 0,
            stable_known: 0,
            observed_workload: 1,
            grace: 0,
            annotations: BTreeMap::new(),
            workload: 1,
            template: 0,
            stable: 0,
            stable_label: 0,
            in_progress: false,
            last_full: dice.roll(4) == 0,
            duration: dice.roll(4) == 0,
            out: Vec::new(),
        }
    }

    pub(super) fn rollout(&self) -> Value {
        let mut steps = vec![json!({"replicas": "20%"}), json!({"replicas": "50%"}), json!({"replicas": 9})];
        if self.last_full {
            steps[2] = json!({"replicas": "100%"});
        }
        if self.duration {
            steps[1] = json!({"replicas": "50%", "pause": {"duration": 60}});
        }
        let mut conditions = vec![json!({"type": "Progressing", "reason": self.reason, "status": "True"})];
        if let Some(succeeded) = self.succeeded {
            conditions
                .push(json!({"type": "Succeeded", "reason": "", "status": if succeeded { "True" } else { "False" }}));
        }
        json!({
            "apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout",
            "metadata": {"name": "shop", "namespace": "n", "resourceVersion": self.version.to_string(),
                "generation": self.generation, "annotations": self.annotations,
                "managedFields": [
                    {"manager": self.paused_by, "time": "1", "fieldsV1": {"f:spec": {"f:strategy": {"f:paused": {}}}}},
                    {"manager": self.ready_by, "time": "1", "subresource": "status",
                     "fieldsV1": {"f:status": {"f:canaryStatus": {"f:currentStepState": {}}}}}]},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "strategy": {"paused": self.paused, "canary": {"steps": steps}}},
            "status": {"observedGeneration": self.observed, "phase": self.phase, "conditions": conditions,
                "canaryStatus": {"currentStepIndex": self.index, "currentStepState": self.state,
                    "canaryRevision": self.releasing.to_string(), "stableRevision": format!("rs{}", self.stable_known),
                    "observedWorkloadGeneration": self.observed_workload}},
        })
    }

    pub(super) fn deployment(&self) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "shop", "namespace": "n", "generation": self.workload,
                "labels": {"rollouts.kruise.io/stable-revision": format!("rs{}", self.stable_label)}},
            "spec": {"replicas": 10, "template": template(self.template)}})
    }

    pub(super) fn record(&self) -> Option<Record> {
        self.annotations.get(ANNOTATION_RELEASE).and_then(|text| Record::read(text)).filter(|record| record.open)
    }

    pub(super) fn sets() -> Vec<Value> {
        (0..8)
            .map(|n| json!({"metadata": {"labels": {"pod-template-hash": format!("rs{n}")}}, "spec": {"template": template(n)}}))
            .collect()
    }

    pub(super) fn change(&mut self, template: u32) {
        if template == self.template {
            return;
        }
        self.template = template;
        self.workload += 1;
        if !self.in_progress {
            self.in_progress = true;
            self.stable_label = self.stable;
        }
    }

    /// One turn of the engine, as its source has it.
    pub(super) fn turn(&mut self, dice: &mut Dice) {
        self.version += 1;
        self.observed = self.generation;
        if self.releasing == self.template {
            self.observed_workload = self.workload;
        }
        match (self.phase, self.reason) {
            ("Healthy", _) if self.in_progress => {
                (self.phase, self.reason, self.succeeded, self.grace) = ("Progressing", "Initializing", None, GRACE);
            }
            ("Healthy", _) => self.version -= 1,
            (_, "Initializing") => {
                (self.index, self.state, self.releasing) = (1, "BeforeStepUpgrade", self.template);
                (self.stable_known, self.observed_workload) = (self.stable_label, self.workload);
                self.grace -= 1;
                if self.grace == 0 {
                    self.reason = "InRolling";
                }
            }
            (_, "InRolling") if self.template == self.stable_known && self.releasing != self.template => {
                (self.reason, self.releasing) = ("Cancelling", self.template);
            }
            (_, "InRolling") if self.paused => self.reason = "Paused",
            (_, "InRolling") if self.releasing != self.template => {
                (self.reason, self.grace) = ("Initializing", GRACE);
            }
            (_, "InRolling") => self.step(dice),
            (_, "Paused") if !self.paused => self.reason = "InRolling",
            (_, "Paused") => self.version -= 1,
            (_, "Finalising") => self.end(true),
            (_, "Cancelling") => self.end(false),
            (_, _) => self.phase = "Healthy",
        }
    }

    fn end(&mut self, succeeded: bool) {
        (self.reason, self.succeeded, self.in_progress) = ("Completed", Some(succeeded), false);
        if succeeded {
            self.stable = self.releasing;
        }
        // A template that came while the engine cleaned up begins a release of its own.
        if self.template != self.stable {
            (self.in_progress, self.stable_label) = (true, self.stable);
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        match self.state {
            "BeforeStepUpgrade" => {
                self.out.push((self.releasing, self.index));
                self.state = "StepUpgrade";
            }
            "StepUpgrade" if dice.roll(2) == 0 => self.state = "StepTrafficRouting",
            "StepTrafficRouting" => self.state = "StepMetricsAnalysis",
            "StepMetricsAnalysis" => (self.state, self.ready_by) = ("StepPaused", "rollouts"),
            "StepPaused" => {
                let through =
                    (self.index == STEPS && self.last_full) || (self.index == 2 && self.duration && dice.roll(6) == 0);
                if through {
                    (self.state, self.ready_by) = ("StepReady", "rollouts");
                }
            }
            "StepReady" if self.index < STEPS => (self.index, self.state) = (self.index + 1, "BeforeStepUpgrade"),
            "StepReady" => {
                self.out.push((self.releasing, STEPS + 1));
                self.state = "Completed";
            }
            "Completed" => self.reason = "Finalising",
            _ => {}
        }
    }

    /// A patch as the API server takes it.
    pub(super) fn patch(&mut self, write: &Write) -> bool {
        let patch = &write.patch;
        if patch.pointer("/metadata/resourceVersion").and_then(Value::as_str) != Some(&self.version.to_string()) {
            return false;
        }
        self.version += 1;
        if write.status {
            assert_eq!(patch.pointer("/status/canaryStatus/currentStepState"), Some(&json!("StepReady")));
            assert_eq!(self.state, "StepPaused", "the word is given only where a step waits");
            assert_eq!(self.phase, "Progressing");
            (self.state, self.ready_by) = ("StepReady", MANAGER);
            return true;
        }
        if let Some(paused) = patch.pointer("/spec/strategy/paused").and_then(Value::as_bool)
            && paused != self.paused
        {
            (self.paused, self.paused_by) = (paused, MANAGER);
            self.generation += 1;
        }
        for (key, text) in patch.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten() {
            self.annotations.insert(key.clone(), text.as_str().unwrap().to_owned());
        }
        true
    }

    pub(super) fn person(&mut self, dice: &mut Dice) {
        self.version += 1;
        match dice.roll(3) {
            0 if self.state == "StepPaused" && self.phase == "Progressing" => {
                (self.state, self.ready_by) = ("StepReady", "alice");
            }
            1 if self.paused => {
                (self.paused, self.paused_by) = (false, "alice");
                self.generation += 1;
            }
            _ => {}
        }
    }
}

fn template(number: u32) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "c", "image": format!("shop:{number}")}]}})
}
