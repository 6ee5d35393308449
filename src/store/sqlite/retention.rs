//! Forgetting: decided runs beyond their gate's count and age, and exceptions long over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use tokio_util::sync::CancellationToken;

use super::SqliteStore;
use super::write::{Write, Written};
use crate::api::{Gate, GateRun, History, Override, Resource, name_of, namespace_of};
use crate::model::Period;
use crate::store::{Object, Page, Query, Store, StoreError};

/// Decided runs that are kept of one gate, where it does not say: years of a usual gate.
pub const DEFAULT_RUNS: u32 = 1_000;
/// How old a decided run may become, where its gate does not say: a quarter of a year.
pub const DEFAULT_AGE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Decided runs that are kept of all gates together: some 2 GB at 4 KB each.
pub const MAX_RUNS: u32 = 500_000;
/// How long an override is kept after it was revoked or has expired. The runs that stand on it name
/// it in their own record.
pub const OVERRIDE_AGE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The time between two rounds: what is due may stay that much longer.
const EVERY: Duration = Duration::from_secs(600);
/// The first round: after the start, which has more urgent things to do.
const FIRST_AFTER: Duration = Duration::from_secs(30);
/// How far the wall clock may run ahead of the steady one: what setting it right takes.
const JUMP: Duration = Duration::from_secs(3_600);
/// Deletions in one transaction: a verdict that waits behind it waits some milliseconds.
const BATCH: usize = 50;

/// How much is kept where a gate does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Decided runs of one gate.
    pub runs: u32,
    /// Age of a decided run.
    pub age: SignedDuration,
    /// Decided runs of all gates together.
    pub all_runs: u32,
    /// Age of an override since it was revoked or has expired.
    pub overrides: SignedDuration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { runs: DEFAULT_RUNS, age: DEFAULT_AGE, all_runs: MAX_RUNS, overrides: OVERRIDE_AGE }
    }
}

/// What one round has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Decided runs.
    pub runs: usize,
    /// Overrides.
    pub overrides: usize,
}

/// The decided runs of one gate.
#[derive(Debug)]
struct Group {
    namespace: String,
    /// `None` for runs that name no gate: foreign ones.
    gate: Option<String>,
    count: u64,
}

type Policies = HashMap<(String, String), History>;

