//! What readers do.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::ProbeState;
use crate::probes::history::ring::instant;
use crate::probes::history::{Failed, Known, MAX_READ, Past, Rollup, Series, StateTurn, Stretch, Window, codec};
use crate::probes::result::{Durations, Judgement, Phase, Reason};

/// Microseconds of a minute and of an hour.
pub(super) const MINUTE: i64 = 60_000_000;
pub(super) const HOUR: i64 = 3_600_000_000;

pub(super) fn targets(connection: &Connection, namespace: &str, probe: &str) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT target FROM series WHERE namespace = ?1 AND probe = ?2 AND target <> '' ORDER BY target",
        )?
        .query_map([namespace, probe], |row| row.get(0))?
        .collect()
}

pub(super) fn known(connection: &Connection) -> Result<Vec<(Series, Known)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, probe, target, state, since, seen, reason FROM series WHERE state IS NOT NULL \
         ORDER BY namespace, probe, target",
    )?;
    let rows = statement.query_map([], |row| {
        let series = Series { namespace: row.get(0)?, probe: row.get(1)?, target: row.get(2)? };
        let Ok(state) = ProbeState::from_str(&row.get::<_, String>(3)?) else { return Ok(None) };
        let (since, seen) = (instant(row.get(4)?), instant(row.get(5)?));
        Ok(Some((series, Known { state, since, seen, reason: row.get(6)? })))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Everything in one transaction, so that nothing is on its way from minutes to hours meanwhile.
pub(super) fn past(connection: &Connection, series: &Series, window: Window) -> Result<Past, rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?;
    let id: Option<i64> = transaction
        .prepare_cached("SELECT id FROM series WHERE namespace = ?1 AND probe = ?2 AND target = ?3")?
        .query_row([&series.namespace, &series.probe, &series.target], |row| row.get(0))
        .optional()?;
    let Some(id) = id.filter(|_| window.from < window.to) else { return Ok(Past::default()) };
    let (from, to) = (window.from.as_microsecond(), window.to.as_microsecond());
    let hours = Table {
        read: "SELECT rollup FROM hours WHERE hour = ?1 AND series = ?2",
        next: "SELECT min(hour) FROM hours WHERE hour >= ?1",
        micros: HOUR,
    };
    let minutes = Table {
        read: "SELECT rollup FROM minutes WHERE minute = ?1 AND series = ?2",
        next: "SELECT min(minute) FROM minutes WHERE minute >= ?1",
        micros: MINUTE,
    };
    let mut stretches = Vec::new();
    hours.collect(&transaction, id, (from, to), Stretch::hour, &mut stretches)?;
    minutes.collect(&transaction, id, (from, to), Stretch::minute, &mut stretches)?;
    stretches.sort_by_key(|stretch| stretch.from);
    let past =
        Past { stretches, failures: failures(&transaction, id, from, to)?, turns: turns(&transaction, id, from, to)? };
    transaction.commit()?;
    Ok(past)
}

struct Table {
    read: &'static str,
    /// The next number that any series has.
    next: &'static str,
    /// Of one stretch.
    micros: i64,
}

impl Table {
    /// Looks up each stretch that meets the window, of those that there are.
    fn collect(
        &self,
        connection: &Connection,
        series: i64,
        (from, to): (i64, i64),
        stretch: fn(i64, Rollup) -> Stretch,
        into: &mut Vec<Stretch>,
    ) -> Result<(), rusqlite::Error> {
        let mut statement = connection.prepare_cached(self.read)?;
        let mut next = connection.prepare_cached(self.next)?;
        let last = (to - 1).div_euclid(self.micros);
        let mut number = from.div_euclid(self.micros);
        while number <= last {
            let bytes: Option<Vec<u8>> = statement.query_row(params![number, series], |row| row.get(0)).optional()?;
            match bytes.as_deref().map(codec::decode) {
                Some(Some(rollup)) => into.push(stretch(number, rollup)),
                Some(None) => tracing::warn!(series, number, "A summary in the probes' history cannot be read."),
                // The stretches that nobody has are many: a machine may have been off, or its clock wrong.
                None => match next.query_row([number + 1], |row| row.get(0))? {
                    Some(there) => {
                        number = there;
                        continue;
                    }
                    None => break,
                },
            }
            number += 1;
        }
        Ok(())
    }
}

fn failures(connection: &Connection, series: i64, from: i64, to: i64) -> Result<Vec<Failed>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT at, ended, judgement, reason, phase, message, durations, log FROM failures \
         WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at DESC LIMIT ?4",
    )?;
    let limit = i64::try_from(MAX_READ).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![series, from, to, limit], failed)?;
    let mut found = rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

/// Nothing where another version of the program has used words that this one does not know.
fn failed(row: &Row<'_>) -> Result<Option<Failed>, rusqlite::Error> {
    let text = |column| row.get::<_, String>(column);
    let (judgement, reason) = (text(2)?, text(3)?);
    let judgement = Judgement::ALL.iter().find(|word| word.as_str() == judgement);
    let reason = Reason::ALL.iter().find(|word| word.as_str() == reason);
    let (Some(judgement), Some(reason)) = (judgement, reason) else { return Ok(None) };
    let phase: Option<String> = row.get(4)?;
    let micros: serde_json::Value = serde_json::from_str(&text(6)?).unwrap_or_default();
    let mut durations = Durations::default();
    for phase in Phase::ALL {
        if let Some(micros) = micros.get(phase.as_str()).and_then(serde_json::Value::as_u64) {
            durations.add(*phase, Duration::from_micros(micros));
        }
    }
    Ok(Some(Failed {
        at: instant(row.get(0)?),
        ended: instant(row.get(1)?),
        judgement: *judgement,
        reason: *reason,
        phase: phase.and_then(|phase| Phase::ALL.iter().find(|word| word.as_str() == phase).copied()),
        message: text(5)?.into(),
        durations,
        log: row.get::<_, Option<String>>(7)?.map(Arc::from),
    }))
}

fn turns(connection: &Connection, series: i64, from: i64, to: i64) -> Result<Vec<StateTurn>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT at, was, became, reason FROM turns WHERE series = ?1 AND at >= ?2 AND at < ?3 \
         ORDER BY at DESC, id DESC LIMIT ?4",
    )?;
    let limit = i64::try_from(MAX_READ).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![series, from, to, limit], |row| {
        let (was, became): (String, String) = (row.get(1)?, row.get(2)?);
        let (Ok(from), Ok(to)) = (ProbeState::from_str(&was), ProbeState::from_str(&became)) else { return Ok(None) };
        let at: Timestamp = instant(row.get(0)?);
        Ok(Some(StateTurn { at, from, to, reason: row.get(3)? }))
    })?;
    let mut found = rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}
