//! Thousands of resources, made fast: many requests are in flight at once.

use std::fmt::Debug;

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use probegate::api::{Gate, GateRun, Probe};
use probegate::clock::{Clock, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Requests in flight.
const AT_ONCE: usize = 64;
/// The namespaces that the resources are spread over.
pub const NAMESPACES: usize = 20;
/// Loopback addresses of the targets: one has 28,000 ports for clients.
const ADDRESSES: usize = 16;
/// The label of the probes whose target dies.
pub const MORTAL: &str = "bench/mortal";

/// How many of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub probes: usize,
    pub gates: usize,
    pub runs: usize,
    /// Of the probes, those whose target dies.
    pub mortal: usize,
}

/// Ports of the two targets.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub steady: u16,
    pub mortal: u16,
}

pub fn namespace(number: usize) -> String {
    format!("bench-{:02}", number % NAMESPACES)
}

/// Makes everything, with the statuses that an operator has left there.
pub async fn make(client: &kube::Client, counts: Counts, ports: Ports) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for number in 0..NAMESPACES {
        let new = serde_json::from_value(json!({"metadata": {"name": namespace(number)}}))?;
        namespaces.create(&PostParams::default(), &new).await?;
    }
    let now = MicroTime(SystemClock::new().now());
    let now = serde_json::to_value(now)?;
    all::<Gate>(client, counts.gates, |number| (gate(number), None)).await.context("gates")?;
    all::<Probe>(client, counts.probes, |number| probe(number, counts, ports, &now)).await.context("probes")?;
    all::<GateRun>(client, counts.runs, |number| run(number, counts, &now)).await.context("runs")
}

/// Makes resources of one kind, each with its status.
async fn all<R>(
    client: &kube::Client,
    count: usize,
    make: impl Fn(usize) -> (Value, Option<Value>),
) -> anyhow::Result<()>
where
    R: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let one = |number: usize| {
        let (body, status) = make(number);
        let api: Api<R> = Api::namespaced(client.clone(), &namespace(number));
        async move {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let object: R = serde_json::from_value(body)?;
            api.create(&PostParams::default(), &object).await?;
            if let Some(status) = status {
                let patch = json!({"status": status});
                let params = PatchParams { field_manager: Some("probegate".to_owned()), ..PatchParams::default() };
                api.patch_status(&name, &params, &Patch::Merge(&patch)).await?;
            }
            anyhow::Ok(())
        }
    };
    stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_for_each(|()| std::future::ready(Ok(()))).await
}

/// Sends a patch to many resources of one kind.
pub async fn patch_all<R>(client: &kube::Client, names: &[(String, String)], patch: &Value) -> anyhow::Result<()>
where
    R: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let one = |(namespace, name): (String, String)| {
        let api: Api<R> = Api::namespaced(client.clone(), &namespace);
        async move {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            anyhow::Ok(())
        }
    };
    let names = stream::iter(names.to_vec());
    names.map(one).buffer_unordered(AT_ONCE).try_for_each(|()| std::future::ready(Ok(()))).await
}

fn gate(number: usize) -> Value {
    let name = format!("gate-{number}");
    json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Gate",
        "metadata": {"name": name, "namespace": namespace(number)},
        "spec": {
            "target": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("app-{number}")}},
            "pre": {"checks": [{"name": "window", "window": {}}]},
            "post": {"soak": "5m", "checks": [{"name": "still-up", "probes": {"selector": {"app": format!("app-{number}")}}}]},
        },
    })
}

fn probe(number: usize, counts: Counts, ports: Ports, now: &Value) -> (Value, Option<Value>) {
    let is_mortal = number < counts.mortal;
    let port = if is_mortal { ports.mortal } else { ports.steady };
    let mut labels = json!({"app": format!("app-{}", number % counts.gates.max(1)), "tier": "web"});
    if is_mortal {
        labels[MORTAL] = json!("yes");
    }
    let body = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Probe",
        "metadata": {"name": format!("probe-{number}"), "namespace": namespace(number), "labels": labels},
        "spec": {
            "tcp": {"address": format!("127.0.0.{}:{port}", number % ADDRESSES + 1)},
            "interval": "10s", "timeout": "2s",
        },
    });
    let status = json!({
        "state": "up", "since": now, "reason": "1 round as expected", "targets": [], "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "lastTransitionTime": now,
                        "reason": "Probing", "message": ""}],
    });
    (body, Some(status))
}

/// A decided run with the evidence of three checks, some 4 KB.
fn run(number: usize, counts: Counts, now: &Value) -> (Value, Option<Value>) {
    let gate = number % counts.gates.max(1);
    let samples: Vec<Value> = (0..30)
        .map(|at| json!({"at": format!("2026-11-21T12:{at:02}:00Z"), "value": f64::from(at) * 0.001_3}))
        .collect();
    let evidence = json!({"query": "sum(increase(http_requests_total{code=~\"5..\"}[1m]))", "samples": samples,
                          "threshold": "0.001", "window": "30m", "count": 30});
    let check = |name: &str| {
        json!({"name": name, "kind": "metric", "mode": "enforce", "outcome": "pass", "executions": 30,
               "summary": "0.0004 where at most 0.001 is allowed", "since": now, "evidence": evidence})
    };
    let body = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
        "metadata": {"name": format!("run-{number}"), "namespace": namespace(number),
            "labels": {"probegate.io/gate": format!("gate-{gate}"), "probegate.io/change": format!("c-{number}"),
                       "probegate.io/question": format!("{number:032x}"), "probegate.io/subject": format!("{gate:032x}"),
                       "probegate.io/revision": format!("{:032x}", number + 1)}},
        "spec": {"gate": format!("gate-{gate}"), "point": "post", "batch": {"index": 1, "total": 3, "percent": 10},
            "change": {"id": format!("c-{number}"), "target": format!("app-{gate}"), "revision": format!("v{number}"),
                       "action": "release", "actor": "ci"}},
    });
    let status = json!({
        "verdict": "pass", "reason": "all 3 checks have passed", "attempt": 1, "startedAt": now, "decidedAt": now,
        "cause": "checks", "measuredMillis": 300_000, "decidedWith": "0.1.0",
        "checks": [check("errors"), check("latency"), check("still-up")],
        "conditions": [{"type": "Decided", "status": "True", "lastTransitionTime": now, "reason": "Pass", "message": ""}],
    });
    (body, Some(status))
}
