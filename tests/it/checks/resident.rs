//! The resident prober: targets, quorum, what explains a failure, rounds that are asked for, history.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{Maintenance, Probe};
use probegate::clock::{Clock, SystemClock};
use probegate::probes::history::sqlite::{self, SqliteArchive};
use probegate::probes::history::{Archive, Window};
use probegate::probes::{Away, Judgement, Limits, Maintenances, Options, ProbeSelector, Reason, RunError};
use probegate::store::StoreExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::peers::{Peer, answer, closed_port, outbound};
use super::world::{World, until};

/// A port that can be shut and opened again.
struct Door {
    address: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Door {
    async fn open() -> Self {
        let mut door = Self { address: "127.0.0.1:0".parse().unwrap(), open: None };
        door.reopen().await;
        door
    }

    async fn reopen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.open = Some(tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        }));
    }

    async fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }

    fn spec(&self) -> Value {
        json!({"tcp": {"address": self.address.to_string()}, "interval": "100ms"})
    }
}

fn with(mut spec: Value, more: &Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn named(name: &str) -> ProbeSelector {
    ProbeSelector { namespace: "shop".to_owned(), names: vec![name.to_owned()], ..ProbeSelector::default() }
}

fn reason(world: &World, name: &str) -> String {
    world.board.get("shop", name).unwrap().reason
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

#[tokio::test]
async fn so_many_targets_must_be_down_as_the_quorum_says() {
    let mut doors = [Door::open().await, Door::open().await, Door::open().await];
    let list: Vec<String> = doors.iter().map(|door| door.address.to_string()).collect();
    let world = World::start(outbound());
    let spec = json!({"tcp": {}, "targets": {"static": list}, "quorum": 2, "interval": "100ms"});
    world.create("three", spec).await;
    world.until_state("three", "up").await;
    until("all of them", || reason(&world, "three") == "all 3 targets are up").await;
    doors[0].shut().await;
    world.until_state("three", "degraded").await;
    let view = world.board.get("shop", "three").unwrap();
    let down: Vec<_> = view.targets.iter().filter(|target| target.state.as_str() == "down").collect();
    assert_eq!((down.len(), &*down[0].target), (1, list[0].as_str()));
    doors[1].shut().await;
    world.until_state("three", "down").await;
    assert!(
        reason(&world, "three").starts_with("2 of 3 targets are down (down takes 2)"),
        "{}",
        reason(&world, "three")
    );
    doors[0].reopen().await;
    world.until_state("three", "degraded").await;
}

#[tokio::test]
async fn another_interval_turns_nothing() {
    let door = Door::open().await;
    let world = World::start(outbound());
    let address = door.address.to_string();
    let spec = |interval: &str| json!({"tcp": {"address": address}, "interval": interval, "timeout": "50ms"});
    world.create("door", spec("1h")).await;
    world.until_state("door", "up").await;
    // Longer than a state of the other interval stays fresh.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut turns = world.board.transitions();
    let rounds = || world.board.get("shop", "door").unwrap().rounds;
    let before = rounds();
    let mut probe = world.store.get_as::<Probe>("shop", "door").await.unwrap().unwrap();
    probe.spec = serde_json::from_value(spec("100ms")).unwrap();
    world.store.put_as(&probe).await.unwrap();
    until("some rounds by the other interval", || rounds() > before + 3).await;
    assert!(turns.try_recv().is_err(), "it never turned");
    assert_eq!(world.state("door"), Some("up"));
}

#[tokio::test]
async fn the_lines_of_a_file_are_targets_and_followed_and_a_broken_file_keeps_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hosts");
    let (first, second) = (Door::open().await, Door::open().await);
    std::fs::write(&file, format!("{}\n", first.address)).unwrap();
    let options = Options { root: Some(directory.path().to_owned()), ..Options::default() };
    let world = World::start_with(outbound(), options);
    world.create("listed", json!({"tcp": {}, "targets": {"file": "hosts"}, "interval": "100ms"})).await;
    world.until_state("listed", "up").await;
    let targets = || world.board.get("shop", "listed").unwrap().targets.len();
    assert_eq!(targets(), 1);
    let rounds = world.board.get("shop", "listed").unwrap().rounds;
    std::fs::write(&file, format!("{}\n{}\n", first.address, second.address)).unwrap();
    until("two targets", || targets() == 2).await;
    world.until_state("listed", "up").await;
    assert!(world.board.get("shop", "listed").unwrap().rounds > rounds, "what was known stays known");
    std::fs::write(&file, "no port here\n").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((targets(), world.state("listed")), (2, Some("up")));
}

#[tokio::test]
async fn a_name_is_each_of_its_addresses() {
    let door = Door::open().await;
    let world = World::start(outbound());
    let dns = format!("localhost:{}", door.address.port());
    world.create("named", json!({"tcp": {}, "targets": {"dns": dns}, "quorum": 2, "interval": "100ms"})).await;
    until("its addresses", || world.board.get("shop", "named").is_some_and(|view| !view.targets.is_empty())).await;
    let targets = world.board.get("shop", "named").unwrap().targets;
    assert!(targets.iter().any(|target| *target.target == *door.address.to_string()), "{targets:?}");
}

#[tokio::test]
async fn a_child_is_unknown_and_not_down_while_its_parent_is_down() {
    let mut door = Door::open().await;
    let world = World::start(outbound());
    let mut turns = world.board.transitions();
    world.create("parent", with(door.spec(), &json!({"down": {"failures": 5}}))).await;
    world.create("child", with(door.spec(), &json!({"parents": ["parent"], "down": {"failures": 1}}))).await;
    world.until_state("parent", "up").await;
    world.until_state("child", "up").await;
    door.shut().await;
    world.until_state("parent", "down").await;
    world.until_state("child", "unknown").await;
    assert!(reason(&world, "child").contains("parent"), "{}", reason(&world, "child"));
    door.reopen().await;
    world.until_state("child", "up").await;
    while let Ok(turn) = turns.try_recv() {
        assert!(turn.name != "child" || turn.to.as_str() != "down", "{turn:?}");
    }
}

#[tokio::test]
async fn a_failing_self_check_explains_what_fails_on_the_way_and_nothing_else() {
    let (mut way, mut target) = (Door::open().await, Door::open().await);
    let healthy = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&healthy);
    let page = Peer::start(move |mut stream| {
        let status = if told.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" };
        async move {
            use tokio::io::AsyncWriteExt;
            super::peers::read_request(&mut stream).await;
            let _ = stream.write_all(answer(status, "", "").as_bytes()).await;
        }
    })
    .await;
    let world = World::start(outbound());
    let explains = json!({"selfCheck": {"matchLabels": {"app": "checkout"}}});
    world.create("way-out", with(way.spec(), &explains)).await;
    world.create("shop", with(target.spec(), &json!({"down": {"failures": 1}}))).await;
    world.create("page", json!({"http": {"url": page.url("/")}, "interval": "100ms"})).await;
    for name in ["way-out", "shop", "page"] {
        world.until_state(name, "up").await;
    }
    let mut turns = world.board.transitions();
    way.shut().await;
    target.shut().await;
    world.until_state("shop", "unknown").await;
    assert!(reason(&world, "shop").contains("the prober's own check"), "{}", reason(&world, "shop"));
    // An answer came back: the way is not what is wrong with it.
    healthy.store(false, Ordering::SeqCst);
    world.until_state("page", "down").await;
    way.reopen().await;
    world.until_state("shop", "down").await;
    let first = std::iter::from_fn(|| turns.try_recv().ok()).find(|turn| turn.name == "shop").unwrap();
    assert_eq!(first.to.as_str(), "unknown", "never down while the way was lost");
}

