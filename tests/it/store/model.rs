//! Any sequence of operations gives what a list in memory gives, and so does a watch.

use std::collections::BTreeMap;

use futures::StreamExt;
use probegate::model::Labels;
use probegate::store::{Object, Query, Store, StoreError, WatchEvent};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::home::{Home, decided, names, object, version, with_status};

#[derive(Debug, Clone)]
enum Step {
    Create { at: At, tier: Option<u8>, decided: bool },
    Put { at: At, tier: Option<u8>, spec: u8, expect: Expect },
    PutStatus { at: At, decided: bool, text: u8, expect: Expect },
    Delete { at: At, expect: Expect },
    List { filter: Filter, limit: usize },
}

/// Few names in few namespaces, so that steps meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    namespace: u8,
    name: u8,
}

/// Which version a write names.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    Current,
    Stale,
}

#[derive(Debug, Clone, Copy)]
struct Filter {
    namespace: Option<u8>,
    tier: Option<u8>,
    decided: Option<bool>,
}

fn at() -> impl Strategy<Value = At> {
    (0..2_u8, 0..4_u8).prop_map(|(namespace, name)| At { namespace, name })
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![Just(Expect::Any), Just(Expect::Current), Just(Expect::Stale)]
}

fn tier() -> impl Strategy<Value = Option<u8>> {
    proptest::option::of(0..2_u8)
}

fn filter() -> impl Strategy<Value = Filter> {
    (proptest::option::of(0..2_u8), tier(), any::<Option<bool>>()).prop_map(|(namespace, tier, decided)| Filter {
        namespace,
        tier,
        decided,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (at(), tier(), any::<bool>()).prop_map(|(at, tier, decided)| Step::Create { at, tier, decided }),
        2 => (at(), tier(), 0..3_u8, expect()).prop_map(|(at, tier, spec, expect)| Step::Put { at, tier, spec, expect }),
        2 => (at(), any::<bool>(), 0..3_u8, expect())
            .prop_map(|(at, decided, text, expect)| Step::PutStatus { at, decided, text, expect }),
        1 => (at(), expect()).prop_map(|(at, expect)| Step::Delete { at, expect }),
        2 => (filter(), 0..4_usize).prop_map(|(filter, limit)| Step::List { filter, limit }),
    ]
}

impl At {
    fn namespace(self) -> String {
        format!("ns-{}", self.namespace)
    }

    fn name(self) -> String {
        format!("run-{}", self.name)
    }

    fn object(self, tier: Option<u8>, spec: u8, status: Value) -> Object {
        let labels = tier.map_or_else(|| json!({}), |tier| json!({"tier": tier.to_string()}));
        let gate = json!({"gate": format!("gate-{spec}")});
        with_status(object("GateRun", &self.namespace(), &self.name(), labels, gate), status)
    }
}

impl Filter {
    fn query(self) -> Query {
        Query {
            namespace: self.namespace.map(|namespace| format!("ns-{namespace}")),
            labels: self.tier.map(|tier| ("tier".to_owned(), tier.to_string())).into_iter().collect::<Labels>(),
            decided: self.decided,
            ..Query::default()
        }
    }

    fn takes(self, entry: &Entry) -> bool {
        self.namespace.is_none_or(|namespace| namespace == entry.at.namespace)
            && self.tier.is_none_or(|tier| Some(tier) == entry.tier)
            && self.decided.is_none_or(|decided| decided == entry.decided)
    }
}

fn status(is_decided: bool, text: u8) -> Value {
    let mut status = if is_decided { decided() } else { json!({"verdict": "wait"}) };
    status["reason"] = json!(text);
    status
}

/// What the model knows of one resource.
#[derive(Debug, Clone)]
struct Entry {
    at: At,
    tier: Option<u8>,
    spec: u8,
    decided: bool,
    text: u8,
    generation: u64,
    version: String,
    stale: String,
}

/// The oldest first.
#[derive(Debug, Default)]
struct Model(Vec<Entry>);

impl Model {
    fn find(&mut self, at: At) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.at == at)
    }
}

