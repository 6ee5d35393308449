//! The tables, and the way from every older version of them to the newest.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::OpenError;

/// Marks a file as a database of this program: `Prob` in ASCII.
const APPLICATION_ID: i64 = 0x5072_6f62;

/// One step each, from version n to n + 1, in one transaction. Never changed once released: a step
/// is added instead.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("schema/v1.sql")];

/// Brings the database to the newest version.
pub(super) fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let doing = "bringing the tables up to date in";
    let failed = |error: rusqlite::Error| OpenError::sql(doing, path, &error);
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if is_foreign(connection, version).map_err(failed)? {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    let done = usize::try_from(version).unwrap_or(0);
    for (step, next) in steps.iter().skip(done).zip(version + 1..) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        apply(&transaction, step, next).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        if version > 0 {
            tracing::info!(path = %path.display(), version = next, "The database was brought to a newer version.");
        }
    }
    Ok(())
}

fn apply(transaction: &Transaction<'_>, step: &str, version: i64) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)
}

fn is_foreign(connection: &Connection, version: i64) -> Result<bool, rusqlite::Error> {
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id == APPLICATION_ID {
        return Ok(false);
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(id != 0 || version != 0 || tables != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE notes (text TEXT)";
    const SECOND: &str = "ALTER TABLE notes ADD COLUMN at INTEGER; UPDATE notes SET at = 7";

    fn migrated(connection: &mut Connection, steps: &[&str]) -> Result<(), String> {
        migrate(connection, Path::new("x.db"), steps).map_err(|error| error.to_string())
    }

    fn version(connection: &Connection) -> i64 {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_step_is_taken_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrated(&mut connection, &[FIRST]).unwrap();
        connection.execute("INSERT INTO notes VALUES ('old')", []).unwrap();

        for _ in 0..2 {
            migrated(&mut connection, &[FIRST, SECOND]).unwrap();
        }

        let row: (String, i64) =
            connection.query_row("SELECT text, at FROM notes", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((row, version(&connection)), (("old".to_owned(), 7), 2));
    }

    #[test]
    fn a_step_that_fails_half_way_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrated(&mut connection, &[FIRST]).unwrap();
        connection.execute("INSERT INTO notes VALUES ('old')", []).unwrap();

        let error = migrated(&mut connection, &[FIRST, "DELETE FROM notes; SELECT nonsense"]).unwrap_err();

        assert!(error.starts_with("while bringing the tables up to date in x.db: "), "{error}");
        let rows: i64 = connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, version(&connection)), (1, 1));
    }

    #[test]
    fn a_version_below_zero_is_foreign() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", -3).unwrap();

        let error = migrated(&mut connection, &[FIRST]).unwrap_err();

        assert_eq!(error, "x.db is a database of another program: choose another data directory");
    }
}
