//! The config directory: loaded into the store, watched, and loaded again when something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::apply::{apply, stored};
use super::diagnostic::{Diagnostic, Position};
use super::fingerprint::Fingerprint;
use super::health::{Health, Metrics, Outcome};
use super::judge::{Judgement, judge};
use super::load::{Loaded, load};
use super::reload::{digest, plan};
use super::watcher::Watcher;
use crate::clock::Clock;
use crate::store::Store;

/// The texts of the rule files (`*.rhai`) below a config directory, by their path in it.
pub type Scripts = BTreeMap<String, String>;

/// How long the directory must be quiet before it is read: an editor writes a file in several
/// steps, and a config map changes in three.
const QUIET: Duration = Duration::from_millis(150);
/// How long a directory that is never quiet is waited for.
const QUIET_AT_MOST: Duration = Duration::from_secs(2);
/// How long files that look as they did are believed to be what they were: whether something is in
/// order may depend on the time, and on files elsewhere.
const READ_ANYWAY: Duration = Duration::from_secs(5 * 60);

/// How a directory is followed.
#[derive(Debug, Clone)]
pub struct Following {
    /// How often the directory is read although nothing was heard: events get lost on network file
    /// systems and when queues overflow.
    pub rescan: Duration,
}

impl Default for Following {
    fn default() -> Self {
        Self { rescan: Duration::from_secs(30) }
    }
}

/// A config directory that is being followed.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    health: ArcSwap<Health>,
    metrics: Metrics,
    scripts: watch::Sender<Arc<Scripts>>,
    /// One reload at a time; what was told to the log already.
    told: Mutex<BTreeSet<Diagnostic>>,
    /// How files and store looked when all was in order last.
    seen: Mutex<Option<Seen>>,
}

/// How files and store looked.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    files: Fingerprint,
    stored: [u8; 32],
}

impl Directory {
    /// Loads the directory into the store, and follows it in a task of its own until `shutdown`.
    /// When this returns, the store holds what could be loaded; what could not is in
    /// [`Self::health`]. The task ends with `shutdown` and can be waited for.
    pub async fn follow(
        root: PathBuf,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        following: Following,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let health = Health {
            directory: root.display().to_string(),
            healthy: false,
            files: 0,
            resources: 0,
            broken: Vec::new(),
            warnings: 0,
            last_reload: None,
            last_success: None,
        };
        let inner = Inner {
            root,
            store,
            clock,
            health: ArcSwap::from_pointee(health),
            metrics: Metrics::default(),
            scripts: watch::Sender::new(Arc::default()),
            told: Mutex::new(BTreeSet::new()),
            seen: Mutex::new(None),
        };
        let directory = Self { inner: Arc::new(inner) };
        // The watch begins before the first load: what changes in between is not missed.
        let watcher = Watcher::new(&directory.inner.root);
        directory.reload().await;
        let task = tokio::spawn(directory.clone().run(watcher, following, shutdown));
        (directory, task)
    }