#[tokio::test]
async fn a_state_edge_is_confirmed_at_the_faster_interval() {
    let mut door = Door::open().await;
    let world = World::start(outbound());
    let spec = with(door.spec(), &json!({"interval": "4s", "edgeInterval": "100ms", "down": {"failures": 3}}));
    world.create("edge", spec).await;
    world.until_state("edge", "up").await;
    door.shut().await;
    world.until_state("edge", "down").await;
    let since = world.board.get("shop", "edge").unwrap().failing_since.unwrap();
    let failed = world.board.rounds_since("shop", "edge", since);
    let span = failed[2].at.duration_since(failed[0].at);
    assert!(failed.len() >= 3 && span < SignedDuration::from_secs(4), "{failed:?}");
}

#[tokio::test]
async fn a_suspended_probe_is_run_by_hand_and_stays_unknown() {
    let door = Door::open().await;
    let world = World::start(outbound());
    world.create("asleep", with(door.spec(), &json!({"suspend": true}))).await;
    until("it is known", || world.board.get("shop", "asleep").is_some_and(|view| !view.targets.is_empty())).await;
    let made = world.board.run("shop", "asleep").await.unwrap();
    assert_eq!((made.len(), made[0].observation.success), (1, true));
    let rounds = world.board.rounds_since("shop", "asleep", made[0].at);
    assert_eq!((rounds.len(), rounds[0].id), (1, made[0].id));
    let view = world.board.get("shop", "asleep").unwrap();
    assert_eq!((view.state.as_str(), view.reason.as_str(), view.rounds), ("unknown", "suspended", 1));
    assert!(matches!(world.board.run("shop", "nobody").await, Err(RunError::NotFound { .. })));
}

