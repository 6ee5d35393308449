//! Forgetting: minutes become hours, and what is too old or too much goes, the oldest first.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::read::{HOUR, MINUTE};
use super::write::Totals;
use crate::probes::history::ring::before;
use crate::probes::history::{
    Forgotten, HOUR_AGE, MAX_FAILURES, MAX_HOURS, MAX_MINUTES, MAX_TURNS, MINUTE_AGE, Rollup, codec,
};

/// Minutes of an hour.
const MINUTES: i64 = HOUR / MINUTE;
/// Hours that are put together before others may write again: each takes up to some seconds, with
/// ten thousand targets.
const HOURS_AT_ONCE: usize = 2;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Age of a minute, before it is put into its hour.
    pub minute_age: SignedDuration,
    /// Age of anything else.
    pub hour_age: SignedDuration,
    /// Minutes of all series together.
    pub minutes: u64,
    /// Hours of all series together.
    pub hours: u64,
    /// Failures of all series together.
    pub failures: u64,
    /// Turns of all series together.
    pub turns: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            minute_age: MINUTE_AGE,
            hour_age: HOUR_AGE,
            minutes: MAX_MINUTES,
            hours: MAX_HOURS,
            failures: MAX_FAILURES,
            turns: MAX_TURNS,
        }
    }
}

/// One round: what was forgotten, and whether there is more to be put together.
pub(super) fn forget(
    connection: &mut Connection,
    keep: &Keep,
    now: Timestamp,
) -> Result<(Forgotten, bool), rusqlite::Error> {
    let mut forgotten = Forgotten::default();
    let mut more = true;
    for _ in 0..HOURS_AT_ONCE {
        let minutes = one_hour(connection, keep, now)?;
        more = minutes > 0;
        forgotten.minutes += minutes;
        if !more {
            break;
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rest = Pruning { transaction: &transaction, keep, oldest: before(now, keep.hour_age).as_microsecond() };
    (forgotten.hours, forgotten.failures, forgotten.turns) = (rest.hours()?, rest.failures()?, rest.turns()?);
    forgotten.series = rest.series()?;
    let gone = |count: u64| -i64::try_from(count).unwrap_or(i64::MAX);
    let change = Totals {
        minutes: 0,
        hours: gone(forgotten.hours),
        failures: gone(forgotten.failures),
        turns: gone(forgotten.turns),
    };
    change.add(&transaction)?;
    transaction.commit()?;
    Ok((forgotten, more))
}

/// Puts the oldest hour of minutes together, where it is due; gives how many minutes those were.
fn one_hour(connection: &mut Connection, keep: &Keep, now: Timestamp) -> Result<u64, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let oldest: Option<i64> =
        transaction.prepare_cached("SELECT min(minute) FROM minutes")?.query_row([], |row| row.get(0))?;
    let Some(hour) = oldest.map(|minute| minute.div_euclid(MINUTES)) else { return Ok(0) };
    let over = |age| before(now, age).as_microsecond().div_euclid(HOUR) > hour;
    let too_many = Totals::read(&transaction)?.minutes > i64::try_from(keep.minutes).unwrap_or(i64::MAX);
    let due = over(keep.minute_age) || (too_many && over(SignedDuration::ZERO));
    if !due {
        return Ok(0);
    }
    let (first, end) = (hour * MINUTES, (hour + 1) * MINUTES);
    let mut come = 0;
    for (series, mut rollup) in together(&transaction, first, end)? {
        come += add_hour(&transaction, hour, series, &mut rollup)?;
    }
    let gone =
        transaction.prepare_cached("DELETE FROM minutes WHERE minute >= ?1 AND minute < ?2")?.execute([first, end])?;
    let minutes = -i64::try_from(gone).unwrap_or(i64::MAX);
    Totals { minutes, hours: come, ..Totals::default() }.add(&transaction)?;
    transaction.commit()?;
    Ok(gone as u64)
}

fn together(transaction: &Transaction<'_>, first: i64, end: i64) -> Result<BTreeMap<i64, Rollup>, rusqlite::Error> {
    let mut hours: BTreeMap<i64, Rollup> = BTreeMap::new();
    let mut statement =
        transaction.prepare_cached("SELECT series, rollup FROM minutes WHERE minute >= ?1 AND minute < ?2")?;
    let mut rows = statement.query([first, end])?;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(1)?.as_blob_or_null()?.unwrap_or_default();
        // What cannot be read cannot be kept either; reading it has said so.
        if let Some(rollup) = codec::decode(bytes) {
            hours.entry(row.get(0)?).or_default().merge(&rollup);
        }
    }
    Ok(hours)
}

