//! What no home keeps: sizes, names and labels beyond the limits.

use probegate::store::limits::{MAX_DEPTH, MAX_LABELS, MAX_OBJECT_BYTES, MAX_PAGE, MAX_PAGE_BYTES};
use probegate::store::{Object, Query, StoreError};
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::home::{Home, Opened, object, run, with_status};

fn named(namespace: &str, name: &str) -> Object {
    object("GateRun", namespace, name, json!({}), json!({}))
}

fn with_labels(labels: Value) -> Object {
    object("GateRun", "shop", "a", labels, json!({}))
}

fn with_metadata(field: &str, value: Value) -> Object {
    let mut object = run("a");
    object.body["metadata"][field] = value;
    object
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

fn many_labels(count: usize) -> Value {
    (0..count).map(|index| (format!("key-{index}"), json!("x"))).collect::<Map<_, _>>().into()
}

#[rstest]
#[case::no_name(named("shop", ""), "GateRun shop/: metadata.name is empty")]
#[case::capitals(
    named("shop", "Run"),
    "GateRun shop/Run: metadata.name \"Run\" must be lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit"
)]
#[case::two_dots(
    named("shop", "a..b"),
    "GateRun shop/a..b: metadata.name \"a..b\" must be lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit"
)]
#[case::a_path(
    named("shop", "../etc"),
    "GateRun shop/../etc: metadata.name \"../etc\" must be lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit"
)]
#[case::no_namespace(named("", "a"), "GateRun /a: metadata.namespace is empty")]
#[case::dotted_namespace(
    named("a.b", "a"),
    "GateRun a.b/a: metadata.namespace \"a.b\" must be lower-case letters, digits and '-', beginning and ending with a letter or digit"
)]
#[case::label_value(with_labels(json!({"tier": "we b"})), "GateRun shop/a: metadata.labels[\"tier\"]: the value \"we b\" must be at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit")]
#[case::label_key(with_labels(json!({"a/b/c": "x"})), "GateRun shop/a: metadata.labels[\"a/b/c\"]: the key must be at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, after an optional DNS prefix and '/'")]
#[case::label_prefix(with_labels(json!({"A/b": "x"})), "GateRun shop/a: metadata.labels[\"A/b\"]: the key's prefix \"A\" must be lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit")]
#[case::label_number(with_labels(json!({"tier": 1})), "GateRun shop/a: metadata.labels[\"tier\"] is not a string")]
#[case::labels_list(with_labels(json!(["tier"])), "GateRun shop/a: metadata.labels is not a JSON object")]
#[case::labels_many(with_labels(many_labels(MAX_LABELS + 1)), "GateRun shop/a: metadata.labels has 65 labels; at most 64 are allowed")]
#[case::another_name(with_metadata("name", json!("b")), "GateRun shop/a: metadata.name is \"b\", not \"a\"")]
#[case::another_namespace(with_metadata("namespace", json!("b")), "GateRun shop/a: metadata.namespace is \"b\", not \"shop\"")]
#[case::annotations(with_metadata("annotations", json!({"a": "x".repeat(300_000)})), "GateRun shop/a: metadata.annotations has 300001 bytes; at most 262144 are allowed")]
#[case::too_deep(with_status(run("a"), nested(MAX_DEPTH)), "GateRun shop/a: it is nested more than 100 levels deep")]
#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_its_field(
    #[case] object: Object,
    #[case] message: &str,
    #[values(Home::Memory, Home::Directory)] home: Home,
) {
    let Opened { store, .. } = &home.open();

    for error in [
        store.create(object.clone()).await.unwrap_err(),
        store.put(object.clone()).await.unwrap_err(),
        store.put_status(object.clone()).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
        assert_eq!(error.to_string(), message);
    }
}

#[rstest]
#[case(Value::Null)]
#[case(json!([1, 2]))]
#[case(json!({"kind": "Gate"}))]
#[case(json!({"metadata": "none"}))]
#[tokio::test]
async fn what_is_no_resource_is_refused(#[case] body: Value) {
    let Opened { store, .. } = &Home::Memory.open();

    let error = store.create(Object { body, ..run("a") }).await.unwrap_err();

    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
}

#[rstest]
#[case::longest_name(named("shop", &"a".repeat(253)))]
#[case::longest_namespace(named(&"a".repeat(63), "a"))]
#[case::dots_and_digits(named("1", "0.a-b.9"))]
#[case::labels(with_labels(many_labels(MAX_LABELS)))]
#[case::label_syntax(with_labels(json!({"probegate.io/A_b.C-d": "", "X": "a_B.c-1"})))]
#[case::deep(with_status(run("a"), nested(MAX_DEPTH - 2)))]
#[tokio::test]
async fn what_is_just_allowed_is_kept_and_read_again(#[case] object: Object) {
    let Opened { store, .. } = &Home::Directory.open();

    let created = store.create(object).await.unwrap();

    let read = store.get("GateRun", &created.namespace, &created.name).await.unwrap();
    assert_eq!(read, Some(created));
}

#[rstest]
#[tokio::test]
async fn a_resource_that_is_too_large_is_refused_and_the_stored_one_stays(
    #[values(Home::Memory, Home::Directory)] home: Home,
) {
    let Opened { store, .. } = &home.open();
    let created = store.create(run("a")).await.unwrap();

    let error = store.put_status(with_status(run("a"), json!("x".repeat(MAX_OBJECT_BYTES)))).await.unwrap_err();

    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert!(error.to_string().ends_with(" bytes; at most 1572864 are allowed"), "{error}");
    assert_eq!(store.get("GateRun", "shop", "a").await.unwrap(), Some(created));
    store.put_status(with_status(run("a"), json!("x".repeat(MAX_OBJECT_BYTES - 1_000)))).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_page_ends_by_count_and_by_size(#[values(Home::Memory, Home::Directory)] home: Home) {
    let Opened { store, .. } = &home.open();
    let writes = (0..=MAX_PAGE).map(|index| store.create(run(&format!("run-{index}"))));
    futures::future::join_all(writes).await.into_iter().for_each(|written| drop(written.unwrap()));

    let page = store.list("GateRun", &Query { limit: MAX_PAGE * 2, ..Query::default() }).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (MAX_PAGE, true));

    for index in 0..10 {
        let body = json!("x".repeat(MAX_PAGE_BYTES / 6));
        store.create(with_status(run(&format!("large-{index}")), body)).await.unwrap();
    }
    let page = store.list("GateRun", &Query::default()).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (6, true));
    let rest = store.list("GateRun", &Query { after: page.next, ..Query::default() }).await.unwrap();
    assert_eq!(rest.items[0].name, "large-3");
}
