//! Between rows and resources.

use jiff::Timestamp;
use rusqlite::types::Type;
use serde_json::{Map, Value};

use crate::store::facts::{self, Facts};
use crate::store::{Object, StoreError};

/// One row of `objects`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) version: i64,
    pub(super) body: Map<String, Value>,
    pub(super) status: Option<Value>,
}

impl Row {
    /// Reads `id, version, body, status` from the first four columns.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        let status = match row.get_ref(3)? {
            rusqlite::types::ValueRef::Null => None,
            text => Some(parse(text.as_str().map_err(rusqlite::Error::from)?, 3)?),
        };
        Ok(Self {
            id: row.get(0)?,
            version: row.get(1)?,
            body: parse(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?, 2)?,
            status,
        })
    }

    pub(super) fn facts(&self) -> Facts {
        Facts { labels: facts::labels(&self.body), decided: facts::decided(self.status.as_ref()) }
    }

    /// The whole resource.
    pub(super) fn into_object(self, kind: &'static str, namespace: String, name: String) -> Object {
        Object { kind, namespace, name, body: assemble(self.body, self.status, self.version) }
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// Puts together what is stored apart.
pub(super) fn assemble(mut body: Map<String, Value>, status: Option<Value>, version: i64) -> Value {
    edit_metadata(&mut body, |metadata| {
        metadata.insert("resourceVersion".to_owned(), Value::String(version.to_string()));
    });
    if let Some(status) = status {
        body.insert("status".to_owned(), status);
    }
    Value::Object(body)
}

/// Takes the status apart from the rest; a status of null is none.
pub(super) fn split(object: Object) -> Result<(Map<String, Value>, Option<Value>), StoreError> {
    let Value::Object(mut body) = object.body else {
        return Err(StoreError::Invalid(format!("{} {} is not a JSON object", object.kind, object.name)));
    };
    let status = body.remove("status").filter(|status| !status.is_null());
    Ok((body, status))
}

/// Changes the metadata, which are made where there are none.
pub(super) fn edit_metadata(body: &mut Map<String, Value>, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut metadata = match body.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    edit(&mut metadata);
    body.insert("metadata".to_owned(), Value::Object(metadata));
}

/// An instant as metadata have it: to the second, as in Kubernetes.
pub(super) fn to_the_second(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
