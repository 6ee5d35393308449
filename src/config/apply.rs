//! Brings the store up to the files, change by change.

use super::reload::{Step, Stored, object_of};
use crate::api::{AnyResource, Gate, Override, Probe, ReleaseWindow, Resource};
use crate::store::{Object, Query, Store, StoreError};

/// The kinds that a config directory holds.
const KINDS: [&str; 4] = [Probe::KIND, ReleaseWindow::KIND, Gate::KIND, Override::KIND];
/// Resources per page of a list.
const PAGE: usize = 500;

/// Everything that a config directory could have put into the store. No more than a page of it is in
/// memory as a whole.
pub(super) async fn stored(store: &dyn Store) -> Result<Vec<Stored>, StoreError> {
    let mut all = Vec::new();
    for kind in KINDS {
        let mut query = Query { limit: PAGE, ..Query::default() };
        loop {
            let page = store.list(kind, &query).await?;
            all.extend(page.items.iter().map(Stored::of));
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    Ok(all)
}

/// Makes the changes. Somebody else's change in between is no error: the next reload compares anew.
pub(super) async fn apply(store: &dyn Store, steps: Vec<Step<'_>>) -> Result<(), StoreError> {
    for step in steps {
        let done = match step {
            Step::Create(resource) => store.create(made(resource, None)?).await.map(|_| ()),
            Step::Put(resource, version) => store.put(made(resource, Some(&version))?).await.map(|_| ()),
            Step::Delete(gone) => store.delete(gone.kind, &gone.namespace, &gone.name, None).await,
            Step::Replace(resource) => {
                let object = made(resource, None)?;
                match store.delete(object.kind, &object.namespace, &object.name, None).await {
                    Ok(()) | Err(StoreError::NotFound { .. }) => store.create(object).await.map(|_| ()),
                    Err(error) => Err(error),
                }
            }
        };
        match done {
            Ok(()) => {}
            Err(error @ (StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Exists { .. })) => {
                tracing::info!(%error, "A resource of the config directory was changed meanwhile; it is compared again.");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A resource as the store takes it, made only now: of ten thousand that are new not all are in memory
/// at once.
fn made(resource: &AnyResource, version: Option<&str>) -> Result<Object, StoreError> {
    let (kind, name) = (resource.kind(), resource.name());
    object_of(resource, version).ok_or_else(|| StoreError::Invalid(format!("a {kind} {name} that is no JSON")))
}
