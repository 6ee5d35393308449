//! Applications that the real OpenKruise Rollouts controller rolls out on a real node, each behind a
//! gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use probegate::api::Gate;
use serde_json::{Value, json};

use super::book::Book;
use super::cluster::Cluster;
use super::judge::{Fate, Judge};

/// Where the applications are.
pub const NAMESPACE: &str = "bench-shop";
/// Pods of an application.
pub const PODS: usize = 4;
/// How long the node, the engine and its webhooks may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);

/// All applications.
pub struct Shop {
    pub client: kube::Client,
    pub judge: Judge,
    pub book: Arc<Book>,
    pub apps: usize,
}

/// The name of an application: of its Deployment, its Rollout and its gate.
pub fn app(number: usize) -> String {
    format!("shop-{number}")
}

pub fn rollouts(client: &kube::Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("rollouts.kruise.io", "v1beta1", "Rollout");
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk_with_plural(&kind, "rollouts"))
}

impl Shop {
    /// Brings the engine into the cluster, and the applications with their first version.
    pub async fn open(cluster: &Cluster, apps: usize) -> anyhow::Result<Self> {
        cluster.kubectl(&["apply", "--server-side", "-f", "deploy/admission.yaml"])?;
        cluster.script(&["engine", "kruise-rollouts"])?;
        let client = cluster.client().await?;
        let judge = Judge::default();
        let url = format!("http://{}/judge", judge.listen().await?);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        namespaces.create(&PostParams::default(), &namespace).await?;
        let book = Book::open(&client, judge.clone());
        let shop = Self { client, judge, book, apps };
        for number in 0..apps {
            shop.build(&app(number), &url).await.with_context(|| app(number))?;
        }
        Ok(shop)
    }

    async fn build(&self, name: &str, url: &str) -> anyhow::Result<()> {
        let new = PostParams::default();
        self.judge.decide_on((name.to_owned(), 0), Fate::default());
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name}, "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": name}}}});
        merge(&mut deployment, &version_of(name, 0));
        deployments.create(&new, &serde_json::from_value(deployment)?).await?;
        let checks = json!([{"name": "judge", "webhook": {"url": url, "poll": {"interval": "1s"}}}]);
        let target = json!({"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "name": name});
        let gate = json!({"apiVersion": "probegate.io/v1alpha1", "kind": "Gate", "metadata": {"name": name},
            "spec": {"target": {"workloadRef": target}, "pre": {"checks": checks}, "post": {"checks": checks}}});
        let gates: Api<Gate> = Api::namespaced(self.client.clone(), NAMESPACE);
        gates.create(&new, &serde_json::from_value(gate)?).await?;
        self.until(&format!("{name} runs"), || self.book.pods(name, 0) == PODS).await?;
        let rollout = json!({"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "metadata": {"name": name},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "strategy": {"paused": true, "canary": {"steps": [
                    {"replicas": 1, "pause": {}}, {"replicas": 2, "pause": {}}, {"replicas": 3, "pause": {}}]}}}});
        let rollout: DynamicObject = serde_json::from_value(rollout)?;
        // The engine's webhooks answer some time after its process has started.
        let begun = Instant::now();
        while let Err(error) = rollouts(&self.client).create(&new, &rollout).await {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the rollout is not taken: {error}");
            tokio::time::sleep(TICK).await;
        }
        self.until(&format!("{name} rests"), || self.book.rests(name)).await?;
        let known = async || {
            let found = deployments.get(name).await;
            found.is_ok_and(|found| {
                found.metadata.labels.unwrap_or_default().contains_key("rollouts.kruise.io/workload-type")
            })
        };
        while !known().await {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the engine does not know {name}");
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Brings a version: its template, and the label by which the gate's other side knows it.
    pub async fn release(&self, name: &str, version: u64) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let params = PatchParams { field_manager: Some("developer".to_owned()), ..PatchParams::default() };
        deployments.patch(name, &params, &Patch::Merge(&version_of(name, version))).await?;
        Ok(())
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("never: {what}"))
    }

    /// The same, with all the time that there is while leaders are killed: it must come once they are
    /// left alone.
    pub async fn until_after(&self, over: &AtomicBool, holds: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut left = PATIENCE;
        while !holds() {
            tokio::time::sleep(TICK).await;
            if over.load(Ordering::SeqCst) {
                left = left.saturating_sub(TICK);
                anyhow::ensure!(!left.is_zero(), "it never comes");
            }
        }
        Ok(())
    }

    /// Whether a version is out as a whole.
    pub fn is_out(&self, name: &str, version: u64) -> bool {
        self.book.rests(name) && self.book.pods(name, version) == PODS && self.book.all_pods(name) == PODS
    }
}

fn version_of(name: &str, version: u64) -> Value {
    let container = json!({"name": "shop", "image": "localhost/pause:1", "imagePullPolicy": "Never",
        "env": [{"name": "VERSION", "value": version.to_string()}]});
    json!({"metadata": {"labels": {"app": name, "version": version.to_string()}},
        "spec": {"template": {"metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}}})
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
