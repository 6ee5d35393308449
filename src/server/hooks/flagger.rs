//! Flagger's webhooks.
//!
//! Flagger passes on a status up to 202 and holds on anything above; 5xx and 429 it retries and
//! throws the body away. So there are two answers here: 200 and 403, whatever happens, with one
//! line that Flagger writes into its events. The payload does not say which hook it is, so the
//! path does; the gate is in the path as well, and name and namespace of the payload are the
//! target's. Which batch is asked about is counted: see `release`.
//!
//! The metadata of a webhook become labels of the change. Two keys mean something: `total`, the
//! number of weight steps, and `stepWeight`, the percent that each adds; both only describe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::release::{ANNOTATION_LET_OUT, Release, after, standing_block};
use super::{line, word};
use crate::api::{GateRun, LABEL_SUBJECT, Override, name_of, namespace_of};
use crate::engine::Answer;
use crate::model::{Action, Batch, Change, Invoker, Labels, Point, Question, Verdict};
use crate::server::access::{Caller, Scope};
use crate::server::api::{FullName, check_question, check_text};
use crate::server::app::{App, RequestId};
use crate::server::audit::Deed;
use crate::server::json;
use crate::server::limits::{HOOK_WAIT, MAX_HOOK_RUNS, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, MAX_TEXT};
use crate::server::problem::{Kind, Problem, echo};
use crate::store::{Query, StoreError, StoreExt};

/// The actor of a change that Flagger asks about.
const ACTOR: &str = "flagger";
/// Keys of the metadata that are no labels.
const RESERVED: &[&str] = &["total", "stepWeight", "gate", "eventMessage", "eventType", "timestamp"];

/// The types of hooks, by the last part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    ConfirmRollout,
    PreRollout,
    Rollout,
    ConfirmTrafficIncrease,
    ConfirmPromotion,
    Rollback,
    PostRollout,
    Event,
}

impl Hook {
    const ALL: &'static [Self] = &[
        Self::ConfirmRollout,
        Self::PreRollout,
        Self::Rollout,
        Self::ConfirmTrafficIncrease,
        Self::ConfirmPromotion,
        Self::Rollback,
        Self::PostRollout,
        Self::Event,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::ConfirmRollout => "confirm-rollout",
            Self::PreRollout => "pre-rollout",
            Self::Rollout => "rollout",
            Self::ConfirmTrafficIncrease => "confirm-traffic-increase",
            Self::ConfirmPromotion => "confirm-promotion",
            Self::Rollback => "rollback",
            Self::PostRollout => "post-rollout",
            Self::Event => "event",
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        Self::ALL.iter().copied().find(|hook| hook.as_str() == text).ok_or_else(|| {
            let detail = format!("`{}` is no type of hook", echo(text));
            Problem::new(Kind::NotFound, detail).field("type").allowed(text, Self::ALL.iter().map(|hook| hook.as_str()))
        })
    }
}

/// What Flagger sends. Its newer versions send more: what is not known is left alone.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "name": "podinfo", "namespace": "test", "phase": "Progressing", "checksum": "85d557f47b", "metadata": {"tier": "web"}
}))]
pub struct FlaggerPayload {
    /// The canary's name: the target.
    pub name: String,
    /// The canary's namespace.
    pub namespace: String,
    /// Its phase.
    #[serde(default)]
    pub phase: String,
    /// The only identity of a release.
    pub checksum: String,
    /// What the webhook's spec adds, and of events what has happened.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// One request.
struct Asked<'a> {
    app: &'a App,
    gate: FullName,
    payload: FlaggerPayload,
}

/// What is answered: whether Flagger goes on (or, at `rollback`, rolls back), and why.
struct Said {
    yes: bool,
    verdict: &'static str,
    line: String,
}

impl Said {
    fn new(yes: bool, verdict: &'static str, line: impl Into<String>) -> Self {
        Self { yes, verdict, line: line.into() }
    }

    /// A pass goes on, anything else holds.
    fn of(answer: &Answer) -> Self {
        Self::new(answer.verdict == Verdict::Pass, word(answer.verdict), line(answer))
    }

    fn trouble(why: impl std::fmt::Display) -> Self {
        Self::new(false, "wait", format!("wait: {why}"))
    }

