//! The store of resources: one interface, two homes.
//!
//! Get, list, watch, create, put with resourceVersion, delete, over whole resources as JSON, with
//! typed access on top ([`StoreExt`]). Nothing above this interface may know which home it has.
//! Semantics are those of the Kubernetes API: `put` leaves the status alone, `put_status` leaves
//! the rest alone, and both answer [`StoreError::Conflict`] when somebody else has written since.

mod cache;
mod evidence;
mod facts;
pub mod kubernetes;
mod ledger;
pub mod limits;
mod paced;
mod retention;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;

pub use cache::{Cache, Key, Mark};
pub use evidence::BUDGET_BYTES;
pub use ledger::{Ledger, MAX_PAST_RUNS};
pub use paced::Paced;
pub use retention::{Forgotten, Retention};

use crate::api::{Resource, name_of, namespace_of};
use crate::model::Labels;

/// How often a change is written against other writers.
const MAX_TRIES: u32 = 5;

/// One resource as the store holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The kind, such as `Gate`.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The whole resource: apiVersion, kind, metadata (with resourceVersion, uid, generation,
    /// creationTimestamp), spec, status.
    pub body: Value,
}

/// Which resources to list or watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only with these labels, by equality.
    pub labels: Labels,
    /// Only with (`true`) or without (`false`) a condition `Decided` that is `True`.
    pub decided: Option<bool>,
    /// At most so many; 0 means no limit of the caller's (a home has its own).
    pub limit: usize,
    /// Go on where an earlier list ended ([`Page::next`]).
    pub after: Option<String>,
    /// Only what an overview shows: of a run, a home may leave out the plan, the evidence and the
    /// earlier executions of its checks.
    pub brief: bool,
}

