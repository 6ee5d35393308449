//! A cluster with the engine in it, an application, and a gate whose answers a test gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use probegate::api::{Gate, GateRun};
use probegate::clock::{Clock, SystemClock};
use probegate::cluster::Scope;
use probegate::engine::{Answer, Ask, AskError};
use probegate::model::{Point, Question, Verdict};
use probegate::operator::rollouts::{Parts, Rollouts};
use probegate::store::kubernetes::KubernetesStore;
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Cache, Store, StoreExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Place, own_node};

/// How long anything may take on a busy machine before the story has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the cluster is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The cluster with the engine, shared by all stories.
pub fn kruise() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cluster = own_node("kruise");
        cluster.script().run(&["engine", "kruise-rollouts"]);
        cluster.run_anywhere(|place| async move { convert_versions(&place.client).await });
        cluster
    })
}

/// Has the engine convert between the versions of its API, as its own manifests do.
pub async fn convert_versions(client: &kube::Client) {
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let hook = async || {
        let found = hooks.list(&ListParams::default()).await.unwrap().items.into_iter().filter_map(|one| one.webhooks);
        let mut configs = found.flatten().map(|hook| hook.client_config);
        configs.find(|config| config.ca_bundle.is_some() && config.url.is_some())
    };
    let mut config = None;
    while config.is_none() {
        tokio::time::sleep(TICK).await;
        config = hook().await;
    }
    let mut url: hyper::Uri = config.as_ref().unwrap().url.clone().unwrap().parse().unwrap();
    url = format!("https://{}/convert", url.authority().unwrap()).parse().unwrap();
    let bundle = config.unwrap().ca_bundle;
    let conversion = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": {"url": url.to_string(), "caBundle": bundle}}}}});
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "rollouts.rollouts.kruise.io";
    definitions.patch(name, &PatchParams::default(), &Patch::Merge(&conversion)).await.unwrap();
}

/// A gate that answers as it is told, and keeps its runs in the cluster.
pub struct Scripted {
    client: kube::Client,
    said: watch::Sender<BTreeMap<(u32, Point), Verdict>>,
    /// Everything that was asked: revision, batch, point.
    pub asked: Mutex<Vec<(String, u32, Point)>>,
    /// The questions that have a run.
    made: Mutex<BTreeSet<String>>,
}

