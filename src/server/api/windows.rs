//! `/v1/windows`: the time rules, how they stand, and what they say about a change.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::WindowType;
use crate::model::{Action, Labels, Running};
use crate::server::access::{Caller, Scope};
use crate::server::app::App;
use crate::server::json::{self, Params};
use crate::server::limits::MAX_LABELS;
use crate::server::problem::{Kind, Problem, echo};
use crate::windows::{Compiled, Decision, Query, Standing, decide};

/// How far back the past is counted for `maxChanges`, as the check does it.
const PAST: SignedDuration = SignedDuration::from_hours(24 * 31);

/// One window or freeze and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSummary {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it allows or freezes.
    #[serde(rename = "type")]
    #[schema(value_type = String, pattern = "^(allow|freeze)$")]
    pub kind: WindowType,
    /// Whether it is in force now.
    pub in_force: bool,
    /// Of one in force: until when, where that is known.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
    /// When it comes into force next.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next: Option<Timestamp>,
    /// Why it cannot be judged: then an allow window is shut, and a freeze stays.
    pub trouble: Option<String>,
    /// The zone of its times.
    pub time_zone: String,
    /// Which actions it binds.
    pub actions: Vec<Action>,
    /// For a change already under way when it shuts; null: what the gate says.
    pub running: Option<Running>,
    /// The most changes that may begin in one occurrence.
    pub max_changes: Option<u32>,
    /// Why it is there.
    pub reason: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it ends to exist.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires: Option<Timestamp>,
}

/// Every window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WindowList {
    /// The windows.
    pub items: Vec<WindowSummary>,
}

/// What the windows say about a change at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowExplanation {
    /// Whether the change may go on.
    pub allowed: bool,
    /// The deciding window; null where none binds the change.
    pub rule: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<WindowType>,
    /// Why, in one line.
    pub reason: String,
    /// Since when.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Timestamp>,
    /// Until when.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
    /// When all windows together begin to allow it next.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub next_opening: Option<Timestamp>,
}

impl WindowSummary {
    /// How a window stands at `at`.
    #[must_use]
    pub fn of(window: &Compiled, at: Timestamp) -> Self {
        let spec = &window.spec;
        let stretch = window.covering(at);
        let actions = if spec.actions.is_empty() { vec![Action::Release] } else { spec.actions.clone() };
        let trouble = match &window.standing {
            Standing::Known => None,
            Standing::Unknown(why) => Some(why.clone()),
        };
        Self {
            namespace: window.namespace.clone(),
            name: window.name.clone(),
            kind: window.kind(),
            in_force: window.in_force(at),
            until: stretch.and_then(|stretch| stretch.until),
            next: window.next_start(at),
            trouble,
            time_zone: spec.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
            actions,
            running: spec.running,
            max_changes: spec.max_changes,
            reason: spec.reason.clone(),
            ticket: spec.ticket.clone(),
            owner: spec.owner.clone(),
            expires: spec.expires,
        }
    }
}

impl WindowExplanation {
    /// The explanation of a decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self {
            allowed: decision.allowed(),
            rule: decision.rule_name().map(str::to_owned),
            kind: decision.rule_type(),
            reason: decision.reason.clone(),
            since: decision.since,
            until: decision.until,
            next_opening: decision.next_opening,
        }
    }
}

/// List windows and freezes, and how they stand now.
#[utoipa::path(
    get,
    path = "/v1/windows",
    tag = "windows",
    responses(
        (status = 200, description = "Every window.", body = WindowList),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    Params::parse(query.as_deref(), &[])?;
    let now = app.now();
    let items = (app.deps.windows)().iter().map(|window| WindowSummary::of(window, now)).collect();
    Ok(json::answer(StatusCode::OK, &WindowList { items }))
}

/// Explain what the windows say about a change at an instant.
#[utoipa::path(
    get,
    path = "/v1/windows/explain",
    tag = "windows",
    params(
        ("at" = Option<String>, Query, description = "The instant, such as `2026-12-24T12:00:00Z`. Absent: now."),
        ("cluster" = Option<String>, Query, description = "The target's cluster."),
        ("namespace" = Option<String>, Query, description = "The gate's namespace."),
        ("target" = Option<String>, Query, description = "The target."),
        ("label" = Option<Vec<String>>, Query, description = "A label of the target, as `key=value`; may be given again."),
        ("action" = Option<Action>, Query, description = "What the change does. Absent: release."),
        ("invoker" = Option<crate::model::Invoker>, Query, description = "Who set it off. Absent: automation."),
        ("change" = Option<String>, Query, description = "The change's id, for overrides."),
        ("underWay" = Option<bool>, Query, description = "Whether it has already begun."),
    ),
    responses(
        (status = 200, description = "What they say.", body = WindowExplanation),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn explain(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let asked = asked(query.as_deref(), &app)?;
    let past = app.deps.past.since(asked.at.saturating_sub(PAST).unwrap_or(Timestamp::MIN));
    let decision = decide(&(app.deps.windows)(), &asked, &past, &app.deps.overrides.all());
    Ok(json::answer(StatusCode::OK, &WindowExplanation::of(&decision)))
}

fn asked(query: Option<&str>, app: &App) -> Result<Query, Problem> {
    const KNOWN: &[&str] =
        &["at", "cluster", "namespace", "target", "label", "action", "invoker", "change", "underWay"];
    let params = Params::parse_with(query, KNOWN, &["label"])?;
    let text = |key: &str| params.text(key).map(str::to_owned);
    Ok(Query {
        at: params.get("at", "an instant such as `2026-12-24T12:00:00Z`")?.unwrap_or_else(|| app.now()),
        cluster: text("cluster").or_else(|| app.deps.cluster.clone()),
        namespace: text("namespace"),
        target: text("target"),
        labels: labels(&params)?,
        action: params.get("action", "release, rollback, scale or config")?.unwrap_or_default(),
        invoker: params.get("invoker", "person or automation")?.unwrap_or_default(),
        change: text("change"),
        under_way: params.get("underWay", "true or false")?.unwrap_or_default(),
        gate_running: None,
    })
}

fn labels(params: &Params<'_>) -> Result<Labels, Problem> {
    let wrong = |detail: String| Problem::new(Kind::Parameter, detail).field("label");
    let mut labels = Labels::new();
    for text in params.all("label") {
        let (key, value) =
            text.split_once('=').ok_or_else(|| wrong(format!("`{}` is no label: write key=value", echo(text))))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    if labels.len() > MAX_LABELS {
        return Err(wrong(format!("there are {} labels; {MAX_LABELS} are allowed", labels.len())));
    }
    Ok(labels)
}