/// What a write must come to.
fn expected(entry: Option<&Entry>, expect: Expect) -> Result<Option<String>, &'static str> {
    match (entry, expect) {
        (None, _) => Err("missing"),
        (Some(_), Expect::Any) => Ok(None),
        (Some(entry), Expect::Current) => Ok(Some(entry.version.clone())),
        (Some(_), Expect::Stale) => Err("conflict"),
    }
}

fn told<T>(result: &Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(StoreError::NotFound { .. }) => "missing",
        Err(StoreError::Exists { .. }) => "exists",
        Err(StoreError::Conflict { .. }) => "conflict",
        Err(StoreError::Invalid(_)) => "invalid",
        Err(StoreError::Unavailable { .. }) => "unavailable",
    }
}

async fn take(store: &dyn Store, model: &mut Model, step: Step) {
    match step {
        Step::Create { at, tier, decided } => {
            let result = store.create(at.object(tier, 0, status(decided, 0))).await;
            if model.find(at).is_some() {
                return assert_eq!(told(&result), "exists");
            }
            let version = version(&result.unwrap());
            let stale = "0".to_owned();
            model.0.push(Entry { at, tier, spec: 0, decided, text: 0, generation: 1, version, stale });
        }
        Step::Put { at, tier, spec, expect } => {
            // The status that comes along must not matter.
            let object = at.object(tier, spec, json!({"verdict": "block"}));
            let changes = |entry: &Entry| entry.tier != tier || entry.spec != spec;
            write(store, model, at, expect, object, false, changes, |entry| {
                entry.generation += u64::from(entry.spec != spec);
                (entry.tier, entry.spec) = (tier, spec);
            })
            .await;
        }
        Step::PutStatus { at, decided, text, expect } => {
            // Nor the labels and the spec here.
            let object = at.object(Some(1), 2, status(decided, text));
            let changes = |entry: &Entry| (entry.decided, entry.text) != (decided, text);
            write(store, model, at, expect, object, true, changes, |entry| {
                (entry.decided, entry.text) = (decided, text);
            })
            .await;
        }
        Step::Delete { at, expect } => {
            let entry = model.find(at).cloned();
            let (namespace, name) = (at.namespace(), at.name());
            let stale = entry.as_ref().map_or_else(|| "1".to_owned(), |entry| entry.stale.clone());
            let plan = expected(entry.as_ref(), expect);
            let version = plan.clone().unwrap_or(Some(stale));
            let result = store.delete("GateRun", &namespace, &name, version.as_deref()).await;
            assert_eq!(told(&result), plan.as_ref().err().copied().unwrap_or("ok"));
            if plan.is_ok() {
                model.0.retain(|entry| entry.at != at);
            }
        }
        Step::List { filter, limit } => list(store, model, filter, limit).await,
    }
}

#[expect(clippy::too_many_arguments, reason = "two kinds of put differ in all of these")]
async fn write(
    store: &dyn Store,
    model: &mut Model,
    at: At,
    expect: Expect,
    mut object: Object,
    of_status: bool,
    changes: impl FnOnce(&Entry) -> bool,
    apply: impl FnOnce(&mut Entry),
) {
    let entry = model.find(at);
    let plan = expected(entry.as_deref(), expect);
    let stale = entry.as_deref().map_or_else(|| "1".to_owned(), |entry| entry.stale.clone());
    if let Some(version) = plan.clone().unwrap_or(Some(stale)) {
        object.body["metadata"]["resourceVersion"] = json!(version);
    }
    let result = if of_status { store.put_status(object).await } else { store.put(object).await };
    assert_eq!(told(&result), plan.as_ref().err().copied().unwrap_or("ok"));
    let (Ok(written), Some(entry)) = (result, entry) else { return };
    let differs = changes(entry);
    apply(entry);
    assert_eq!(version(&written) != entry.version, differs, "a version for every change, and for nothing else");
    if differs {
        entry.stale = std::mem::replace(&mut entry.version, version(&written));
    }
    check(entry, &written);
}

