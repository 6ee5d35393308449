//! Following the file of tokens.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::limits::RELOAD_INTERVAL;
use super::super::metrics::Metrics;
use super::Access;
use super::file::{AccessError, Table};

impl Access {
    /// Reads the file again whenever it has changed, until `shutdown`.
    pub async fn follow(&self, metrics: &Metrics, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.reload(metrics).await,
            }
        }
    }

    /// Reads the file now; a broken one keeps the last good.
    pub async fn reload(&self, metrics: &Metrics) {
        let Some(file) = self.inner.file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || Table::read(&file)).await;
        match read {
            Ok(Ok(table)) => self.take(table, metrics),
            Ok(Err(error)) => self.keep(&error, metrics),
            // The reader was cancelled: the program ends.
            Err(_) => {}
        }
    }

    fn take(&self, table: Table, metrics: &Metrics) {
        self.inner.trouble.store(Arc::new(None));
        if self.inner.table.load().digest == table.digest {
            return;
        }
        tracing::info!(entries = table.len(), "The file of tokens was read again.");
        metrics.reloaded("tokens", true);
        self.inner.table.store(Arc::new(table));
    }

    fn keep(&self, error: &AccessError, metrics: &Metrics) {
        let why = error.to_string();
        if self.trouble().as_deref() == Some(&why) {
            return;
        }
        tracing::error!(error = why, "The file of tokens cannot be used; the last good one stays in use.");
        metrics.reloaded("tokens", false);
        self.inner.trouble.store(Arc::new(Some(why)));
    }
}
