//! Killed at any moment: what was acknowledged is there, whole, and nothing else is wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use probegate::model::Labels;
use probegate::store::sqlite::{Options, SqliteStore};
use probegate::store::{Object, Query, Store, StoreError};
use serde_json::{Value, json};

use super::home::{labelled, with_status};

/// Where the child finds its directory.
const DIRECTORY: &str = "PROBEGATE_TEST_STORE_DIRECTORY";
const WRITERS: usize = 4;
const KILLS: u64 = 50;

fn name(writer: usize) -> String {
    format!("run-{writer}")
}

/// A status that tells by itself whether it is whole.
fn status(count: u64) -> Value {
    let length = usize::try_from(count * 7_919 % 5_000).unwrap();
    let standing = if count.is_multiple_of(2) { "True" } else { "False" };
    json!({
        "count": count,
        "text": "x".repeat(length),
        "conditions": [{"type": "Decided", "status": standing}],
    })
}

fn count(object: &Object) -> u64 {
    object.body["status"]["count"].as_u64().unwrap_or(0)
}

/// Writes until it is killed, and says every count once it was acknowledged.
#[test]
#[ignore = "the other half of the next test, which starts it as a process of its own"]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&dir, Options::default()).unwrap();
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write_forever(Arc::clone(&store), writer)));
        futures::future::join_all(writers).await;
    });
}

async fn write_forever(store: Arc<SqliteStore>, writer: usize) {
    match store.create(labelled(&name(writer), "writer", &writer.to_string())).await {
        Ok(_) | Err(StoreError::Exists { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    loop {
        let read = store.get("GateRun", "shop", &name(writer)).await.unwrap().unwrap();
        let next = count(&read) + 1;
        store.put_status(with_status(read, status(next))).await.unwrap();
        // A new run beside it: rows and labels come and go together.
        let beside = format!("beside-{writer}-{next}");
        store.create(labelled(&beside, "beside", &writer.to_string())).await.unwrap();
        // One write, so that a line is whole or not there.
        std::io::stdout().write_all(format!("acknowledged {writer} {next}\n").as_bytes()).unwrap();
    }
}

/// Lets a child write, kills it, and tells the last acknowledged count of every writer.
fn killed_child(dir: &Path, after: Duration) -> BTreeMap<usize, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store::kill::the_child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = BTreeMap::new();
    let mut note = |line: &str| {
        // Behind whatever the test harness has left on the line.
        let mut words = line.split_once("acknowledged ")?.1.split(' ');
        acknowledged.insert(words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(())
    };
    // The clock starts with the first acknowledgement, so that every child has written.
    while note(&lines.next().expect("the child writes")).is_none() {}
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for line in lines {
                let _ = note(&line);
            }
        });
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(after);
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
    });
    acknowledged
}

async fn all(store: &SqliteStore, labels: Labels) -> usize {
    let (mut found, mut query) = (0, Query { labels, ..Query::default() });
    loop {
        let page = store.list("GateRun", &query).await.unwrap();
        found += page.items.len();
        query.after = match page.next {
            Some(next) => Some(next),
            None => return found,
        };
    }
}

#[tokio::test]
async fn fifty_kills_lose_no_acknowledged_write_and_tear_none() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        // Spread over what a child does in its first moments, without order but always the same.
        let acknowledged = killed_child(dir.path(), Duration::from_micros(kill * 7_919 % 60_000));

        let store = SqliteStore::open(dir.path(), Options::default()).unwrap();
        for (writer, last) in acknowledged {
            let object = store.get("GateRun", "shop", &name(writer)).await.unwrap().expect("an acknowledged run");
            let stored = count(&object);
            assert!(stored == last || stored == last + 1, "kill {kill}: {last} was acknowledged, {stored} is stored");
            assert_eq!(object.body["status"], status(stored), "kill {kill}: a torn status");
            let query = Query {
                labels: Labels::from([("writer".to_owned(), writer.to_string())]),
                decided: Some(stored.is_multiple_of(2)),
                ..Query::default()
            };
            assert_eq!(store.list("GateRun", &query).await.unwrap().items.len(), 1, "kill {kill}: a torn index");
            let beside = store.get("GateRun", "shop", &format!("beside-{writer}-{last}")).await.unwrap();
            assert!(beside.is_some(), "kill {kill}: the acknowledged run beside {last} is lost");
        }
    }

    let store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    let mut labelled = 0;
    for writer in 0..WRITERS {
        labelled += all(&store, Labels::from([("beside".to_owned(), writer.to_string())])).await;
    }
    assert_eq!(labelled + WRITERS, all(&store, Labels::new()).await, "rows and labels differ");
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("probegate.db")).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
