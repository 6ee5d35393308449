//! Where resources are kept, opened: in memory, in a directory, in a cluster.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::AppError;
use crate::api::Gate;
use crate::clock::Clock;
use crate::cluster::{ConnectOptions, Connection, Scope};
use crate::engine::{Ask, Lead};
use crate::operator::{Candidate, ClusterVault, Ended, Places, Rollouts, publish_events, rollouts};
use crate::outbound::Secrets;
use crate::store::Retention;
use crate::store::kubernetes::KubernetesStore;
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Cache, Paced, Store};

/// The lease of an operator without a name.
pub(super) const LEASE: &str = "probegate";
/// The most statuses that are written to an API server in a second on our own account, those of
/// probes, gates, windows and overrides: an outage that turns a thousand probes must not be one of
/// the API server as well. With the Events about them, ten in a second, they stay below fifty. Runs,
/// approvals and leases do not wait for it.
const STATUSES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(34);

/// Where resources and runs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// In memory: forgotten at the end.
    Memory,
    /// In a directory.
    Directory(PathBuf),
    /// In a Kubernetes cluster.
    Cluster(Box<ClusterHome>),
}

/// A cluster as home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterHome {
    /// Which cluster.
    pub connect: ConnectOptions,
    /// Which of its objects.
    pub scope: Scope,
    /// How this process stands for leadership.
    pub candidacy: Candidacy,
    /// Where the probes' history and copies of calendars are kept; without it they go with the process.
    pub data: Option<PathBuf>,
}

/// How a process stands for leadership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidacy {
    /// Its name, such as the pod's.
    pub identity: Option<String>,
    /// Where the lease is; without it in the namespace of the pod or of the context.
    pub namespace: Option<String>,
}

impl Candidacy {
    fn name(&self) -> String {
        self.identity.clone().unwrap_or_else(|| LEASE.to_owned())
    }
}

impl Home {
    /// Where the history and copies of calendars survive a restart.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Directory(path) => Some(path.clone()),
            Self::Cluster(home) => home.data.clone(),
        }
    }

    /// Where good copies of calendars survive a restart.
    pub(super) fn calendars(&self) -> Option<PathBuf> {
        self.directory().map(|path| path.join("calendars"))
    }
}

/// A home that was opened.
pub(super) enum Kept {
    Embedded(Arc<SqliteStore>),
    Cluster { store: Arc<KubernetesStore>, connection: Connection, home: Box<ClusterHome> },
}

impl Kept {
    pub(super) async fn open(home: Home, clock: &Arc<dyn Clock>) -> Result<Self, AppError> {
        let path = match home {
            Home::Cluster(home) => {
                let connection = Connection::open(home.connect.clone()).await?;
                let store = KubernetesStore::open(&connection, home.scope.clone());
                return Ok(Self::Cluster { store, connection, home });
            }
            Home::Memory => None,
            Home::Directory(path) => Some(path),
        };
        // On a thread that may block: a database is read whole where it was not closed in order.
        let options = sqlite::Options { clock: Arc::clone(clock) };
        let opening = tokio::task::spawn_blocking(move || match path {
            None => SqliteStore::in_memory_with(options),
            Some(path) => SqliteStore::open(&path, options),
        });
        let opened =
            opening.await.map_err(|error| AppError::Task { doing: "opening the store", why: error.to_string() })?;
        Ok(Self::Embedded(opened?))
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Cluster { store, .. } => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// The same store for what keeps statuses current in the background.
    pub(super) fn background(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(_) => self.store(),
            Self::Cluster { .. } => Arc::new(Paced::over(self.store(), STATUSES_PER_SECOND)),
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Embedded(_) => None,
            Self::Cluster { connection, .. } => Some(connection),
        }
    }

    /// The secrets that resources may refer to. In a cluster a directory would be everybody's, whatever
    /// their namespace.
    pub(super) fn secrets(&self, directory: Option<PathBuf>) -> Result<Secrets, AppError> {
        match (self, directory) {
            (Self::Embedded(_), directory) => Ok(Secrets::new(directory)),
            (Self::Cluster { .. }, Some(_)) => Err(AppError::SecretsInCluster),
            (Self::Cluster { connection, .. }, None) => {
                Ok(Secrets::in_cluster(Arc::new(ClusterVault::new(connection.client()))))
            }
        }
    }

