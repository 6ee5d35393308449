//! `/v1/probes`: the resident probes, their past, and runs by hand.

mod past;
mod view;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::SignedDuration;

pub use past::{PastFailure, PastLatency, PastStep, PastSummary, PastTurn, PastWindow, ProbeHistory, TargetHistory};
pub use view::{ProbeDetail, ProbeList, ProbeRun, ProbeRuns, ProbeSummary, ProbeTarget, TargetCounts};

use super::{FullName, instant_of, limit_of};
use crate::api::DEFAULT_NAMESPACE;
use crate::model::{Labels, ProbeState};
use crate::probes::history::Window;
use crate::probes::{ProbeView, RunError};
use crate::server::access::{Caller, Scope};
use crate::server::app::{App, RequestId};
use crate::server::audit::Deed;
use crate::server::json::{self, Params};
use crate::server::limits::MAX_LABELS;
use crate::server::problem::{Kind, Problem, echo};

/// How far back the past is told where the caller does not say.
const DEFAULT_PAST: SignedDuration = SignedDuration::from_hours(1);

/// Which probes are wanted.
struct Filter {
    namespace: Option<String>,
    labels: Labels,
    state: Option<ProbeState>,
    after: Option<FullName>,
}

impl Filter {
    fn parse(params: &Params<'_>) -> Result<Self, Problem> {
        Ok(Self {
            namespace: params.text("namespace").map(str::to_owned),
            labels: params.text("selector").map(labels).transpose()?.unwrap_or_default(),
            state: params.get("state", "up, degraded, down or unknown")?,
            after: params.text("after").map(|after| FullName::parse(after, "after")).transpose()?,
        })
    }

    fn takes(&self, view: &ProbeView) -> bool {
        let after = self.after.as_ref().is_none_or(|after| {
            (view.namespace.as_str(), view.name.as_str()) > (after.namespace.as_str(), after.name.as_str())
        });
        after
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == view.namespace)
            && self.labels.iter().all(|(key, value)| view.labels.get(key) == Some(value))
            && self.state.is_none_or(|state| state == view.state)
    }
}

/// `key=value` with commas between.
fn labels(text: &str) -> Result<Labels, Problem> {
    let wrong = |detail: String| Problem::new(Kind::Parameter, detail).field("selector");
    let pairs: Vec<&str> = text.split(',').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > MAX_LABELS {
        return Err(wrong(format!("there are {} labels; {MAX_LABELS} are allowed", pairs.len())));
    }
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.trim_start_matches('=').to_owned())),
        _ => Err(wrong(format!("`{}` is no label: write key=value, with commas between several", echo(pair)))),
    };
    pairs.into_iter().map(pair).collect()
}

/// List probes, and how they stand now.
#[utoipa::path(
    get,
    path = "/v1/probes",
    tag = "probes",
    params(
        ("namespace" = Option<String>, Query, description = "Only of this namespace."),
        ("selector" = Option<String>, Query, description = "Only with these labels: `key=value`, with commas between."),
        ("state" = Option<ProbeState>, Query, description = "Only in this state."),
        ("limit" = Option<usize>, Query, description = "At most so many; 50, and at most 500."),
        ("after" = Option<String>, Query, description = "Where the last page ended: its `next`."),
    ),
    responses(
        (status = 200, description = "A page of probes.", body = ProbeList),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let params = Params::parse(query.as_deref(), &["namespace", "selector", "state", "limit", "after"])?;
    let (filter, limit) = (Filter::parse(&params)?, limit_of(&params)?);
    let all = app.deps.probes.all();
    let wanted = all.iter().filter(|view| filter.takes(view) && caller.sees(&view.namespace, &view.name));
    let mut items: Vec<ProbeSummary> = wanted.take(limit + 1).map(ProbeSummary::of).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(ProbeSummary::title);
    Ok(json::answer(StatusCode::OK, &ProbeList { items, next }))
}

/// One probe with its targets.
#[utoipa::path(
    get,
    path = "/v1/probes/{namespace}/{name}",
    tag = "probes",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "The probe.", body = ProbeDetail),
        (status = "4XX", description = "There is no such probe.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    shown(&app, &caller, &FullName { namespace, name }).await
}

