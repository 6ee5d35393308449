//! The composition root: puts store, files, windows, rules, probes, checks and engine together for
//! `serve`, for a check at a terminal and for the demo. Nothing here behaves; it only connects.

mod away;
mod callers;
mod files;
mod home;
mod kinds;
mod probing;
mod relay;
mod rulebook;
mod serving;
mod starting;
mod terminal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

pub use home::{Candidacy, ClusterHome, Home};
use home::{Kept, Reign};
use probing::Probing;
use rulebook::RuleBook;
pub use serving::{Bound, Serving};
use starting::Starting;
pub use terminal::{Terminal, Whereabouts, Within};

use crate::api::{Gate, Override, ReleaseWindow};
use crate::calendars::{self, WindowBook};
use crate::clock::{Clock, SystemClock};
use crate::cluster::{ConnectError, ScopeError};
use crate::config::{Diagnostic, Directory, PathError};
use crate::engine::{Engine, Parts};
use crate::operator::{Rollouts, Standings};
use crate::outbound::Outbound;
pub use crate::probes::Limits;
use crate::probes::history::ArchiveError;
use crate::probes::history::sqlite::SqliteArchive;
use crate::server::{AccessError, Prober, TlsError};
use crate::store::sqlite::OpenError;
use crate::store::{Cache, Ledger, Store, StoreError};

/// What the program is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where resources and runs are kept.
    pub home: Home,
    /// Files and directories with resources.
    pub files: Vec<PathBuf>,
    /// Whether the files are followed: then there is at most one path, a directory, and what is
    /// broken in it does not stop the start. Otherwise they are read once, and must be valid.
    pub follow: bool,
    /// The cluster of changes that name none.
    pub cluster: Option<String>,
    /// The Prometheus server of metric checks that name none.
    pub prometheus: Option<Url>,
    /// The directory with the secrets that checks refer to.
    pub secrets: Option<PathBuf>,
    /// How much may be probed at once.
    pub probing: Limits,
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The history of the probes.
    #[error(transparent)]
    History(#[from] ArchiveError),
    /// A path with resources is not there.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The files are not valid.
    #[error("{}\n{} in the files: `probegate validate` tells more", listed(.0), counted(.0))]
    Files(Vec<Diagnostic>),
    /// The rules of the files do not compile.
    #[error("{0}\nthe rules do not compile: `probegate validate` tells more")]
    Rules(String),
    /// The resources of the files cannot be kept.
    #[error("while keeping the resources of the files: {0}")]
    Keep(#[from] StoreError),
    /// What was named is no namespace or no instance.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The cluster does not give what is asked for.
    #[error("{0}")]
    Cluster(StoreError),
    /// The user may not.
    #[error(
        "you may not {verb} {resource} in namespace {namespace}; the role {role} lets you \
         (`kubectl auth can-i {verb} {resource}.probegate.io -n {namespace}`)"
    )]
    Denied {
        /// The verb.
        verb: &'static str,
        /// The plural.
        resource: &'static str,
        /// Where.
        namespace: String,
        /// Who may.
        role: &'static str,
    },
    /// In a cluster secrets come from the namespaces that refer to them.
    #[error(
        "--secrets is a directory for resources out of files: in a cluster `NAME/KEY` is a key of a Secret in the \
         resource's own namespace, where that has granted it"
    )]
    SecretsInCluster,
    /// Only one directory can be followed.
    #[error("{0} paths were given to be followed: put the resources into one directory")]
    Several(usize),
    /// An address cannot be listened on.
    #[error("while listening on {address}: {why}; choose another with --listen or --admin-listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        why: String,
    },
    /// The tokens are of no use.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A task of the start was lost.
    #[error("while {doing}: {why}")]
    Task {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        why: String,
    },
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn counted(diagnostics: &[Diagnostic]) -> String {
    if diagnostics.len() == 1 { "1 error".to_owned() } else { format!("{} errors", diagnostics.len()) }
}

