//! `/v1/runs`: what was asked and decided, with the evidence.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FullName, check_text, instant_of, limit_of};
use crate::api::{GateRun, LABEL_GATE, name_of, namespace_of};
use crate::engine::{Answer, CheckAnswer};
use crate::model::{Batch, Change, Labels, Point, Verdict};
use crate::server::access::{Caller, Scope};
use crate::server::app::{App, RequestId};
use crate::server::audit::Deed;
use crate::server::json::{self, Params};
use crate::server::limits::{MAX_LABEL_VALUE, MAX_REASON, MAX_SCANNED};
use crate::server::problem::{Kind, Problem, echo};
use crate::store::{Query, StoreExt};

/// One run without its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// The run, as `namespace/name`.
    pub id: String,
    /// The gate, as `namespace/name`.
    pub gate: String,
    /// The change.
    pub change: Change,
    /// The batch.
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
    /// The verdict; `wait` while it is open.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// Of a wait: until when. Of a pass at pre: until when it counts.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
    /// Whether the verdict is still to come.
    pub open: bool,
    /// Whether another revision has made it void.
    pub void: bool,
    /// Which attempt at its question it is.
    pub attempt: u32,
    /// When it was created.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub created_at: Option<Timestamp>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub decided_at: Option<Timestamp>,
    /// The checks.
    pub checks: Vec<CheckAnswer>,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunList {
    /// The runs. A page may be shorter than `limit` though there is more: `next` tells.
    pub items: Vec<RunSummary>,
    /// What to give as `after` for the next page; null at the end.
    pub next: Option<String>,
}

/// Why a run is cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelRequest {
    /// In one line.
    #[serde(default)]
    pub reason: String,
}

impl RunSummary {
    /// The summary of a stored run.
    #[must_use]
    pub fn of(run: &GateRun) -> Self {
        let status = run.status.as_ref();
        let checks = status.map(|status| status.checks.as_slice()).unwrap_or_default();
        let check = |check: &crate::api::CheckStatus| CheckAnswer {
            name: check.name.clone(),
            outcome: check.outcome,
            mode: check.mode,
            summary: check.summary.clone(),
            since: check.since,
        };
        Self {
            id: format!("{}/{}", namespace_of(run), name_of(run)),
            gate: format!("{}/{}", namespace_of(run), run.spec.gate),
            change: run.spec.change.clone(),
            batch: run.spec.batch,
            point: run.spec.point,
            verdict: status.map_or(Verdict::Wait, |status| status.verdict),
            reason: status.map(|status| status.reason.clone()).unwrap_or_default(),
            until: status.and_then(|status| status.until),
            open: status.is_none_or(|status| status.decided_at.is_none()),
            void: status.is_some_and(|status| status.voided.is_some()),
            attempt: status.map_or(1, |status| status.attempt),
            created_at: run.metadata.creation_timestamp.as_ref().map(|time| time.0),
            decided_at: status.and_then(|status| status.decided_at),
            checks: checks.iter().map(check).collect(),
        }
    }
}

/// Which runs are wanted.
struct Filter {
    gate: Option<FullName>,
    change: Option<String>,
    target: Option<String>,
    verdict: Option<Verdict>,
    open: Option<bool>,
    since: Option<Timestamp>,
}

impl Filter {
    fn parse(params: &Params<'_>, now: Timestamp) -> Result<Self, Problem> {
        Ok(Self {
            gate: params.text("gate").map(|gate| FullName::parse(gate, "gate")).transpose()?,
            change: params.text("change").map(str::to_owned),
            target: params.text("target").map(str::to_owned),
            verdict: params.get("verdict", "pass, block or wait")?,
            open: params.get("open", "true or false")?,
            since: instant_of(params, "since", now)?,
        })
    }

    /// What the store itself can filter by.
    fn query(&self, limit: usize, after: Option<String>) -> Query {
        let mut labels = Labels::new();
        if let Some(gate) = self.gate.as_ref().filter(|gate| gate.name.len() <= MAX_LABEL_VALUE) {
            labels.insert(LABEL_GATE.to_owned(), gate.name.clone());
        }
        let namespace = self.gate.as_ref().map(|gate| gate.namespace.clone());
        Query { namespace, labels, decided: self.open.map(|open| !open), limit, after, brief: true }
    }

    fn takes(&self, run: &RunSummary, gate: &str) -> bool {
        self.gate.as_ref().is_none_or(|wanted| wanted.name == gate)
            && self.change.as_ref().is_none_or(|change| *change == run.change.id)
            && self.target.as_ref().is_none_or(|target| *target == run.change.target)
            && self.verdict.is_none_or(|verdict| verdict == run.verdict)
            && self.open.is_none_or(|open| open == run.open)
    }

    /// Whether a run is older than anything that is wanted: so are all behind it.
    fn too_old(&self, run: &RunSummary) -> bool {
        self.since.zip(run.created_at).is_some_and(|(since, created)| created < since)
    }
}

