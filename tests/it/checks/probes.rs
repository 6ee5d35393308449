//! The check `probes`: what it says of probes in every state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use probegate::checks::Context;
use probegate::checks::probes::ProbesKind;
use probegate::model::Outcome;
use rstest::rstest;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::peers::{Peer, answer, closed_port, outbound, read_request};
use super::world::{World, check, context, from_now, next, probe, try_check, until};
use probegate::store::StoreExt;

#[tokio::test]
async fn probes_that_are_up_pass_once_they_have_made_their_rounds_since_the_run_began() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.until_state("checkout", "up").await;
    let check =
        check(&ProbesKind::new(world.board.clone()), json!({"probes": {"selector": {"app": "checkout"}, "rounds": 3}}));

    let start = context();
    let report = check.execute(&start).await;
    assert_eq!(report.outcome, Outcome::Pending, "{report:?}");
    assert!(report.summary.contains("of 3 rounds since the run began"), "{}", report.summary);
    assert_eq!(report.again.unwrap().as_millis(), 100);

    until("three rounds", || world.board.rounds_since("shop", "checkout", start.started_at).len() >= 3).await;
    let report = check.execute(&next(&start, &report)).await;
    assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
    assert!(report.summary.starts_with("probe shop/checkout is up, "), "{}", report.summary);
    let shown = &report.evidence["probes"][0];
    assert_eq!((&shown["state"], &shown["failed"]), (&json!("up"), &json!(0)));
    assert!(shown["runs"].as_array().unwrap().len() >= 3);
}

#[tokio::test]
async fn rounds_from_before_the_clock_was_set_back_do_not_count() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    let before = context();
    until("three rounds", || world.board.rounds_since("shop", "checkout", before.started_at).len() >= 3).await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"selector": {"app": "checkout"}}}));

    let now = before.now - jiff::SignedDuration::from_mins(30);
    let started_at = now - jiff::SignedDuration::from_millis(50);
    let report = check.execute(&Context { now, started_at, ..before }).await;

    assert_eq!(report.outcome, Outcome::Pending, "{report:?}");
    assert!(report.summary.contains("0 of "), "{}", report.summary);
}

#[tokio::test]
async fn a_probe_that_is_down_fails_at_once_with_the_first_failure() {
    let world = World::start(outbound());
    let url = format!("http://{}/", closed_port().await);
    world.create("checkout", json!({"http": {"url": url}, "interval": "100ms"})).await;
    world.until_state("checkout", "down").await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"names": ["checkout"]}}));
    let report = check.execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Fail);
    assert!(report.summary.contains("probe shop/checkout is down since"), "{}", report.summary);
    assert!(report.summary.contains("2 rounds failed in a row: refused: "), "{}", report.summary);
    let first = &report.evidence["probes"][0]["firstFailure"];
    assert_eq!((&first["reason"], &first["phase"]), (&json!("refused"), &json!("connect")));
    assert!(report.since.is_some());
}

#[tokio::test]
async fn a_probe_that_turns_down_wakes_the_check() {
    let healthy = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&healthy);
    let peer = Peer::start(move |mut stream| {
        let status = if answers.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" };
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer(status, "", "").as_bytes()).await;
        }
    })
    .await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.until_state("checkout", "up").await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"selector": {"app": "checkout"}}}));
    let start = context();
    healthy.store(false, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(10), check.changed()).await.expect("the check wakes");
    assert_eq!(check.execute(&start).await.outcome, Outcome::Fail);
}

#[tokio::test]
async fn a_slow_probe_passes_with_a_warning() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = stream.write_all(answer("200 OK", "", "").as_bytes()).await;
    })
    .await;
    let world = World::start(outbound());
    let spec = json!({"http": {"url": peer.url("/"), "expect": {"latency": {"max": "10ms"}}}, "interval": "200ms"});
    world.create("checkout", spec).await;
    world.until_state("checkout", "degraded").await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"selector": {"app": "checkout"}}}));
    let start = context();
    until("a round", || !world.board.rounds_since("shop", "checkout", start.started_at).is_empty()).await;
    let report = check.execute(&start).await;
    assert_eq!(report.outcome, Outcome::Pass);
    assert!(report.summary.starts_with("warning: probe shop/checkout is degraded since"), "{}", report.summary);
}

#[tokio::test]
async fn what_is_not_there_is_unknown() {
    let world = World::start(outbound());
    until("the board is synced", || world.board.synced()).await;
    let kind = ProbesKind::new(world.board.clone());
    let report = check(&kind, json!({"probes": {"selector": {"app": "checkout"}}})).execute(&context()).await;
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Unknown, "no probe is selected"));
    let report = check(&kind, json!({"probes": {"names": ["a", "b"]}})).execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert_eq!(report.summary, "probe shop/a does not exist (nor do 1 more)");
}

#[tokio::test]
async fn a_probe_without_rounds_is_pending_first_and_unknown_then() {
    let silent = Peer::start(|_stream| std::future::pending()).await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": silent.url("/")}, "interval": "1h", "timeout": "30m"})).await;
    until("it is there", || world.board.get("shop", "checkout").is_some()).await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"names": ["checkout"]}}));
    let start = context();
    let report = check.execute(&start).await;
    assert_eq!(report.outcome, Outcome::Pending, "{report:?}");
    let mut late = start.clone();
    late.now = from_now(5 * 3_600);
    assert_eq!(check.execute(&late).await.outcome, Outcome::Unknown);
}

