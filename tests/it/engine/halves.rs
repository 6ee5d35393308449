//! A run that was created and whose first status got lost, as it can happen where that is a second call.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::*;

async fn half() -> Arc<Cut> {
    let home: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    home.create_as::<Gate>(&serde_json::from_value(gate()).unwrap()).await.unwrap();
    Arc::new(Cut { store: home, off: false.into(), half: true.into() })
}

async fn all_runs(store: &Arc<dyn Store>) -> Vec<GateRun> {
    store.list_as::<GateRun>(&Query::default()).await.unwrap().items
}

#[tokio::test]
async fn a_run_whose_first_status_got_lost_is_waited_for_and_decided_and_no_second_one_is_made() {
    let cut = half().await;
    let house = House::over(Arc::clone(&cut) as Arc<dyn Store>, Script::default()).await;
    let first = house.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    assert_eq!(first.verdict, Verdict::Wait, "{first:?}");
    assert!(first.reason.contains("it got lost"), "{}", first.reason);
    cut.half.store(false, Ordering::SeqCst);

    let answer = house.ask_until(&question(Point::Post), Verdict::Pass).await;
    assert_eq!(answer.id, first.id, "the run that was made is the one that is decided");
    assert_eq!(all_runs(&house.store).await.len(), 1);
    assert_eq!(house.script.executions("up"), 1);
    let run = house.run(&answer).await;
    assert_eq!(run.status.map(|status| status.attempt), Some(1));
}

#[tokio::test]
async fn nobody_has_to_ask_again_for_the_leader_to_decide_a_run_that_another_replica_has_half_made() {
    let cut = half().await;
    let (_leads, leading) = watch::channel(true);
    let (_waits, waiting) = watch::channel(false);
    let other = House::over_as(Arc::clone(&cut) as Arc<dyn Store>, Script::default(), Lead::shared(waiting)).await;
    let first = other.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    assert_eq!(first.verdict, Verdict::Wait, "{first:?}");

    let leader = House::over_as(Arc::clone(&cut.store), Script::default(), Lead::shared(leading)).await;
    for _ in 0..500 {
        if leader.run(&first).await.status.is_some_and(|status| status.decided_at.is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(leader.run(&first).await.status.unwrap().verdict, Verdict::Pass);
    assert_eq!(other.ask(&question(Point::Post)).await.verdict, Verdict::Pass);
    assert_eq!(all_runs(&leader.store).await.len(), 1);
}
