//! `/v1/windows`: the time rules and how they stand.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::limit_of;
use crate::api::{ReleaseWindow, WindowType, name_of, namespace_of};
use crate::model::{Action, Running};
use crate::server::access::{Caller, Scope};
use crate::server::app::App;
use crate::server::json::{self, Params};
use crate::server::problem::Problem;
use crate::store::{Query, StoreExt};

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
    /// Until when that stays so, where it is known.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
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

/// A page of windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WindowList {
    /// The windows.
    pub items: Vec<WindowSummary>,
    /// What to give as `after` for the next page; null at the end.
    pub next: Option<String>,
}

impl WindowSummary {
    /// The summary of a window as its status has it.
    #[must_use]
    pub fn of(window: &ReleaseWindow) -> Self {
        let (spec, status) = (&window.spec, window.status.as_ref());
        let actions = if spec.actions.is_empty() { vec![Action::Release] } else { spec.actions.clone() };
        Self {
            namespace: namespace_of(window).to_owned(),
            name: name_of(window).to_owned(),
            kind: spec.kind,
            in_force: status.is_some_and(|status| status.in_force),
            until: status.and_then(|status| status.until),
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

/// List windows and freezes, and how they stand.
#[utoipa::path(
    get,
    path = "/v1/windows",
    tag = "windows",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many; 50, and at most 500."),
        ("after" = Option<String>, Query, description = "Where the last page ended: its `next`."),
    ),
    responses(
        (status = 200, description = "A page of windows.", body = WindowList),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let params = Params::parse(query.as_deref(), &["limit", "after"])?;
    let query = Query { limit: limit_of(&params)?, after: params.text("after").map(str::to_owned), ..Query::default() };
    let page = app.deps.store.list_as::<ReleaseWindow>(&query).await?;
    let items = page.items.iter().map(WindowSummary::of).collect();
    Ok(json::answer(StatusCode::OK, &WindowList { items, next: page.next }))
}
