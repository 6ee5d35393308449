//! Argo Rollouts' web metric.
//!
//! Any status outside 2xx is an error to Argo, and the fifth in a row aborts the rollout. So this
//! answers 200 whatever happens: what cannot be judged is `wait` with the reason, which becomes an
//! inconclusive measurement and is asked again. That holds for a missing or expired token as well:
//! the answer gives away nothing, the failure is counted, and a token that ran out holds a release
//! instead of aborting it.
//!
//! `step` is the rollout's `currentStepIndex`, from 0; the batch is the step from 1. The change is
//! known by the revisions on both sides of it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::word;
use crate::api::Gate;
use crate::engine::Answer;
use crate::model::{Action, Batch, Change, Invoker, Labels, Point, Question};
use crate::server::access::{Caller, Scope};
use crate::server::api::{FullName, check_question};
use crate::server::app::{App, RequestId};
use crate::server::json;
use crate::server::limits::HOOK_WAIT;
use crate::server::problem::{Kind, Problem, echo};
use crate::store::StoreExt;

/// The actor of a change that names none.
const ACTOR: &str = "argo-rollouts";
/// When to ask again where nothing better is known.
const RETRY_SECONDS: u64 = 30;

/// What an `AnalysisTemplate` sends. Argo's arguments are strings, so numbers may be, too.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"gate": "shop/checkout", "latest": "668b5944f4", "stable": "5c7fccffdc", "step": "1"}))]
pub struct ArgoPayload {
    /// The gate, as `namespace/name`, or `name` in the namespace `default`.
    pub gate: String,
    /// The hash of the new revision's template.
    pub latest: String,
    /// The hash of the old revision's template.
    #[serde(default)]
    pub stable: String,
    /// `status.currentStepIndex`, from 0.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub step: Option<Value>,
    /// The target. Absent: the one that the gate names, else the gate's own name.
    #[serde(default)]
    pub target: Option<String>,
    /// Before or after the step. Absent: after.
    #[serde(default)]
    pub point: Option<Point>,
    /// The number of steps.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub total: Option<Value>,
    /// The weight at this step.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub percent: Option<Value>,
    /// What the change does.
    #[serde(default)]
    pub action: Option<Action>,
    /// Who asks.
    #[serde(default)]
    pub actor: Option<String>,
    /// The change's id. Absent: target and both revisions.
    #[serde(default)]
    pub change: Option<String>,
    /// Labels of the target.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub labels: Labels,
}

/// What Argo reads with `jsonPath: "{$.gate}"`.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ArgoAnswer {
    /// The verdict.
    pub gate: ArgoVerdict,
}

/// The verdict as a measurement shows it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoVerdict {
    /// pass, block or wait.
    pub verdict: crate::model::Verdict,
    /// Why, in one line.
    pub reason: String,
    /// The run; empty where there is none.
    pub id: String,
    /// When to ask again.
    pub retry_after_seconds: u64,
}

/// What cannot be judged holds.
pub(in crate::server) fn refuse(problem: &Problem) -> Response {
    let field = problem.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let reason = format!("{}: {field}{}", problem.title, problem.detail);
    let retry_after_seconds = problem.retry_after_seconds.map_or(RETRY_SECONDS, u64::from);
    let gate = ArgoVerdict { verdict: crate::model::Verdict::Wait, reason, id: String::new(), retry_after_seconds };
    json::answer(StatusCode::OK, &ArgoAnswer { gate })
}

/// Answer a web metric of Argo Rollouts: always 200.
#[utoipa::path(
    method(post, put),
    path = "/hooks/argo",
    tag = "hooks",
    request_body = ArgoPayload,
    responses((status = 200, description = "The verdict; `wait` for whatever cannot be judged.", body = ArgoAnswer)),
)]
pub(in crate::server) async fn answer_body(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    body: Bytes,
) -> Response {
    let payload = json::parse::<ArgoPayload>(&body);
    say(&app, judge(&app, &caller, &request, payload).await)
}

