//! `POST /v1/check`: the question and its answer.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{FullName, check_question, wait_of};
use crate::engine::Answer;
use crate::model::{Batch, Change, Point, Question};
use crate::server::access::{Caller, Scope};
use crate::server::app::{App, RequestId};
use crate::server::json::{self, Params};
use crate::server::problem::Problem;

/// What a gate is asked: may this change pass this point of this batch?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "gate": "shop/checkout",
    "change": {"id": "c-17", "target": "checkout", "revision": "v42", "action": "release", "actor": "ci"},
    "batch": {"index": 2, "total": 5, "percent": 10},
    "point": "post"
}))]
pub struct CheckRequest {
    /// The gate, as `namespace/name`, or `name` in the namespace `default`.
    pub gate: String,
    /// The change.
    pub change: Change,
    /// The batch. Absent: the whole change in one.
    #[serde(default)]
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
}

impl CheckRequest {
    /// The question that it asks.
    ///
    /// # Errors
    /// A field is outside its limits.
    pub(in crate::server) fn question(self) -> Result<Question, Problem> {
        let FullName { namespace, name } = FullName::parse(&self.gate, "gate")?;
        let question = Question { namespace, gate: name, change: self.change, batch: self.batch, point: self.point };
        check_question(&question)?;
        Ok(question)
    }
}

/// Ask a gate. The same question gets the same run; the answer is 200 whatever the verdict is.
#[utoipa::path(
    post,
    path = "/v1/check",
    tag = "gate",
    params(("wait" = Option<String>, Query, description = "How long to wait for a verdict, such as `20s`; at most 50s.")),
    request_body = CheckRequest,
    responses(
        (status = 200, description = "The verdict.", body = Answer),
        (status = "4XX", description = "There is no verdict.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "There is no verdict.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::server) async fn check(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require(Scope::Check)?;
    json::require_json(&headers)?;
    let wait = wait_of(&Params::parse(query.as_deref(), &["wait"])?)?;
    let question = json::parse::<CheckRequest>(&body)?.question()?;
    caller.require_on(Scope::Check, &question.namespace, &question.gate).await?;
    let answer = app.ask(question, wait).await?;
    app.audit_answer(&caller, &request, &answer);
    Ok(json::answer(StatusCode::OK, &answer))
}
