//! From a path to a database that can be trusted; a damaged one is set aside.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::probes::history::ArchiveError;

/// The database inside the data directory.
const DATABASE: &str = "history.db";
/// What is added to the name of a damaged one. There is one of them at most: the last.
const SET_ASIDE: &str = ".damaged";
/// Marks a file as a history of this program: `Prbh` in ASCII.
const APPLICATION_ID: i64 = 0x5072_6268;
/// One step each, from version n to n + 1, in one transaction. Never changed once released: a step
/// is added instead.
const MIGRATIONS: &[&str] = &[include_str!("schema/v1.sql")];
/// A database up to this size is checked from end to end before it is used: some milliseconds. A
/// larger one is found out when it is read.
const CHECK_AT_OPEN_BYTES: u64 = 4_194_304;
/// How long a statement waits for another connection; only checkpoints ever make one wait.
const BUSY: Duration = Duration::from_secs(5);
/// Pages in memory per connection, in KiB: the disk cache of the system does the rest.
const CACHE_KIB: i64 = 1_024;
/// The log is cut back to this after a burst has made it larger.
const LOG_BYTES: i64 = 16_777_216;
/// Prepared statements per connection: all there are.
const STATEMENTS: usize = 32;

/// Where the history is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
}

impl Place {
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join(DATABASE) }
    }

    pub(super) fn trouble(&self, doing: &'static str, error: &dyn std::error::Error) -> ArchiveError {
        ArchiveError::Trouble { doing, path: self.path.clone(), why: error.to_string() }
    }

    /// The connection that writes, on tables of the newest version. A damaged file is set aside.
    pub(super) fn writer(&self) -> Result<Connection, ArchiveError> {
        match self.open_and_check() {
            Err(Refused::Damaged(why)) => {
                self.set_aside(&why)?;
                self.open_and_check().map_err(|refused| self.refused(refused))
            }
            result => result.map_err(|refused| self.refused(refused)),
        }
    }

    /// A further connection, that cannot write.
    pub(super) fn reader(&self) -> Result<Connection, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        settle(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// Puts a damaged file out of the way, with its log, in place of one that was set aside before.
    pub(super) fn set_aside(&self, why: &str) -> Result<(), ArchiveError> {
        tracing::error!(
            path = %self.path.display(),
            found = why,
            "The probes' history is damaged: it is set aside as history.db{SET_ASIDE}, and begun anew. \
             Probes and gates go on; what was is missing from evidence and reports."
        );
        let moving = |error: std::io::Error| self.trouble("setting aside", &error);
        for suffix in ["", "-wal"] {
            let (from, to) = (self.beside(suffix), self.beside(&format!("{SET_ASIDE}{suffix}")));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A log that belongs to an earlier one must not meet this one.
                    let _ = fs::remove_file(&to);
                }
                result => result.map_err(moving)?,
            }
        }
        match fs::remove_file(self.beside("-shm")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(moving(error)),
            _ => Ok(()),
        }
    }

    /// Bytes on the disk: the database and its log.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(self.path.clone()) + size(self.beside("-wal"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name: OsString = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn open_and_check(&self) -> Result<Connection, Refused> {
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        settle(&connection)?;
        if (1..=CHECK_AT_OPEN_BYTES).contains(&size) {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(Refused::Damaged(found.replace('\n', " ")));
            }
        }
        migrate(&mut connection, MIGRATIONS)?;
        Ok(connection)
    }

    fn refused(&self, refused: Refused) -> ArchiveError {
        let path = self.path.clone();
        match refused {
            Refused::Damaged(why) => ArchiveError::Trouble { doing: "opening", path, why },
            Refused::Foreign => ArchiveError::Foreign { path },
            Refused::Newer { found, known } => ArchiveError::Newer { path, found, known },
            Refused::Other(error) => self.trouble("opening", &error),
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug)]
enum Refused {
    Damaged(String),
    Foreign,
    Newer { found: i64, known: i64 },
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Other(error) }
    }
}

/// Whether an error says that the file is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn settle(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Checked while a row is read: a damaged cell is an error, never a wrong value.
    connection.pragma_update(None, "cell_size_check", true)?;
    // Views, triggers and functions of a foreign file are not to be trusted.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    // No fsync at a commit: a killed process loses nothing by it, a power failure the last seconds,
    // and neither damages the file.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |row| row.get::<_, i64>(0))?;
    Ok(())
}

fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), Refused> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (id != 0 || version != 0 || tables != 0) {
        return Err(Refused::Foreign);
    }
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if version > known || version < 0 {
        return Err(Refused::Newer { found: version, known });
    }
    for (step, next) in steps.iter().zip(1..).skip(usize::try_from(version).unwrap_or(0)) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        apply(&transaction, step, next)?;
        transaction.commit()?;
    }
    Ok(())
}

fn apply(transaction: &Transaction<'_>, step: &str, version: i64) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_history_is_brought_to_the_newest_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x INTEGER)"]).unwrap();
        connection.execute("INSERT INTO a VALUES (7)", []).unwrap();
        for _ in 0..2 {
            migrate(&mut connection, &["CREATE TABLE a (x INTEGER)", "ALTER TABLE a ADD COLUMN y INTEGER"]).unwrap();
        }
        let row: (i64, Option<i64>) =
            connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(row, (7, None));
    }

    #[test]
    fn a_newer_history_and_a_foreign_file_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        place.writer().unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = place.writer().unwrap_err();
        assert_eq!(error, ArchiveError::Newer { path: place.path.clone(), found: 99, known: 1 });
        assert!(error.to_string().contains("has version 99, and this program knows versions up to 1"), "{error}");

        place.reader().unwrap().pragma_update(None, "query_only", false).unwrap();
        let connection = Connection::open(&place.path).unwrap();
        connection.pragma_update(None, "application_id", 7).unwrap();
        assert_eq!(place.writer().unwrap_err(), ArchiveError::Foreign { path: place.path.clone() });
        assert!(!dir.path().join("history.db.damaged").exists());
    }

    #[test]
    fn a_damaged_file_is_set_aside_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        for text in ["no database at all, but long enough to be read as one".repeat(100), "another".repeat(1_000)] {
            fs::write(&place.path, &text).unwrap();
            fs::write(place.beside("-wal"), "a log").unwrap();
            drop(place.writer().unwrap());
            assert_eq!(fs::read_to_string(place.beside(SET_ASIDE)).unwrap(), text);
        }
        drop(place.writer().unwrap());
    }
}
