//! The figures of the embedded home with 100,000 stored runs: `cargo bench --bench store`.
//!
//! Not criterion: every write is an fsync, and the store is filled once for all of it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program whose result is its output, and fails loudly"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use probegate::api::{LABEL_CHANGE, LABEL_GATE, LABEL_QUESTION, LABEL_SUBJECT};
use probegate::model::Labels;
use probegate::store::sqlite::{Options, Retention, SqliteStore};
use probegate::store::{Ledger, Object, Query, Store};
use serde_json::{Value, json};

const RUNS: usize = 100_000;
const GATES: usize = 1_000;

/// The argument that makes a process of its own measure what a start costs.
const START: &str = "--start-in";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut arguments = std::env::args().skip_while(|argument| argument != START);
    if arguments.next().is_some() {
        runtime.block_on(start(Path::new(&arguments.next().unwrap())));
        return;
    }
    // In the working directory: /tmp may be memory, which knows no fsync.
    let dir = tempfile::tempdir_in(".").unwrap();
    runtime.block_on(measure(dir.path()));
}

/// A process that has done nothing yet but start on a full store.
async fn start(dir: &Path) {
    let started = Instant::now();
    let store = SqliteStore::open(dir, Options::default()).unwrap();
    println!("open                          {:>10.1?}", started.elapsed());
    store.ready().await.unwrap();
    println!("open and the first write      {:>10.1?}", started.elapsed());
    println!("resident, opened              {:>10} KiB", resident());
    let (ledger, follow) = Ledger::follow(Arc::clone(&store) as Arc<dyn Store>);
    let started = Instant::now();
    let following = tokio::spawn(follow);
    ledger.wait_synced().await;
    println!("ledger, the newest 20,000     {:>10.1?}", started.elapsed());
    println!("resident, with the ledger     {:>10} KiB", resident());
    following.abort();
}

async fn measure(dir: &Path) {
    let store = SqliteStore::open(dir, Options::default()).unwrap();
    println!("resident, empty store         {:>10} KiB", resident());
    many(&store, "create, 64 at a time", RUNS, 64, |store, index| async move {
        store.create(run(index)).await.unwrap();
    })
    .await;
    let started = Instant::now();
    drop(store);
    println!("close                         {:>10.1?}", started.elapsed());

    let child = std::process::Command::new(std::env::current_exe().unwrap()).arg(START).arg(dir).status();
    assert!(child.unwrap().success());
    let store = SqliteStore::open(dir, Options::default()).unwrap();
    let body = store.get("GateRun", "shop", "run-77").await.unwrap().unwrap().body.to_string().len();
    let size = std::fs::metadata(dir.join("probegate.db")).unwrap().len();
    println!("one run {body} bytes, database  {:>10} KiB", size / 1_024);

    one_by_one(&store, "get", 5_000, |store, index| async move {
        store.get("GateRun", "shop", &format!("run-{}", spread(index))).await.unwrap().unwrap();
    })
    .await;
    one_by_one(&store, "list by question", 5_000, |store, index| async move {
        let labels = Labels::from([(LABEL_QUESTION.to_owned(), question(spread(index)))]);
        assert_eq!(store.list("GateRun", &Query { labels, ..Query::default() }).await.unwrap().items.len(), 2);
    })
    .await;
    one_by_one(&store, "list, newest 50 of a gate", 500, |store, index| async move {
        let labels = Labels::from([(LABEL_GATE.to_owned(), gate(spread(index)))]);
        let query = Query { labels, namespace: Some("shop".to_owned()), limit: 50, ..Query::default() };
        assert_eq!(store.list("GateRun", &query).await.unwrap().items.len(), 50);
    })
    .await;
    one_by_one(&store, "list, all undecided", 500, |store, _| async move {
        let query = Query { decided: Some(false), ..Query::default() };
        assert!(store.list("GateRun", &query).await.unwrap().items.is_empty());
    })
    .await;
    many(&store, "get, 8 at a time", 50_000, 8, |store, index| async move {
        store.get("GateRun", "shop", &format!("run-{}", spread(index))).await.unwrap().unwrap();
    })
    .await;
    one_by_one(&store, "put_status", 1_000, status).await;
    many(&store, "put_status, 8 at a time", 5_000, 8, status).await;
    many(&store, "put_status, 64 at a time", 20_000, 64, status).await;
    println!("resident, worked store        {:>10} KiB", resident());
    let started = Instant::now();
    let forgotten = store.forget_once(&Retention { runs: 90, ..Retention::default() }).await.unwrap();
    println!("retention, {:>6} runs removed {:>10.1?}", forgotten.runs, started.elapsed());
}

