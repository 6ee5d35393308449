//! The probes of a cluster, from a terminal: how they stand, as their statuses tell, and runs by hand,
//! as an annotation asks for them.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::list::List;
use crate::api::{ANNOTATION_RUN, LastRun, Probe, Resource, RunRound, TargetStatus};
use crate::app::Terminal;
use crate::cli::backend::{Backend, Here};
use crate::clock::{Clock, SystemClock};
use crate::probes::as_written;
use crate::server::{ProbeDetail, ProbeList, ProbeRun, ProbeRuns, ProbeSummary};
use crate::store::{Query, StoreExt};

/// Probes that are read at once.
const PAGE: usize = 500;
/// How often the result of a run is looked for.
const LOOK: Duration = Duration::from_millis(300);
/// How long it is waited for: a failover, and a round of the slowest probe.
const PATIENCE: Duration = Duration::from_secs(90);

/// Lists them.
pub(super) async fn list(here: &Here, backend: &Backend, wanted: &List) -> anyhow::Result<ProbeList> {
    let labels = wanted.labels()?;
    let limit = usize::from(wanted.limit);
    let namespace = backend.only().map(str::to_owned);
    let probes = here.store().list_all_as(Query { namespace, limit: PAGE, ..Query::default() }).await?;
    let mut items: Vec<ProbeSummary> =
        probes.iter().map(|probe: &Probe| ProbeSummary::of(&as_written(probe))).collect();
    items.retain(|probe| {
        wanted.state.is_none_or(|state| state == probe.state)
            && labels.iter().all(|(key, value)| probe.labels.get(key) == Some(value))
    });
    items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let next = items.get(limit).and(items.get(limit - 1)).map(ProbeSummary::title);
    items.truncate(limit);
    Ok(ProbeList { items, next })
}

/// Shows one.
pub(super) async fn show(here: &Here, namespace: &str, name: &str) -> anyhow::Result<ProbeDetail> {
    let probe = find(here, namespace, name).await?;
    let mut detail = ProbeDetail::of(&as_written(&probe));
    let status = probe.status.as_ref();
    for (target, written) in detail.targets.iter_mut().zip(status.iter().flat_map(|status| &status.targets)) {
        target.last = Some(round_of(written));
    }
    Ok(detail)
}

/// What is known of a target's last round: why it is not as expected.
fn round_of(target: &TargetStatus) -> Value {
    json!({"state": target.state, "message": target.reason})
}

/// Asks the operator for a round of every target, and waits for what it saw.
pub(super) async fn run(here: &Here, cluster: &Terminal, namespace: &str, name: &str) -> anyhow::Result<ProbeRuns> {
    cluster.require("update", "probes", namespace, "probegate-editor").await?;
    let clock = SystemClock::new();
    let user = here.user().await.unwrap_or_default();
    // Every new value is one run.
    let wanted = format!("{} {user}", clock.now()).trim().to_owned();
    find(here, namespace, name).await?;
    let written = here.store().amend(namespace, name, |probe: &mut Probe| {
        probe.meta_mut().annotations.get_or_insert_default().insert(ANNOTATION_RUN.to_owned(), wanted.clone());
        true
    });
    written.await?;
    loop {
        let probe = find(here, namespace, name).await?;
        let last = probe.status.and_then(|status| status.last_run).filter(|last| last.asked == wanted);
        if let Some(last) = last {
            return told(namespace, name, last);
        }
        if clock.elapsed() > PATIENCE {
            let why = cluster.leaderless().await.map(|why| format!(": no operator leads: {why}")).unwrap_or_default();
            bail!("the operator has not run probe {namespace}/{name} within {} s{why}", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn told(namespace: &str, name: &str, last: LastRun) -> anyhow::Result<ProbeRuns> {
    ensure!(last.error.is_empty(), "probe {namespace}/{name} cannot be run: {}", last.error);
    let run = |round: RunRound| ProbeRun {
        result: json!({
            "success": round.success, "state": round.state, "reason": round.reason, "phase": round.phase,
            "message": round.message, "durations": seconds(&round.micros),
        }),
        id: round.id,
        target: round.target,
        at: round.at,
    };
    Ok(ProbeRuns { probe: format!("{namespace}/{name}"), runs: last.rounds.into_iter().map(run).collect() })
}

#[expect(clippy::cast_precision_loss, reason = "a round takes seconds, and a person reads it")]
fn seconds(micros: &std::collections::BTreeMap<String, u64>) -> Value {
    micros.iter().map(|(phase, micros)| (phase.clone(), json!(*micros as f64 / 1e6))).collect()
}

async fn find(here: &Here, namespace: &str, name: &str) -> anyhow::Result<Probe> {
    let found = here.store().get_as::<Probe>(namespace, name).await?;
    found.with_context(|| format!("there is no probe {namespace}/{name}; `probegate probe list` shows which there are"))
}

/// Why the past is not at hand, and how to get it.
pub(super) fn no_past(cluster: &Terminal, namespace: &str, name: &str, since: &str) -> anyhow::Error {
    let operator = cluster.operator();
    anyhow::anyhow!(
        "the past of a probe is kept by the operator and not in the cluster's resources: ask it over HTTP, with a \
         service account's token (`get` on gateruns is enough), such as\n  \
         kubectl -n {operator} port-forward service/probegate 8080:80 &\n  \
         PROBEGATE_TOKEN=$(kubectl -n {namespace} create token SERVICEACCOUNT) \\\n    \
         probegate probe history {namespace}/{name} --since {since} --server http://127.0.0.1:8080"
    )
}