impl Scripted {
    async fn run(&self, question: &Question, verdict: Verdict) -> String {
        let name = format!("{}-{}", question.gate, question.key());
        let runs: Api<GateRun> = Api::namespaced(self.client.clone(), &question.namespace);
        let spec =
            json!({"gate": question.gate, "change": question.change, "batch": question.batch, "point": question.point});
        let run =
            json!({"apiVersion": "probegate.io/v1alpha1", "kind": "GateRun", "metadata": {"name": name}, "spec": spec});
        let _ = runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await;
        let mut status = json!({"apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
            "status": {"verdict": verdict, "reason": "as the test says"}});
        if verdict != Verdict::Wait {
            status["status"]["cause"] = json!("checks");
            status["status"]["conditions"] = json!([{"type": "Decided", "status": "True", "reason": "Said", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        }
        runs.patch_status(&name, &PatchParams::apply("story").force(), &Patch::Apply(&status)).await.unwrap();
        format!("{}/{name}", question.namespace)
    }

    fn verdict(&self, batch: u32, point: Point) -> Verdict {
        self.said.borrow().get(&(batch, point)).copied().unwrap_or(Verdict::Wait)
    }
}

#[async_trait]
impl Ask for Scripted {
    async fn ask(&self, question: Question, wait: Duration) -> Result<Answer, AskError> {
        let at = (question.batch.index, question.point);
        let new = (question.change.revision.clone(), at.0, at.1);
        let first = self.made.lock().unwrap().insert(question.key().to_string());
        {
            let mut asked = self.asked.lock().unwrap();
            if !asked.contains(&new) {
                asked.push(new);
            }
        }
        let mut verdict = self.verdict(at.0, at.1);
        if verdict == Verdict::Wait {
            let mut said = self.said.subscribe();
            let changed = said.wait_for(|said| said.get(&at).is_some_and(|verdict| *verdict != Verdict::Wait));
            let _ = tokio::time::timeout(wait, changed).await;
            verdict = self.verdict(at.0, at.1);
        }
        let id = if first || verdict != Verdict::Wait {
            self.run(&question, verdict).await
        } else {
            format!("{}/{}-{}", question.namespace, question.gate, question.key())
        };
        let reason = "as the test says".to_owned();
        Ok(Answer { verdict, id, reason, until: None, retry_after_seconds: None, checks: Vec::new() })
    }

    async fn cancel(&self, _: &str, run: &str, _: &str, _: &str) -> Result<Answer, AskError> {
        Err(AskError::NoRun(run.to_owned()))
    }
}

/// One story's world.
pub struct World {
    pub place: Place,
    pub gate: Arc<Scripted>,
    store: Arc<dyn Store>,
    gates: Cache<Gate>,
    resource: ApiResource,
    workload: ApiResource,
    operator: Mutex<Option<(CancellationToken, tokio::task::JoinHandle<()>)>>,
}

/// What a story wants to be different.
pub struct Setting {
    pub version: &'static str,
    pub spec: Value,
    pub on_block: &'static str,
    pub annotated: bool,
    /// The kind of the workload.
    pub kind: &'static str,
    /// The gate's checks before a batch; the answers are scripted whatever they are.
    pub checks: Value,
}

pub fn canary(steps: &Value) -> Setting {
    canary_of("Deployment", steps)
}

/// The same over a workload of another kind.
pub fn canary_of(kind: &'static str, steps: &Value) -> Setting {
    let spec = json!({"workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "shop"},
        "strategy": {"paused": true, "canary": {"steps": steps}}});
    Setting { version: "v1beta1", spec, on_block: "hold", annotated: false, kind, checks: json!([]) }
}

/// Steps that stop: one pod, two pods, three pods of four.
pub fn steps() -> Value {
    json!([{"replicas": 1, "pause": {}}, {"replicas": 2, "pause": {}}, {"replicas": 3, "pause": {}}])
}

pub fn story(setting: Setting, tell: impl AsyncFnOnce(Arc<World>) + Send) {
    kruise().run(|place| async move {
        let world = Arc::new(World::new(place, &setting).await);
        tell(Arc::clone(&world)).await;
        world.stop().await;
    });
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "shop", "image": "localhost/pause:1", "imagePullPolicy": "Never", "env": [{"name": "VERSION", "value": version}]}]}})
}

impl World {
    async fn new(place: Place, setting: &Setting) -> Self {
        let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        let (gates, follow) = Cache::<Gate>::follow(Arc::clone(&store));
        tokio::spawn(follow);
        let gvk = GroupVersionKind::gvk("rollouts.kruise.io", setting.version, "Rollout");
        let gate = Arc::new(Scripted {
            client: place.client.clone(),
            said: watch::Sender::new(BTreeMap::new()),
            asked: Mutex::default(),
            made: Mutex::default(),
        });
        let resource = ApiResource::from_gvk_with_plural(&gvk, "rollouts");
        let kind = GroupVersionKind::gvk("apps", "v1", setting.kind);
        let workload = ApiResource::from_gvk_with_plural(&kind, &format!("{}s", setting.kind.to_lowercase()));
        let world = Self { place, gate, store, gates, resource, workload, operator: Mutex::default() };
        world.apply(setting).await;
        world.start();
        world
    }