/// Answer a web metric of Argo Rollouts whose payload stands in the address: always 200.
#[utoipa::path(
    get,
    path = "/hooks/argo",
    tag = "hooks",
    params(
        ("gate" = String, Query), ("latest" = String, Query), ("stable" = Option<String>, Query),
        ("step" = Option<String>, Query), ("target" = Option<String>, Query), ("point" = Option<Point>, Query),
        ("total" = Option<String>, Query), ("percent" = Option<String>, Query), ("action" = Option<Action>, Query),
        ("actor" = Option<String>, Query), ("change" = Option<String>, Query),
    ),
    responses((status = 200, description = "The verdict; `wait` for whatever cannot be judged.", body = ArgoAnswer)),
)]
pub(in crate::server) async fn answer_query(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    RawQuery(query): RawQuery,
) -> Response {
    let pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or("").as_bytes());
    let object: Map<String, Value> = pairs.map(|(key, value)| (key.into_owned(), value.into_owned().into())).collect();
    let payload = json::parse::<ArgoPayload>(Value::Object(object).to_string().as_bytes());
    say(&app, judge(&app, &caller, &request, payload).await)
}

fn say(app: &App, judged: Result<Answer, Problem>) -> Response {
    match judged {
        Ok(answer) => {
            app.deps.metrics.hook("argo", "metric", word(answer.verdict));
            let gate = ArgoVerdict {
                verdict: answer.verdict,
                reason: answer.reason,
                id: answer.id,
                retry_after_seconds: answer.retry_after_seconds.unwrap_or(RETRY_SECONDS),
            };
            json::answer(StatusCode::OK, &ArgoAnswer { gate })
        }
        Err(problem) => {
            app.deps.metrics.hook("argo", "metric", "refused");
            refuse(&problem)
        }
    }
}

async fn judge(
    app: &App,
    caller: &Caller,
    request: &RequestId,
    payload: Result<ArgoPayload, Problem>,
) -> Result<Answer, Problem> {
    let payload = payload?;
    let gate = FullName::parse(&payload.gate, "gate")?;
    caller.require_on(Scope::Check, &gate.namespace, &gate.name).await?;
    let target = match &payload.target {
        Some(target) => target.clone(),
        None => target_of(app, &gate).await?,
    };
    let question = question(app, gate, target, payload)?;
    check_question(&question)?;
    let answer = app.ask(question, HOOK_WAIT).await?;
    app.audit_answer(caller, request, &answer);
    Ok(answer)
}

/// The one target that a gate names.
async fn target_of(app: &App, gate: &FullName) -> Result<String, Problem> {
    let found = app.deps.store.get_as::<Gate>(&gate.namespace, &gate.name).await?;
    let target = found.map(|found| found.spec.target);
    let workload = target.as_ref().and_then(|target| target.workload_ref.as_ref()).map(|workload| &workload.name);
    let names = target.as_ref().and_then(|target| target.names.as_ref());
    let only = names.and_then(|names| match names.as_slice() {
        [name] if !name.contains(['*', '?']) => Some(name),
        _ => None,
    });
    Ok(workload.or(only).unwrap_or(&gate.name).clone())
}

fn question(app: &App, gate: FullName, target: String, payload: ArgoPayload) -> Result<Question, Problem> {
    if payload.latest.is_empty() {
        return Err(Problem::new(Kind::Invalid, "it is empty: give podTemplateHashValue: Latest").field("latest"));
    }
    let index = number(payload.step.as_ref(), "step")?.unwrap_or(0).saturating_add(1);
    let total = number(payload.total.as_ref(), "total")?.unwrap_or(index).max(index);
    let percent = number(payload.percent.as_ref(), "percent")?.unwrap_or(100).min(100);
    let before = if payload.stable.is_empty() { "none" } else { &payload.stable };
    let id = payload.change.unwrap_or_else(|| format!("{target}-{}-after-{before}", payload.latest));
    let change = Change {
        id,
        target,
        revision: payload.latest,
        action: payload.action.unwrap_or_default(),
        actor: payload.actor.unwrap_or_else(|| ACTOR.to_owned()),
        invoker: Invoker::Automation,
        cluster: app.deps.cluster.clone(),
        labels: payload.labels,
    };
    let batch = Batch { index, total, percent: u8::try_from(percent).unwrap_or(100) };
    let point = payload.point.unwrap_or(Point::Post);
    Ok(Question { namespace: gate.namespace, gate: gate.name, change, batch, point })
}

/// A number, also as a string; an empty string is none, as Argo sends it for an absent field.
fn number(value: Option<&Value>, field: &str) -> Result<Option<u32>, Problem> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let detail = || format!("`{}` is no number from 0", echo(&text));
    text.parse().map(Some).map_err(|_| Problem::new(Kind::Invalid, detail()).field(field))
}
