//! A home whose statuses are written one after another at a steady pace: what keeps itself current
//! in the background must not take the API server from those who wait for an answer.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Object, Page, Query, Store, StoreError, WatchEvent};

/// The same home; everything but the writing of a status goes straight through.
pub struct Paced {
    home: Arc<dyn Store>,
    /// The least time between two statuses.
    apart: Duration,
    /// When the last one was begun. Whoever waits holds it: they wait in order.
    last: Mutex<Option<Instant>>,
}

impl Paced {
    /// At most so many statuses in a second, in whichever second that is.
    #[must_use]
    pub fn over(home: Arc<dyn Store>, per_second: NonZeroU32) -> Self {
        Self { home, apart: Duration::from_secs(1) / per_second.get(), last: Mutex::default() }
    }

    async fn turn(&self) {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + self.apart).await;
        }
        *last = Some(Instant::now());
    }
}

#[async_trait]
impl Store for Paced {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        self.home.get(kind, namespace, name).await
    }

    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        self.home.list(kind, query).await
    }

    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        self.home.watch(kind, query)
    }

    async fn create(&self, object: Object) -> Result<Object, StoreError> {
        self.home.create(object).await
    }

    async fn put(&self, object: Object) -> Result<Object, StoreError> {
        self.home.put(object).await
    }

    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        self.turn().await;
        self.home.put_status(object).await
    }

    async fn delete(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        self.home.delete(kind, namespace, name, version).await
    }

    async fn current(&self) -> Result<(), StoreError> {
        self.home.current().await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.home.ready().await
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{FuturesUnordered, StreamExt};
    use serde_json::json;

    use super::*;
    use crate::store::sqlite::SqliteStore;

    fn object(number: usize) -> Object {
        let name = format!("p-{number}");
        let body = json!({
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"tcp": {"address": "127.0.0.1:1"}},
            "status": {"state": "up", "since": "2026-11-21T12:00:00Z", "reason": ""}
        });
        Object { kind: "Probe", namespace: "shop".to_owned(), name, body }
    }

    #[tokio::test]
    async fn statuses_that_come_at_once_are_written_apart_and_none_is_lost() {
        let home: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        for number in 0..20 {
            home.create(Object { body: json!({"metadata": {}, "spec": {}}), ..object(number) }).await.unwrap();
        }
        let paced = Paced::over(Arc::clone(&home), NonZeroU32::new(100).unwrap());
        let begun = Instant::now();
        let mut writes: FuturesUnordered<_> = (0..20).map(|number| paced.put_status(object(number))).collect();
        while let Some(written) = writes.next().await {
            written.unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        for number in 0..20 {
            let stored = home.get("Probe", "shop", &format!("p-{number}")).await.unwrap().unwrap();
            assert_eq!(stored.body["status"]["state"], "up");
        }
    }
}
