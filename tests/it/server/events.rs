//! `/v1/events`.

use std::time::Duration;

use probegate::api::Probe;
use probegate::store::StoreExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::world::{World, head, question};

struct Stream(Lines<BufReader<TcpStream>>);

impl Stream {
    async fn open(world: &World, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(head("GET", "/v1/events", headers, 0).as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        assert!(first.contains("200"), "{first}");
        while !lines.next_line().await.unwrap().unwrap().is_empty() {}
        Self(lines)
    }

    /// The next event: its id, its kind, its data.
    async fn next(&mut self) -> (String, String, Value) {
        let (mut id, mut kind) = (String::new(), String::new());
        let reading = async {
            while let Some(line) = self.0.next_line().await.unwrap() {
                match line.split_once(": ") {
                    Some(("id", text)) => text.clone_into(&mut id),
                    Some(("event", text)) => text.clone_into(&mut kind),
                    Some(("data", text)) => return serde_json::from_str(text).unwrap(),
                    _ => {}
                }
            }
            panic!("the stream ended");
        };
        let data = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an event");
        (id, kind, data)
    }
}

#[tokio::test]
async fn a_run_is_told_of_when_it_is_created_and_decided_and_again_to_who_comes_back() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &[]).await;
    world.script.say("slow/post/2", probegate::model::Outcome::Pending);
    world.post("/v1/check", &question("slow")).await;
    let (first, kind, data) = stream.next().await;
    assert_eq!((kind.as_str(), data["change"]["revision"].as_str()), ("run.created", Some("slow")));
    world.script.say("slow/post/2", probegate::model::Outcome::Pass);
    let (second, kind, data) = stream.next().await;
    assert_eq!((kind.as_str(), data["verdict"].as_str()), ("run.decided", Some("pass")));
    let mut back = Stream::open(&world, &[("last-event-id", &first)]).await;
    let (missed, kind, _) = back.next().await;
    assert_eq!((missed, kind.as_str()), (second, "run.decided"));
    let mut stranger = Stream::open(&world, &[("last-event-id", "another-7")]).await;
    assert_eq!(stranger.next().await.1, "reset");
}

#[tokio::test]
async fn an_override_and_a_hook_s_event_are_told_of() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &[]).await;
    let soon = {
        use probegate::clock::Clock;
        probegate::clock::SystemClock::new().now() + jiff::SignedDuration::from_hours(1)
    };
    let wanted = json!({"gate": "shop/checkout", "change": "c", "effect": "pass", "reason": "r", "expires": soon});
    let place = world.post("/v1/overrides", &wanted).await.headers["location"].clone();
    assert_eq!(stream.next().await.1, "override.created");
    world.send("DELETE", &place, &[], "").await;
    assert_eq!(stream.next().await.1, "override.revoked");
    let body = json!({"name": "fl", "namespace": "d", "phase": "Progressing", "checksum": "c",
                      "metadata": {"eventMessage": "New revision detected!"}});
    world.post("/hooks/flagger/shop/fl/event", &body).await;
    let (_, kind, data) = stream.next().await;
    assert_eq!(
        (kind.as_str(), data["metadata"]["eventMessage"].as_str()),
        ("hook.event", Some("New revision detected!"))
    );
}

#[tokio::test]
async fn a_probe_that_turns_is_told_of_and_not_that_it_is_known_now() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let spec = json!({"unix": {"path": path}, "interval": "100ms", "down": {"failures": 2}});
    let mut probe = Probe::new("checkout", serde_json::from_value(spec).unwrap());
    probe.metadata.namespace = Some("shop".to_owned());
    world.store.create_as(&probe).await.unwrap();
    let is_up = async || {
        let probe: Option<Probe> = world.store.get_as("shop", "checkout").await.unwrap();
        probe.and_then(|probe| probe.status).is_some_and(|status| status.state.as_str() == "up")
    };
    while !is_up().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(listener);
    let (_, kind, data) = stream.next().await;
    assert_eq!(kind, "probe.turned");
    assert_eq!((&data["name"], &data["from"], &data["to"]), (&json!("checkout"), &json!("up"), &json!("down")));
    assert!(data["reason"].as_str().unwrap().contains("refused"), "{data}");
}

#[tokio::test]
async fn of_a_probe_that_flaps_it_is_told_once_that_it_does_and_how_it_ended() {
    const RESTLESS: usize = 60;
    let world = World::new().await;
    let mut stream = Stream::open(&world, &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Two answers, two failures and so on; in the end answers alone.
    let server = tokio::spawn(async move {
        for round in 0_usize.. {
            let (mut peer, _) = listener.accept().await.unwrap();
            let good = round >= RESTLESS || round / 2 % 2 == 0;
            peer.write_all(if good { b"ok\n" } else { b"no\n" }).await.unwrap();
        }
    });
    let spec = json!({"tcp": {"address": address, "expect": "^ok"}, "interval": "100ms",
                      "down": {"failures": 2}, "up": {"successes": 2}});
    let mut probe = Probe::new("checkout", serde_json::from_value(spec).unwrap());
    probe.metadata.namespace = Some("shop".to_owned());
    world.store.create_as(&probe).await.unwrap();
    let mut told = Vec::new();
    while !told.iter().any(|data: &Value| data["reason"].as_str().unwrap().contains("flapping")) {
        told.push(stream.next().await.2);
    }
    let before = told.len() - 1;
    assert!(before <= RESTLESS / 6, "it takes few turns to be known as flapping: {told:#?}");
    let end = stream.next().await.2;
    assert_eq!((&end["from"], &end["to"]), (&json!("degraded"), &json!("up")), "{told:#?}");
    server.abort();
}
