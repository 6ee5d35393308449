//! The prober with its history, put together.

use std::sync::Arc;

use tempfile::TempDir;

use super::{AppError, Home, Options, Starting, away, files};
use crate::api::Probe;
use crate::clock::Clock;
use crate::operator::run_when_asked;
use crate::outbound::Outbound;
use crate::probes::history::sqlite::SqliteArchive;
use crate::probes::history::{self, Archive};
use crate::probes::{self, Tools};
use crate::server::Prober;

/// The prober, and what it keeps.
pub(super) struct Probing {
    pub(super) resident: Prober,
    pub(super) archive: Option<Arc<SqliteArchive>>,
    /// The directory of a history that goes with the process.
    pub(super) passing: Option<TempDir>,
}

impl Starting<'_> {
    /// Starts the prober, which works until the program ends.
    pub(super) async fn probing(
        &self,
        options: &Options,
        outbound: &Outbound,
        windows: away::Windows,
        places: Option<Arc<dyn probes::Places>>,
    ) -> Result<Probing, AppError> {
        let (archive, passing) = match archive(&options.home, self.clock).await {
            Ok((archive, passing)) => (Some(archive), passing),
            // It is evidence beside the runs' own records: without it probing and judging go on.
            Err(error) => {
                tracing::error!(%error, "The probes' history cannot be kept; only the recent past is known.");
                (None, None)
            }
        };
        let modules = self.packed_cache::<Probe>();
        let root = options.files.first().map(|path| files::directory(path));
        let tools = Tools { outbound: outbound.clone(), clock: Arc::clone(self.clock), root: root.clone() };
        let engine = probes::Engine::new(
            Arc::clone(self.slow),
            modules.clone(),
            outbound.clone(),
            Arc::clone(self.clock),
            probes::Options {
                archive: archive.clone().map(|archive| archive as Arc<dyn Archive>),
                limits: options.probing,
                root,
                maintenances: Some(Arc::new(windows)),
                places,
            },
        );
        let doing = "starting the probing threads";
        let engine = engine.map_err(|error| AppError::Task { doing, why: error.to_string() })?;
        let board = engine.board();
        self.spawn_leading(engine.run());
        if options.follow {
            self.spawn_leading(run_when_asked(Arc::clone(self.store), board.clone(), Arc::clone(self.clock)));
        }
        Ok(Probing { resident: Prober { board, modules, tools }, archive, passing })
    }
}

/// Opens the probes' history: in the data directory, or, where nothing is to outlive the process, in
/// a directory that goes with it.
async fn archive(home: &Home, clock: &Arc<dyn Clock>) -> Result<(Arc<SqliteArchive>, Option<TempDir>), AppError> {
    let trouble = |why: String| AppError::Task { doing: "opening the history", why };
    let (home, clock) = (home.clone(), Arc::clone(clock));
    let opening = tokio::task::spawn_blocking(move || {
        let options = history::sqlite::Options { clock, ..history::sqlite::Options::default() };
        let (path, passing) = if let Some(path) = home.directory() {
            (path, None)
        } else {
            let passing = tempfile::tempdir().map_err(|error| trouble(error.to_string()))?;
            (passing.path().to_owned(), Some(passing))
        };
        Ok((Arc::new(SqliteArchive::open(&path, options)?), passing))
    });
    opening.await.map_err(|error| trouble(error.to_string()))?
}