    async fn apply(&self, setting: &Setting) {
        let namespace = &self.place.namespace;
        let mut workload = json!({"apiVersion": "apps/v1", "kind": setting.kind, "metadata": {"name": "shop", "labels": {"app": "shop"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "shop"}}, "template": template("1")}});
        if setting.kind == "StatefulSet" {
            workload["spec"]["serviceName"] = json!("shop");
            workload["spec"]["podManagementPolicy"] = json!("Parallel");
        }
        self.workloads().create(&PostParams::default(), &serde_json::from_value(workload).unwrap()).await.unwrap();
        let target = if setting.annotated {
            json!({"apiVersion": "apps/v1", "kind": setting.kind, "name": "shop"})
        } else {
            json!({"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "name": "shop-rollout"})
        };
        let gate = json!({"apiVersion": "probegate.io/v1alpha1", "kind": "Gate", "metadata": {"name": "shop", "namespace": namespace},
            "spec": {"target": {"workloadRef": target}, "pre": {"checks": setting.checks}, "post": {"onBlock": setting.on_block, "checks": []}}});
        let gate: Gate = serde_json::from_value(gate).unwrap();
        self.store.create_as(&gate).await.unwrap();
        self.gate_api().create(&PostParams::default(), &gate).await.unwrap();
        self.until("all pods are ready", async || self.ready_pods("1").await == 4).await;
        let annotations = if setting.annotated { json!({"probegate.io/gate": "shop"}) } else { json!({}) };
        let mut rollout = json!({"apiVersion": format!("rollouts.kruise.io/{}", setting.version), "kind": "Rollout",
            "metadata": {"name": "shop-rollout", "annotations": annotations}});
        rollout["spec"] = setting.spec.clone();
        let rollout: DynamicObject = serde_json::from_value(rollout).unwrap();
        // The engine's webhooks answer some time after its process has started.
        self.until("the rollout is taken", async || {
            self.rollouts().create(&PostParams::default(), &rollout).await.is_ok()
                || self.rollouts().get("shop-rollout").await.is_ok()
        })
        .await;
        self.until("the rollout rests", async || {
            self.status("/status/phase").await == json!("Healthy")
                && self.workloads().get("shop").await.is_ok_and(|shop| {
                    shop.metadata.labels.unwrap_or_default().contains_key("rollouts.kruise.io/workload-type")
                })
        })
        .await;
    }

    /// Starts an operator, or the next one after [`Self::stop`].
    pub fn start(&self) {
        let scope = Scope::new([self.place.namespace.clone()], None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> = KubernetesStore::open(&self.place.connection, scope.clone());
        let rollouts = Rollouts::new(Parts {
            store,
            client: self.place.client.clone(),
            scope,
            gates: self.gates.clone(),
            ask: Arc::clone(&self.gate) as Arc<dyn Ask>,
            clock,
            replica: "story".to_owned(),
        });
        let token = CancellationToken::new();
        let stop = token.clone();
        let task = tokio::spawn(async move { rollouts.run(stop).await });
        *self.operator.lock().unwrap() = Some((token, task));
    }

    /// Ends the operator, with whatever look was under way.
    pub async fn stop(&self) {
        let operator = self.operator.lock().unwrap().take();
        if let Some((token, task)) = operator {
            token.cancel();
            task.await.unwrap();
        }
    }

    pub fn say(&self, batch: u32, point: Point, verdict: Verdict) {
        self.gate.said.send_modify(|said| {
            said.insert((batch, point), verdict);
        });
    }

    pub fn forget(&self) {
        self.gate.said.send_modify(BTreeMap::clear);
    }

    pub fn say_all(&self, verdict: Verdict) {
        for batch in 1..=3 {
            self.say(batch, Point::Pre, verdict);
            self.say(batch, Point::Post, verdict);
        }
    }

    pub fn was_asked(&self, revision: Option<&str>, batch: u32, point: Point) -> bool {
        let asked = self.gate.asked.lock().unwrap();
        asked.iter().any(|(of, index, at)| (*index, *at) == (batch, point) && revision.is_none_or(|one| one == of))
    }

    pub fn workloads(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.place.client.clone(), &self.place.namespace, &self.workload)
    }

    pub fn rollouts(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.place.client.clone(), &self.place.namespace, &self.resource)
    }

