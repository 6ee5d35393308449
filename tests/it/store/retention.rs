//! Forgetting by count and age: only what is decided, the oldest first.

use std::sync::Arc;

use jiff::SignedDuration;
use probegate::clock::Clock;
use probegate::store::sqlite::{Forgotten, Options, Retention, SqliteStore};
use probegate::store::{Object, Query, Store};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;

use super::home::{HandClock, decided, names, object, with_status};

const DAY: SignedDuration = SignedDuration::from_hours(24);

struct Kept {
    store: Arc<SqliteStore>,
    clock: Arc<HandClock>,
}

impl Kept {
    fn new() -> Self {
        let clock = HandClock::at("2026-01-01T00:00:00Z");
        let store = SqliteStore::in_memory_with(Options { clock: Arc::clone(&clock) as Arc<dyn Clock> }).unwrap();
        Self { store, clock }
    }

    async fn run(&self, gate: &str, name: &str, is_decided: bool) {
        let run = object("GateRun", "shop", name, json!({}), json!({"gate": gate}));
        let status = if is_decided { decided() } else { json!({"verdict": "wait"}) };
        self.store.create(with_status(run, status)).await.unwrap();
    }

    async fn runs(&self) -> String {
        names(&self.store.list("GateRun", &Query::default()).await.unwrap().items).join(",")
    }

    async fn forget(&self, retention: Retention) -> Forgotten {
        self.store.forget_once(&retention).await.unwrap()
    }
}

#[tokio::test]
async fn the_oldest_decided_runs_beyond_the_count_go() {
    let kept = Kept::new();
    for index in 0..5 {
        kept.run("checkout", &format!("c-{index}"), index != 1).await;
        kept.run("search", &format!("s-{index}"), true).await;
    }

    let forgotten = kept.forget(Retention { runs: 3, ..Retention::default() }).await;

    assert_eq!(forgotten, Forgotten { runs: 3, overrides: 0 });
    assert_eq!(kept.runs().await, "s-4,c-4,s-3,c-3,s-2,c-2,c-1");
    assert_eq!(kept.forget(Retention { runs: 3, ..Retention::default() }).await, Forgotten::default());
}

#[tokio::test]
async fn decided_runs_beyond_the_age_go_whatever_their_count() {
    let kept = Kept::new();
    kept.run("checkout", "old", true).await;
    kept.run("checkout", "old-but-open", false).await;
    kept.clock.advance(DAY * 80);
    kept.run("checkout", "young", true).await;
    kept.clock.advance(DAY * 11);

    assert_eq!(kept.forget(Retention::default()).await.runs, 1);

    assert_eq!(kept.runs().await, "young,old-but-open");
}

#[tokio::test]
async fn a_gate_says_itself_how_much_is_kept() {
    let kept = Kept::new();
    for (name, history) in [("few", json!({"runs": 1})), ("short", json!({"age": "1d"})), ("odd", json!({"age": 7}))] {
        kept.store.create(object("Gate", "shop", name, json!({}), json!({"history": history}))).await.unwrap();
        for index in 0..2 {
            kept.run(name, &format!("{name}-{index}"), true).await;
        }
    }
    kept.clock.advance(DAY * 2);
    kept.run("short", "short-2", true).await;

    kept.forget(Retention::default()).await;

    assert_eq!(kept.runs().await, "short-2,odd-1,odd-0,few-1");
}

#[tokio::test]
async fn all_gates_together_have_a_bound() {
    let kept = Kept::new();
    for index in 0..6 {
        kept.run(&format!("gate-{}", index % 3), &format!("r-{index}"), true).await;
    }

    assert_eq!(kept.forget(Retention { all_runs: 4, ..Retention::default() }).await.runs, 2);

    assert_eq!(kept.runs().await, "r-5,r-4,r-3,r-2");
}

#[tokio::test]
async fn overrides_go_when_they_have_been_over_for_long() {
    let kept = Kept::new();
    let exception = |name: &str, expires: &str| -> Object {
        let spec =
            json!({"gate": "checkout", "change": "c-17", "effect": "pass", "reason": "known", "expires": expires});
        object("Override", "shop", name, json!({}), spec)
    };
    let revoked = json!({"revoked": {"actor": "ann", "at": "2026-01-02T00:00:00Z"}, "conditions": []});
    for object in [
        exception("expired-long-ago", "2026-01-03T00:00:00Z"),
        exception("expired-lately", "2026-04-01T00:00:00Z"),
        exception("in-force", "2027-01-01T00:00:00Z"),
        with_status(exception("revoked-long-ago", "2027-01-01T00:00:00Z"), revoked),
    ] {
        kept.store.create(object).await.unwrap();
    }
    kept.clock.advance(DAY * 100);

    assert_eq!(kept.forget(Retention::default()).await, Forgotten { runs: 0, overrides: 2 });

    let left = kept.store.list("Override", &Query::default()).await.unwrap();
    assert_eq!(names(&left.items), ["in-force", "expired-lately"]);
}

#[tokio::test]
async fn a_clock_that_steps_back_makes_nothing_old() {
    let kept = Kept::new();
    kept.run("checkout", "a", true).await;
    kept.clock.jump(DAY * -3_000);

    assert_eq!(kept.forget(Retention::default()).await, Forgotten::default());
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_makes_nothing_old() {
    let kept = Kept::new();
    kept.run("checkout", "a", true).await;
    kept.clock.jump(DAY * 3_000);

    assert_eq!(kept.forget(Retention::default()).await, Forgotten::default());

    kept.clock.advance(DAY * 91);
    assert_eq!(kept.forget(Retention::default()).await.runs, 1);
}

#[tokio::test]
async fn what_was_removed_is_counted() {
    let kept = Kept::new();
    for index in 0..3 {
        kept.run("checkout", &format!("c-{index}"), true).await;
    }
    kept.forget(Retention { runs: 1, ..Retention::default() }).await;

    let mut registry = Registry::default();
    kept.store.metrics().register(&mut registry);
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry).unwrap();

    for line in [
        "probegate_store_retention_deletions_total{kind=\"GateRun\"} 2\n",
        "probegate_store_objects{kind=\"GateRun\"} 1\n",
        "probegate_store_operations_total{operation=\"create\",kind=\"GateRun\",outcome=\"ok\"} 3\n",
        "probegate_store_write_queue_length 0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}
