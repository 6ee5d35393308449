//! What the writing thread does inside a transaction.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::probes::history::codec;
use crate::probes::history::{Batch, Failed, Finished, Known, Series, StateTurn};
use crate::probes::result::{Durations, Phase};

/// The most series whose number is remembered; beyond it all are looked up again.
const MAX_REMEMBERED: usize = 100_000;

/// Numbers of series.
pub(super) type Ids = HashMap<Arc<Series>, i64>;

/// How many rows there are, or how many have come and gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) minutes: i64,
    pub(super) hours: i64,
    pub(super) failures: i64,
    pub(super) turns: i64,
}

impl Totals {
    pub(super) fn read(transaction: &Transaction<'_>) -> Result<Self, rusqlite::Error> {
        transaction.prepare_cached("SELECT minutes, hours, failures, turns FROM totals")?.query_row([], |row| {
            Ok(Self { minutes: row.get(0)?, hours: row.get(1)?, failures: row.get(2)?, turns: row.get(3)? })
        })
    }

    /// Adds to what is stored, and gives what is stored then.
    pub(super) fn add(self, transaction: &Transaction<'_>) -> Result<Self, rusqlite::Error> {
        transaction
            .prepare_cached(
                "UPDATE totals SET minutes = minutes + ?1, hours = hours + ?2, failures = failures + ?3, turns = turns + ?4",
            )?
            .execute(params![self.minutes, self.hours, self.failures, self.turns])?;
        Self::read(transaction)
    }
}

/// One batch in one transaction.
pub(super) struct Session<'t> {
    pub(super) transaction: &'t Transaction<'t>,
    pub(super) ids: &'t mut Ids,
    /// Now, in microseconds.
    pub(super) now: i64,
}

impl Session<'_> {
    /// Writes a batch; gives how many rows have come.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<Totals, rusqlite::Error> {
        if self.ids.len() > MAX_REMEMBERED {
            self.ids.clear();
        }
        let mut come = Totals::default();
        for (series, finished) in &batch.minutes {
            let id = self.id(series)?;
            come.minutes += self.minute(id, finished)?;
            for failed in &finished.failures {
                come.failures += self.failure(id, failed)?;
            }
            self.written(id)?;
        }
        for (series, turn) in &batch.turns {
            let id = self.id(series)?;
            come.turns += self.turn(id, turn)?;
            self.written(id)?;
        }
        for (series, known) in &batch.states {
            let id = self.id(series)?;
            self.known(id, known)?;
        }
        Ok(come)
    }

    fn id(&mut self, series: &Arc<Series>) -> Result<i64, rusqlite::Error> {
        if let Some(id) = self.ids.get(series) {
            return Ok(*id);
        }
        let Series { namespace, probe, target } = &**series;
        let found: Option<i64> = self
            .transaction
            .prepare_cached("SELECT id FROM series WHERE namespace = ?1 AND probe = ?2 AND target = ?3")?
            .query_row([namespace, probe, target], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => self
                .transaction
                .prepare_cached("INSERT INTO series (namespace, probe, target, written) VALUES (?1, ?2, ?3, ?4)")?
                .insert(params![namespace, probe, target, self.now])?,
        };
        self.ids.insert(Arc::clone(series), id);
        Ok(id)
    }

    fn written(&self, id: i64) -> Result<(), rusqlite::Error> {
        self.transaction
            .prepare_cached("UPDATE series SET written = ?2 WHERE id = ?1 AND written < ?2")?
            .execute(params![id, self.now])?;
        Ok(())
    }

    /// Parts of a minute are put together: a process may have ended in it, and another begun.
    fn minute(&self, id: i64, finished: &Finished) -> Result<i64, rusqlite::Error> {
        let come = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO minutes (minute, series, rollup) VALUES (?1, ?2, ?3)")?
            .execute(params![finished.minute, id, codec::encode(&finished.rollup)])?;
        if come == 0 {
            let bytes: Vec<u8> = self
                .transaction
                .prepare_cached("SELECT rollup FROM minutes WHERE minute = ?1 AND series = ?2")?
                .query_row(params![finished.minute, id], |row| row.get(0))?;
            let mut rollup = finished.rollup.clone();
            if let Some(before) = codec::decode(&bytes) {
                rollup.merge(&before);
            }
            self.transaction
                .prepare_cached("UPDATE minutes SET rollup = ?3 WHERE minute = ?1 AND series = ?2")?
                .execute(params![finished.minute, id, codec::encode(&rollup)])?;
        }
        Ok(i64::from(come > 0))
    }

    fn failure(&self, id: i64, failed: &Failed) -> Result<i64, rusqlite::Error> {
        let come = self
            .transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO failures (series, at, ended, judgement, reason, phase, message, durations, log) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                id,
                failed.at.as_microsecond(),
                failed.ended.as_microsecond(),
                failed.judgement.as_str(),
                failed.reason.as_str(),
                failed.phase.map(Phase::as_str),
                &*failed.message,
                durations(&failed.durations),
                failed.log.as_deref(),
            ])?;
        Ok(i64::from(come > 0))
    }

    fn turn(&self, id: i64, turn: &StateTurn) -> Result<i64, rusqlite::Error> {
        self.transaction
            .prepare_cached("INSERT INTO turns (series, at, was, became, reason) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, turn.at.as_microsecond(), turn.from.as_str(), turn.to.as_str(), turn.reason])?;
        Ok(1)
    }

    fn known(&self, id: i64, known: &Known) -> Result<(), rusqlite::Error> {
        let micros = Timestamp::as_microsecond;
        self.transaction
            .prepare_cached(
                "UPDATE series SET state = ?2, since = ?3, seen = ?4, reason = ?5, written = ?6 WHERE id = ?1",
            )?
            .execute(params![
                id,
                known.state.as_str(),
                micros(known.since),
                micros(known.seen),
                known.reason,
                self.now
            ])?;
        Ok(())
    }
}

/// Microseconds by phase, as JSON.
fn durations(durations: &Durations) -> String {
    let phases = Phase::ALL.iter().filter_map(|phase| {
        let micros = u64::try_from(durations.get(*phase)?.as_micros()).unwrap_or(u64::MAX);
        Some((phase.as_str().to_owned(), micros.into()))
    });
    serde_json::Value::Object(phases.collect()).to_string()
}