    fn into_response(self) -> Response {
        let status = if self.yes { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let mut line = self.line;
        line.push('\n');
        (status, line).into_response()
    }
}

/// Every refusal is a 403 here: it holds, and its body is logged.
pub(in crate::server) fn refuse(mut problem: Problem) -> Response {
    problem.status = StatusCode::FORBIDDEN.as_u16();
    problem.into_response()
}

/// Answer a webhook of Flagger. 200 passes (at `rollback`: rolls back), 403 holds.
#[utoipa::path(
    post,
    path = "/hooks/flagger/{namespace}/{gate}/{type}",
    tag = "hooks",
    params(
        ("namespace" = String, Path, description = "The gate's namespace."),
        ("gate" = String, Path, description = "The gate's name."),
        ("type" = String, Path, description = "confirm-rollout, pre-rollout, rollout, confirm-traffic-increase, confirm-promotion, rollback, post-rollout or event."),
    ),
    request_body = FlaggerPayload,
    responses(
        (status = 200, description = "Go on; at `rollback`: roll back.", body = String, content_type = "text/plain"),
        (status = 403, description = "Hold; at `rollback`: do not roll back.", body = String, content_type = "text/plain"),
    ),
)]
pub(in crate::server) async fn answer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(request): Extension<RequestId>,
    Path((namespace, gate, hook)): Path<(String, String, String)>,
    body: Bytes,
) -> Response {
    let asked = read(&app, &caller, FullName { namespace, name: gate }, &hook, &body).await;
    let (hook, asked) = match asked {
        Ok(asked) => asked,
        Err(problem) => {
            app.deps.metrics.hook("flagger", "none", "refused");
            return refuse(problem);
        }
    };
    let said = match hook {
        Hook::Event | Hook::PostRollout => asked.tell(hook, &caller, &request),
        Hook::Rollback => asked.rollback().await,
        Hook::ConfirmRollout => asked.let_in(&caller, &request).await,
        Hook::PreRollout => asked.step(&caller, &request, |_| (Point::Pre, 1)).await,
        Hook::Rollout => asked.step(&caller, &request, Release::current).await,
        Hook::ConfirmPromotion => asked.step(&caller, &request, Release::last).await,
        Hook::ConfirmTrafficIncrease => asked.let_out(&caller, &request).await,
    };
    app.deps.metrics.hook("flagger", hook.as_str(), said.verdict);
    said.into_response()
}

async fn read<'a>(
    app: &'a App,
    caller: &Caller,
    gate: FullName,
    hook: &str,
    body: &[u8],
) -> Result<(Hook, Asked<'a>), Problem> {
    let hook = Hook::parse(hook)?;
    caller.require_on(Scope::Check, &gate.namespace, &gate.name).await?;
    let payload: FlaggerPayload = json::parse(body)?;
    check_text("name", &payload.name, 1, MAX_TEXT)?;
    check_text("namespace", &payload.namespace, 1, MAX_TEXT)?;
    check_text("checksum", &payload.checksum, 1, MAX_TEXT)?;
    Ok((hook, Asked { app, gate, payload }))
}

