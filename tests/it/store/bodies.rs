//! Whatever JSON is taken comes back as it was, and nothing makes the store fall over.

use probegate::store::{Object, Query, StoreError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::home::{Home, Opened, object, run, with_status};

/// Any JSON: deep, wide, with every kind of text and number.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("\u{0}\u{7f}\u{2028}\"\\'; DROP TABLE objects; --")),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What is in a body beside what names it: sometimes of the right shape, mostly not.
fn body() -> impl Strategy<Value = Value> {
    let metadata = prop_oneof![
        json_value(),
        (json_value(), json_value(), json_value()).prop_map(|(labels, annotations, version)| {
            json!({"labels": labels, "annotations": annotations, "resourceVersion": version})
        }),
    ];
    prop_oneof![
        json_value(),
        (metadata, json_value(), json_value())
            .prop_map(|(metadata, spec, status)| json!({"metadata": metadata, "spec": spec, "status": status})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn spec_and_status_come_back_as_they_were(spec in json_value(), status in json_value()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Opened { store, .. } = &Home::Memory.open();
            let created = store.create(with_status(object("GateRun", "shop", "a", json!({}), spec.clone()), status.clone())).await.unwrap();
            assert_eq!(created.body["spec"], spec);
            assert_eq!(created.body["status"], status);
            assert_eq!(store.get("GateRun", "shop", "a").await.unwrap(), Some(created));
        });
    }

    #[test]
    fn any_body_is_kept_or_refused_and_the_store_goes_on(body in body(), name in "[a-z./]{0,4}", after in ".{0,4}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Opened { store, .. } = &Home::Memory.open();
            let object = Object { kind: "GateRun", namespace: "shop".to_owned(), name: name.clone(), body };
            let query = Query { after: Some(after), ..Query::default() };
            for result in [
                store.create(object.clone()).await.map(drop),
                store.put(object.clone()).await.map(drop),
                store.put_status(object.clone()).await.map(drop),
                store.list("GateRun", &query).await.map(drop),
            ] {
                assert!(!matches!(result, Err(StoreError::Unavailable { .. })), "{result:?}");
            }
            store.create(run("sound")).await.unwrap();
            assert!(store.get("GateRun", "shop", "sound").await.unwrap().is_some());
        });
    }
}
