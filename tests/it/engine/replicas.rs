//! Several engines on one store: one leads, the others answer what it decides.

use tokio::sync::watch;

use super::*;

/// Two replicas on one store. The first one leads, the second one leads when it is told to.
async fn two() -> (House, House, watch::Sender<bool>) {
    let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    store.create_as(&serde_json::from_value::<Gate>(gate()).unwrap()).await.unwrap();
    let (_, leads) = watch::channel(true);
    let (promote, waits) = watch::channel(false);
    let leader = House::over_as(Arc::clone(&store), Script::default(), Lead::shared(leads)).await;
    let other = House::over_as(store, Script::default(), Lead::shared(waits)).await;
    (leader, other, promote)
}

#[tokio::test]
async fn a_replica_that_does_not_lead_makes_the_run_and_the_leader_decides_it() {
    let (leader, other, _promote) = two().await;
    let answer = other.ask(&question(Point::Post)).await;
    assert_eq!((answer.verdict, answer.checks.len()), (Verdict::Pass, 2), "{answer:?}");
    assert_eq!((leader.script.executions("up"), other.script.executions("up")), (1, 0));
    assert_eq!(leader.ask(&question(Point::Post)).await.id, answer.id);
    assert_eq!(leader.script.executions("up"), 1);
}

#[tokio::test]
async fn a_block_reaches_whoever_asked_another_replica() {
    let (leader, other, _promote) = two().await;
    leader.script.say("latency", Report::fail("p99 812 ms, 300 ms is allowed"));
    let answer = other.ask(&question(Point::Post)).await;
    assert_eq!(answer.verdict, Verdict::Block);
    assert!(answer.reason.contains("812 ms"), "{}", answer.reason);
}

#[tokio::test]
async fn a_verdict_that_another_replica_made_void_is_void_everywhere() {
    let (leader, other, _promote) = two().await;
    let old = question(Point::Post);
    assert_eq!(leader.ask(&old).await.verdict, Verdict::Pass);
    let mut new = old.clone();
    (new.change.id, new.change.revision) = ("c-18".into(), "v43".into());
    assert_eq!(other.ask(&new).await.verdict, Verdict::Pass);
    for house in [&leader, &other] {
        let answer = house.ask(&old).await;
        assert_eq!(answer.verdict, Verdict::Wait, "{answer:?}");
        assert!(answer.reason.contains("v43"), "{}", answer.reason);
    }
}

#[tokio::test]
async fn an_open_run_is_cancelled_through_any_replica() {
    let (leader, other, _promote) = two().await;
    leader.script.say("latency", Report::pending("measuring"));
    let asked = other.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    assert_eq!(asked.verdict, Verdict::Wait);
    let (_, run) = asked.id.split_once('/').unwrap();
    let ended = other.engine.cancel("shop", run, "alice", "wrong revision").await.unwrap();
    assert_eq!(ended.verdict, Verdict::Block, "{ended:?}");
    assert_eq!(leader.run(&asked).await.status.unwrap().cancelled_by.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_new_leader_takes_up_what_the_old_one_left() {
    let (leader, other, promote) = two().await;
    leader.script.say("latency", Report::pending("measuring"));
    let asked = other.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    assert_eq!(asked.verdict, Verdict::Wait);
    leader.stop.cancel();
    leader.running.await.unwrap();
    // Nobody leads: nothing is decided, and nobody is told more than wait.
    let waiting = other.engine.ask(question(Point::Post), Duration::from_millis(100)).await.unwrap();
    assert_eq!((waiting.verdict, other.script.executions("up")), (Verdict::Wait, 0));
    promote.send(true).unwrap();
    let answer = other.ask_until(&question(Point::Post), Verdict::Pass).await;
    assert_eq!((answer.id, other.script.executions("latency")), (asked.id, 1));
}
