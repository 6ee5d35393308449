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