#[tokio::test]
async fn a_module_without_a_target_of_its_own_is_valid_and_asleep() {
    let world = World::start(outbound());
    world.create("module", json!({"tcp": {}, "suspend": true})).await;
    until("it is known", || world.board.get("shop", "module").is_some()).await;
    let view = world.board.get("shop", "module").unwrap();
    assert_eq!((view.invalid, view.kind, view.reason.as_str()), (None, Some("tcp"), "suspended"));
    assert!(matches!(world.board.run("shop", "module").await, Err(RunError::NoTargets { .. })));
}

#[tokio::test]
async fn a_change_that_begins_fires_its_probes_and_hurries_them() {
    let door = Door::open().await;
    let world = World::start(outbound());
    world.create("slow", with(door.spec(), &json!({"interval": "1h", "changeInterval": "100ms"}))).await;
    world.until_state("slow", "up").await;
    let at = now();
    let rounds = || world.board.rounds_since("shop", "slow", at).len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rounds(), 0);
    world.board.attend(&named("slow"), Duration::from_secs(60), 500);
    world.board.fire(&named("slow"));
    until("five rounds", || rounds() >= 5).await;
}

#[tokio::test]
async fn a_new_schedule_keeps_what_is_known_and_a_new_address_does_not() {
    let (door, other) = (Door::open().await, closed_port().await);
    let world = World::start(outbound());
    let probe: Probe = world.create("moving", door.spec()).await;
    world.until_state("moving", "up").await;
    let before = world.board.get("shop", "moving").unwrap();
    let probe = world.change(probe, with(door.spec(), &json!({"interval": "200ms", "down": {"failures": 4}}))).await;
    until("the new plan", || world.board.get("shop", "moving").unwrap().failures == 4).await;
    let after = world.board.get("shop", "moving").unwrap();
    assert_eq!((after.state, after.since), (before.state, before.since));
    assert!(after.rounds >= before.rounds);
    world.change(probe, json!({"tcp": {"address": other.to_string()}, "interval": "100ms"})).await;
    world.until_state("moving", "down").await;
}

