//! The steps of the start: files read and followed, caches, tasks that end with the program.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rulebook::RuleBook;
use super::{AppError, Options, files};
use crate::api::Resource;
use crate::clock::Clock;
use crate::config::{Directory, Following, Scripts};
use crate::engine::Lead;
use crate::store::{Cache, Store};

/// What the start hands from step to step.
pub(super) struct Starting<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    /// The same for what keeps statuses current in the background.
    pub(super) slow: &'a Arc<dyn Store>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) tasks: &'a TaskTracker,
    pub(super) stop: &'a CancellationToken,
    pub(super) lead: &'a Lead,
}

impl Starting<'_> {
    /// Reads the files into the store and compiles their rules, and follows both where that is
    /// wanted.
    pub(super) async fn files(&self, options: &Options) -> Result<(Option<Directory>, RuleBook), AppError> {
        match (options.follow, options.files.as_slice()) {
            (_, []) => Ok((None, RuleBook::new(&Scripts::default()))),
            (true, [root]) => {
                let (directory, task) = Directory::follow(
                    root.clone(),
                    Arc::clone(self.store),
                    Arc::clone(self.clock),
                    Following::default(),
                    self.stop.clone(),
                )
                .await;
                self.tasks.spawn(task);
                let mut scripts = directory.scripts();
                let now = Arc::clone(&scripts.borrow_and_update());
                let rules = RuleBook::new(&now);
                self.spawn(rules.clone().follow(scripts));
                Ok((Some(directory), rules))
            }
            (true, many) => Err(AppError::Several(many.len())),
            (false, files) => {
                let loaded = files::keep(files.to_vec(), self.store).await?;
                let rules = RuleBook::new(&loaded.scripts);
                rules.trouble().map_or(Ok((None, rules)), |trouble| Err(AppError::Rules(trouble)))
            }
        }
    }

    pub(super) fn cache<R: Resource>(&self) -> Cache<R> {
        let (cache, run) = Cache::follow(Arc::clone(self.store));
        self.spawn(run);
        cache
    }

    /// For resources of which there may be ten thousand.
    pub(super) fn packed_cache<R: Resource>(&self) -> Cache<R> {
        let (cache, run) = Cache::follow_packed(Arc::clone(self.store));
        self.spawn(run);
        cache
    }

    /// Runs from when this process leads until it ends.
    pub(super) fn spawn_leading(&self, run: impl Future<Output = ()> + Send + 'static) {
        let lead = self.lead.clone();
        self.spawn(async move {
            lead.wait().await;
            run.await;
        });
    }

    /// Runs until the program ends.
    pub(super) fn spawn(&self, run: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = run => {}
            }
        });
    }
}
