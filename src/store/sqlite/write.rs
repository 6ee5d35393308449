//! The writes, each inside the transaction of the writer.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::rows::{self, Row};
use crate::api::{GROUP, VERSION};
use crate::store::facts::{self, Facts};
use crate::store::limits::MAX_OBJECT_BYTES;
use crate::store::{Object, StoreError};

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    Create(Object),
    Put(Object),
    PutStatus(Object),
    Delete {
        kind: &'static str,
        namespace: String,
        name: String,
        version: Option<String>,
    },
    /// Old records, by id; those that are gone already are passed over.
    Prune {
        kind: &'static str,
        ids: Vec<i64>,
    },
    /// Nothing but a write: what readiness is made of.
    Touch,
}

/// What has come of a write.
#[derive(Debug)]
pub(super) enum Written {
    /// The resource as it is now.
    Object(Box<Object>),
    /// So many resources are gone.
    Deleted(usize),
    /// The store has taken a write.
    Touched,
}

/// One change of one resource, as watches are told.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: i64,
    /// The resource after the change, or before it where it was deleted.
    pub(super) object: Object,
    pub(super) was: Option<Facts>,
    /// `None`: it is gone.
    pub(super) is: Option<Facts>,
}

/// Why a write did not happen: refused by itself, or the database is in trouble.
#[derive(Debug)]
pub(super) enum Failed {
    Refused(StoreError),
    Database(rusqlite::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Write {
    /// What it does, for messages.
    pub(super) fn doing(&self) -> String {
        match self {
            Self::Create(object) => format!("creating {}", name(object)),
            Self::Put(object) => format!("writing {}", name(object)),
            Self::PutStatus(object) => format!("writing the status of {}", name(object)),
            Self::Delete { kind, namespace, name, .. } => format!("deleting {kind} {namespace}/{name}"),
            Self::Prune { kind, ids } => format!("removing {} old records of {kind}", ids.len()),
            Self::Touch => "trying a small write".to_owned(),
        }
    }
}

fn name(object: &Object) -> String {
    format!("{} {}/{}", object.kind, object.namespace, object.name)
}

/// The writes of one transaction.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    now: Timestamp,
    revision: i64,
    changes: Vec<Change>,
}

impl<'c> Session<'c> {
    pub(super) fn begin(connection: &'c Connection, now: Timestamp) -> Result<Self, rusqlite::Error> {
        let revision = connection.prepare_cached("SELECT revision FROM store")?.query_row([], |row| row.get(0))?;
        Ok(Self { connection, now, revision, changes: Vec::new() })
    }

    /// Writes down the revision; what has changed is for the watches once it is committed.
    pub(super) fn end(self) -> Result<Vec<Change>, rusqlite::Error> {
        if !self.changes.is_empty() {
            self.connection.prepare_cached("UPDATE store SET revision = ?1")?.execute([self.revision])?;
        }
        Ok(self.changes)
    }

    pub(super) fn write(&mut self, write: Write) -> Result<Written, Failed> {
        match write {
            Write::Create(object) => self.create(object),
            Write::Put(object) => self.put(object),
            Write::PutStatus(object) => self.put_status(object),
            Write::Delete { kind, namespace, name, version } => self.delete(kind, namespace, name, version.as_deref()),
            Write::Prune { kind, ids } => self.prune(kind, &ids),
            Write::Touch => {
                self.connection.prepare_cached("UPDATE store SET touched = touched + 1")?.execute([])?;
                Ok(Written::Touched)
            }
        }
    }

    fn create(&mut self, object: Object) -> Result<Written, Failed> {
        let (kind, namespace, name) = (object.kind, object.namespace.clone(), object.name.clone());
        if self.stored(kind, &namespace, &name)?.is_some() {
            return Err(StoreError::Exists { kind, namespace, name }.into());
        }
        let (mut body, status) = rows::split(object)?;
        complete(&mut body, kind, &namespace, &name);
        rows::edit_metadata(&mut body, |metadata| {
            metadata.insert("uid".to_owned(), Value::String(uid(self.now)));
            metadata.insert("creationTimestamp".to_owned(), Value::String(rows::to_the_second(self.now)));
            metadata.insert("generation".to_owned(), Value::from(1));
        });
        let (body_text, status_text) = texts(kind, &name, &body, status.as_ref())?;
        let facts = Facts { labels: facts::labels(&body), decided: facts::decided(status.as_ref()) };
        let id = self.next_revision();
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO objects (id, kind, namespace, name, version, created_us, decided, body, status) \
             VALUES (?1, ?2, ?3, ?4, ?1, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            id,
            kind,
            namespace,
            name,
            self.now.as_microsecond(),
            facts.decided,
            body_text,
            status_text
        ])?;
        self.label(id, kind, &namespace, &facts)?;
        let object = Row { id, version: id, body, status }.into_object(kind, namespace, name);
        Ok(self.changed(object, None, Some(facts)))
    }