/// One probe of a namespace that is named beside it, or of the default one.
#[utoipa::path(
    get,
    path = "/v1/probes/{name}",
    tag = "probes",
    params(
        ("name" = String, Path),
        ("namespace" = Option<String>, Query, description = "Its namespace. Absent: `default`."),
    ),
    responses(
        (status = 200, description = "The probe.", body = ProbeDetail),
        (status = "4XX", description = "There is no such probe.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn show_by_name(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["namespace"])?;
    shown(&app, &caller, &named(name, &params)?).await
}

/// What a window of a probe came to: counts, availability, latencies, minutes, failures, turns.
#[utoipa::path(
    get,
    path = "/v1/probes/{namespace}/{name}/history",
    tag = "probes",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("since" = Option<String>, Query, description = "From when: an instant, or a duration before now. Absent: 1h."),
        ("until" = Option<String>, Query, description = "Until when: an instant, or a duration before now. Absent: now."),
    ),
    responses(
        (status = 200, description = "Its past.", body = ProbeHistory),
        (status = "4XX", description = "There is no such probe.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn history(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["since", "until"])?;
    told(&app, &caller, &FullName { namespace, name }, &params).await
}

/// The same of a probe of a namespace that is named beside it, or of the default one.
#[utoipa::path(
    get,
    path = "/v1/probes/{name}/history",
    tag = "probes",
    params(
        ("name" = String, Path),
        ("namespace" = Option<String>, Query, description = "Its namespace. Absent: `default`."),
        ("since" = Option<String>, Query, description = "From when: an instant, or a duration before now. Absent: 1h."),
        ("until" = Option<String>, Query, description = "Until when: an instant, or a duration before now. Absent: now."),
    ),
    responses(
        (status = 200, description = "Its past.", body = ProbeHistory),
        (status = "4XX", description = "There is no such probe.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn history_by_name(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["namespace", "since", "until"])?;
    told(&app, &caller, &named(name, &params)?, &params).await
}

/// Make one round of every target now, and wait for it. It counts like every other round.
#[utoipa::path(
    post,
    path = "/v1/probes/{namespace}/{name}/run",
    tag = "probes",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "The run ids and what was seen.", body = ProbeRuns),
        (status = "4XX", description = "It cannot be run.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    made(&app, &caller, &request, &FullName { namespace, name }).await
}

/// The same of a probe of a namespace that is named beside it, or of the default one.
#[utoipa::path(
    post,
    path = "/v1/probes/{name}/run",
    tag = "probes",
    params(
        ("name" = String, Path),
        ("namespace" = Option<String>, Query, description = "Its namespace. Absent: `default`."),
    ),
    responses(
        (status = 200, description = "The run ids and what was seen.", body = ProbeRuns),
        (status = "4XX", description = "It cannot be run.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn run_by_name(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["namespace"])?;
    made(&app, &caller, &request, &named(name, &params)?).await
}

/// A probe by the name in the path; `namespace/name` with an escaped slash is taken, too.
fn named(name: String, params: &Params<'_>) -> Result<FullName, Problem> {
    match params.text("namespace") {
        Some(namespace) => Ok(FullName { namespace: namespace.to_owned(), name }),
        None if name.contains('/') => FullName::parse(&name, "name"),
        None => Ok(FullName { namespace: DEFAULT_NAMESPACE.to_owned(), name }),
    }
}

fn nowhere(app: &App, caller: &Caller, wanted: &FullName) -> Problem {
    let FullName { namespace, name } = wanted;
    let detail = format!("there is no probe {}/{}", echo(namespace), echo(name));
    let mut problem = Problem::new(Kind::NotFound, detail).field("name");
    let all = app.deps.probes.all();
    let seen = all.iter().filter(|view| view.namespace == *namespace && caller.sees(&view.namespace, &view.name));
    problem.nearest = crate::server::problem::nearest(name, seen.map(|view| view.name.as_str())).map(Into::into);
    problem
}

async fn shown(app: &App, caller: &Caller, wanted: &FullName) -> Result<Response, Problem> {
    caller.require_on(Scope::Read, &wanted.namespace, &wanted.name).await?;
    let view = app.deps.probes.get(&wanted.namespace, &wanted.name);
    let view = view.ok_or_else(|| nowhere(app, caller, wanted))?;
    Ok(json::answer(StatusCode::OK, &ProbeDetail::of(&view)))
}

async fn told(app: &App, caller: &Caller, wanted: &FullName, params: &Params<'_>) -> Result<Response, Problem> {
    caller.require_on(Scope::Read, &wanted.namespace, &wanted.name).await?;
    let now = app.now();
    let to = instant_of(params, "until", now)?.unwrap_or(now);
    let from = instant_of(params, "since", now)?.unwrap_or(to.saturating_sub(DEFAULT_PAST).unwrap_or(to));
    if from >= to {
        let detail = format!("`since` ({from}) must lie before `until` ({to})");
        return Err(Problem::new(Kind::Parameter, detail).field("since"));
    }
    let past = app.deps.probes.here()?.history(&wanted.namespace, &wanted.name, Window { from, to }).await;
    let past = past.map_err(|error| {
        tracing::error!(%error, "The past of a probe cannot be read.");
        Problem::new(Kind::Unavailable, error.to_string())
    })?;
    Ok(json::answer(StatusCode::OK, &past.ok_or_else(|| nowhere(app, caller, wanted))?))
}

async fn made(app: &App, caller: &Caller, request: &RequestId, wanted: &FullName) -> Result<Response, Problem> {
    let FullName { namespace, name } = wanted;
    caller.require_on(Scope::Run, namespace, name).await?;
    let title = format!("{namespace}/{name}");
    let made = app.deps.probes.here()?.run(namespace, name).await;
    let outcome = if made.is_ok() { "made" } else { "refused" };
    app.audit(caller, Deed { action: "run", object: &title, outcome, done: made.is_ok(), request: &request.0 });
    let made = made.map_err(|error| match error {
        RunError::NotFound { .. } => nowhere(app, caller, wanted),
        RunError::Invalid { .. } | RunError::NoTargets { .. } => Problem::new(Kind::Conflict, error.to_string()),
        RunError::NoPlace { .. } => Problem::new(Kind::Overloaded, error.to_string()),
    })?;
    let runs = made.iter().map(ProbeRun::of).collect();
    Ok(json::answer(StatusCode::OK, &ProbeRuns { probe: title, runs }))
}
