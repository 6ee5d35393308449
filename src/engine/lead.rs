//! Whether this process drives runs, or looks on while another one does.

use tokio::sync::watch;

/// Whether this process drives runs. Where several replicas share one store, one of them leads; it
/// never stops leading but by ending. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lead(Option<watch::Receiver<bool>>);

impl Lead {
    /// There is no other process: this one leads.
    #[must_use]
    pub const fn alone() -> Self {
        Self(None)
    }

    /// One of several replicas: leads once `leading` is true.
    #[must_use]
    pub const fn shared(leading: watch::Receiver<bool>) -> Self {
        Self(Some(leading))
    }

    /// Whether others write to the same store.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it leads now.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.as_ref().is_none_or(|leading| *leading.borrow())
    }

    /// Waits until it leads; for ever where it never does.
    pub async fn wait(&self) {
        let Some(leading) = &self.0 else { return };
        if leading.clone().wait_for(|leading| *leading).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