    pub fn gate_api(&self) -> Api<Gate> {
        Api::namespaced(self.place.client.clone(), &self.place.namespace)
    }

    /// Changes the application, as `kubectl set env` does.
    pub async fn release(&self, version: &str) {
        let patch = json!({"spec": {"template": template(version)}});
        let params = PatchParams { field_manager: Some("developer".to_owned()), ..PatchParams::default() };
        self.workloads().patch("shop", &params, &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn person(&self, spec: &Value, status: bool) {
        let params = PatchParams { field_manager: Some("alice".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(spec);
        if status {
            self.rollouts().patch_status("shop-rollout", &params, &patch).await.unwrap();
        } else {
            self.rollouts().patch("shop-rollout", &params, &patch).await.unwrap();
        }
    }

    pub async fn rollout(&self) -> Value {
        self.rollouts().get("shop-rollout").await.map(|found| serde_json::to_value(found).unwrap()).unwrap_or_default()
    }

    pub async fn status(&self, pointer: &str) -> Value {
        self.rollout().await.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Pods of a version that are there and ready.
    pub async fn ready_pods(&self, version: &str) -> usize {
        let pods: Api<Pod> = Api::namespaced(self.place.client.clone(), &self.place.namespace);
        let found = pods.list(&ListParams::default().labels("app=shop")).await.unwrap();
        let is = |pod: &&Pod| {
            let value = serde_json::to_value(pod).unwrap();
            let ready = value.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|conditions| {
                conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
            });
            value["spec"]["containers"][0]["env"][0]["value"] == version
                && value["metadata"]["deletionTimestamp"].is_null()
                && ready
        };
        found.iter().filter(is).count()
    }

    /// Whether step `index` waits, held by us.
    pub async fn waits_at(&self, index: u32) -> bool {
        let rollout = self.rollout().await;
        let steps = rollout.pointer("/status/canaryStatus").or_else(|| rollout.pointer("/status/blueGreenStatus"));
        let steps = steps.cloned().unwrap_or_default();
        rollout["spec"]["strategy"]["paused"] == true
            && rollout["status"]["phase"] == "Progressing"
            && steps["currentStepIndex"] == index
            && steps["currentStepState"] == "StepPaused"
    }

    pub async fn is_healthy_with(&self, version: &str) -> bool {
        self.status("/status/phase").await == json!("Healthy") && self.ready_pods(version).await == 4
    }

    pub async fn runs(&self) -> Vec<GateRun> {
        let runs: Api<GateRun> = Api::namespaced(self.place.client.clone(), &self.place.namespace);
        runs.list(&ListParams::default()).await.unwrap().items
    }

    /// The bypasses that runs tell: how, by whom.
    pub async fn bypasses(&self) -> Vec<(String, Option<String>)> {
        let runs = self.runs().await;
        let found = runs.into_iter().filter_map(|run| run.status?.bypassed).map(|one| (one.how, one.by));
        found.collect()
    }

    /// Reasons of the Events about the rollout.
    pub async fn events(&self) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.place.client.clone(), &self.place.namespace);
        let found = events.list(&ListParams::default()).await.unwrap().items;
        let ours = found.into_iter().filter(|event| event.reporting_controller.as_deref() == Some("probegate"));
        ours.filter_map(|event| event.reason).collect()
    }

    pub async fn until(&self, what: &str, is: impl AsyncFn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !is().await {
                tokio::time::sleep(TICK).await;
            }
        });
        if waited.await.is_err() {
            let rollout = serde_json::to_string_pretty(&self.rollout().await).unwrap();
            let asked = self.gate.asked.lock().unwrap().clone();
            panic!("not in time: {what}\nasked {asked:?}\nevents {:?}\n{rollout}", self.events().await);
        }
    }
}
