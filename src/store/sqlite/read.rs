//! Get and list. Every list walks one index, newest first, and stops when its page is full.

use std::fmt::Write;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::rows::Row;
use crate::store::limits::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::{Object, Query};

/// Up to here the rows behind a filter are counted to find out which filter leaves the fewest.
const COUNT_UP_TO: i64 = 1_000;

pub(super) fn get(
    connection: &Connection,
    kind: &'static str,
    namespace: String,
    name: String,
) -> Result<Option<Object>, rusqlite::Error> {
    let row = connection
        .prepare_cached(
            "SELECT id, version, body, status FROM objects WHERE kind = ?1 AND namespace = ?2 AND name = ?3",
        )?
        .query_row([kind, &namespace, &name], Row::read)
        .optional()?;
    Ok(row.map(|row| row.into_object(kind, namespace, name)))
}

/// One page, before the id `below`; and the id where the next one begins.
pub(super) fn list(
    connection: &Connection,
    kind: &'static str,
    query: &Query,
    below: i64,
) -> Result<(Vec<Object>, Option<i64>), rusqlite::Error> {
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    let (sql, values) = statement(connection, kind, query, below)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut objects, mut bytes, mut last) = (Vec::new(), 0, below);
    while let Some(row) = rows.next()? {
        if objects.len() == limit || bytes > MAX_PAGE_BYTES {
            return Ok((objects, Some(last)));
        }
        let length = |column| -> Result<usize, rusqlite::Error> {
            Ok(row.get_ref(column)?.as_str_or_null()?.map_or(0, str::len))
        };
        bytes += length(2)? + length(3)?;
        let found = Row::read(row)?;
        last = found.id;
        objects.push(found.into_object(kind, row.get(4)?, row.get(5)?));
    }
    Ok((objects, None))
}

/// All pages up to the query's limit, and the revision that they stand at.
pub(super) fn list_all(
    connection: &Connection,
    kind: &'static str,
    query: &Query,
) -> Result<(Vec<Object>, i64), rusqlite::Error> {
    // One transaction: all pages and the revision are of one moment.
    let transaction = connection.unchecked_transaction()?;
    let revision = transaction.prepare_cached("SELECT revision FROM store")?.query_row([], |row| row.get(0))?;
    let mut all = Vec::new();
    let mut below = Some(i64::MAX);
    while let Some(from) = below {
        let left = if query.limit == 0 { 0 } else { query.limit - all.len() };
        let (page, next) = list(&transaction, kind, &Query { limit: left, ..query.clone() }, from)?;
        all.extend(page);
        below = next.filter(|_| query.limit == 0 || all.len() < query.limit);
    }
    transaction.commit()?;
    Ok((all, revision))
}

/// The index that a list walks.
#[derive(Debug, Clone, Copy)]
enum Path<'q> {
    Label(&'q str, &'q str),
    Undecided,
    Namespace,
    Kind,
}

impl<'q> Path<'q> {
    /// The one with the fewest rows, as far as they are worth counting.
    fn choose(connection: &Connection, kind: &str, query: &'q Query) -> Result<Self, rusqlite::Error> {
        let labels = query.labels.iter().map(|(key, value)| Self::Label(key, value));
        let undecided = (query.decided == Some(false)).then_some(Self::Undecided);
        let candidates: Vec<Self> = labels.chain(undecided).collect();
        let whole = if query.namespace.is_some() { Self::Namespace } else { Self::Kind };
        match candidates.as_slice() {
            [] => Ok(whole),
            [only] => Ok(*only),
            _ => {
                let mut best = (i64::MAX, whole);
                for candidate in candidates {
                    let rows = candidate.count(connection, kind)?;
                    if rows < best.0 {
                        best = (rows, candidate);
                    }
                }
                Ok(best.1)
            }
        }
    }

    fn count(self, connection: &Connection, kind: &str) -> Result<i64, rusqlite::Error> {
        match self {
            Self::Label(key, value) => connection
                .prepare_cached(
                    "SELECT count(*) FROM (SELECT 1 FROM labels WHERE kind = ?1 AND key = ?2 AND value = ?3 LIMIT ?4)",
                )?
                .query_row(rusqlite::params![kind, key, value, COUNT_UP_TO], |row| row.get(0)),
            Self::Undecided => connection
                .prepare_cached(
                    "SELECT count(*) FROM (SELECT 1 FROM objects INDEXED BY objects_undecided \
                     WHERE kind = ?1 AND decided = 0 LIMIT ?2)",
                )?
                .query_row(rusqlite::params![kind, COUNT_UP_TO], |row| row.get(0)),
            Self::Namespace | Self::Kind => Ok(i64::MAX),
        }
    }
}

/// The text depends on the shape of the query alone, so that it is prepared once per shape.
fn statement(
    connection: &Connection,
    kind: &str,
    query: &Query,
    below: i64,
) -> Result<(String, Vec<Value>), rusqlite::Error> {
    let path = Path::choose(connection, kind, query)?;
    let mut values: Vec<Value> = vec![Value::from(kind.to_owned()), Value::from(below)];
    let mut sql = "SELECT o.id, o.version, o.body, o.status, o.namespace, o.name FROM ".to_owned();
    let id = match path {
        Path::Label(key, value) => {
            sql.push_str("labels l CROSS JOIN objects o ON o.id = l.id WHERE l.kind = ?1 AND l.id < ?2 AND l.key = ?3 AND l.value = ?4");
            values.extend([Value::from(key.to_owned()), Value::from(value.to_owned())]);
            "l.id"
        }
        Path::Undecided => {
            sql.push_str("objects o INDEXED BY objects_undecided WHERE o.kind = ?1 AND o.id < ?2");
            "o.id"
        }
        Path::Namespace => {
            sql.push_str("objects o INDEXED BY objects_by_namespace WHERE o.kind = ?1 AND o.id < ?2");
            "o.id"
        }
        Path::Kind => {
            sql.push_str("objects o INDEXED BY objects_by_kind WHERE o.kind = ?1 AND o.id < ?2");
            "o.id"
        }
    };
    if let Some(namespace) = &query.namespace {
        values.push(Value::from(namespace.clone()));
        let table = if id == "l.id" { "l" } else { "o" };
        // Writing to a String cannot fail.
        let _ = write!(sql, " AND {table}.namespace = ?{}", values.len());
    }
    match query.decided {
        Some(true) => sql.push_str(" AND o.decided = 1"),
        Some(false) => sql.push_str(" AND o.decided = 0"),
        None => {}
    }
    for (key, value) in &query.labels {
        if matches!(path, Path::Label(walked, _) if walked == key) {
            continue;
        }
        values.extend([Value::from(key.clone()), Value::from(value.clone())]);
        let _ = write!(
            sql,
            " AND EXISTS (SELECT 1 FROM labels x WHERE x.kind = ?1 AND x.key = ?{} AND x.value = ?{} AND x.id = {id})",
            values.len() - 1,
            values.len()
        );
    }
    let _ = write!(sql, " ORDER BY {id} DESC");
    Ok((sql, values))
}