    /// Where the workloads stand that gates name.
    pub(super) fn workloads(&self) -> Option<(kube::Client, Scope)> {
        match self {
            Self::Embedded(_) => None,
            Self::Cluster { connection, home, .. } => Some((connection.client(), home.scope.clone())),
        }
    }

    /// Where probes find what stands in the cluster.
    pub(super) fn places(&self) -> Option<Arc<dyn crate::probes::Places>> {
        match self {
            Self::Embedded(_) => None,
            Self::Cluster { connection, home, .. } => Some(Arc::new(Places::new(connection, home.scope.clone()))),
        }
    }

    /// What lets rollouts through in a cluster; it is to be run by the leader.
    pub(super) fn rollouts(&self, gates: Cache<Gate>, ask: Arc<dyn Ask>, clock: Arc<dyn Clock>) -> Option<Rollouts> {
        let Self::Cluster { connection, home, .. } = self else { return None };
        let replica = home.candidacy.name();
        let (client, scope) = (connection.client(), home.scope.clone());
        let store = self.store();
        Some(Rollouts::new(rollouts::Parts { client, scope, gates, ask, store, clock, replica }))
    }

    /// What tells people of news where they look, to be run by the leader.
    pub(super) fn events(&self, clock: Arc<dyn Clock>) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Self::Cluster { connection, home, store } = self else { return None };
        let replica = home.candidacy.name();
        Some(publish_events(connection.client(), Arc::clone(store) as Arc<dyn Store>, clock, replica))
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        match self {
            Self::Embedded(store) => store.metrics().register(registry),
            Self::Cluster { store, connection, .. } => {
                connection.metrics().register(registry);
                store.metrics().register(registry);
            }
        }
    }

    /// Removes old records until `stop`.
    pub(super) async fn forget(self: Arc<Self>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        match self.as_ref() {
            Self::Embedded(store) => Arc::clone(store).forget(Retention::default(), stop).await,
            Self::Cluster { store, .. } => {
                Arc::clone(store).forget(KubernetesStore::retention(), clock, stop).await;
            }
        }
    }
}

/// Whether this process leads, and how it stands for it.
pub(super) struct Reign {
    pub(super) lead: Lead,
    /// Ends the candidacy: the last thing of all, because another one leads at once.
    resign: CancellationToken,
    task: Option<JoinHandle<()>>,
    lost: watch::Receiver<Option<String>>,
    /// Where the others reach this process.
    pub(super) address: watch::Sender<Option<String>>,
    /// Where the leader is reached, where that is another process.
    pub(super) leader: watch::Sender<Option<String>>,
}

impl Reign {
    /// Stands for leadership where the home has several replicas.
    pub(super) fn begin(home: &Kept, clock: &Arc<dyn Clock>) -> Self {
        let resign = CancellationToken::new();
        let (tell, lost) = watch::channel(None);
        let (address, leader) = (watch::Sender::new(None), watch::Sender::new(None));
        let Kept::Cluster { connection, home, .. } = home else {
            return Self { lead: Lead::alone(), resign, task: None, lost, address, leader };
        };
        let (leading, leads) = watch::channel(false);
        let lead = Lead::shared(leads);
        let namespace = home.candidacy.namespace.clone().unwrap_or_else(|| connection.default_namespace().to_owned());
        let candidate = Candidate {
            client: connection.client(),
            namespace,
            lease: home.scope.instance().map_or_else(|| LEASE.to_owned(), |instance| format!("{LEASE}-{instance}")),
            // A container that was restarted is not the leader that it was before.
            identity: format!("{}_{}", home.candidacy.name(), Uuid::now_v7().simple()),
            clock: Arc::clone(clock),
            address: address.subscribe(),
            leader: leader.clone(),
        };
        let stop = resign.clone();
        let task = tokio::spawn(async move {
            if let Ended::Lost(why) = candidate.run(leading, stop).await {
                tell.send_replace(Some(why));
            }
        });
        Self { lead, resign, task: Some(task), lost, address, leader }
    }

    /// Waits until it led and has lost: then the process must end at once, before another one begins.
    pub(super) async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Lets go of the lease.
    pub(super) async fn end(self) {
        self.resign.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}
