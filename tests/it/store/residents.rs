//! What is kept in memory beside the store: the cache of one kind, and the ledger of runs.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use probegate::api::Gate;
use probegate::model::Verdict;
use probegate::store::{Cache, Ledger};
use serde_json::{Value, json};

use super::home::{Home, object, with_status};

const PATIENCE: Duration = Duration::from_secs(20);

fn run(name: &str, status: Value) -> probegate::store::Object {
    let spec = json!({
        "gate": "checkout", "point": "post",
        "change": {"id": "c-17", "target": "checkout", "revision": "v42", "action": "release", "actor": "ci"},
    });
    with_status(object("GateRun", "shop", name, json!({}), spec), status)
}

fn gate(name: &str) -> probegate::store::Object {
    object("Gate", "shop", name, json!({}), json!({"target": {"names": ["checkout"]}, "post": {"checks": []}}))
}

/// Waits until `holds`, looking again now and then: the watch says nothing of its own progress.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

#[tokio::test]
async fn a_cache_follows_the_store_and_leaves_out_what_it_cannot_read() {
    let opened = Home::Memory.open();
    opened.store.create(gate("a")).await.unwrap();
    opened.store.create(object("Gate", "shop", "odd", json!({}), json!({"target": 7}))).await.unwrap();
    let (cache, follow) = Cache::<Gate>::follow(Arc::clone(&opened.store));
    assert!(!cache.synced());
    let following = tokio::spawn(follow);
    cache.wait_synced().await;
    let names = || cache.all().iter().map(|gate| gate.metadata.name.clone().unwrap()).collect::<Vec<_>>().join(",");
    assert_eq!(names(), "a");

    opened.store.create(gate("b")).await.unwrap();
    eventually("a new gate", || names() == "a,b").await;
    opened.store.delete("Gate", "shop", "a", None).await.unwrap();
    eventually("a gate gone", || names() == "b").await;

    assert!(cache.get("shop", "b").is_some() && cache.get("mall", "b").is_none());
    following.abort();
}

#[tokio::test]
async fn the_ledger_reads_the_past_over_many_pages_and_then_follows() {
    let opened = Home::Directory.open();
    for index in 0..250 {
        opened.store.create(run(&format!("r-{index}"), json!({"verdict": "block", "reason": "x"}))).await.unwrap();
        opened.clock().advance(SignedDuration::from_secs(1));
    }
    let (ledger, follow) = Ledger::follow(Arc::clone(&opened.store));
    assert!(!ledger.synced(), "before it is read, counting would be guessing");
    let following = tokio::spawn(follow);
    ledger.wait_synced().await;

    let begin = "2026-11-21T12:00:00Z".parse().unwrap();
    let all = ledger.since(begin);
    assert_eq!(all.len(), 250);
    assert_eq!((all[0].name.as_str(), all[249].name.as_str()), ("r-0", "r-249"));
    assert_eq!(ledger.since("2026-11-21T12:04:05Z".parse().unwrap()).len(), 5);

    let waiting = json!({"verdict": "wait", "reason": "x", "until": "2026-11-21T13:00:00Z"});
    opened.store.create(run("new", waiting)).await.unwrap();
    eventually("a new run", || ledger.since(begin).len() == 251).await;
    assert_eq!(ledger.since(begin)[250].until, Some("2026-11-21T13:00:00Z".parse().unwrap()));
    let decided =
        json!({"verdict": "pass", "reason": "x", "decidedAt": "2026-11-21T12:05:00Z", "voided": {"revision": "v43"}});
    opened.store.put_status(run("new", decided)).await.unwrap();
    eventually("its verdict", || ledger.since(begin)[250].decided_at.is_some()).await;
    let last = &ledger.since(begin)[250];
    assert_eq!((last.verdict, last.until, last.void), (Verdict::Pass, None, true));
    opened.store.delete("GateRun", "shop", "r-7", None).await.unwrap();
    opened.store.create(run("last", json!({"verdict": "wait", "reason": "x"}))).await.unwrap();
    eventually("the last run", || ledger.since(begin).len() == 252).await;
    assert!(ledger.since(begin).iter().any(|run| run.name == "r-7"), "what was deleted still happened");
    following.abort();
}
