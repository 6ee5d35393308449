//! How soon a batch is let out once it may be.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use probegate::api::GateRun;
use probegate::model::Point;

use super::figures::{Figures, Times, told};
use super::judge::Fate;
use super::replicas::Replicas;
use super::shop::{NAMESPACE, Shop, app};

/// What is wanted.
const WANTED: Duration = Duration::from_secs(1);

/// Takes every application through some good versions; the last version.
pub async fn measure(
    shop: &Shop,
    replicas: &mut Replicas<'_>,
    releases: u64,
    figures: &mut Figures,
) -> anyhow::Result<u64> {
    for version in 1..=releases {
        let all = (0..shop.apps).map(|number| async move {
            let name = app(number);
            shop.judge.decide_on((name.clone(), version), Fate::default());
            shop.release(&name, version).await?;
            let what = format!("{name} version {version} is out");
            let out = shop.until(&what, || shop.is_out(&name, version)).await;
            shop.book.settled((name.clone(), version));
            out.map_err(|error| error.context(shop.book.place(&name)))
        });
        try_join_all(all).await?;
        replicas.check()?;
    }
    let decided = decided(shop).await?;
    let (mut whole, mut after) = (Times::default(), Times::default());
    for approval in shop.book.approvals() {
        let at = |batch: u32, point: Point| decided.get(&(approval.app.clone(), approval.change.clone(), batch, point));
        let verdicts = [at(approval.batch, Point::Post), at(approval.batch + 1, Point::Pre)];
        let from = verdicts.into_iter().flatten().copied().fold(approval.waited_from, Timestamp::max);
        whole.0.push(since(approval.waited_from, approval.let_on));
        after.0.push(since(from, approval.let_on));
    }
    let shown = |times: &Times| {
        let at = |share: f64| told(times.quantile(share));
        format!("p50 {}, p99 {}, most {} of {}", at(0.5), at(0.99), told(times.max()), times.0.len())
    };
    let what = "from StepPaused, the verdict there, until the batch is let out (real OpenKruise Rollouts)";
    figures.judge(what, shown(&after), "p99 < 1 s", after.quantile(0.99) < WANTED);
    figures.add("the same with asking both gates' runs and waiting for their verdicts", shown(&whole), "");
    Ok(releases)
}

/// When each question got its verdict.
async fn decided(shop: &Shop) -> anyhow::Result<BTreeMap<(String, String, u32, Point), Timestamp>> {
    let runs: Api<GateRun> = Api::namespaced(shop.client.clone(), NAMESPACE);
    let found = runs.list(&ListParams::default()).await?.items.into_iter().filter_map(|run| {
        let at = run.status?.decided_at?;
        Some(((run.spec.gate, run.spec.change.id, run.spec.batch.index, run.spec.point), at))
    });
    Ok(found.collect())
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