    /// How it is doing.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        self.inner.health.load_full()
    }

    /// The rule files, now and whenever they change. A file that cannot be read keeps its last
    /// text.
    #[must_use]
    pub fn scripts(&self) -> watch::Receiver<Arc<Scripts>> {
        self.inner.scripts.subscribe()
    }

    /// Adds the metrics of the directory.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }

    async fn run(self, mut watcher: Watcher, following: Following, shutdown: CancellationToken) {
        loop {
            let heard = tokio::select! {
                () = shutdown.cancelled() => return,
                () = watcher.changed() => {
                    watcher.quiet(QUIET, QUIET_AT_MOST).await;
                    watcher.renew_if_replaced(&self.inner.root);
                    true
                }
                () = tokio::time::sleep(following.rescan) => {
                    watcher.renew(&self.inner.root);
                    false
                }
            };
            let look = async {
                if heard || !self.is_as_it_was().await {
                    self.reload().await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = look => {}
            }
        }
    }

    /// Whether neither the files nor what the store has of them have changed since all was in order:
    /// reading ten thousand resources takes more than looking at their files.
    async fn is_as_it_was(&self) -> bool {
        let (inner, now) = (&self.inner, self.inner.clock.now());
        let Some(seen) = *inner.seen.lock().await else { return false };
        if seen.at.elapsed() >= READ_ANYWAY || fingerprint(&inner.root, now).await != Some(seen.files) {
            return false;
        }
        let same = stored(inner.store.as_ref()).await.is_ok_and(|stored| digest(&stored) == seen.stored);
        if same {
            let before = inner.health.load_full();
            let health = Health { last_reload: Some(now), last_success: Some(now), ..(*before).clone() };
            inner.metrics.count(Outcome::Success, &health, 0);
            inner.health.store(Arc::new(health));
        }
        same
    }

    /// Reads the directory now and brings the store up to it.
    pub async fn reload(&self) {
        let mut told = self.inner.told.lock().await;
        let (outcome, health, broken) = self.load_and_apply().await;
        tell(&mut told, &health);
        self.inner.metrics.count(outcome, &health, broken);
        self.inner.health.store(Arc::new(health));
    }

    async fn load_and_apply(&self) -> (Outcome, Health, usize) {
        let inner = &self.inner;
        let before = inner.health.load_full();
        let now = inner.clock.now();
        let root = inner.root.display().to_string();
        let failed = |rule: &'static str, message: String| {
            let broken = vec![Diagnostic::error(rule, &root, Position::START, message)];
            (Outcome::Failure, Health { healthy: false, broken, last_reload: Some(now), ..(*before).clone() }, 1)
        };
        *inner.seen.lock().await = None;
        let files = fingerprint(&inner.root, now).await;
        let loaded = match read(&inner.root, now).await {
            Ok(loaded) => loaded,
            Err(message) => return failed("directory", message),
        };
        let there = match stored(inner.store.as_ref()).await {
            Ok(there) => there,
            Err(error) => return failed("store", format!("the stored resources cannot be listed: {error}")),
        };
        let mut as_stored = Some(digest(&there));
        let mut plan = plan(&root, &loaded, there);
        let changes = plan.steps.len();
        if let Err(error) = apply(inner.store.as_ref(), std::mem::take(&mut plan.steps)).await {
            return failed("store", format!("the resources cannot be written: {error}"));
        }
        self.send_scripts(&loaded, &plan.broken);
        if changes > 0 {
            tracing::info!(directory = %root, changes, resources = plan.resources, "The config directory was loaded.");
        }
        let (mut errors, warnings): (Vec<_>, Vec<_>) =
            loaded.diagnostics.iter().chain(&plan.troubles).cloned().partition(Diagnostic::is_error);
        errors.sort();
        let healthy = errors.is_empty();
        if changes > 0 && healthy {
            as_stored = self.settled(&root, &loaded).await;
        }
        if let (true, Some(files), Some(stored)) = (healthy, files, as_stored) {
            *inner.seen.lock().await = Some(Seen { at: Instant::now(), files, stored });
        }
        let files: BTreeSet<&String> = errors.iter().map(|error| &error.file).collect();
        let broken_files = files.len();
        let health = Health {
            directory: root,
            healthy,
            files: loaded.files.len(),
            resources: plan.resources,
            broken: errors,
            warnings: warnings.len(),
            last_reload: Some(now),
            last_success: if healthy { Some(now) } else { before.last_success },
        };
        (if healthy { Outcome::Success } else { Outcome::Partial }, health, broken_files)
    }

    /// What the store has now, where it is what the files say.
    async fn settled(&self, root: &str, loaded: &Loaded) -> Option<[u8; 32]> {
        let there = stored(self.inner.store.as_ref()).await.ok()?;
        let digest = digest(&there);
        plan(root, loaded, there).steps.is_empty().then_some(digest)
    }

    /// Sends the rule files on where they differ. One that is broken keeps its last text.
    fn send_scripts(&self, loaded: &Loaded, broken: &BTreeSet<String>) {
        let emptied = loaded.files.is_empty() && broken.contains(&self.inner.root.display().to_string());
        self.inner.scripts.send_if_modified(|current| {
            let mut scripts = loaded.scripts.clone();
            for (path, text) in current.iter() {
                let file = self.inner.root.join(path).display().to_string();
                if emptied || broken.contains(&file) {
                    scripts.insert(path.clone(), text.clone());
                }
            }
            let differs = **current != scripts;
            if differs {
                *current = Arc::new(scripts);
            }
            differs
        });
    }
}

/// One line per new trouble, and one when all is well again.
fn tell(told: &mut BTreeSet<Diagnostic>, health: &Health) {
    for trouble in health.broken.iter().filter(|trouble| !told.contains(*trouble)) {
        tracing::error!(
            file = %trouble.file, line = trouble.line, column = trouble.column, error = %trouble.text(),
            "A part of the config directory is broken; its last good state stays in force."
        );
    }
    if !told.is_empty() && health.broken.is_empty() {
        tracing::info!(directory = %health.directory, "The config directory is in order again.");
    }
    *told = health.broken.iter().cloned().collect();
}

/// How the files look, without their being read.
async fn fingerprint(root: &Path, now: Timestamp) -> Option<Fingerprint> {
    let root = root.to_owned();
    tokio::task::spawn_blocking(move || Fingerprint::of(&root, now)).await.ok().flatten()
}

async fn read(root: &Path, now: Timestamp) -> Result<Loaded, String> {
    let path = root.to_owned();
    let loading = tokio::task::spawn_blocking(move || {
        if !path.is_dir() {
            return Err("the config directory is not there: the last good state stays in force".to_owned());
        }
        let mut loaded = load(&[path]).map_err(|error| format!("{error}: {}", error.source))?;
        // A name may lead to what was made through the API: that is not judged here.
        let judged = judge(&loaded, Judgement { now, whole: false });
        loaded.diagnostics.extend(judged);
        Ok(loaded)
    });
    loading.await.unwrap_or_else(|error| Err(format!("the loader failed: {error}")))
}
