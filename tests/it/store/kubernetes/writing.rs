//! Writes, and an API server that refuses, loses or delays them.

use std::time::Duration;

use jiff::Timestamp;
use probegate::cluster::Scope;
use probegate::store::kubernetes::KubernetesStore;
use probegate::store::{BUDGET_BYTES, Query, Retention, Store, StoreError};
use rstest::rstest;
use serde_json::json;

use super::super::home::{decided, gate, names, object, run, spec, waiting, with_status};
use super::fake::{Fake, Fault};

#[rstest]
#[case::text(
    Fault::Status(500, "etcd is gone", None),
    "while writing the status of GateRun shop/a: the API server says 500: etcd is gone"
)]
#[case::slow(
    Fault::Slow(Duration::from_secs(3_600)),
    "while writing the status of GateRun shop/a: the API server has not answered within 10s"
)]
#[case::throttled(
    Fault::Status(429, "slow down", Some(60)),
    "while writing the status of GateRun shop/a: too many requests"
)]
#[case::broken(
    Fault::Text("{"),
    "while writing the status of GateRun shop/a: the API server's answer cannot be read: EOF while parsing an object at line 1 column 1"
)]
#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_acknowledged_is_not_written(#[case] fault: Fault, #[case] message: &str) {
    let fake = Fake::new();
    let store = fake.store();
    let created = store.create(run("a")).await.unwrap();
    fake.fault("patch", fault);
    let begun = tokio::time::Instant::now();

    let error = store.put_status(with_status(created.clone(), decided())).await.unwrap_err();

    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert_eq!(error.to_string(), message);
    assert!(begun.elapsed() <= Duration::from_secs(10));
    assert_eq!(fake.calls_of("patch").len(), 1, "whoever asks tries again, and nobody behind its back");
    let put = store.put_status(with_status(created, decided())).await.unwrap();
    assert_eq!(put.body["status"], decided());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_turned_away_for_a_moment_is_made_again() {
    let fake = Fake::new();
    let store = fake.store();
    fake.fault("create", Fault::Status(429, "slow down", Some(1)));
    let created = store.create(run("a")).await.unwrap();
    fake.fault("patch", Fault::Status(429, "slow down", Some(1)));

    let put = store.put_status(with_status(created, decided())).await.unwrap();

    assert_eq!(put.body["status"], decided());
    assert_eq!((fake.calls_of("create").len(), fake.calls_of("patch").len()), (2, 2));
}