async fn status(store: Arc<SqliteStore>, index: usize) {
    let mut object = run(spread(index));
    object.body["status"]["reason"] = json!(format!("written again in round {index}"));
    store.put_status(object).await.unwrap();
}

async fn one_by_one<F, W>(store: &Arc<SqliteStore>, what: &str, count: usize, work: W)
where
    F: Future<Output = ()>,
    W: Fn(Arc<SqliteStore>, usize) -> F,
{
    let mut times = Vec::with_capacity(count);
    for index in 0..count {
        let started = Instant::now();
        work(Arc::clone(store), index).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(count * part / 100).copied().unwrap_or(Duration::ZERO);
    let total: Duration = times.iter().sum();
    println!(
        "{what:<30}{:>10.0}/s   median {:>8.1?}   p99 {:>8.1?}",
        count as f64 / total.as_secs_f64(),
        at(50),
        at(99)
    );
}

async fn many<F, W>(store: &Arc<SqliteStore>, what: &str, count: usize, at_a_time: usize, work: W)
where
    F: Future<Output = ()>,
    W: Fn(Arc<SqliteStore>, usize) -> F,
{
    let started = Instant::now();
    futures::stream::iter(0..count)
        .map(|index| work(Arc::clone(store), index))
        .buffer_unordered(at_a_time)
        .for_each(|()| async {})
        .await;
    println!("{what:<30}{:>10.0}/s", count as f64 / started.elapsed().as_secs_f64());
}

/// Walks over all runs without order: what is asked next is not what was just read.
const fn spread(index: usize) -> usize {
    (index * 7_919 + 13) % RUNS
}

fn gate(index: usize) -> String {
    format!("gate-{}", index % GATES)
}

/// Two runs each.
fn question(index: usize) -> String {
    format!("q-{:024x}", index % (RUNS / 2))
}

/// A decided run with six checks and their evidence, some 3 KB.
fn run(index: usize) -> Object {
    let checks: Vec<Value> = ["window", "control-plane", "quiet", "errors", "latency", "business"]
        .iter()
        .map(|name| {
            json!({
                "name": name, "kind": "metric", "mode": "enforce", "outcome": "pass", "executions": 3,
                "summary": "0.0012 is at most 0.005, the threshold, in each of 21 samples over 5m",
                "since": "2026-11-21T12:00:05Z",
                "evidence": {
                    "query": "sum(rate(http_requests_total{code=~\"5..\",namespace=\"shop\"}[1m])) / sum(rate(http_requests_total{namespace=\"shop\"}[1m]))",
                    "samples": 21, "max": "0.005", "seen": "0.0012", "from": "2026-11-21T11:55:05Z", "to": "2026-11-21T12:00:05Z"
                }
            })
        })
        .collect();
    let name = format!("run-{index}");
    Object {
        kind: "GateRun",
        namespace: "shop".to_owned(),
        name: name.clone(),
        body: json!({
            "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
            "metadata": {"namespace": "shop", "name": name, "labels": {
                LABEL_GATE: gate(index), LABEL_QUESTION: question(index),
                LABEL_SUBJECT: format!("s-{:024x}", index % GATES), LABEL_CHANGE: format!("c-{}", index / 10),
            }},
            "spec": {
                "gate": gate(index), "point": "post", "batch": {"index": 2, "total": 5, "percent": 10},
                "change": {"id": format!("c-{}", index / 10), "target": gate(index), "revision": "v42", "action": "release", "actor": "ci"}
            },
            "status": {
                "verdict": "pass", "reason": "all 6 enforced checks passed", "attempt": 1, "checks": checks,
                "startedAt": "2026-11-21T12:00:00Z", "decidedAt": "2026-11-21T12:05:00Z", "decidedWith": "0.1.0",
                "conditions": [{"type": "Decided", "status": "True", "reason": "Passed", "message": "all 6 enforced checks passed",
                                "lastTransitionTime": "2026-11-21T12:05:00Z"}]
            }
        }),
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