fn check(entry: &Entry, object: &Object) {
    let tier = entry.tier.map(|tier| tier.to_string());
    assert_eq!(object.body["metadata"]["labels"].get("tier").and_then(Value::as_str), tier.as_deref());
    assert_eq!(object.body["metadata"]["generation"], entry.generation);
    assert_eq!(object.body["spec"]["gate"], format!("gate-{}", entry.spec));
    assert_eq!(object.body["status"], status(entry.decided, entry.text));
    assert_eq!(version(object), entry.version);
}

async fn list(store: &dyn Store, model: &Model, filter: Filter, limit: usize) {
    let wanted: Vec<&Entry> = model.0.iter().rev().filter(|entry| filter.takes(entry)).collect();
    let (mut found, mut query) = (Vec::new(), Query { limit, ..filter.query() });
    loop {
        let page = store.list("GateRun", &query).await.unwrap();
        assert!(limit == 0 || page.items.len() <= limit);
        assert!(page.next.is_none() || !page.items.is_empty(), "an empty page must be the last");
        found.extend(page.items);
        query.after = match page.next {
            Some(next) => Some(next),
            None => break,
        };
    }
    assert_eq!(found.len(), wanted.len(), "{:?}", names(&found));
    for (entry, object) in wanted.into_iter().zip(&found) {
        assert_eq!((&object.namespace, &object.name), (&entry.at.namespace(), &entry.at.name()));
        check(entry, object);
    }
}

/// Plays a watch until it has told of the sentinel, and gives what it leaves behind.
async fn watched(
    store: &dyn Store,
    filter: Filter,
    steps: Vec<Step>,
    model: &mut Model,
) -> BTreeMap<(String, String), Object> {
    let mut events = store.watch("GateRun", filter.query());
    let mut seen = BTreeMap::new();
    let half = steps.len() / 2;
    for (index, step) in steps.into_iter().enumerate() {
        if index == half {
            let Some(Ok(WatchEvent::Listed(objects))) = events.next().await else { panic!("a list comes first") };
            seen =
                objects.into_iter().map(|object| ((object.namespace.clone(), object.name.clone()), object)).collect();
        }
        take(store, model, step).await;
    }
    let labels = filter.tier.map_or_else(|| json!({}), |tier| json!({"tier": tier.to_string()}));
    let namespace = format!("ns-{}", filter.namespace.unwrap_or(0));
    let end = object("GateRun", &namespace, "end", labels, json!({}));
    let end = with_status(end, status(filter.decided.unwrap_or(true), 0));
    store.create(end).await.unwrap();
    loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Listed(objects) => {
                seen = objects
                    .into_iter()
                    .map(|object| ((object.namespace.clone(), object.name.clone()), object))
                    .collect();
            }
            WatchEvent::Applied(object) if object.name == "end" => return seen,
            WatchEvent::Applied(object) => {
                seen.insert((object.namespace.clone(), object.name.clone()), object);
            }
            WatchEvent::Deleted(object) => {
                let gone = seen.remove(&(object.namespace, object.name));
                assert!(gone.is_some(), "deleted what was never told");
            }
        }
        if seen.keys().any(|(_, name)| name == "end") {
            seen.retain(|(_, name), _| name != "end");
            return seen;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_give_what_a_list_in_memory_gives(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let opened = Home::Memory.open();
            let mut model = Model::default();
            for step in steps {
                take(opened.store.as_ref(), &mut model, step).await;
            }
            list(opened.store.as_ref(), &model, Filter { namespace: None, tier: None, decided: None }, 0).await;
        });
    }

    #[test]
    fn a_watch_played_to_its_end_has_what_a_list_has(
        steps in proptest::collection::vec(step(), 2..50),
        filter in filter(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let opened = Home::Memory.open();
            let mut model = Model::default();
            let seen = watched(opened.store.as_ref(), filter, steps, &mut model).await;
            let wanted: Vec<&Entry> = model.0.iter().filter(|entry| filter.takes(entry)).collect();
            assert_eq!(seen.len(), wanted.len());
            for entry in wanted {
                check(entry, &seen[&(entry.at.namespace(), entry.at.name())]);
            }
        });
    }
}
