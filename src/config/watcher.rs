//! Hears when something below a directory changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Device and number of a directory; where the system has none, its real path.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    std::fs::canonicalize(path).ok()
}

/// A watch on a directory tree that survives the directory being replaced. Where the system cannot
/// watch, it stays silent, and the rescans remain.
pub(super) struct Watcher {
    signal: Arc<Notify>,
    system: Option<RecommendedWatcher>,
    watched: Option<PathBuf>,
    /// Which directory the path led to when it was watched.
    identity: Option<Identity>,
    /// Whether the log knows that watching does not work.
    told: bool,
}

impl Watcher {
    pub(super) fn new(root: &Path) -> Self {
        let signal = Arc::new(Notify::new());
        let heard = Arc::clone(&signal);
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<notify::Event>| {
                // What is only read changes nothing; our own reading would wake us for ever. An
                // error may mean that events were lost: better read once too often.
                if event.is_err() || event.is_ok_and(|event| !event.kind.is_access()) {
                    heard.notify_one();
                }
            },
            Config::default().with_follow_symlinks(true),
        );
        let (watcher, error) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        let mut this = Self { signal, system: watcher, watched: None, identity: None, told: false };
        if let Some(error) = error {
            this.tell(root, &error);
        }
        this.renew(root);
        this
    }

    /// Watches the directory as it is now.
    pub(super) fn renew(&mut self, root: &Path) {
        let Some(watcher) = &mut self.system else { return };
        self.identity = identity(root);
        if let Some(old) = self.watched.take() {
            // It may be gone already, and its watch with it.
            let _ = watcher.unwatch(&old);
        }
        match watcher.watch(root, RecursiveMode::Recursive) {
            Ok(()) => {
                self.watched = Some(root.to_owned());
                self.told = false;
            }
            Err(error) => self.tell(root, &error),
        }
    }

    /// Watches anew where the path leads to another directory than it did: mounted again, or
    /// swapped as a whole.
    pub(super) fn renew_if_replaced(&mut self, root: &Path) {
        if identity(root) != self.identity {
            self.renew(root);
        }
    }

    fn tell(&mut self, root: &Path, error: &notify::Error) {
        if !self.told {
            tracing::warn!(
                directory = %root.display(), %error,
                "The config directory cannot be watched; it is read again from time to time."
            );
            self.told = true;
        }
    }

    /// Waits for the next change.
    pub(super) async fn changed(&self) {
        self.signal.notified().await;
    }

    /// Waits until nothing has changed for `quiet`, at most `longest`.
    pub(super) async fn quiet(&self, quiet: Duration, longest: Duration) {
        let end = tokio::time::sleep(longest);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(quiet) => return,
                () = self.signal.notified() => {}
            }
        }
    }
}