#[tokio::test]
async fn a_slot_without_a_place_is_counted_as_missed() {
    let silent = Peer::start(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let limits = Limits { per_host: 1, per_second: NonZeroU32::new(1_000).unwrap(), ..Limits::default() };
    let world = World::start_with(outbound(), Options { limits, ..Options::default() });
    for name in ["one", "two", "three"] {
        let spec = json!({"http": {"url": silent.url("/")}, "interval": "300ms", "timeout": "250ms"});
        world.create(name, spec).await;
    }
    let missed =
        || ["one", "two", "three"].iter().map(|name| world.board.get("shop", name).map_or(0, |v| v.missed)).sum();
    until("missed slots", || {
        let missed: u64 = missed();
        missed >= 3
    })
    .await;
}

#[tokio::test]
async fn a_port_that_must_be_shut_is_up_while_it_is() {
    let world = World::start(outbound());
    let mut door = Door::open().await;
    door.shut().await;
    world.create("shut", with(door.spec(), &json!({"expect": "failure"}))).await;
    world.until_state("shut", "up").await;
    door.reopen().await;
    world.until_state("shut", "down").await;
    let last = world.board.get("shop", "shut").unwrap().targets[0].last.clone().unwrap();
    assert_eq!(last.reason, Some(Reason::Success));
}

/// A window that a test opens and shuts.
struct Opened(AtomicBool);

impl Maintenances for Opened {
    fn away(&self, _: &str, maintenance: &Maintenance, _: Timestamp) -> Option<Away> {
        let until = Some("2030-01-01T00:00:00Z".parse().unwrap());
        self.0.load(Ordering::SeqCst).then(|| Away { window: maintenance.names[0].clone(), until })
    }
}

#[tokio::test]
async fn in_maintenance_a_probe_is_unknown_until_the_window_shuts() {
    let door = Door::open().await;
    let window = Arc::new(Opened(AtomicBool::new(false)));
    let maintenances: Arc<dyn Maintenances> = Arc::clone(&window) as _;
    let world = World::start_with(outbound(), Options { maintenances: Some(maintenances), ..Options::default() });
    world.create("kept", with(door.spec(), &json!({"maintenance": {"names": ["night"]}}))).await;
    world.until_state("kept", "up").await;
    window.0.store(true, Ordering::SeqCst);
    world.until_state("kept", "unknown").await;
    assert_eq!(reason(&world, "kept"), "maintenance by window night until 2030-01-01T00:00:00Z");
    window.0.store(false, Ordering::SeqCst);
    world.until_state("kept", "up").await;
}

#[tokio::test]
async fn history_outlives_the_process_and_a_state_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let open =
        || -> Arc<dyn Archive> { Arc::new(SqliteArchive::open(directory.path(), sqlite::Options::default()).unwrap()) };
    let mut door = Door::open().await;
    let begun = now();
    let world = World::start_with(outbound(), Options { archive: Some(open()), ..Options::default() });
    world.create("kept", door.spec()).await;
    world.until_state("kept", "up").await;
    until("ten rounds", || world.board.get("shop", "kept").unwrap().rounds >= 10).await;
    world.board.close_history().await;
    drop(world);

    door.shut().await;
    let world = World::start_with(outbound(), Options { archive: Some(open()), ..Options::default() });
    world.create("kept", with(door.spec(), &json!({"down": {"failures": 50}}))).await;
    until("it is on the board", || world.board.get("shop", "kept").is_some_and(|view| view.before.is_some())).await;
    let view = world.board.get("shop", "kept").unwrap();
    assert_eq!((view.state.as_str(), view.before.unwrap().state.as_str()), ("unknown", "up"));
    until("a failure", || {
        world.board.rounds_since("shop", "kept", begun).iter().any(|round| round.judgement == Judgement::Failed)
    })
    .await;
    let window = Window { from: begun, to: now() };
    let history = world.board.history("shop", "kept", window).await.unwrap().unwrap();
    assert!(history.summary.good >= 10 && history.summary.failed >= 1, "{history:?}");
    let availability = history.summary.availability.unwrap();
    assert!(availability > 0.0 && availability < 1.0, "{availability}");
    assert_eq!(history.targets[0].failures[0].reason, Reason::Refused);
    assert_eq!(history.turns[0].to.as_str(), "up");
}