impl Asked<'_> {
    /// `event` and `post-rollout`: nothing is asked, and it is kept.
    fn tell(&self, hook: Hook, caller: &Caller, request: &RequestId) -> Said {
        let object = format!("{}/{}", self.payload.namespace, self.payload.name);
        let message = self.payload.metadata.as_ref().and_then(|metadata| metadata.get("eventMessage"));
        let outcome = message.map_or_else(|| self.payload.phase.clone(), Clone::clone);
        let action = if hook == Hook::Event { "flagger-event" } else { "flagger-post-rollout" };
        let deed = Deed { action, object: &object, outcome: &outcome, done: true, request: &request.0 };
        self.app.audit(caller, deed);
        self.app.hub.tell("hook.event", &self.gate.namespace, &self.gate.name, &self.payload);
        Said::new(true, "pass", "kept")
    }

    /// `confirm-rollout`: may the change after this checksum begin?
    async fn let_in(&self, caller: &Caller, request: &RequestId) -> Said {
        let revision = after(&self.payload.checksum);
        let change = format!("{}-{revision}", self.payload.name);
        self.ask(self.question(change, revision, Point::Pre, 1), caller, request).await.0
    }

    async fn step(&self, caller: &Caller, request: &RequestId, which: fn(&Release) -> (Point, u32)) -> Said {
        let release = match self.release().await {
            Ok(release) => release,
            Err(error) => return Said::trouble(error),
        };
        let (point, index) = which(&release);
        let question = self.question(release.change, self.payload.checksum.clone(), point, index);
        self.ask(question, caller, request).await.0
    }

    /// `confirm-traffic-increase`: as a step, and its pass is marked before it is handed out.
    async fn let_out(&self, caller: &Caller, request: &RequestId) -> Said {
        let release = match self.release().await {
            Ok(release) => release,
            Err(error) => return Said::trouble(error),
        };
        let (point, index) = release.next_step();
        let question = self.question(release.change, self.payload.checksum.clone(), point, index);
        let (said, answer) = self.ask(question, caller, request).await;
        let Some(answer) = answer.filter(|_| said.yes) else { return said };
        match self.mark(&answer.id).await {
            Ok(()) => said,
            Err(error) => Said::trouble(format!("the pass could not be recorded: {error}")),
        }
    }

    /// `rollback`: does a block stand against this revision? Nothing is measured.
    async fn rollback(&self) -> Said {
        // In the other phases the checksum is not that of what is being rolled out.
        if !matches!(self.payload.phase.as_str(), "Progressing" | "WaitingPromotion") {
            return Said::new(
                false,
                "pass",
                format!("no rollback: nothing is out in phase {}", echo(&self.payload.phase)),
            );
        }
        let found = async {
            let runs = self.runs().await?;
            let query = Query { namespace: Some(self.gate.namespace.clone()), ..Query::default() };
            let overrides = self.app.deps.store.list_as::<Override>(&query).await?.items;
            Ok::<_, StoreError>((runs, overrides))
        };
        let (runs, overrides) = match found.await {
            Ok(found) => found,
            Err(error) => return Said::trouble(format!("no rollback: {error}")),
        };
        match standing_block(&runs, &self.payload.checksum, &overrides, self.app.now()) {
            Some(run) => {
                let reason = run.status.as_ref().map_or("", |status| status.reason.as_str());
                let (namespace, name) = (namespace_of(run), name_of(run));
                Said::new(true, "block", format!("roll back: {reason} [run {namespace}/{name}]"))
            }
            None => Said::new(false, "pass", "no rollback: no block stands against this revision"),
        }
    }

    async fn ask(&self, question: Question, caller: &Caller, request: &RequestId) -> (Said, Option<Answer>) {
        if let Err(problem) = check_question(&question) {
            return (Said::trouble(problem.detail), None);
        }
        match self.app.ask(question, HOOK_WAIT).await {
            Ok(answer) => {
                self.app.audit_answer(caller, request, &answer);
                (Said::of(&answer), Some(answer))
            }
            Err(error) => (Said::trouble(error), None),
        }
    }

    fn question(&self, change: String, revision: String, point: Point, index: u32) -> Question {
        let payload = &self.payload;
        let change = Change {
            id: change,
            target: payload.name.clone(),
            revision,
            action: Action::Release,
            actor: ACTOR.to_owned(),
            invoker: Invoker::Automation,
            cluster: self.app.deps.cluster.clone(),
            labels: labels(payload),
        };
        let batch = batch(index, payload.metadata.as_ref());
        Question { namespace: self.gate.namespace.clone(), gate: self.gate.name.clone(), change, batch, point }
    }

    async fn release(&self) -> Result<Release, StoreError> {
        Ok(Release::of(&self.runs().await?, &self.payload.name, &self.payload.checksum))
    }

    /// The latest runs of this target at this gate, newest first.
    async fn runs(&self) -> Result<Vec<GateRun>, StoreError> {
        let subject = self.question(String::new(), String::new(), Point::Pre, 1).subject();
        let query = Query {
            namespace: Some(self.gate.namespace.clone()),
            labels: Labels::from([(LABEL_SUBJECT.to_owned(), subject.key().to_string())]),
            limit: MAX_HOOK_RUNS,
            ..Query::default()
        };
        Ok(self.app.deps.store.list_as::<GateRun>(&query).await?.items)
    }

    /// Marks a run whose pass is about to be handed out.
    async fn mark(&self, id: &str) -> Result<(), StoreError> {
        let (namespace, name) = id.split_once('/').unwrap_or((&self.gate.namespace, id));
        let now = self.app.now().to_string();
        let written = self.app.deps.store.amend(namespace, name, |run: &mut GateRun| {
            let annotations = run.metadata.annotations.get_or_insert_default();
            let first = !annotations.contains_key(ANNOTATION_LET_OUT);
            if first {
                annotations.insert(ANNOTATION_LET_OUT.to_owned(), now.clone());
            }
            first
        });
        written.await.map(drop)
    }
}

fn labels(payload: &FlaggerPayload) -> Labels {
    let fits = |(key, value): &(&String, &String)| {
        !RESERVED.contains(&key.as_str()) && key.len() <= MAX_LABEL_KEY && value.len() <= MAX_LABEL_VALUE
    };
    let given = payload.metadata.iter().flatten().filter(fits).take(MAX_LABELS - 1);
    let mut labels: Labels = given.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert("namespace".to_owned(), payload.namespace.clone());
    labels
}

/// What is known of a batch beside its index.
fn batch(index: u32, metadata: Option<&BTreeMap<String, String>>) -> Batch {
    let number = |key: &str| metadata?.get(key)?.parse::<u32>().ok();
    let total = number("total").unwrap_or(index).max(index);
    let percent = match (number("stepWeight"), number("total")) {
        (Some(step), _) => step.saturating_mul(index),
        (None, Some(_)) => index.saturating_mul(100) / total.max(1),
        // Flagger tells no weight: the whole change stands behind every step.
        (None, None) => 100,
    };
    Batch { index, total, percent: u8::try_from(percent.min(100)).unwrap_or(100) }
}

/// The longest that a hook may take is below Flagger's own 10 s, retries of the mark included.
const _: () = assert!(HOOK_WAIT.as_millis() < Duration::from_secs(9).as_millis());
