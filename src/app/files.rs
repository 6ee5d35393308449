//! Files that are read once: all of them are valid, or none counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppError;
use crate::config::{Diagnostic, Loaded, Sourced, load};
use crate::store::{Object, Store, StoreError};

/// Reads `paths` and puts their resources into the store; gives back what was read.
pub(super) async fn keep(paths: Vec<PathBuf>, store: &Arc<dyn Store>) -> Result<Loaded, AppError> {
    let reading = tokio::task::spawn_blocking(move || load(&paths));
    let loaded =
        reading.await.map_err(|error| AppError::Task { doing: "reading the files", why: error.to_string() })??;
    let errors: Vec<Diagnostic> = loaded.diagnostics.iter().filter(|found| found.is_error()).cloned().collect();
    if !errors.is_empty() {
        return Err(AppError::Files(errors));
    }
    for sourced in &loaded.resources {
        put(store, object_of(sourced)?).await?;
    }
    Ok(loaded)
}

/// Creates a resource, or changes it where a data directory has it from an earlier time.
async fn put(store: &Arc<dyn Store>, object: Object) -> Result<(), StoreError> {
    match store.create(object.clone()).await {
        Err(StoreError::Exists { .. }) => store.put(object).await.map(|_| ()),
        created => created.map(|_| ()),
    }
}

fn object_of(sourced: &Sourced) -> Result<Object, StoreError> {
    let resource = &sourced.resource;
    let body = resource.to_value().map_err(|error| StoreError::Invalid(format!("{}: {error}", sourced.title())))?;
    Ok(Object {
        kind: resource.kind(),
        namespace: resource.namespace().to_owned(),
        name: resource.name().to_owned(),
        body,
    })
}

/// The directory of a path with resources: itself, or where the file stands.
pub(super) fn directory(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