/// Everything, connected and running.
pub struct App {
    home: Arc<Kept>,
    reign: Reign,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    cluster: Option<String>,
    gates: Cache<Gate>,
    overrides: Cache<Override>,
    past: Ledger,
    windows: WindowBook,
    prober: Prober,
    archive: Option<Arc<SqliteArchive>>,
    /// The directory of a history that goes with the process.
    _passing: Option<TempDir>,
    rules: RuleBook,
    directory: Option<Directory>,
    engine: Engine,
    rollouts: Option<Rollouts>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl App {
    /// Opens the store, reads the files, starts everything, and waits until it is ready to answer; an
    /// operator in a cluster waits for nothing and answers `wait` until it is. Everything ends with
    /// `stop`.
    ///
    /// # Errors
    /// The store cannot be opened, or the files are not valid.
    #[expect(
        clippy::too_many_lines,
        reason = "everything is connected once, in the order in which it stands on each other"
    )]
    pub async fn start(options: Options, stop: CancellationToken) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let keep_in = options.home.calendars();
        let home = Arc::new(Kept::open(options.home.clone(), &clock).await?);
        let (store, slow, tasks) = (home.store(), home.background(), TaskTracker::new());
        let reign = Reign::begin(&home, &clock);
        let starting =
            Starting { store: &store, slow: &slow, clock: &clock, tasks: &tasks, stop: &stop, lead: &reign.lead };
        let (directory, rules) = starting.files(&options).await?;
        starting.spawn_leading(Arc::clone(&home).forget(Arc::clone(&clock), stop.clone()));

        let secrets = home.secrets(options.secrets.clone())?;
        let outbound = Outbound::new(secrets.clone());
        let (gates, overrides) = (starting.cache::<Gate>(), starting.cache::<Override>());
        let (ledger, run) = Ledger::follow(Arc::clone(&store));
        starting.spawn(run);
        let resources = starting.cache::<ReleaseWindow>();
        let (windows, run) = WindowBook::follow(
            resources.clone(),
            outbound.clone(),
            Arc::clone(&clock),
            calendars::Options { keep_in, ..calendars::Options::default() },
        );
        starting.spawn(run);
        let by_resource = resources.clone();
        let Probing { resident, archive, passing } = starting
            .probing(&options, &outbound, away::Windows { book: windows.clone(), resources }, home.places())
            .await?;
        // An operator whose definitions are missing listens, is alive, and says on /readyz what it
        // waits for; nothing passes before it knows everything.
        if matches!(*home, Kept::Embedded(_)) {
            gates.wait_synced().await;
            overrides.wait_synced().await;
            windows.wait_synced().await;
        }
        // The ledger reads the past meanwhile: with many runs that takes a second, and a check that
        // counts is unknown until then.

        let table = kinds::table(kinds::Under {
            windows: &windows,
            ledger: &ledger,
            overrides: &overrides,
            rules: &rules,
            board: &resident.board,
            outbound,
            prometheus: options.prometheus,
        });
        if options.follow {
            let standings = Standings {
                store: Arc::clone(&slow),
                gates: gates.clone(),
                overrides: overrides.clone(),
                windows: by_resource,
                book: windows.clone(),
                probes: resident.modules.clone(),
                table: table.clone(),
                clock: Arc::clone(&clock),
                secrets,
                cluster: home.workloads(),
            };
            starting.spawn_leading(standings.keep());
        }
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            gates: gates.clone(),
            overrides: overrides.clone(),
            table,
            clock: Arc::clone(&clock),
            cluster: options.cluster.clone(),
            lead: reign.lead.clone(),
        });
        if let Some(events) = home.events(Arc::clone(&clock)) {
            starting.spawn_leading(events);
        }
        let rollouts = home.rollouts(gates.clone(), Arc::new(engine.clone()), Arc::clone(&clock));
        if let Some(rollouts) = rollouts.clone() {
            let stopping = stop.clone();
            starting.spawn_leading(async move { rollouts.run(stopping).await });
        }
        let (running, stopping) = (engine.clone(), stop.clone());
        tasks.spawn(async move { running.run(stopping).await });
        let (cluster, past) = (options.cluster, ledger);
        Ok(Self {
            home,
            reign,
            store,
            clock,
            cluster,
            gates,
            overrides,
            past,
            windows,
            prober: resident,
            archive,
            _passing: passing,
            rules,
            directory,
            engine,
            rollouts,
            tasks,
            stop,
        })
    }

    /// Adds everybody's metrics.
    fn register(&self, registry: &mut Registry) {
        self.home.register(registry);
        self.engine.register(registry);
        if let Some(rollouts) = &self.rollouts {
            rollouts.register(registry);
        }
        self.prober.board.register(registry);
        if let Some(archive) = &self.archive {
            archive.metrics().register(registry);
        }
        self.windows.register(registry);
        if let Some(directory) = &self.directory {
            directory.register(registry);
        }
    }

    /// Where resources and runs are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Every gate.
    #[must_use]
    pub fn gates(&self) -> &Cache<Gate> {
        &self.gates
    }

    /// Who answers questions.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends everything and waits for it: open runs are let go of, what was written is closed.
    pub async fn stop(self) {
        self.prober.board.close_history().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.reign.end().await;
    }

    /// Waits until this replica led and has lost: then the process must end at once, before another
    /// one begins to lead.
    pub async fn lost(&self) -> String {
        self.reign.lost().await
    }
}
