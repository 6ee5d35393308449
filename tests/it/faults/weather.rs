//! An API server that is there, and slow, strict, forgetful, or cut off for one kind of resources.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, PostParams};
use probegate::api::GateRun;
use rstest::rstest;
use serde_json::json;

use super::program::Program;
use super::proxy::{Fault, Proxy};
use super::{Asker, freeze, runs_about, thaw, until, until_frozen};
use crate::cluster::{Place, control_plane};
use crate::replicas::program::{gate, token};

struct World {
    place: Place,
    proxy: Proxy,
    program: Program,
    token: String,
}

impl World {
    fn asker(&self) -> Asker<'_> {
        Asker { place: &self.place, program: &self.program, token: &self.token }
    }
}

/// A gate, and a program whose way to the API server has weather.
fn story(before: impl AsyncFnOnce(&Place, &Proxy) + Send, tell: impl AsyncFnOnce(Arc<World>) + Send) {
    control_plane().run(|place| async move {
        gate(&place).await;
        let token = token(&place, "ci", &["check"]).await;
        let proxy = Proxy::start(&place).await;
        before(&place, &proxy).await;
        let program = Program::start(proxy.kubeconfig(), &[&place.namespace], "a");
        program.until_ready().await;
        let world = Arc::new(World { place, proxy, program, token });
        tell(Arc::clone(&world)).await;
    });
}

async fn nothing(_: &Place, _: &Proxy) {}

#[test]
fn an_api_server_that_needs_seconds_for_every_call_delays_the_verdict_and_no_more() {
    story(nothing, async |world| {
        world.proxy.rule(|_| Some(Fault::Slow(Duration::from_secs(2))));
        world.asker().until_pass("v1").await;
        world.proxy.calm();
        world.asker().until_pass("v2").await;
    });
}

#[test]
fn an_api_server_that_turns_every_other_call_away_delays_the_verdict_and_no_more() {
    story(nothing, async |world| {
        world.proxy.rule(|call| (call.number % 2 == 0).then_some(Fault::Status(429, "TooManyRequests", Some(1))));
        world.asker().until_pass("v1").await;
        world.proxy.calm();
        world.asker().until_pass("v2").await;
    });
}

#[test]
fn nothing_passes_while_the_api_server_turns_every_call_away() {
    story(nothing, async |world| {
        world.asker().until_pass("v1").await;
        let from = world.program.loud_lines();
        world.proxy.rule(|_| Some(Fault::Status(429, "TooManyRequests", Some(1))));
        world.proxy.cut();
        let asker = world.asker();
        let unready = async || world.program.is_unready_because("too many requests").await;
        asker.never_passes_until("unready", unready).await;
        // Longer than the lease holds: the leader that could not renew it has ended and is started again.
        asker.never_passes_until("started again", async || world.program.starts() > 1).await;
        asker.never_passes_until("unready again", unready).await;
        let (count, message) = world.program.most_repeated(from);
        assert!(count <= 8, "{count} times: {message}\n{}", world.program.said());
        world.proxy.calm();
        asker.until_pass("v2").await;
        world.program.until_ready().await;
    });
}

#[test]
fn a_storm_of_conflicts_makes_no_second_run_and_loses_no_verdict() {
    story(nothing, async |world| {
        world
            .proxy
            .rule(|call| (call.is_write() && call.number % 3 != 0).then_some(Fault::Status(409, "Conflict", None)));
        world.asker().until_pass("v1").await;
        world.proxy.calm();
        let runs = runs_about(&world.place, "v1").await;
        assert_eq!(runs.len(), 1, "{runs:#?}");
        assert!(runs[0].status.as_ref().unwrap().decided_at.is_some());
    });
}

#[test]
fn watches_that_are_closed_at_random_hide_no_freeze() {
    story(nothing, async |world| {
        let scissors = world.proxy.scissors();
        let cutting = tokio::spawn(async move {
            for pause in [90, 310, 40, 700, 150, 20, 480].into_iter().cycle() {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                scissors.send_modify(|cuts| *cuts += 1);
            }
        });
        for round in 0..3 {
            freeze(&world.place).await;
            until_frozen(&world.place).await;
            let answer = world.asker().ask(&format!("frozen-{round}"), "2s").await;
            assert!(!super::is_pass(answer.as_ref()), "{answer:?}");
            thaw(&world.place).await;
            world.asker().until_pass(&format!("free-{round}")).await;
        }
        cutting.abort();
        world.program.until_ready().await;
    });
}

/// Runs that take three pages of a list.
async fn many_runs(place: &Place) {
    let runs = Api::<GateRun>::namespaced(place.client.clone(), &place.namespace);
    for number in 0..120 {
        let run = json!({
            "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun", "metadata": {"name": format!("old-{number}")},
            "spec": {"gate": "gone", "point": "pre", "batch": {"index": 1, "total": 1, "percent": 100},
                "change": {"id": format!("c-{number}"), "target": "gone", "revision": "v1", "action": "release", "actor": "ci"}},
        });
        runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
    }
}

#[test]
fn expired_versions_and_continue_tokens_are_begun_anew_and_hide_no_freeze() {
    let before = async |place: &Place, proxy: &Proxy| {
        many_runs(place).await;
        let mut left = 1;
        proxy.rule(move |call| {
            let expires = call.query.contains("continue=") && left > 0;
            left -= i32::from(expires);
            expires.then_some(Fault::Status(410, "Expired", None))
        });
    };
    story(before, async |world| {
        world.asker().until_pass("v1").await;
        world.proxy.expire_once(&["gates", "gateruns", "overrides", "probes", "releasewindows"]);
        freeze(&world.place).await;
        until_frozen(&world.place).await;
        let answer = world.asker().ask("frozen", "2s").await;
        assert!(!super::is_pass(answer.as_ref()), "{answer:?}");
        thaw(&world.place).await;
        world.asker().until_pass("v2").await;
        let metrics = world.program.admin("/metrics").await.unwrap().1;
        assert!(
            metrics.contains("kind=\"ReleaseWindow\",why=\"expired\"") || metrics.contains("why=\"expired\""),
            "{metrics}"
        );
    });
}

/// What is older than the limit of docs/operator.md supports no pass.
#[rstest]
#[case::windows("releasewindows", "ReleaseWindow")]
#[case::overrides("overrides", "Override")]
#[case::probes("probes", "Probe")]
fn nothing_passes_while_one_kind_cannot_be_watched(#[case] plural: &'static str, #[case] kind: &str) {
    story(nothing, async |world| {
        world.asker().until_pass("v1").await;
        let from = world.program.loud_lines();
        world.proxy.rule(move |call| call.reads(plural).then_some(Fault::Status(503, "ServiceUnavailable", None)));
        world.proxy.cut();
        let why = format!("watching {kind}");
        // What was heard a moment ago is still good; what is older than the limit is not.
        until("unready", async || world.program.is_unready_because(&why).await).await;
        let asker = world.asker();
        let (begun, long) = (tokio::time::Instant::now(), Duration::from_secs(5));
        let answer = asker.never_passes_until("blind", async || begun.elapsed() > long).await.unwrap();
        assert!(answer["reason"].as_str().unwrap_or_default().contains(&why), "{answer}");
        let (count, message) = world.program.most_repeated(from);
        assert!(count <= 8, "{count} times: {message}\n{}", world.program.said());
        world.proxy.calm();
        world.program.until_ready().await;
        asker.until_pass("v2").await;
    });
}
