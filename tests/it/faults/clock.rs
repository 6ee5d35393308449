//! A clock that is stepped under the running program: by hours, as on a machine that has found its
//! time server again.

use std::path::PathBuf;
use std::time::Duration;

use kube::api::{Api, PostParams};
use probegate::api::{Gate, GateRun, ReleaseWindow};
use probegate::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::program::Program;
use super::{Asker, is_pass, until, windows};
use crate::cluster::{Place, control_plane};
use crate::replicas::program::{gate, token};

/// What the program takes for the wall clock. The other one, which never goes back, is the machine's.
struct Wall(tempfile::NamedTempFile);

impl Wall {
    fn true_to_the_machine() -> Self {
        let wall = Self(tempfile::NamedTempFile::new().unwrap());
        wall.step("+0");
        wall
    }

    /// So much before or after the machine's.
    fn step(&self, by: &str) {
        // In one go: the program reads it at any moment.
        let next = self.0.path().with_extension("next");
        std::fs::write(&next, by).unwrap();
        std::fs::rename(&next, self.0.path()).unwrap();
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().to_owned()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Debian keeps it in the directory of the machine's architecture.
fn library() -> PathBuf {
    let all = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut found = all.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("tests/setup.sh installs faketime")
}

/// A gate that waits an hour after a batch, and a freeze of the other one that begins in two hours.
async fn long_soak_and_later_freeze(place: &Place) {
    let slow: Gate = serde_json::from_value(json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Gate", "metadata": {"name": "slow"},
        "spec": {
            "target": {"names": ["slow"]},
            "post": {"soak": "1h", "timeout": "24h", "checks": [{"name": "window", "window": {}}]},
        },
    }))
    .unwrap();
    let gates = Api::<Gate>::namespaced(place.client.clone(), &place.namespace);
    gates.create(&PostParams::default(), &slow).await.unwrap();
    let now = SystemClock::new().now().round(jiff::Unit::Second).unwrap();
    let [from, to] = [2, 8].map(|hours| (now + jiff::SignedDuration::from_hours(hours)).to_string());
    let freeze: ReleaseWindow = serde_json::from_value(json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "ReleaseWindow", "metadata": {"name": "stop"},
        "spec": {
            "type": "freeze", "reason": "the line is stopped", "selector": {"targets": ["checkout"]},
            "schedule": {"dates": [{"from": from, "to": to}]},
        },
    }))
    .unwrap();
    windows(place).create(&PostParams::default(), &freeze).await.unwrap();
}

async fn until_in_force(place: &Place, wanted: bool) {
    until(&format!("in force: {wanted}"), async || {
        let window = windows(place).get("stop").await;
        window.is_ok_and(|window| window.status.is_some_and(|status| status.in_force == wanted))
    })
    .await;
}

/// The run that soaks.
async fn soaking(place: &Place, program: &Program, token: &str) -> GateRun {
    let question = json!({
        "gate": format!("{}/slow", place.namespace), "point": "post", "batch": {"index": 1, "total": 2, "percent": 50},
        "change": {"id": "c-slow", "target": "slow", "revision": "s1", "actor": "ci"},
    });
    let url = format!("{}/v1/check?wait=1s", program.url().unwrap());
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let answer: Value = client.post(url).bearer_auth(token).json(&question).send().await.unwrap().json().await.unwrap();
    assert!(!is_pass(Some(&answer)), "{answer}");
    let name = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).split_once('/').unwrap().1.to_owned();
    Api::<GateRun>::namespaced(place.client.clone(), &place.namespace).get(&name).await.unwrap()
}

#[test]
fn a_clock_that_is_stepped_turns_windows_and_lets_nothing_through_early() {
    control_plane().run(|place| async move {
        gate(&place).await;
        long_soak_and_later_freeze(&place).await;
        let token = token(&place, "ci", &["check"]).await;
        let wall = Wall::true_to_the_machine();
        let program = Program::start_with(&place.kubeconfig, &[&place.namespace], "a", wall.environment());
        program.until_ready().await;
        let asker = Asker { place: &place, program: &program, token: &token };
        until_in_force(&place, false).await;
        asker.until_pass("v1").await;
        let first = soaking(&place, &program, &token).await;

        wall.step("+3h");
        until_in_force(&place, true).await;
        let held = asker.ask("v2", "1s").await.unwrap();
        assert_eq!(held["verdict"], "wait", "{held}");
        assert!(held["reason"].as_str().unwrap().contains("the line is stopped"), "{held}");
        let second = soaking(&place, &program, &token).await;
        assert_eq!(first.metadata.name, second.metadata.name, "three hours on the wall are no hour of soaking");

        wall.step("+0");
        until_in_force(&place, false).await;
        // What was begun at an instant that lies ahead now waits for it, and says so.
        let ahead = asker.ask("v2", "1s").await.unwrap();
        assert_eq!(ahead["verdict"], "wait", "{ahead}");
        let reason = ahead["reason"].as_str().unwrap();
        assert!(reason.starts_with("the clock stands 2h ") && reason.ends_with("until it is right again"), "{ahead}");
        asker.until_pass("v3").await;
        soaking(&place, &program, &token).await;
        assert_eq!(program.starts(), 1, "it led all the time:\n{}", program.said());
    });
}
