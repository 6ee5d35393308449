//! Forgetting: decided runs beyond their gate's count and age, and exceptions long over.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use tokio_util::sync::CancellationToken;

use super::SqliteStore;
use super::write::{Write, Written};
use crate::api::{GateRun, Override, Resource, name_of, namespace_of};
use crate::store::retention::{EVERY, FIRST_AFTER, Forgotten, Policies, Retention, over_since, policies};
use crate::store::{Object, Page, Query, Store, StoreError};

/// Deletions in one transaction: a verdict that waits behind it waits some milliseconds.
const BATCH: usize = 50;

/// The decided runs of one gate.
#[derive(Debug)]
struct Group {
    namespace: String,
    /// `None` for runs that name no gate: foreign ones.
    gate: Option<String>,
    count: u64,
}

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
        let now = self.opened.now(self.clock.as_ref());
        let policies = policies(self).await?;
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
        let (runs, before) = retention.of(policies, &group.namespace, group.gate.as_deref(), now);
        // An age before the calendar begins makes nothing old.
        let before = before.map_or(i64::MIN, Timestamp::as_microsecond);
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