    fn put(&mut self, object: Object) -> Result<Written, Failed> {
        let (kind, namespace, name) = (object.kind, object.namespace.clone(), object.name.clone());
        let stored = self.expected(&object)?;
        let (mut body, _) = rows::split(object)?;
        complete(&mut body, kind, &namespace, &name);
        keep(&mut body, &stored.body);
        if body == stored.body {
            return Ok(Written::Object(Box::new(stored.into_object(kind, namespace, name))));
        }
        if differ_beside_metadata(&body, &stored.body) {
            rows::edit_metadata(&mut body, |metadata| {
                let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0);
                metadata.insert("generation".to_owned(), Value::from(generation + 1));
            });
        }
        let (body_text, _) = texts(kind, &name, &body, stored.status.as_ref())?;
        let (was, id) = (stored.facts(), stored.id);
        let is = Facts { labels: facts::labels(&body), decided: was.decided };
        let version = self.next_revision();
        self.connection
            .prepare_cached("UPDATE objects SET version = ?2, body = ?3 WHERE id = ?1")?
            .execute(params![id, version, body_text])?;
        if was.labels != is.labels {
            self.unlabel(id, kind, &was)?;
            self.label(id, kind, &namespace, &is)?;
        }
        let object = Row { id, version, body, status: stored.status }.into_object(kind, namespace, name);
        Ok(self.changed(object, Some(was), Some(is)))
    }

    fn put_status(&mut self, object: Object) -> Result<Written, Failed> {
        let (kind, namespace, name) = (object.kind, object.namespace.clone(), object.name.clone());
        let stored = self.expected(&object)?;
        let (_, status) = rows::split(object)?;
        if status == stored.status {
            return Ok(Written::Object(Box::new(stored.into_object(kind, namespace, name))));
        }
        let (_, status_text) = texts(kind, &name, &stored.body, status.as_ref())?;
        let was = stored.facts();
        let is = Facts { labels: was.labels.clone(), decided: facts::decided(status.as_ref()) };
        let version = self.next_revision();
        self.connection
            .prepare_cached("UPDATE objects SET version = ?2, decided = ?3, status = ?4 WHERE id = ?1")?
            .execute(params![stored.id, version, is.decided, status_text])?;
        let object = Row { id: stored.id, version, body: stored.body, status }.into_object(kind, namespace, name);
        Ok(self.changed(object, Some(was), Some(is)))
    }

    fn delete(
        &mut self,
        kind: &'static str,
        namespace: String,
        name: String,
        version: Option<&str>,
    ) -> Result<Written, Failed> {
        let Some(stored) = self.stored(kind, &namespace, &name)? else {
            return Err(StoreError::NotFound { kind, namespace, name }.into());
        };
        if version.is_some_and(|version| version != stored.version.to_string()) {
            return Err(StoreError::Conflict { kind, namespace, name }.into());
        }
        self.remove(stored, kind, namespace, name)?;
        Ok(Written::Deleted(1))
    }

    fn prune(&mut self, kind: &'static str, ids: &[i64]) -> Result<Written, Failed> {
        let mut deleted = 0;
        for id in ids {
            let found = self
                .connection
                .prepare_cached(
                    "SELECT id, version, body, status, namespace, name FROM objects WHERE id = ?1 AND kind = ?2",
                )?
                .query_row(params![id, kind], |row| Ok((Row::read(row)?, row.get(4)?, row.get(5)?)))
                .optional()?;
            if let Some((stored, namespace, name)) = found {
                self.remove(stored, kind, namespace, name)?;
                deleted += 1;
            }
        }
        Ok(Written::Deleted(deleted))
    }

    fn remove(&mut self, stored: Row, kind: &'static str, namespace: String, name: String) -> Result<(), Failed> {
        self.connection.prepare_cached("DELETE FROM objects WHERE id = ?1")?.execute([stored.id])?;
        let was = stored.facts();
        self.unlabel(stored.id, kind, &was)?;
        self.next_revision();
        let object = stored.into_object(kind, namespace, name);
        self.changes.push(Change { revision: self.revision, object, was: Some(was), is: None });
        Ok(())
    }

    /// The stored row that a put is about, if the put may go on.
    fn expected(&self, object: &Object) -> Result<Row, Failed> {
        let (kind, namespace, name) = (object.kind, object.namespace.clone(), object.name.clone());
        let Some(stored) = self.stored(kind, &namespace, &name)? else {
            return Err(StoreError::NotFound { kind, namespace, name }.into());
        };
        let field = |field: &str| object.body.pointer(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let other_version =
            field("/metadata/resourceVersion").is_some_and(|version| version != stored.version.to_string());
        let stored_uid = stored.body.get("metadata").and_then(|metadata| metadata.get("uid")).and_then(Value::as_str);
        // One of the same name that was made after the one that was read had been deleted.
        let another = field("/metadata/uid").is_some_and(|uid| Some(uid) != stored_uid);
        if other_version || another {
            return Err(StoreError::Conflict { kind, namespace, name }.into());
        }
        Ok(stored)
    }

    fn stored(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Row>, rusqlite::Error> {
        self.connection
            .prepare_cached(
                "SELECT id, version, body, status FROM objects WHERE kind = ?1 AND namespace = ?2 AND name = ?3",
            )?
            .query_row([kind, namespace, name], Row::read)
            .optional()
    }

    fn label(&self, id: i64, kind: &str, namespace: &str, facts: &Facts) -> Result<(), rusqlite::Error> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO labels (kind, key, value, id, namespace) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (key, value) in &facts.labels {
            insert.execute(params![kind, key, value, id, namespace])?;
        }
        Ok(())
    }

    fn unlabel(&self, id: i64, kind: &str, facts: &Facts) -> Result<(), rusqlite::Error> {
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM labels WHERE kind = ?1 AND key = ?2 AND value = ?3 AND id = ?4")?;
        for (key, value) in &facts.labels {
            delete.execute(params![kind, key, value, id])?;
        }
        Ok(())
    }

    const fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }

    fn changed(&mut self, object: Object, was: Option<Facts>, is: Option<Facts>) -> Written {
        self.changes.push(Change { revision: self.revision, object: object.clone(), was, is });
        Written::Object(Box::new(object))
    }
}

