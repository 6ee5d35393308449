//! `/v1/overrides`: audited exceptions. The actor is always the token's subject.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{FullName, check_text, limit_of};
use crate::api::{
    DEFAULT_NAMESPACE, Effect, Gate, Override, OverrideSpec, OverrideStatus, ReleaseWindow, Revocation, namespace_of,
};
use crate::model::glob_matches;
use crate::server::access::{Caller, Scope};
use crate::server::app::{App, RequestId};
use crate::server::audit::Deed;
use crate::server::json::{self, Params};
use crate::server::limits::{MAX_OVERRIDE, MAX_REASON, MAX_SCANNED, MAX_TEXT};
use crate::server::problem::{Kind, Problem, echo};
use crate::store::{Query, StoreError, StoreExt};

/// The longest name of a check, as the schema of `Check` has it.
const MAX_CHECK_NAME: usize = 63;
/// How often a revocation is tried against other writers.
const MAX_TRIES: usize = 5;

/// A new override. Who makes it is told by the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "gate": "shop/checkout", "change": "c-17", "check": "latency", "effect": "pass",
    "reason": "known slow start", "ticket": "OPS-2", "expires": "2026-11-21T18:00:00Z"
}))]
pub struct OverrideRequest {
    /// The gate that it is for, as `namespace/name` or `name`. Either this or `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// The window that it is for, as `namespace/name` or `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The change that it is for, by its id.
    pub change: String,
    /// The check that it is for. Absent: the whole verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// What it does.
    #[schema(value_type = String, pattern = "^(pass|block)$")]
    pub effect: Effect,
    /// Why.
    pub reason: String,
    /// Where it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// When it ends: at most 30 days from now.
    #[schema(value_type = String, format = "date-time")]
    pub expires: Timestamp,
}

/// A page of overrides, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OverrideList {
    /// The overrides.
    #[schema(value_type = Vec<crate::server::openapi::Override>)]
    pub items: Vec<Override>,
    /// What to give as `after` for the next page; null at the end.
    pub next: Option<String>,
}

/// List overrides, newest first.
#[utoipa::path(
    get,
    path = "/v1/overrides",
    tag = "overrides",
    params(
        ("gate" = Option<String>, Query, description = "Only of this gate, as `namespace/name` or `name`."),
        ("change" = Option<String>, Query, description = "Only for this change."),
        ("inForce" = Option<bool>, Query, description = "Only those that have, or do not have, their effect now."),
        ("limit" = Option<usize>, Query, description = "At most so many; 50, and at most 500."),
        ("after" = Option<String>, Query, description = "Where the last page ended: its `next`."),
    ),
    responses(
        (status = 200, description = "A page of overrides.", body = OverrideList),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let params = Params::parse(query.as_deref(), &["gate", "change", "inForce", "limit", "after"])?;
    let gate = params.text("gate").map(|gate| FullName::parse(gate, "gate")).transpose()?;
    let in_force: Option<bool> = params.get("inForce", "true or false")?;
    let (limit, now) = (limit_of(&params)?, app.now());
    let takes = |item: &Override| {
        let name = item.spec.gate.as_deref().or(item.spec.window.as_deref()).unwrap_or("");
        gate.as_ref().is_none_or(|gate| item.spec.gate.as_ref() == Some(&gate.name))
            && params.text("change").is_none_or(|change| change == item.spec.change)
            && in_force.is_none_or(|wanted| wanted == item.in_force(now))
            && caller.sees(namespace_of(item), name)
    };
    let mut after = params.text("after").map(str::to_owned);
    let (mut items, mut scanned) = (Vec::new(), 0);
    loop {
        let namespace = gate.as_ref().map(|gate| gate.namespace.clone());
        let query = Query { namespace, limit: limit - items.len(), after: after.take(), ..Query::default() };
        let page = app.deps.store.list_as::<Override>(&query).await?;
        scanned += page.items.len();
        items.extend(page.items.into_iter().filter(&takes));
        after = page.next;
        if after.is_none() || items.len() + limit / 4 >= limit || scanned >= MAX_SCANNED {
            break;
        }
    }
    Ok(json::answer(StatusCode::OK, &OverrideList { items, next: after }))
}