#[tokio::test]
async fn a_probe_that_cannot_be_probed_is_unknown_and_says_why() {
    let world = World::start(outbound());
    world.create("checkout", json!({"tcp": {"address": "nowhere"}})).await;
    until("it is there", || world.board.get("shop", "checkout").is_some()).await;
    let check = check(&ProbesKind::new(world.board.clone()), json!({"probes": {"names": ["checkout"]}}));
    let report = check.execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("spec.tcp.address: `nowhere` has no port"), "{}", report.summary);
}

#[tokio::test]
async fn labels_select_in_all_namespaces_and_names_in_the_gates_own() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    let spec = json!({"http": {"url": peer.url("/")}, "interval": "200ms"});
    world.create("checkout", spec.clone()).await;
    let mut other = probe("checkout", spec);
    other.metadata.namespace = Some("kube-system".to_owned());
    world.store.create_as(&other).await.unwrap();
    until("both are there", || world.board.all().len() == 2).await;
    let kind = ProbesKind::new(world.board.clone());
    let selected = async |fields| check(&kind, fields).execute(&context()).await.evidence["selected"].clone();
    assert_eq!(selected(json!({"probes": {"selector": {"app": "checkout"}}})).await, json!(2));
    assert_eq!(selected(json!({"probes": {"names": ["checkout"]}})).await, json!(1));
    let narrow = json!({"probes": {"selector": {"app": "checkout", "probegate.io/namespace": "kube-system"}}});
    assert_eq!(selected(narrow).await, json!(1));
    let expression = json!({"key": "app", "operator": "In", "values": ["checkout", "cart"]});
    assert_eq!(selected(json!({"probes": {"matchExpressions": [expression]}})).await, json!(2));
}

#[rstest]
#[case(json!({"probes": {}}), "probes: say which probes: selector, matchExpressions or names")]
#[case(
    json!({"probes": {"matchExpressions": [{"key": "app", "operator": "In"}]}}),
    "probes.matchExpressions: operator In on label `app` needs at least one value"
)]
#[tokio::test]
async fn a_check_that_selects_nothing_does_not_compile(#[case] fields: serde_json::Value, #[case] message: &str) {
    let world = World::start(outbound());
    let error = try_check(&ProbesKind::new(world.board.clone()), &fields).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[tokio::test]
async fn more_failed_rounds_than_allowed_fail_though_the_state_is_up() {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let peer = Peer::start(move |mut stream| {
        // Every third answer is wrong: never two in a row.
        let wrong = counter.fetch_add(1, Ordering::SeqCst) % 3 == 2;
        let status = if wrong { "500 Internal Server Error" } else { "200 OK" };
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer(status, "", "").as_bytes()).await;
        }
    })
    .await;
    let world = World::start(outbound());
    let spec = json!({"http": {"url": peer.url("/")}, "interval": "100ms", "flap": {"window": 0}});
    world.create("checkout", spec).await;
    world.until_state("checkout", "up").await;
    let kind = ProbesKind::new(world.board.clone());
    let strict = check(&kind, json!({"probes": {"names": ["checkout"], "allowedFailures": 0}}));
    let patient = check(&kind, json!({"probes": {"names": ["checkout"], "allowedFailures": 100}}));
    let start = context();
    strict.execute(&start).await;
    let failed = || {
        let rounds = world.board.rounds_since("shop", "checkout", start.started_at);
        rounds.iter().filter(|round| round.judgement == probegate::probes::Judgement::Failed).count()
    };
    until("a failed round", || failed() > 0).await;
    let report = strict.execute(&next(&start, &probegate::model::Report::pending(""))).await;
    assert_eq!(report.outcome, Outcome::Fail, "{report:?}");
    assert!(report.summary.contains("0 are allowed"), "{}", report.summary);
    assert_eq!(report.evidence["allowedFailures"], json!(0));
    let report = patient.execute(&next(&start, &report)).await;
    assert_ne!(report.outcome, Outcome::Fail, "{report:?}");
}

#[tokio::test]
async fn at_least_so_many_probes_must_be_good() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    let shut = format!("http://{}/", closed_port().await);
    world.create("one", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.create("two", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.create("three", json!({"http": {"url": shut}, "interval": "100ms"})).await;
    world.until_state("three", "down").await;
    for name in ["one", "two"] {
        world.until_state(name, "up").await;
    }
    let kind = ProbesKind::new(world.board.clone());
    let outcome = async |least: u32| {
        let check = check(&kind, json!({"probes": {"selector": {"app": "checkout"}, "atLeast": least}}));
        let mut context = context();
        loop {
            let report = check.execute(&context).await;
            if report.outcome != Outcome::Pending {
                return report;
            }
            context = next(&context, &report);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let enough = outcome(2).await;
    assert_eq!(enough.outcome, Outcome::Pass, "{enough:?}");
    assert!(enough.summary.starts_with("2 of 3 probes are up"), "{}", enough.summary);
    let few = outcome(3).await;
    assert_eq!(few.outcome, Outcome::Fail);
    assert!(few.summary.starts_with("3 of 3 must be good: probe shop/three is down"), "{}", few.summary);
}

#[tokio::test]
async fn looking_back_counts_what_failed_before_the_run() {
    let healthy = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&healthy);
    let peer = Peer::start(move |mut stream| {
        let status = if answers.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" };
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer(status, "", "").as_bytes()).await;
        }
    })
    .await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.until_state("checkout", "down").await;
    healthy.store(true, Ordering::SeqCst);
    world.until_state("checkout", "up").await;
    let kind = ProbesKind::new(world.board.clone());
    let fields = json!({"probes": {"names": ["checkout"], "allowedFailures": 0, "lookBack": "10m"}});
    let report = check(&kind, fields).execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Fail, "{report:?}");
    let error = try_check(&kind, &json!({"probes": {"names": ["checkout"], "lookBack": "25h"}})).err().unwrap();
    assert_eq!(error.field, "probes.lookBack");
}