/// What a resource has in any case.
fn complete(body: &mut Map<String, Value>, kind: &str, namespace: &str, name: &str) {
    body.entry("apiVersion").or_insert_with(|| Value::String(format!("{GROUP}/{VERSION}")));
    body.entry("kind").or_insert_with(|| Value::String(kind.to_owned()));
    rows::edit_metadata(body, |metadata| {
        metadata.remove("resourceVersion");
        metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
        metadata.insert("name".to_owned(), Value::String(name.to_owned()));
    });
}

/// Takes over what only the store says.
fn keep(body: &mut Map<String, Value>, stored: &Map<String, Value>) {
    let old = stored.get("metadata").and_then(Value::as_object);
    rows::edit_metadata(body, |metadata| {
        for field in ["uid", "creationTimestamp", "generation"] {
            match old.and_then(|old| old.get(field)) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
    });
}

fn differ_beside_metadata(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let rest = |body: &Map<String, Value>| body.len() - usize::from(body.contains_key("metadata"));
    rest(one) != rest(other) || one.iter().any(|(field, value)| field != "metadata" && other.get(field) != Some(value))
}

fn texts(
    kind: &str,
    name: &str,
    body: &Map<String, Value>,
    status: Option<&Value>,
) -> Result<(String, Option<String>), Failed> {
    let invalid = |error: serde_json::Error| StoreError::Invalid(format!("{kind} {name} is no JSON: {error}"));
    let body = serde_json::to_string(body).map_err(invalid)?;
    let status = status.map(serde_json::to_string).transpose().map_err(invalid)?;
    let bytes = body.len() + status.as_ref().map_or(0, String::len);
    if bytes > MAX_OBJECT_BYTES {
        let why = format!("{kind} {name} has {bytes} bytes; at most {MAX_OBJECT_BYTES} are allowed");
        return Err(StoreError::Invalid(why).into());
    }
    Ok((body, status))
}

/// A version 7 UUID: its first part is the time.
fn uid(now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)).to_string()
}
