//! One watch upstream, and what becomes of it.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use probegate::store::{Object, Query, Store, StoreError, WatchEvent};
use rstest::rstest;
use serde_json::{Value, json};

use super::super::home::{decided, names, spec, waiting};
use super::fake::{Fake, Fault};

/// Time is not real in these tests.
const PATIENCE: Duration = Duration::from_secs(600);

type Events = BoxStream<'static, Result<WatchEvent<Object>, StoreError>>;

fn run(name: &str, status: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec(), "status": status})
}

/// The next event as `L:a,b`, `A:name`, `D:name` or `E:message`.
async fn told(events: &mut Events) -> String {
    match tokio::time::timeout(PATIENCE, events.next()).await.expect("an event in time").expect("a further event") {
        Ok(WatchEvent::Listed(objects)) => format!("L:{}", names(&objects).join(",")),
        Ok(WatchEvent::Applied(object)) => format!("A:{}", object.name),
        Ok(WatchEvent::Deleted(object)) => format!("D:{}", object.name),
        Err(error) => format!("E:{error}"),
    }
}

#[rstest]
#[case::away(
    Fault::Status(503, "apiserver is shutting down", None),
    "while watching GateRun: the API server says 503: apiserver is shutting down"
)]
#[case::slow(
    Fault::Slow(Duration::from_secs(3_600)),
    "while watching GateRun: the API server has not answered within 30s"
)]
#[case::no_definition(
    Fault::Status(404, "404 page not found\n", None),
    "while watching GateRun: the API server has no gateruns.probegate.io; apply its custom resource definition (deploy/crds)"
)]
#[case::broken(
    Fault::Text("<html>"),
    "while watching GateRun: the API server's answer cannot be read: expected value at line 1 column 1"
)]
#[case::throttled(Fault::Status(429, "slow down", Some(7)), "while watching GateRun: too many requests")]
#[tokio::test(start_paused = true)]
async fn trouble_is_told_once_and_ends_by_itself(#[case] fault: Fault, #[case] message: &str) {
    let fake = Fake::new();
    fake.put("gateruns", "a", &run("a", &decided()));
    fake.outage("list", Some(fault));
    let store = fake.store();
    let mut events = store.watch("GateRun", Query::default());

    assert_eq!(told(&mut events).await, format!("E:{message}"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let tries = fake.calls_of("list").len();
    assert!((4..30).contains(&tries), "{tries} tries in two minutes");
    fake.outage("list", None);

    assert_eq!(told(&mut events).await, "L:a");
}

#[tokio::test(start_paused = true)]
async fn the_server_is_left_alone_for_as_long_as_it_asks() {
    let fake = Fake::new();
    fake.fault("list", Fault::Status(429, "slow down", Some(40)));
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    let begun = tokio::time::Instant::now();

    assert!(told(&mut events).await.starts_with("E:"));
    assert_eq!(told(&mut events).await, "L:");

    assert!(begun.elapsed() >= Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_goes_away_later_is_told_and_comes_back() {
    let fake = Fake::new();
    fake.put("gates", "a", &run("a", &json!(null)));
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    assert_eq!(told(&mut events).await, "L:a");

    fake.outage("watch", Some(Fault::Status(404, "404 page not found\n", None)));
    fake.close_watches();
    assert!(told(&mut events).await.contains("apply its custom resource definition"));
    let listing = store.list("Gate", &Query::default()).await;
    assert_eq!(names(&listing.unwrap().items), ["a"], "what was known a moment ago is still good");
    tokio::time::sleep(Duration::from_secs(60)).await;
    for error in [store.list("Gate", &Query::default()).await.unwrap_err(), store.current().await.unwrap_err()] {
        assert!(error.to_string().contains("apply its custom resource definition"), "{error}");
    }

    fake.put("gates", "b", &run("b", &json!(null)));
    fake.outage("watch", None);
    assert_eq!(told(&mut events).await, "A:b");
    store.current().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_closed_at_random_misses_nothing() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("GateRun", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    for number in 0..40 {
        if number % 3 == 0 {
            fake.close_watches();
        }
        let name = format!("run-{number}");
        fake.put("gateruns", &name, &run(&name, &waiting("soak")));
        assert_eq!(told(&mut events).await, format!("A:{name}"));
    }

    assert_eq!(fake.calls_of("list").len(), 1, "nothing had to be listed again");
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_moves_the_place_where_a_watch_goes_on() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("GateRun", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    fake.bookmark();
    fake.put("gates", "elsewhere", &run("elsewhere", &json!(null)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    fake.compact_before_now();
    fake.close_watches();
    tokio::time::sleep(Duration::from_secs(30)).await;
    fake.put("gateruns", "a", &run("a", &waiting("soak")));

    assert_eq!(told(&mut events).await, "A:a");
    assert_eq!(fake.calls_of("list").len(), 1, "the bookmark's version was still known");
}

#[rstest]
#[case::at_the_start(false)]
#[case::on_the_way(true)]
#[tokio::test(start_paused = true)]
async fn after_an_expired_version_only_the_difference_is_told(#[case] on_the_way: bool) {
    let fake = Fake::new();
    for name in ["gone", "same", "changed"] {
        fake.put("gateruns", name, &run(name, &waiting("soak")));
    }
    let store = fake.store();
    let mut events = store.watch("GateRun", Query::default());
    assert_eq!(told(&mut events).await, "L:changed,gone,same");

    fake.outage("watch", Some(Fault::Status(503, "no", None)));
    fake.close_watches();
    assert!(told(&mut events).await.starts_with("E:"));
    fake.delete("gateruns", "gone");
    fake.put("gateruns", "changed", &run("changed", &decided()));
    fake.put("gateruns", "new", &run("new", &waiting("soak")));
    if on_the_way {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
        let line = json!({"type": "ERROR", "object": status}).to_string();
        fake.forget_history();
        fake.say(&line);
    } else {
        fake.compact();
    }
    fake.outage("watch", None);

    let mut seen = vec![told(&mut events).await, told(&mut events).await, told(&mut events).await];
    seen.sort();
    assert_eq!(seen, ["A:changed", "A:new", "D:gone"]);
    assert_eq!(store.metrics().resyncs("GateRun", "expired"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_no_json_loses_no_change() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("GateRun", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    fake.put("gateruns", "a", &run("a", &waiting("soak")));
    assert_eq!(told(&mut events).await, "A:a");
    fake.say("{\"type\":\"MODIFIED\",\"object\":{\"metadata\":!!}}");
    fake.put("gateruns", "b", &run("b", &waiting("soak")));

    assert_eq!(told(&mut events).await, "A:b");
    assert_eq!(store.metrics().resyncs("GateRun", "unreadable"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_followed_by_a_list() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    // The connection has died without anybody having been told.
    fake.put("gates", "a", &run("a", &json!(null)));
    fake.forget_history();
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!(names(&store.list("Gate", &Query::default()).await.unwrap().items), [] as [&str; 0]);
    store.current().await.unwrap();

    assert_eq!(told(&mut events).await, "A:a");
    assert_eq!(store.metrics().resyncs("Gate", "silent"), 1);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_keep_a_quiet_watch_alive() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        fake.bookmark();
        store.current().await.unwrap();
    }

    assert_eq!((fake.calls_of("list").len(), fake.calls_of("watch").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_trusted_that_was_last_heard_of_two_minutes_ago() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    assert_eq!(told(&mut events).await, "L:");

    fake.outage("list", Some(Fault::Slow(Duration::from_secs(3_600))));
    tokio::time::sleep(Duration::from_secs(119)).await;
    store.current().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.current().await.unwrap_err();
    fake.outage("list", None);

    assert!(told(&mut events).await.starts_with("E:while watching Gate:"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    store.current().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_watch_upstream_is_one() {
    let fake = Fake::new();
    fake.page_limit(2);
    for name in ["a", "b", "c", "d", "e"] {
        fake.put("gates", name, &run(name, &json!(null)));
    }
    let store = fake.store();
    let mut first = store.watch("Gate", Query::default());
    assert_eq!(told(&mut first).await, "L:a,b,c,d,e");
    fake.put("gates", "f", &run("f", &json!(null)));
    assert_eq!(told(&mut first).await, "A:f");

    // One that comes late begins with what is there now, and goes on with what comes.
    let mut late = store.watch("Gate", Query::default());
    assert_eq!(told(&mut late).await, "L:a,b,c,d,e,f");
    fake.delete("gates", "a");

    assert_eq!((told(&mut first).await, told(&mut late).await), ("D:a".to_owned(), "D:a".to_owned()));
    assert_eq!((fake.calls_of("list").len(), fake.calls_of("watch").len()), (3, 1));
    let list = &fake.calls_of("list")[0];
    assert!(list.contains("labelSelector=%21probegate.io%2Finstance") && list.contains("limit=500"), "{list}");
    assert!(fake.calls_of("watch")[0].contains("allowWatchBookmarks=true"));
}

#[tokio::test(start_paused = true)]
async fn evidence_is_fetched_only_for_whoever_asks_for_it() {
    let fake = Fake::new();
    let mut status = waiting("soak");
    status["checks"] = json!([{
        "name": "errors", "kind": "metric", "mode": "enforce", "outcome": "pending", "summary": "few points",
        "evidence": {"query": "up"}, "attempts": []
    }]);
    status["plan"] = json!({"soak": "5m"});
    fake.put("gateruns", "a", &run("a", &status));
    let store = fake.store();
    let list = async |brief| {
        let page = store.list("GateRun", &Query { brief, ..Query::default() }).await.unwrap();
        page.items[0].body["status"].clone()
    };

    let overview = list(true).await;
    assert_eq!(fake.calls_of("get").len(), 0);
    let whole = list(false).await;

    assert_eq!(fake.calls_of("get").len(), 1);
    assert_eq!(overview["checks"][0]["summary"], "few points");
    assert_eq!((overview["checks"][0].get("evidence"), overview.get("plan")), (None, None));
    assert_eq!((&whole["checks"][0]["evidence"], &whole["plan"]), (&json!({"query": "up"}), &json!({"soak": "5m"})));
    // A live change carries everything to whoever asked for everything.
    let mut open = store.watch("GateRun", Query { decided: Some(false), ..Query::default() });
    assert_eq!(told(&mut open).await, "L:a");
    let gets = fake.calls_of("get").len();
    fake.put("gateruns", "b", &run("b", &status));
    let Ok(WatchEvent::Applied(object)) = open.next().await.unwrap() else { panic!("it was created") };
    assert_eq!(object.body["status"]["checks"][0]["evidence"], json!({"query": "up"}));
    assert_eq!(object.body["metadata"].get("managedFields"), None);
    assert_eq!(fake.calls_of("get").len(), gets);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_dropped_asks_nothing_any_more() {
    let fake = Fake::new();
    let store = fake.store();
    let mut events = store.watch("Gate", Query::default());
    assert_eq!(told(&mut events).await, "L:");
    drop((events, store));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = fake.calls().len();

    fake.close_watches();
    tokio::time::sleep(Duration::from_secs(600)).await;

    assert_eq!(fake.calls().len(), calls);
}