/// One override.
#[utoipa::path(
    get,
    path = "/v1/overrides/{namespace}/{name}",
    tag = "overrides",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "The override.", body = crate::server::openapi::Override),
        (status = "4XX", description = "There is no such override.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let found = find(&app, &caller, Scope::Read, &namespace, &name).await?;
    Ok(json::answer(StatusCode::OK, &found))
}

/// Make an override. Needs the scope `override`.
#[utoipa::path(
    post,
    path = "/v1/overrides",
    tag = "overrides",
    request_body = OverrideRequest,
    responses(
        (status = 201, description = "The override.", body = crate::server::openapi::Override),
        (status = "4XX", description = "It was not made.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let made = make(&app, &caller, &headers, &body).await;
    let (object, outcome) = match &made {
        Ok(made) => (full_name(made), "created".to_owned()),
        Err(problem) => ("Override".to_owned(), problem.detail.clone()),
    };
    let deed = Deed { action: "override", object: &object, outcome: &outcome, done: made.is_ok(), request: &request.0 };
    app.audit(&caller, deed);
    let made = made?;
    let mut response = json::answer(StatusCode::CREATED, &made);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/overrides/{}", full_name(&made))) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn full_name(item: &Override) -> String {
    format!("{}/{}", namespace_of(item), crate::api::name_of(item))
}

async fn make(app: &App, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Result<Override, Problem> {
    caller.require(Scope::Override)?;
    json::require_json(headers)?;
    let wanted: OverrideRequest = json::parse(body)?;
    check_request(&wanted, app.now())?;
    let (gate, window, namespace) = match (&wanted.gate, &wanted.window) {
        (Some(gate), None) => {
            let gate = FullName::parse(gate, "gate")?;
            caller.require_on(Scope::Override, &gate.namespace, &gate.name).await?;
            gate_is_there(app, &gate, wanted.check.as_deref()).await?;
            (Some(gate.name), None, gate.namespace)
        }
        (None, Some(window)) => {
            let window = FullName::parse(window, "window")?;
            caller.require_on(Scope::Override, &window.namespace, &window.name).await?;
            window_may_be_overridden(app, caller, &window).await?;
            (None, Some(window.name), window.namespace)
        }
        _ => return Err(Problem::new(Kind::Invalid, "exactly one of gate and window is needed").field("gate")),
    };
    let made = Override {
        metadata: ObjectMeta {
            name: Some(format!("o-{}", uuid::Uuid::now_v7())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        spec: OverrideSpec {
            gate,
            window,
            change: wanted.change,
            check: wanted.check,
            effect: wanted.effect,
            actor: caller.subject().to_owned(),
            reason: wanted.reason,
            ticket: wanted.ticket,
            expires: wanted.expires,
        },
        status: None,
    };
    Ok(app.deps.store.create_as(&made).await?)
}

fn check_request(wanted: &OverrideRequest, now: Timestamp) -> Result<(), Problem> {
    let wrong = |field: &str, detail: String| Err(Problem::new(Kind::Invalid, detail).field(field));
    check_text("change", &wanted.change, 1, MAX_TEXT)?;
    check_text("reason", wanted.reason.trim(), 1, MAX_REASON)?;
    if let Some(ticket) = &wanted.ticket {
        check_text("ticket", ticket, 1, MAX_TEXT)?;
    }
    if let Some(check) = &wanted.check {
        check_text("check", check, 1, MAX_CHECK_NAME)?;
        if wanted.gate.is_none() {
            return wrong("check", "check belongs to a gate".to_owned());
        }
    }
    let longest = SignedDuration::try_from(MAX_OVERRIDE).unwrap_or(SignedDuration::MAX);
    let left = wanted.expires.duration_since(now);
    if left <= SignedDuration::ZERO {
        return wrong("expires", format!("{} is not in the future: it is {now}", wanted.expires));
    }
    if left > longest {
        let days = MAX_OVERRIDE.as_secs() / 86_400;
        return wrong(
            "expires",
            format!("{} is more than {days} days from now: change the gate instead", wanted.expires),
        );
    }
    Ok(())
}

async fn gate_is_there(app: &App, gate: &FullName, check: Option<&str>) -> Result<(), Problem> {
    let found = app.deps.store.get_as::<Gate>(&gate.namespace, &gate.name).await?;
    let Some(found) = found else {
        let detail = format!("there is no gate {}/{}", echo(&gate.namespace), echo(&gate.name));
        return Err(Problem::new(Kind::Invalid, detail).field("gate"));
    };
    let Some(check) = check else { return Ok(()) };
    let pre = found.spec.pre.iter().flat_map(|pre| &pre.checks);
    let post = found.spec.post.iter().flat_map(|post| &post.checks);
    let names: Vec<String> = pre.chain(post).map(|check| check.name.clone()).collect();
    if names.iter().any(|name| name == check) {
        return Ok(());
    }
    let detail = format!("gate {}/{} has no check `{}`", gate.namespace, gate.name, echo(check));
    Err(Problem::new(Kind::Invalid, detail).field("check").allowed(check, names))
}

async fn window_may_be_overridden(app: &App, caller: &Caller, window: &FullName) -> Result<(), Problem> {
    let found = app.deps.store.get_as::<ReleaseWindow>(&window.namespace, &window.name).await?;
    let Some(found) = found else {
        let detail = format!("there is no window {}/{}", echo(&window.namespace), echo(&window.name));
        return Err(Problem::new(Kind::Invalid, detail).field("window"));
    };
    let allowed = found.spec.overridable_by.as_ref();
    if allowed.is_none_or(|names| names.iter().any(|pattern| glob_matches(pattern, caller.subject()))) {
        return Ok(());
    }
    let detail = format!("window {} is not overridable by `{}`", window.name, caller.subject());
    Err(Problem::new(Kind::Forbidden, detail).field("window"))
}

async fn find(app: &App, caller: &Caller, scope: Scope, namespace: &str, name: &str) -> Result<Override, Problem> {
    caller.require(scope)?;
    let missing = || Problem::new(Kind::NotFound, format!("there is no override {}/{}", echo(namespace), echo(name)));
    let found = app.deps.store.get_as::<Override>(namespace, name).await?.ok_or_else(missing)?;
    let about = found.spec.gate.as_deref().or(found.spec.window.as_deref()).unwrap_or(DEFAULT_NAMESPACE);
    caller.require_on(scope, namespace, about).await?;
    Ok(found)
}

/// Take an override back. The record stays. Needs the scope `override`.
#[utoipa::path(
    delete,
    path = "/v1/overrides/{namespace}/{name}",
    tag = "overrides",
    params(
        ("namespace" = String, Path),
        ("name" = String, Path),
        ("reason" = Option<String>, Query, description = "Why, in one line."),
    ),
    responses(
        (status = 200, description = "The override, revoked.", body = crate::server::openapi::Override),
        (status = "4XX", description = "It was not revoked.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path((namespace, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["reason"])?;
    let reason = params.text("reason").unwrap_or("");
    check_text("reason", reason, 0, MAX_REASON)?;
    let revoked = take_back(&app, &caller, &namespace, &name, reason).await;
    let outcome = revoked.as_ref().map_or_else(|problem| problem.detail.as_str(), |_| "revoked");
    let object = format!("{}/{}", echo(&namespace), echo(&name));
    let deed = Deed { action: "revoke", object: &object, outcome, done: revoked.is_ok(), request: &request.0 };
    app.audit(&caller, deed);
    Ok(json::answer(StatusCode::OK, &revoked?))
}

async fn take_back(app: &App, caller: &Caller, namespace: &str, name: &str, reason: &str) -> Result<Override, Problem> {
    for _ in 0..MAX_TRIES {
        let mut found = find(app, caller, Scope::Override, namespace, name).await?;
        let status = found.status.get_or_insert_with(OverrideStatus::default);
        if status.revoked.is_some() {
            // Revoking twice is revoking once: who did it first stays on record.
            return Ok(found);
        }
        let revocation = Revocation { actor: caller.subject().to_owned(), reason: reason.to_owned(), at: app.now() };
        status.revoked = Some(revocation);
        status.state = Some(crate::api::OverrideState::Revoked);
        match app.deps.store.put_status_as(&found).await {
            Err(StoreError::Conflict { .. }) => {}
            Ok(revoked) => return Ok(revoked),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(Kind::Conflict, "the override keeps being changed by others: try again"))
}