impl SqliteStore {
    /// Removes what is due, now and then, until `shutdown`. Failures are logged and tried again.
    pub async fn forget(self: Arc<Self>, retention: Retention, shutdown: CancellationToken) {
        let mut pause = FIRST_AFTER;
        while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = EVERY;
            match shutdown.run_until_cancelled(self.forget_once(&retention)).await {
                None => return,
                Some(Ok(Forgotten { runs: 0, overrides: 0 })) => {}
                Some(Ok(Forgotten { runs, overrides })) => {
                    tracing::info!(runs, overrides, "Old records were removed.");
                }
                Some(Err(error)) => tracing::warn!(%error, "Old records could not be removed; tried again later."),
            }
        }
    }

    /// One round: the oldest first, in small transactions between which others write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was removed until then stays removed.
    pub async fn forget_once(&self, retention: &Retention) -> Result<Forgotten, StoreError> {
        let now = self.steady_now();
        let policies = self.policies().await?;
        let retention = *retention;
        let due = self
            .pool
            .read("looking for old runs", move |connection| due_runs(connection, &retention, &policies, now))
            .await?;
        let mut forgotten = Forgotten::default();
        for ids in due.chunks(BATCH) {
            let write = Write::Prune { kind: GateRun::KIND, ids: ids.to_vec() };
            if let Written::Deleted(count) = self.writer.write(write).await? {
                forgotten.runs += count;
                self.metrics.deleted(GateRun::KIND, count);
            }
        }
        forgotten.overrides = self.forget_overrides(now, retention.overrides).await?;
        Ok(forgotten)
    }

    /// The time, unless the wall clock has run ahead of the steady one since the start: a clock that
    /// jumps into the next year must not make everything old.
    fn steady_now(&self) -> Timestamp {
        let (began, elapsed) = self.opened;
        let passed = self.clock.elapsed().saturating_sub(elapsed).saturating_add(JUMP);
        let steady = SignedDuration::try_from(passed).ok().and_then(|passed| began.checked_add(passed).ok());
        steady.map_or(began, |steady| steady.min(self.clock.now()))
    }

    /// The gates that say themselves how much is kept.
    async fn policies(&self) -> Result<Policies, StoreError> {
        let mut policies = Policies::new();
        let mut query = Query::default();
        loop {
            let page = self.list(Gate::KIND, &query).await?;
            for object in page.items {
                // A gate that cannot be read has the defaults, which keep more rather than less.
                if let Some(history) = object.body.pointer("/spec/history")
                    && let Ok(history) = serde_json::from_value(history.clone())
                {
                    policies.insert((object.namespace, object.name), history);
                }
            }
            let Some(next) = page.next else { return Ok(policies) };
            query.after = Some(next);
        }
    }

    async fn forget_overrides(&self, now: Timestamp, age: SignedDuration) -> Result<usize, StoreError> {
        let Ok(before) = now.checked_sub(age) else { return Ok(0) };
        let (mut count, mut query) = (0, Query::default());
        loop {
            let Page { items, next } = self.list(Override::KIND, &query).await?;
            for due in items.into_iter().filter_map(|object: Object| over_since(object, before)) {
                let version = due.metadata.resource_version.clone();
                let write = Write::Delete {
                    kind: Override::KIND,
                    namespace: namespace_of(&due).to_owned(),
                    name: name_of(&due).to_owned(),
                    version,
                };
                match self.writer.write(write).await {
                    Ok(_) => count += 1,
                    // Somebody has just written it: looked at again next time.
                    Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(next) = next else { break };
            query.after = Some(next);
        }
        self.metrics.deleted(Override::KIND, count);
        Ok(count)
    }
}

/// An override that was over before `before`.
fn over_since(object: Object, before: Timestamp) -> Option<Override> {
    let exception: Override = object.into_resource().ok()?;
    let revoked = exception.status.as_ref().and_then(|status| status.revoked.as_ref()).map(|revoked| revoked.at);
    let end = revoked.map_or(exception.spec.expires, |at| at.min(exception.spec.expires));
    (end < before).then_some(exception)
}

/// The ids of the decided runs that are due, oldest first per gate.
fn due_runs(
    connection: &Connection,
    retention: &Retention,
    policies: &Policies,
    now: Timestamp,
) -> Result<Vec<i64>, rusqlite::Error> {
    let groups = groups(connection)?;
    let mut due = Vec::new();
    let mut kept: u64 = 0;
    for group in groups {
        let key = (group.namespace.clone(), group.gate.clone().unwrap_or_default());
        let history = policies.get(&key);
        let runs = history.and_then(|history| history.runs).unwrap_or(retention.runs);
        let age = history.and_then(|history| history.age).map_or(retention.age, Period::exact);
        // An age before the calendar begins makes nothing old.
        let before = now.checked_sub(age).map_or(i64::MIN, Timestamp::as_microsecond);
        let before_count = due.len();
        due_of(connection, &group, group.count.saturating_sub(u64::from(runs)), before, &mut due)?;
        kept += group.count - u64::try_from(due.len() - before_count).unwrap_or(0);
    }
    let excess = kept.saturating_sub(u64::from(retention.all_runs));
    if excess > 0 {
        oldest_beside(connection, &mut due, excess)?;
    }
    Ok(due)
}

fn groups(connection: &Connection) -> Result<Vec<Group>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, json_extract(body, '$.spec.gate'), count(*) FROM objects INDEXED BY runs_by_gate \
         WHERE kind = 'GateRun' AND decided = 1 GROUP BY 1, 2",
    )?;
    let group = |row: &rusqlite::Row<'_>| {
        Ok(Group { namespace: row.get(0)?, gate: row.get(1)?, count: row.get::<_, i64>(2)?.unsigned_abs() })
    };
    statement.query_map([], group)?.collect()
}

/// The first `excess` of a gate, and whatever was created before the instant `before`.
fn due_of(
    connection: &Connection,
    group: &Group,
    excess: u64,
    before: i64,
    due: &mut Vec<i64>,
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, created_us FROM objects INDEXED BY runs_by_gate WHERE kind = 'GateRun' AND decided = 1 \
         AND namespace = ?1 AND json_extract(body, '$.spec.gate') IS ?2 ORDER BY created_us, id",
    )?;
    let mut rows = statement.query(params![group.namespace, group.gate])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        let created: i64 = row.get(1)?;
        if seen >= excess && created >= before {
            break;
        }
        due.push(row.get(0)?);
        seen += 1;
    }
    Ok(())
}

/// The oldest of all gates that are not due already.
fn oldest_beside(connection: &Connection, due: &mut Vec<i64>, excess: u64) -> Result<(), rusqlite::Error> {
    let already: std::collections::HashSet<i64> = due.iter().copied().collect();
    let mut statement = connection.prepare_cached(
        "SELECT id FROM objects INDEXED BY objects_by_kind WHERE kind = 'GateRun' AND decided = 1 ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut left = excess;
    while left > 0
        && let Some(row) = rows.next()?
    {
        let id = row.get(0)?;
        if !already.contains(&id) {
            due.push(id);
            left -= 1;
        }
    }
    Ok(())
}
