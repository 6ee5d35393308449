//! The admin listener, and how the server ends.

use std::time::{Duration, Instant};

use probegate::model::Outcome;
use probegate::server::{Health, Standing};

use super::world::{Setup, World, question, until};

#[tokio::test]
async fn the_admin_listener_tells_of_life_readiness_and_figures() {
    let health =
        Health::new().with("config", || async { Standing::Degraded("gates.yaml:3:5: unknown field".to_owned()) });
    let world = World::with(Setup { health, ..Setup::default() }).await;
    assert_eq!(world.probe("/livez").await.status, 200);
    let ready = world.probe("/readyz?verbose").await;
    assert_eq!(ready.status, 200, "a broken file keeps the last good state: {ready:?}");
    let sources = ready.json()["sources"].clone();
    assert_eq!((sources[0]["name"].as_str(), sources[0]["state"].as_str()), (Some("config"), Some("degraded")));
    assert!(sources[0]["detail"].as_str().unwrap().contains("gates.yaml:3:5"), "{sources}");
    world.post("/v1/check?wait=5s", &question("v1")).await;
    let metrics = world.probe("/metrics").await;
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"), "{metrics:?}");
    let wanted = r#"probegate_http_requests_total{route="/v1/check",status="2xx"} 1"#;
    assert!(metrics.body.contains(wanted), "{}", metrics.body);
    assert_eq!(world.probe("/v1/check").await.status, 404, "no questions on this port");
}

#[tokio::test]
async fn a_source_that_is_down_or_hangs_makes_the_server_unready() {
    let health = Health::new()
        .with("store", || async { Standing::NotReady("disk full".to_owned()) })
        .with("calendars", || async { std::future::pending().await });
    let world = World::with(Setup { health, ..Setup::default() }).await;
    let ready = world.probe("/readyz").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "not ready: store: disk full; calendars: it does not answer in time\n")
    );
}

#[tokio::test]
async fn a_shutdown_answers_who_waits_and_lets_go() {
    let mut world = World::new().await;
    world.script.say("slow/post/2", Outcome::Pending);
    let (address, shutdown) = (world.address, world.shutdown.clone());
    let body = question("slow").to_string();
    let waiting = tokio::spawn(async move {
        let headers = [("content-type", "application/json")];
        super::world::send(address, "POST", "/v1/check?wait=50s", &headers, body.as_bytes()).await
    });
    until("the run is there", async || {
        !world.get("/v1/runs?open=true").await.json()["items"].as_array().unwrap().is_empty()
    })
    .await;
    let began = Instant::now();
    shutdown.cancel();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status, reply.json()["verdict"].as_str()), (200, Some("wait")), "{reply:?}");
    world.server.take().unwrap().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9), "nobody was cut: {:?}", began.elapsed());
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is free");
}