/// The hour may be there: a clock that was set back, or a budget that was exceeded for a while.
fn add_hour(
    transaction: &Transaction<'_>,
    hour: i64,
    series: i64,
    rollup: &mut Rollup,
) -> Result<i64, rusqlite::Error> {
    let mut insert =
        transaction.prepare_cached("INSERT OR IGNORE INTO hours (hour, series, rollup) VALUES (?1, ?2, ?3)")?;
    if insert.execute(params![hour, series, codec::encode(rollup)])? > 0 {
        return Ok(1);
    }
    let bytes: Vec<u8> = transaction
        .prepare_cached("SELECT rollup FROM hours WHERE hour = ?1 AND series = ?2")?
        .query_row([hour, series], |row| row.get(0))?;
    if let Some(before) = codec::decode(&bytes) {
        rollup.merge(&before);
    }
    transaction.prepare_cached("UPDATE hours SET rollup = ?3 WHERE hour = ?1 AND series = ?2")?.execute(params![
        hour,
        series,
        codec::encode(rollup)
    ])?;
    Ok(0)
}

struct Pruning<'t> {
    transaction: &'t Transaction<'t>,
    keep: &'t Keep,
    /// Microseconds since 1970.
    oldest: i64,
}

impl Pruning<'_> {
    fn hours(&self) -> Result<u64, rusqlite::Error> {
        let mut gone = self.execute("DELETE FROM hours WHERE hour < ?1", self.oldest.div_euclid(HOUR))?;
        let there = u64::try_from(Totals::read(self.transaction)?.hours).unwrap_or(0);
        while there - gone.min(there) > self.keep.hours {
            let sql = "DELETE FROM hours WHERE hour = (SELECT min(hour) FROM hours WHERE hour >= ?1)";
            match self.execute(sql, i64::MIN)? {
                0 => break,
                more => gone += more,
            }
        }
        Ok(gone)
    }

    fn failures(&self) -> Result<u64, rusqlite::Error> {
        let gone = self.execute("DELETE FROM failures WHERE at < ?1", self.oldest)?;
        let excess = excess(Totals::read(self.transaction)?.failures, gone, self.keep.failures);
        let sql = "DELETE FROM failures WHERE id IN (SELECT id FROM failures ORDER BY at LIMIT ?1)";
        Ok(gone + self.execute(sql, excess)?)
    }

    fn turns(&self) -> Result<u64, rusqlite::Error> {
        let gone = self.execute("DELETE FROM turns WHERE at < ?1", self.oldest)?;
        let excess = excess(Totals::read(self.transaction)?.turns, gone, self.keep.turns);
        let sql = "DELETE FROM turns WHERE id IN (SELECT id FROM turns ORDER BY at LIMIT ?1)";
        Ok(gone + self.execute(sql, excess)?)
    }

    /// Those for which nothing was written for longer than anything is kept.
    fn series(&self) -> Result<u64, rusqlite::Error> {
        let minutes = i64::try_from(self.keep.minute_age.as_micros()).unwrap_or(i64::MAX);
        let oldest = self.oldest.saturating_sub(minutes.saturating_add(HOUR));
        self.execute("DELETE FROM series WHERE written < ?1", oldest)
    }

    fn execute(&self, sql: &str, bound: i64) -> Result<u64, rusqlite::Error> {
        Ok(self.transaction.prepare_cached(sql)?.execute([bound])? as u64)
    }
}

/// How many more must go.
fn excess(there: i64, gone: u64, keep: u64) -> i64 {
    let left = u64::try_from(there).unwrap_or(0).saturating_sub(gone);
    i64::try_from(left.saturating_sub(keep)).unwrap_or(i64::MAX)
}
