//! What only a real API server can show.

use std::time::Duration;

use futures::StreamExt;
use probegate::cluster::Scope;
use probegate::store::kubernetes::KubernetesStore;
use probegate::store::{Query, Store, StoreError, WatchEvent};
use serde_json::json;

use super::super::home::{decided, gate, names, object, run, spec, waiting, with_status};
use crate::cluster::{control_plane, own_control_plane};

/// How long a control plane may take to come back on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn placed(mut object: probegate::store::Object, namespace: &str) -> probegate::store::Object {
    namespace.clone_into(&mut object.namespace);
    object.body["metadata"]["namespace"] = json!(namespace);
    object
}

#[test]
fn two_instances_share_a_cluster_and_see_only_their_own() {
    control_plane().run(|place| async move {
        let open = |name: &str| {
            let instance = Some(format!("{}-{name}", place.namespace));
            KubernetesStore::open(&place.connection, Scope::new(Vec::new(), instance).unwrap())
        };
        let (blue, green) = (open("blue"), open("green"));
        let mut events = green.watch("Gate", Query::default());
        assert_eq!(events.next().await.unwrap().unwrap(), WatchEvent::Listed(Vec::new()));

        blue.create(placed(gate("b"), &place.namespace)).await.unwrap();
        let created = green.create(placed(gate("g"), &place.namespace)).await.unwrap();

        assert_eq!(events.next().await.unwrap().unwrap(), WatchEvent::Applied(created));
        assert_eq!(names(&green.list("Gate", &Query::default()).await.unwrap().items), ["g"]);
        assert_eq!(names(&blue.list("Gate", &Query::default()).await.unwrap().items), ["b"]);
    });
}

#[test]
fn a_status_is_written_by_one_manager_and_nonsense_by_hand_is_taken_over() {
    control_plane().run(|place| async move {
        let scope = Scope::new([place.namespace.clone()], None).unwrap();
        let store = KubernetesStore::open(&place.connection, scope);
        let mut status = decided();
        status["checks"] = json!([{
            "name": "errors", "kind": "metric", "mode": "enforce", "outcome": "pass", "summary": "fine",
            "executions": 1, "evidence": {"a": {"b": [1, 2]}, "c": 1.5}
        }]);
        let created = store.create(with_status(placed(run("a"), &place.namespace), status.clone())).await.unwrap();
        assert_eq!(created.body["status"], status);

        let runs: kube::Api<probegate::api::GateRun> = kube::Api::namespaced(place.client.clone(), &place.namespace);
        let stored = runs.get("a").await.unwrap();
        let managers = stored.metadata.managed_fields.unwrap();
        let of_status: Vec<_> =
            managers.iter().filter(|entry| entry.subresource.as_deref() == Some("status")).collect();
        assert_eq!(of_status.len(), 1);
        assert_eq!(of_status[0].manager.as_deref(), Some("probegate"));
        let fields = serde_json::to_string(&of_status[0].fields_v1).unwrap();
        assert!(!fields.contains("f:b"), "evidence is one unit: {fields}");

        let by_hand = json!({"status": {"reason": "because I say so", "verdict": "block"}});
        let params = kube::api::PatchParams { field_manager: Some("somebody".to_owned()), ..Default::default() };
        runs.patch_status("a", &params, &kube::api::Patch::Merge(&by_hand)).await.unwrap();
        let error = store.put_status(with_status(created.clone(), decided())).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let read = store.get("GateRun", &place.namespace, "a").await.unwrap().unwrap();
        let put = store.put_status(with_status(read, decided())).await.unwrap();
        assert_eq!(put.body["status"], decided());
    });
}

#[test]
fn an_api_server_that_is_killed_is_waited_for() {
    let cluster = own_control_plane("store");
    let (stop, start) = (
        || cluster.script().run(&["stop", "apiserver", "KILL"]),
        || {
            cluster.script().run(&["start", "apiserver"]);
        },
    );
    cluster.run(|place| async move {
        let store = KubernetesStore::open(&place.connection, Scope::everything());
        let run =
            |name: &str| with_status(object("GateRun", &place.namespace, name, json!({}), spec()), waiting("soak"));
        store.create(run("before")).await.unwrap();
        let mut events = store.watch("GateRun", Query { brief: true, ..Query::default() });
        let Ok(WatchEvent::Listed(objects)) = events.next().await.unwrap() else { panic!("a list comes first") };
        assert_eq!(names(&objects), ["before"]);

        tokio::task::block_in_place(stop);
        let error = store.put_status(run("before")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        store.ready().await.unwrap_err();
        let told = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        assert!(told.is_err(), "{told:?}");

        tokio::task::block_in_place(start);
        let until = tokio::time::Instant::now() + PATIENCE;
        while store.ready().await.is_err() {
            assert!(tokio::time::Instant::now() < until, "the API server did not come back");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        store.create(run("after")).await.unwrap();
        loop {
            match tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
                Ok(WatchEvent::Applied(object)) if object.name == "after" => break,
                Ok(WatchEvent::Listed(objects)) if objects.iter().any(|object| object.name == "after") => break,
                _ => {}
            }
        }
    });
}

/// Resident memory of this process in MB.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

#[test]
#[ignore = "makes 16,000 objects, which takes minutes: run it by its name"]
fn a_large_cluster_is_listed_in_seconds_and_held_in_little_memory() {
    let cluster = own_control_plane("large");
    cluster.run(|place| async move {
        let namespace = place.namespace.clone();
        let filler = KubernetesStore::open(&place.connection, Scope::everything());
        let probe = json!({
            "http": {"url": "https://shop.example/healthz", "expect": {"status": [200]}}, "interval": "10s",
            "timeout": "2s", "targets": {"static": ["shop.example:443"]}
        });
        let mut status = decided();
        let points: Vec<_> = (0..60).map(|at| json!([at, "0.001"])).collect();
        status["checks"] = json!([{
            "name": "errors", "kind": "metric", "mode": "enforce", "outcome": "pass", "summary": "fine",
            "evidence": {"query": "up", "series": vec![json!({"labels": {"arm": "canary"}, "points": points}); 10]}
        }]);
        let probes = (0..10_000).map(|number| {
            object(
                "Probe",
                &namespace,
                &format!("probe-{number}"),
                json!({"app": "shop", "tier": "web"}),
                probe.clone(),
            )
        });
        let gates = (0..1_000).map(|number| placed(gate(&format!("gate-{number}")), &namespace));
        let runs =
            (0..5_000).map(|number| with_status(placed(run(&format!("run-{number}")), &namespace), status.clone()));
        futures::stream::iter(probes.chain(gates).chain(runs))
            .for_each_concurrent(32, |object| async { drop(filler.create(object).await.unwrap()) })
            .await;
        drop(filler);
        let before = resident_mb();

        let begun = std::time::Instant::now();
        let store = KubernetesStore::open(&place.connection, Scope::everything());
        let kinds = ["Probe", "Gate", "GateRun", "Override", "ReleaseWindow"];
        let watches = kinds.map(|kind| store.watch(kind, Query { limit: 1, brief: true, ..Query::default() }));
        for mut watch in watches {
            assert!(matches!(watch.next().await.unwrap(), Ok(WatchEvent::Listed(_))));
        }
        let took = begun.elapsed();
        let grown = resident_mb().saturating_sub(before);
        eprintln!("listed in {took:?}, resident {before} MB before and {grown} MB more after");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert!(grown < 200, "{grown} MB");
    });
}
