//! The API proper: `/v1`.

pub(super) mod check;
pub(super) mod overrides;
pub(super) mod probes;
pub(super) mod runs;
pub(super) mod windows;

use std::time::Duration;

use jiff::Timestamp;

use super::json::Params;
use super::limits::{DEFAULT_PAGE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, MAX_PAGE, MAX_TEXT, MAX_WAIT};
use super::problem::{Kind, Problem, echo};
use crate::api::DEFAULT_NAMESPACE;
use crate::model::{Batch, Change, Period, Question};

/// The most batches of a change, as the schema of `Batch` has it.
const MAX_BATCHES: u32 = 10_000;

/// `namespace/name`, or `name` in the default namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FullName {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl FullName {
    /// # Errors
    /// A part is empty, too long, or there are more than two.
    pub(super) fn parse(text: &str, field: &str) -> Result<Self, Problem> {
        let (namespace, name) = text.split_once('/').unwrap_or((DEFAULT_NAMESPACE, text));
        let plain = |part: &str| !part.is_empty() && part.len() <= MAX_TEXT && !part.contains('/');
        if !plain(namespace) || !plain(name) {
            let detail = format!("`{}` is no namespace/name and no name", echo(text));
            return Err(Problem::new(Kind::Invalid, detail).field(field));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// Whether a text has a length that is allowed.
pub(super) fn check_text(field: &str, text: &str, min: usize, max: usize) -> Result<(), Problem> {
    let length = text.chars().count();
    if (min..=max).contains(&length) {
        return Ok(());
    }
    let found = if length == 0 { "it is empty".to_owned() } else { format!("it has {length} characters") };
    Err(Problem::new(Kind::Invalid, format!("{found}; {min} to {max} are allowed")).field(field))
}

/// Whether everything in a question is within the limits of its schema.
pub(super) fn check_question(question: &Question) -> Result<(), Problem> {
    check_text("gate", &question.gate, 1, MAX_TEXT)?;
    check_change(&question.change)?;
    check_batch(question.batch)
}

fn check_change(change: &Change) -> Result<(), Problem> {
    check_text("change.id", &change.id, 1, MAX_TEXT)?;
    check_text("change.target", &change.target, 1, MAX_TEXT)?;
    check_text("change.revision", &change.revision, 1, MAX_TEXT)?;
    check_text("change.actor", &change.actor, 0, MAX_TEXT)?;
    if let Some(cluster) = &change.cluster {
        check_text("change.cluster", cluster, 1, MAX_TEXT)?;
    }
    if change.labels.len() > MAX_LABELS {
        let detail = format!("there are {} labels; {MAX_LABELS} are allowed", change.labels.len());
        return Err(Problem::new(Kind::Invalid, detail).field("change.labels"));
    }
    for (key, value) in &change.labels {
        let field = format!("change.labels.{}", echo(key));
        check_text(&field, key, 1, MAX_LABEL_KEY)?;
        check_text(&field, value, 0, MAX_LABEL_VALUE)?;
    }
    Ok(())
}

fn check_batch(batch: Batch) -> Result<(), Problem> {
    let wrong = |field: &str, detail: String| Err(Problem::new(Kind::Invalid, detail).field(field));
    if batch.total == 0 || batch.total > MAX_BATCHES {
        return wrong("batch.total", format!("it is {}; 1 to {MAX_BATCHES} are allowed", batch.total));
    }
    if batch.index == 0 || batch.index > batch.total {
        return wrong(
            "batch.index",
            format!("it is {}; 1 to total, which is {}, are allowed", batch.index, batch.total),
        );
    }
    if batch.percent > 100 {
        return wrong("batch.percent", format!("it is {}; 0 to 100 are allowed", batch.percent));
    }
    Ok(())
}

/// The parameter `wait`, cut to what is allowed.
pub(super) fn wait_of(params: &Params<'_>) -> Result<Duration, Problem> {
    let wait: Option<Period> = params.get("wait", "a duration such as `20s`")?;
    Ok(wait.map_or(Duration::ZERO, Period::to_std).min(MAX_WAIT))
}

/// The parameter `limit`, cut to what is allowed.
pub(super) fn limit_of(params: &Params<'_>) -> Result<usize, Problem> {
    let limit: Option<usize> = params.get("limit", "a number from 1")?;
    Ok(limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE))
}

/// A parameter that is an instant, or a length of time before now.
pub(super) fn instant_of(params: &Params<'_>, key: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    const ALLOWED: &str = "an instant such as `2026-11-21T18:00:00Z`, or a duration before now such as `24h`";
    let Some(text) = params.text(key) else { return Ok(None) };
    if let Ok(period) = text.parse::<Period>() {
        return Ok(Some(now.checked_sub(period.exact()).unwrap_or(Timestamp::MIN)));
    }
    params.get(key, ALLOWED)
}
