//! A store whose namespaces are called otherwise outside: tests share one cluster, and each has
//! `shop` for itself.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use probegate::store::{Object, Page, Query, Store, StoreError, WatchEvent};
use serde_json::Value;

pub(crate) struct Renamed {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Renamed {
    pub(crate) fn over(store: Arc<dyn Store>, prefix: &str) -> Arc<dyn Store> {
        Arc::new(Self { store, prefix: format!("{prefix}-") })
    }

    fn outer(&self, namespace: &str) -> String {
        format!("{}{namespace}", self.prefix)
    }

    fn put_in(&self, mut object: Object) -> Object {
        object.namespace = self.outer(&object.namespace);
        if object.body["metadata"].get("namespace").is_some() {
            object.body["metadata"]["namespace"] = Value::from(object.namespace.clone());
        }
        object
    }

    fn query_in(&self, query: &Query) -> Query {
        Query { namespace: query.namespace.as_ref().map(|namespace| self.outer(namespace)), ..query.clone() }
    }
}

fn inner(prefix: &str, namespace: &str) -> String {
    namespace.strip_prefix(prefix).expect("only namespaces of the test").to_owned()
}

fn take_out(prefix: &str, mut object: Object) -> Object {
    object.namespace = inner(prefix, &object.namespace);
    object.body["metadata"]["namespace"] = Value::from(object.namespace.clone());
    object
}

fn error_out(prefix: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::NotFound { kind, namespace, name } => {
            StoreError::NotFound { kind, namespace: inner(prefix, &namespace), name }
        }
        StoreError::Exists { kind, namespace, name } => {
            StoreError::Exists { kind, namespace: inner(prefix, &namespace), name }
        }
        StoreError::Conflict { kind, namespace, name } => {
            StoreError::Conflict { kind, namespace: inner(prefix, &namespace), name }
        }
        other => other,
    }
}

#[async_trait]
impl Store for Renamed {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        let found = self.store.get(kind, &self.outer(namespace), name).await;
        found.map(|found| found.map(|object| take_out(&self.prefix, object)))
    }

    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        let page = self.store.list(kind, &self.query_in(query)).await?;
        let items = page.items.into_iter().map(|object| take_out(&self.prefix, object)).collect();
        Ok(Page { items, next: page.next })
    }

    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        let prefix = self.prefix.clone();
        let out = move |event| match event {
            WatchEvent::Listed(objects) => {
                WatchEvent::Listed(objects.into_iter().map(|object| take_out(&prefix, object)).collect())
            }
            WatchEvent::Applied(object) => WatchEvent::Applied(take_out(&prefix, object)),
            WatchEvent::Deleted(object) => WatchEvent::Deleted(take_out(&prefix, object)),
        };
        self.store.watch(kind, self.query_in(&query)).map(move |event| event.map(&out)).boxed()
    }

    async fn create(&self, object: Object) -> Result<Object, StoreError> {
        let created = self.store.create(self.put_in(object)).await;
        created.map(|object| take_out(&self.prefix, object)).map_err(|error| error_out(&self.prefix, error))
    }

    async fn put(&self, object: Object) -> Result<Object, StoreError> {
        let put = self.store.put(self.put_in(object)).await;
        put.map(|object| take_out(&self.prefix, object)).map_err(|error| error_out(&self.prefix, error))
    }

    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        let put = self.store.put_status(self.put_in(object)).await;
        put.map(|object| take_out(&self.prefix, object)).map_err(|error| error_out(&self.prefix, error))
    }

    async fn delete(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        let deleted = self.store.delete(kind, &self.outer(namespace), name, version).await;
        deleted.map_err(|error| error_out(&self.prefix, error))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }
}