#[rstest]
#[case::forbidden(
    Fault::Status(
        403,
        "{\"kind\":\"Status\",\"code\":403,\"reason\":\"Forbidden\",\"message\":\"no such right\"}",
        None
    ),
    "while creating GateRun shop/a: not allowed to create gateruns.probegate.io: no such right"
)]
#[case::no_namespace(
    Fault::Status(
        404,
        "{\"kind\":\"Status\",\"code\":404,\"reason\":\"NotFound\",\"message\":\"m\",\"details\":{\"kind\":\"namespaces\",\"name\":\"shop\"}}",
        None
    ),
    "GateRun shop/a: there is no namespace shop"
)]
#[case::refused(
    Fault::Status(
        422,
        "{\"kind\":\"Status\",\"code\":422,\"reason\":\"Invalid\",\"message\":\"spec.point: Required value\"}",
        None
    ),
    "GateRun shop/a: spec.point: Required value"
)]
#[tokio::test(start_paused = true)]
async fn a_refusal_says_why(#[case] fault: Fault, #[case] message: &str) {
    let fake = Fake::new();
    fake.fault("create", fault);

    assert_eq!(fake.store().create(run("a")).await.unwrap_err().to_string(), message);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_ends_between_its_two_calls_leaves_an_open_run() {
    let fake = Fake::new();
    let store = fake.store();
    fake.fault("patch", Fault::Status(500, "etcd is gone", None));

    let error = store.create(with_status(run("a"), decided())).await.unwrap_err();

    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let left = store.get("GateRun", "shop", "a").await.unwrap().unwrap();
    assert_eq!(left.body.get("status"), None, "no verdict, so whoever finds it takes it up");
    let again = store.create(with_status(run("a"), decided())).await.unwrap_err();
    assert!(matches!(again, StoreError::Exists { .. }), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_without_a_version_outlives_a_storm_of_conflicts() {
    let fake = Fake::new();
    let store = fake.store();
    store.create(gate("a")).await.unwrap();
    let conflict = "{\"kind\":\"Status\",\"code\":409,\"reason\":\"Conflict\",\"message\":\"m\"}";
    for _ in 0..5 {
        fake.fault("update", Fault::Status(409, conflict, None));
    }
    let mut changed = gate("a");
    changed.body["spec"]["target"]["names"] = json!(["other"]);

    let put = store.put(changed.clone()).await.unwrap();
    assert_eq!(put.body["spec"]["target"]["names"], json!(["other"]));

    fake.outage("update", Some(Fault::Status(409, conflict, None)));
    changed.body["spec"]["target"]["names"] = json!(["third"]);
    let error = store.put(changed).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert!(fake.calls_of("update").len() < 20, "a storm has an end");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_calls_nobody_or_nothing_but_a_read() {
    let fake = Fake::new();
    let store = fake.store();
    let created = store.create(with_status(gate("a"), json!({"conditions": []}))).await.unwrap();
    store.list("Gate", &Query::default()).await.unwrap();
    let calls = fake.calls().len();

    assert_eq!(store.put_status(created.clone()).await.unwrap(), created);
    assert_eq!(fake.calls().len(), calls);
    assert_eq!(store.put(gate("a")).await.unwrap(), created);
    assert_eq!(fake.calls_of("update").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_with_too_much_evidence_is_written_with_less_and_says_so() {
    let fake = Fake::new();
    let store = fake.store();
    let points: Vec<_> = (0..60_000).map(|at| json!([at, "0.001"])).collect();
    let mut status = decided();
    status["checks"] = json!([{
        "name": "errors", "kind": "metric", "mode": "enforce", "outcome": "pass", "summary": "fine",
        "evidence": {"query": "up", "series": [{"points": points}]}
    }]);

    let created = store.create(with_status(run("a"), status)).await.unwrap();

    let stored = fake.stored("gateruns", "a").unwrap();
    assert!(stored["status"].to_string().len() <= BUDGET_BYTES);
    let evidence = &created.body["status"]["checks"][0]["evidence"];
    assert_eq!(evidence["trimmed"]["everyNthPoint"], 4);
    assert_eq!(evidence["query"], "up");
    assert_eq!(created.body["status"]["verdict"], "pass");
}

#[tokio::test(start_paused = true)]
async fn an_instance_claims_what_it_makes_and_sees_nothing_else() {
    let fake = Fake::new();
    let scope = Scope::new(Vec::new(), Some("blue".to_owned())).unwrap();
    let blue = KubernetesStore::open(&fake.connection(), scope);
    let nobodys = fake.store();

    let created = blue.create(gate("a")).await.unwrap();
    assert_eq!(created.body["metadata"]["labels"]["probegate.io/instance"], "blue");
    // A file does not name the instance, and the object stays ours.
    let mut file = gate("a");
    file.body["spec"]["target"]["names"] = json!(["other"]);
    assert_eq!(blue.put(file).await.unwrap().body["metadata"]["labels"]["probegate.io/instance"], "blue");

    assert!(blue.get("Gate", "shop", "a").await.unwrap().is_some());
    assert_eq!(nobodys.get("Gate", "shop", "a").await.unwrap(), None);
    let error = nobodys.put(gate("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    blue.list("Gate", &Query::default()).await.unwrap();
    let calls = fake.calls_of("list");
    assert!(calls[0].contains("labelSelector=probegate.io%2Finstance%3Dblue"), "{}", calls[0]);
}

#[tokio::test(start_paused = true)]
async fn other_namespaces_do_not_exist_for_a_restricted_operator() {
    let fake = Fake::new();
    let scope = Scope::new(["mall".to_owned(), "bank".to_owned()], None).unwrap();
    let store = KubernetesStore::open(&fake.connection(), scope);

    assert_eq!(store.get("Gate", "shop", "a").await.unwrap(), None);
    assert!(matches!(store.delete("Gate", "shop", "a", None).await, Err(StoreError::NotFound { .. })));
    let error = store.create(gate("a")).await.unwrap_err();
    assert_eq!(error.to_string(), "Gate shop/a: the namespace is not among those of this operator");
    assert_eq!(fake.calls(), Vec::<String>::new());

    store.list("Gate", &Query::default()).await.unwrap();
    let places: Vec<bool> = ["mall", "bank"].map(|place| fake.calls().iter().any(|call| call.contains(place))).into();
    assert_eq!(places, [true, true]);
}

#[rstest]
#[case("..", "a")]
#[case("shop", "../../secrets/x")]
#[case("shop", "a?watch=true")]
#[case("shop", "")]
#[tokio::test(start_paused = true)]
async fn what_is_no_name_never_becomes_a_path(#[case] namespace: &str, #[case] name: &str) {
    let fake = Fake::new();
    let store = fake.store();

    assert_eq!(store.get("Gate", namespace, name).await.unwrap(), None);
    assert!(matches!(store.delete("Gate", namespace, name, None).await, Err(StoreError::NotFound { .. })));
    let query = Query {
        namespace: Some(namespace.to_owned()),
        labels: [("a".to_owned(), name.to_owned()), ("b,c".to_owned(), "x".to_owned())].into(),
        ..Query::default()
    };
    assert_eq!(store.list("Gate", &query).await.unwrap().items, []);
    assert_eq!(fake.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn readiness_is_an_answer_of_the_api_server() {
    let fake = Fake::new();
    let store = fake.store();
    store.ready().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;

    fake.outage("list", Some(Fault::Slow(Duration::from_secs(60))));
    let begun = tokio::time::Instant::now();
    store.ready().await.expect("it is slow, and was there a moment ago");
    assert_eq!(begun.elapsed(), Duration::from_millis(500), "whoever asks does not wait for it");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = store.ready().await.unwrap_err().to_string();
    assert_eq!(error, "while looking whether the API server answers: the API server does not answer");

    fake.outage("list", None);
    store.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn decided_runs_beyond_count_and_age_are_forgotten_the_oldest_first() {
    let fake = Fake::new();
    let store = fake.store();
    let stored = |name: &str, created: &str, status| {
        fake.put(
            "gateruns",
            name,
            &json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec(), "status": status}),
        );
    };
    stored("ancient", "2026-01-01T00:00:00Z", decided());
    stored("ancient-open", "2026-01-01T00:00:00Z", waiting("soak"));
    stored("old", "2026-11-20T00:00:00Z", decided());
    stored("newer", "2026-11-21T00:00:00Z", decided());
    stored("newest", "2026-11-21T12:00:00Z", decided());
    let now: Timestamp = "2026-11-21T13:00:00Z".parse().unwrap();

    let forgotten = store.forget_once(&Retention { runs: 2, ..KubernetesStore::retention() }, now).await.unwrap();

    assert_eq!((forgotten.runs, forgotten.overrides), (2, 0));
    let left = store.list("GateRun", &Query { brief: true, ..Query::default() }).await.unwrap();
    assert_eq!(names(&left.items), ["newest", "newer", "ancient-open"]);
    let deletions = fake.calls_of("delete");
    assert!(deletions[0].contains("/ancient?") && deletions[1].contains("/old?"), "{deletions:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_kind_that_is_none_is_refused() {
    let store = Fake::new().store();
    let error = store.create(object("Pod", "shop", "a", json!({}), json!({}))).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no kind Pod");
}