/// List runs, newest first.
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = "runs",
    params(
        ("gate" = Option<String>, Query, description = "Only this gate, as `namespace/name` or `name`."),
        ("change" = Option<String>, Query, description = "Only this change."),
        ("target" = Option<String>, Query, description = "Only this target."),
        ("verdict" = Option<Verdict>, Query, description = "Only this verdict."),
        ("open" = Option<bool>, Query, description = "Only open, or only decided ones."),
        ("since" = Option<String>, Query, description = "Only created since: an instant, or a duration before now."),
        ("limit" = Option<usize>, Query, description = "At most so many; 50, and at most 500."),
        ("after" = Option<String>, Query, description = "Where the last page ended: its `next`."),
    ),
    responses(
        (status = 200, description = "A page of runs.", body = RunList),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &["gate", "change", "target", "verdict", "open", "since", "limit", "after"];
    caller.require(Scope::Read)?;
    let params = Params::parse(query.as_deref(), KNOWN)?;
    let filter = Filter::parse(&params, app.now())?;
    let limit = limit_of(&params)?;
    let mut after = params.text("after").map(str::to_owned);
    let mut items: Vec<RunSummary> = Vec::new();
    let mut scanned = 0;
    loop {
        let wanted = limit - items.len();
        let page = app.deps.store.list_as::<GateRun>(&filter.query(wanted, after.take())).await?;
        scanned += page.items.len();
        let mut over = false;
        for run in &page.items {
            let summary = RunSummary::of(run);
            over |= filter.too_old(&summary);
            if !over && filter.takes(&summary, &run.spec.gate) && caller.sees(namespace_of(run), &run.spec.gate) {
                items.push(summary);
            }
        }
        after = if over { None } else { page.next };
        // Nearly full is full: the rest would be read in ever smaller pages.
        if after.is_none() || items.len() + limit / 4 >= limit || scanned >= MAX_SCANNED {
            break;
        }
    }
    Ok(json::answer(StatusCode::OK, &RunList { items, next: after }))
}

/// One run with its full evidence.
#[utoipa::path(
    get,
    path = "/v1/runs/{namespace}/{name}",
    tag = "runs",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "The run.", body = crate::server::openapi::GateRun),
        (status = "4XX", description = "There is no such run.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let run = find(&app, &caller, Scope::Read, &FullName { namespace, name }).await?;
    Ok(json::answer(StatusCode::OK, &run))
}

/// One run with its full evidence, by the id of an answer (`namespace%2Fname`).
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The answer's id with its slash written as %2F.")),
    responses(
        (status = 200, description = "The run.", body = crate::server::openapi::GateRun),
        (status = "4XX", description = "There is no such run.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn show_by_id(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let run = find(&app, &caller, Scope::Read, &FullName::parse(&id, "id")?).await?;
    Ok(json::answer(StatusCode::OK, &run))
}

/// Cancel an open run: its verdict becomes block.
#[utoipa::path(
    delete,
    path = "/v1/runs/{namespace}/{name}",
    tag = "runs",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("reason" = Option<String>, Query, description = "Why, in one line."),
    ),
    responses(
        (status = 200, description = "The verdict.", body = Answer),
        (status = "4XX", description = "It is not open.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path((namespace, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let reason = reason_of(query.as_deref())?;
    end(&app, &caller, &request, &FullName { namespace, name }, &reason).await
}

/// Cancel an open run by the id of an answer (`namespace%2Fname`).
#[utoipa::path(
    delete,
    path = "/v1/runs/{id}",
    tag = "runs",
    params(
        ("id" = String, Path, description = "The answer's id with its slash written as %2F."),
        ("reason" = Option<String>, Query, description = "Why, in one line."),
    ),
    responses(
        (status = 200, description = "The verdict.", body = Answer),
        (status = "4XX", description = "It is not open.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn cancel_by_id(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let reason = reason_of(query.as_deref())?;
    end(&app, &caller, &request, &FullName::parse(&id, "id")?, &reason).await
}

/// Cancel an open run: its verdict becomes block.
#[utoipa::path(
    post,
    path = "/v1/runs/{namespace}/{name}/cancel",
    tag = "runs",
    params(("namespace" = String, Path), ("name" = String, Path)),
    request_body = CancelRequest,
    responses(
        (status = 200, description = "The verdict.", body = Answer),
        (status = "4XX", description = "It is not open.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn cancel_by_post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = if body.is_empty() {
        CancelRequest::default()
    } else {
        json::require_json(&headers)?;
        json::parse(&body)?
    };
    check_text("reason", &wanted.reason, 0, MAX_REASON)?;
    end(&app, &caller, &request, &FullName { namespace, name }, &wanted.reason).await
}

fn reason_of(query: Option<&str>) -> Result<String, Problem> {
    let params = Params::parse(query, &["reason"])?;
    let reason = params.text("reason").unwrap_or("").to_owned();
    check_text("reason", &reason, 0, MAX_REASON)?;
    Ok(reason)
}

async fn find(app: &App, caller: &Caller, scope: Scope, id: &FullName) -> Result<GateRun, Problem> {
    caller.require(scope)?;
    let missing =
        || Problem::new(Kind::NotFound, format!("there is no run {}/{}", echo(&id.namespace), echo(&id.name)));
    let run = app.deps.store.get_as::<GateRun>(&id.namespace, &id.name).await?.ok_or_else(missing)?;
    caller.require_on(scope, &id.namespace, &run.spec.gate).await?;
    Ok(run)
}

async fn end(
    app: &App,
    caller: &Caller,
    request: &RequestId,
    id: &FullName,
    reason: &str,
) -> Result<Response, Problem> {
    find(app, caller, Scope::Check, id).await?;
    let object = format!("{}/{}", id.namespace, id.name);
    let ended = app.deps.ask.cancel(&id.namespace, &id.name, caller.subject(), reason).await;
    let outcome = match &ended {
        Ok(answer) => answer.verdict.to_string(),
        Err(error) => error.to_string(),
    };
    let deed = Deed { action: "cancel", object: &object, outcome: &outcome, done: ended.is_ok(), request: &request.0 };
    app.audit(caller, deed);
    Ok(json::answer(StatusCode::OK, &ended?))
}
