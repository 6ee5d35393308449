//! Two that write conditions on one gate: its standing, and what is said of the rollouts behind it.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use probegate::api::{Condition, ConditionStatus, Gate, Override, Probe, ReleaseWindow, Resource};
use probegate::calendars::{self, WindowBook};
use probegate::checks::Table;
use probegate::clock::{Clock, SystemClock};
use probegate::cluster::Scope;
use probegate::model::{Point, Verdict};
use probegate::operator::Standings;
use probegate::operator::rollouts::{LETS_OUT_UNGATED, ROLLOUT_HELD};
use probegate::outbound::{Outbound, Secrets};
use probegate::store::kubernetes::KubernetesStore;
use probegate::store::{Cache, Store};
use serde_json::json;

use super::world::{World, canary, steps, story};

fn follow<R: Resource>(store: &Arc<dyn Store>) -> Cache<R> {
    let (cache, run) = Cache::follow(Arc::clone(store));
    tokio::spawn(run);
    cache
}

/// Keeps the standing of the story's gate written, as the operator does beside its rollouts.
fn keep_standing(world: &World) {
    let scope = Scope::new([world.place.namespace.clone()], None).unwrap();
    let store: Arc<dyn Store> = KubernetesStore::open(&world.place.connection, scope);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let windows = follow::<ReleaseWindow>(&store);
    let outbound = Outbound::new(Secrets::new(None));
    let (book, run) = WindowBook::follow(windows.clone(), outbound, Arc::clone(&clock), calendars::Options::default());
    tokio::spawn(run);
    let standings = Standings {
        gates: follow::<Gate>(&store),
        overrides: follow::<Override>(&store),
        probes: follow::<Probe>(&store),
        store,
        windows,
        book,
        table: Table::default(),
        cluster: None,
        secrets: Secrets::new(None),
        clock,
    };
    tokio::spawn(standings.keep());
}

async fn conditions(world: &World) -> Vec<Condition> {
    world.gate_api().get("shop").await.unwrap().status.map(|status| status.conditions).unwrap_or_default()
}

async fn is(world: &World, kind: &str, wanted: ConditionStatus) -> bool {
    conditions(world).await.iter().any(|one| one.kind == kind && one.status == wanted)
}

#[test]
fn the_standing_of_a_gate_and_the_word_on_its_rollouts_leave_each_other_alone() {
    story(canary(&steps()), async |world| {
        keep_standing(&world);
        world.until("the gate is ready", async || is(&world, "Ready", ConditionStatus::True).await).await;
        world.release("2").await;
        world.until("it is held", async || is(&world, ROLLOUT_HELD, ConditionStatus::True).await).await;
        assert!(is(&world, "Ready", ConditionStatus::True).await);

        // A check of a kind that the table does not have: the gate's own standing turns.
        let check = json!({"spec": {"pre": {"checks": [{"name": "quiet", "window": {}}]}}});
        let check = Patch::Merge(&check);
        world.gate_api().patch("shop", &PatchParams::default(), &check).await.unwrap();
        world.until("the gate is not ready", async || is(&world, "Ready", ConditionStatus::False).await).await;
        let held = conditions(&world).await.into_iter().find(|one| one.kind == ROLLOUT_HELD).unwrap();
        assert_eq!(held.status, ConditionStatus::True, "{held:?}");
        assert!(held.message.contains("pre of batch 1"), "{held:?}");

        // The word on the rollout turns: the standing stays.
        world.say(1, Point::Pre, Verdict::Pass);
        world.until("it is let on", async || is(&world, ROLLOUT_HELD, ConditionStatus::False).await).await;
        let all = conditions(&world).await;
        let of = |kind: &str| all.iter().filter(|one| one.kind == kind).count();
        assert_eq!((of("Ready"), of(ROLLOUT_HELD), of(LETS_OUT_UNGATED), all.len()), (1, 1, 1, 3), "{all:?}");
        assert!(is(&world, "Ready", ConditionStatus::False).await);
    });
}
