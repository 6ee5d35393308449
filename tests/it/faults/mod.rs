//! The whole program in a cluster that is in trouble: what it says, that it never passes meanwhile,
//! and that it recovers by itself.

mod account;
mod clock;
mod outage;
mod program;
mod proxy;
mod references;
mod rights;
mod weather;

use std::time::Duration;

use kube::api::{Api, DeleteParams, PostParams};
use probegate::api::{GateRun, ReleaseWindow};
use probegate::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use self::program::Program;
use crate::cluster::Place;

/// How long anything may take before a story has failed: a busy machine is slow, and a lease that
/// nobody lets go of takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a story looks.
const TICK: Duration = Duration::from_millis(200);

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// A program, who asks it, and where.
struct Asker<'a> {
    place: &'a Place,
    program: &'a Program,
    token: &'a str,
}

impl Asker<'_> {
    /// The answer to whether a revision may begin; nothing where there is none.
    async fn ask(&self, revision: &str, wait: &str) -> Option<Value> {
        let question = json!({
            "gate": format!("{}/checkout", self.place.namespace), "point": "pre",
            "change": {"id": format!("c-{revision}"), "target": "checkout", "revision": revision, "actor": "ci"},
        });
        let url = format!("{}/v1/check?wait={wait}", self.program.url()?);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let answer = client.post(url).bearer_auth(self.token).json(&question).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Asks until it passes.
    async fn until_pass(&self, revision: &str) {
        let mut last = None;
        let passing = async {
            loop {
                last = self.ask(revision, "10s").await;
                if is_pass(last.as_ref()) {
                    return;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        let passed = tokio::time::timeout(PATIENCE, passing).await;
        assert!(passed.is_ok(), "{revision} never passes: {last:?}\n{}", self.program.said());
    }

    /// Asks about ever new revisions until `holds`: none passes. Gives the last answer that there was.
    async fn never_passes_until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Option<Value> {
        let (begun, mut last, mut number) = (tokio::time::Instant::now(), None, 0);
        loop {
            number += 1;
            let held = holds().await;
            let answer = self.ask(&format!("{}-{number}", what.replace(' ', "-")), "1s").await;
            assert!(!is_pass(answer.as_ref()), "it passes: {answer:?}\n{}", self.program.said());
            last = answer.or(last);
            if held {
                return last;
            }
            assert!(begun.elapsed() < PATIENCE, "never {what}: {last:?}\n{}", self.program.said());
            tokio::time::sleep(TICK).await;
        }
    }
}

fn is_pass(answer: Option<&Value>) -> bool {
    answer.is_some_and(|answer| answer["verdict"] == "pass")
}

/// The windows of a story.
fn windows(place: &Place) -> Api<ReleaseWindow> {
    Api::namespaced(place.client.clone(), &place.namespace)
}

/// Stops the line, and says until when: whoever asks waits.
async fn freeze(place: &Place) {
    let until = SystemClock::new().now() + jiff::SignedDuration::from_hours(48);
    let until = until.round(jiff::Unit::Second).unwrap();
    let window = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "ReleaseWindow", "metadata": {"name": "stop"},
        "spec": {"type": "freeze", "reason": "the line is stopped",
            "schedule": {"dates": [{"from": "2020-01-01T00:00:00Z", "to": until.to_string()}]}},
    });
    windows(place).create(&PostParams::default(), &serde_json::from_value(window).unwrap()).await.unwrap();
}

/// Waits until the operator has seen the freeze.
async fn until_frozen(place: &Place) {
    until("the freeze is in force", async || {
        windows(place).get("stop").await.is_ok_and(|window| window.status.is_some_and(|status| status.in_force))
    })
    .await;
}

/// Lets the line go on.
async fn thaw(place: &Place) {
    windows(place).delete("stop", &DeleteParams::default()).await.unwrap();
}

/// The runs that were made about a revision.
async fn runs_about(place: &Place, revision: &str) -> Vec<GateRun> {
    let runs = Api::<GateRun>::namespaced(place.client.clone(), &place.namespace);
    let all = runs.list(&kube::api::ListParams::default()).await.unwrap().items;
    all.into_iter().filter(|run| run.spec.change.revision == revision).collect()
}
