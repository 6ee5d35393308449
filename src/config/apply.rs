//! Brings the store up to the files, change by change.

use super::reload::Step;
use crate::api::{Gate, Override, Probe, ReleaseWindow, Resource};
use crate::store::{Object, Query, Store, StoreError};

/// The kinds that a config directory holds.
const KINDS: [&str; 4] = [Probe::KIND, ReleaseWindow::KIND, Gate::KIND, Override::KIND];
/// Resources per page of a list.
const PAGE: usize = 500;

/// Everything that a config directory could have put into the store.
pub(super) async fn stored(store: &dyn Store) -> Result<Vec<Object>, StoreError> {
    let mut all = Vec::new();
    for kind in KINDS {
        let mut query = Query { limit: PAGE, ..Query::default() };
        loop {
            let page = store.list(kind, &query).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    Ok(all)
}

/// Makes the changes. Somebody else's change in between is no error: the next reload compares anew.
pub(super) async fn apply(store: &dyn Store, steps: Vec<Step>) -> Result<(), StoreError> {
    for step in steps {
        let done = match step {
            Step::Create(object) => store.create(object).await.map(|_| ()),
            Step::Put(object) => store.put(object).await.map(|_| ()),
            Step::Delete(object) => delete(store, &object).await,
            Step::Replace(object) => match delete(store, &object).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => store.create(object).await.map(|_| ()),
                Err(error) => Err(error),
            },
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

async fn delete(store: &dyn Store, object: &Object) -> Result<(), StoreError> {
    store.delete(object.kind, &object.namespace, &object.name, None).await
}