/// One page of a list, newest first (by creation), then by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page<T> {
    /// The resources.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent<T> {
    /// All that there is: at the start, and again whenever the watch had to begin anew. Whatever is
    /// not among it does not exist any more.
    Listed(Vec<T>),
    /// One resource was created or changed.
    Applied(T),
    /// One resource was deleted; its last state.
    Deleted(T),
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// There is no such resource.
    #[error("{kind} {namespace}/{name} does not exist")]
    NotFound {
        /// The kind.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// A resource of that name exists.
    #[error("{kind} {namespace}/{name} exists already")]
    Exists {
        /// The kind.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// Somebody else has written since it was read.
    #[error("{kind} {namespace}/{name} was changed since it was read: read it again")]
    Conflict {
        /// The kind.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// The resource cannot be kept: too large, no name, a name that is none.
    #[error("{0}")]
    Invalid(String),
    /// The home is in trouble: disk full, read-only, corrupted, unreachable. Nothing was written.
    #[error("while {doing}: {why}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// The cause, in the home's words.
        why: String,
    },
}

/// The store of resources. Cheap to share behind an [`Arc`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// # Errors
    /// [`StoreError::Unavailable`]; a resource that is not there is `None`.
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError>;

    /// # Errors
    /// [`StoreError::Unavailable`], and [`StoreError::Invalid`] for a foreign `after`.
    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError>;

    /// Begins with [`WatchEvent::Listed`] and never ends while the store lives; trouble is an item,
    /// after which the stream goes on. A watcher that lags behind gets another `Listed`. With a
    /// limit, `Listed` holds the newest so many, and every later change is told whatever its age.
    /// What leaves the query is told as deleted.
    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>>;

    /// Gives it uid, generation, creationTimestamp and resourceVersion. Unlike Kubernetes, a status
    /// that comes along is kept.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Invalid`], [`StoreError::Unavailable`].
    async fn create(&self, object: Object) -> Result<Object, StoreError>;

    /// Writes metadata and spec where `metadata.resourceVersion` is still the stored one (absent:
    /// whatever is stored) and `metadata.uid` is the stored one or absent; the status stays.
    /// Generation goes up when the spec differs. Where nothing differs nothing is written, and the
    /// resourceVersion stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`],
    /// [`StoreError::Unavailable`].
    async fn put(&self, object: Object) -> Result<Object, StoreError>;

    /// Writes the status alone, under the same condition; durable when it returns.
    ///
    /// # Errors
    /// As [`Store::put`].
    async fn put_status(&self, object: Object) -> Result<Object, StoreError>;

    /// Deletes, where `version` is given only that very version.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Unavailable`].
    async fn delete(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Whether what its watches have told can be relied on for a pass: not where one of them has been
    /// cut off for so long that a freeze or an override may have been missed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is cut off.
    async fn current(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether it can be read and written now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is wrong.
    async fn ready(&self) -> Result<(), StoreError>;
}

impl Object {
    /// A typed resource as an object.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when it has no name or cannot be written as JSON.
    pub fn from_resource<R: Resource>(resource: &R) -> Result<Self, StoreError> {
        if name_of(resource).is_empty() {
            return Err(StoreError::Invalid(format!("a {} without metadata.name", R::KIND)));
        }
        Ok(Self {
            kind: R::KIND,
            namespace: namespace_of(resource).to_owned(),
            name: name_of(resource).to_owned(),
            body: serde_json::to_value(resource)
                .map_err(|error| StoreError::Invalid(format!("a {} that is no JSON: {error}", R::KIND)))?,
        })
    }

    /// The object as a typed resource.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when its body has another shape: written by another version.
    pub fn into_resource<R: Resource>(self) -> Result<R, StoreError> {
        let (namespace, name) = (self.namespace, self.name);
        serde_json::from_value(self.body)
            .map_err(|error| StoreError::Invalid(format!("{} {namespace}/{name} cannot be read: {error}", R::KIND)))
    }
}

/// Typed access to any store.
#[async_trait]
pub trait StoreExt {
    /// See [`Store::get`].
    async fn get_as<R: Resource>(&self, namespace: &str, name: &str) -> Result<Option<R>, StoreError>;
    /// See [`Store::list`]. Resources that cannot be read are left out and logged.
    async fn list_as<R: Resource>(&self, query: &Query) -> Result<Page<R>, StoreError>;
    /// See [`Store::create`].
    async fn create_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError>;
    /// See [`Store::put`].
    async fn put_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError>;
    /// See [`Store::put_status`].
    async fn put_status_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError>;
    /// See [`Store::list`]: every page from `query` on, `query.limit` at once.
    async fn list_all_as<R: Resource>(&self, query: Query) -> Result<Vec<R>, StoreError>;
    /// Reads a resource, changes it and puts it; anew where others write meanwhile, a few times. Where
    /// `change` says that there is nothing to do it is answered as it stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and as [`Store::put`].
    async fn amend<R: Resource>(
        &self,
        namespace: &str,
        name: &str,
        mut change: impl for<'r> FnMut(&'r mut R) -> bool + Send,
    ) -> Result<R, StoreError>;
}

#[async_trait]
impl StoreExt for Arc<dyn Store> {
    async fn get_as<R: Resource>(&self, namespace: &str, name: &str) -> Result<Option<R>, StoreError> {
        self.get(R::KIND, namespace, name).await?.map(Object::into_resource).transpose()
    }

    async fn list_as<R: Resource>(&self, query: &Query) -> Result<Page<R>, StoreError> {
        let page = self.list(R::KIND, query).await?;
        let read = |object: Object| match object.into_resource() {
            Ok(resource) => Some(resource),
            Err(error) => {
                tracing::warn!(%error, "A stored resource is left out of a list.");
                None
            }
        };
        Ok(Page { items: page.items.into_iter().filter_map(read).collect(), next: page.next })
    }

    async fn create_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError> {
        self.create(Object::from_resource(resource)?).await?.into_resource()
    }

    async fn put_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError> {
        self.put(Object::from_resource(resource)?).await?.into_resource()
    }

    async fn put_status_as<R: Resource>(&self, resource: &R) -> Result<R, StoreError> {
        self.put_status(Object::from_resource(resource)?).await?.into_resource()
    }

    async fn list_all_as<R: Resource>(&self, mut query: Query) -> Result<Vec<R>, StoreError> {
        let mut items = Vec::new();
        loop {
            let page = self.list_as(&query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(items),
            }
        }
    }

    async fn amend<R: Resource>(
        &self,
        namespace: &str,
        name: &str,
        mut change: impl for<'r> FnMut(&'r mut R) -> bool + Send,
    ) -> Result<R, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut found = self.get_as::<R>(namespace, name).await?.ok_or_else(|| StoreError::NotFound {
                kind: R::KIND,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })?;
            if !change(&mut found) {
                return Ok(found);
            }
            match self.put_as(&found).await {
                Err(StoreError::Conflict { .. }) if tries < MAX_TRIES => {}
                written => return written,
            }
        }
    }
}
