//! A command at a terminal that works in a cluster: with the user's own rights, as one that asks and
//! looks on. It starts nothing of its own that would list the whole cluster.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::AppError;
use super::home::LEASE;
use crate::api::{Gate, Override, Resource};
use crate::checks::Table;
use crate::clock::{Clock, SystemClock};
use crate::cluster::{ConnectOptions, Connection, Scope};
use crate::engine::{Engine, Lead, Parts};
use crate::operator::terminal;
use crate::store::kubernetes::KubernetesStore;
use crate::store::{Cache, Store, StoreError};

/// How long the first lists may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where somebody at a terminal wants to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Which cluster.
    pub connect: ConnectOptions,
    /// Which of its namespaces.
    pub within: Within,
    /// Which operator's objects, where a fleet is split over several.
    pub instance: Option<String>,
    /// The namespace that the operator runs in.
    pub operator: String,
}

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Within {
    /// That of the kubeconfig's context.
    Context,
    /// This one.
    One(String),
    /// All of them.
    All,
}

/// A cluster, from a terminal.
pub struct Terminal {
    connection: Connection,
    kept: Arc<KubernetesStore>,
    store: Arc<dyn Store>,
    namespace: String,
    instance: Option<String>,
    operator: String,
    gates: Cache<Gate>,
    overrides: Cache<Override>,
    /// What reads the two; polled once somebody asks a question.
    follow: Mutex<Option<BoxFuture<'static, ()>>>,
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Whether this process leads: it never does.
    _never: watch::Sender<bool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Terminal {
    /// Connects. Nothing is read yet.
    ///
    /// # Errors
    /// There is no such cluster, or what was named is no namespace.
    pub async fn open(whereabouts: Whereabouts) -> Result<Self, AppError> {
        let Whereabouts { connect, within, instance, operator } = whereabouts;
        let connection = Connection::open(connect).await?;
        let namespace = match &within {
            Within::One(namespace) => namespace.clone(),
            Within::Context | Within::All => connection.default_namespace().to_owned(),
        };
        let places = (within != Within::All).then(|| namespace.clone());
        let kept = KubernetesStore::open(&connection, Scope::new(places, instance.clone())?);
        let store = Arc::clone(&kept) as Arc<dyn Store>;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (gates, follow_gates) = Cache::<Gate>::follow(Arc::clone(&store));
        let (overrides, follow_overrides) = Cache::<Override>::follow(Arc::clone(&store));
        let follow = async move {
            tokio::join!(follow_gates, follow_overrides);
        }
        .boxed();
        let (never, leads) = watch::channel(false);
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            gates: gates.clone(),
            overrides: overrides.clone(),
            // Nothing is checked here.
            table: Table::default(),
            clock: Arc::clone(&clock),
            cluster: None,
            lead: Lead::shared(leads),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (looking, stopping) = (engine.clone(), stop.clone());
        tasks.spawn(async move { looking.look_now_and_then(stopping).await });
        let follow = Mutex::new(Some(follow));
        Ok(Self {
            connection,
            kept,
            store,
            namespace,
            instance,
            operator,
            gates,
            overrides,
            follow,
            engine,
            clock,
            _never: never,
            tasks,
            stop,
        })
    }

    /// The resources, as far as the user may see them.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Who asks and looks on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The namespace of what is named without one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The namespace that the operator runs in, as far as the user has said.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Reads the gates of a question and the overrides on it, and gives the gates.
    ///
    /// # Errors
    /// The user may not, the definitions are not there, or the API server is away.
    pub async fn gates(&self) -> Result<Cache<Gate>, AppError> {
        self.readable(Gate::KIND).await?;
        self.readable(Override::KIND).await?;
        let follow = self.follow.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(follow) = follow {
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = follow => {}
                }
            });
        }
        let both = async { tokio::join!(self.gates.wait_synced(), self.overrides.wait_synced()) };
        tokio::time::timeout(PATIENCE, both).await.map_err(|_| {
            AppError::Cluster(StoreError::Unavailable {
                doing: "reading gates and overrides".to_owned(),
                why: format!("the API server has not listed them within {PATIENCE:?}"),
            })
        })?;
        Ok(self.gates.clone())
    }

    /// Whether resources of a kind can be listed.
    ///
    /// # Errors
    /// Why not.
    pub async fn readable(&self, kind: &'static str) -> Result<(), AppError> {
        self.kept.readable(kind).await.map_err(AppError::Cluster)
    }

    /// Who the cluster takes the user for; nobody where it cannot tell.
    pub async fn user(&self) -> Option<String> {
        terminal::myself(&self.connection.client()).await.ok().filter(|name| !name.is_empty())
    }

    /// Makes sure that the user may do something in a namespace: who may not is told at once, and not
    /// after some waiting.
    ///
    /// # Errors
    /// They may not, with the role that would let them.
    pub async fn require(
        &self,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
        role: &'static str,
    ) -> Result<(), AppError> {
        // Who cannot be told beforehand finds out.
        match terminal::may_i(&self.connection.client(), verb, resource, namespace).await {
            Ok(true) | Err(_) => Ok(()),
            Ok(false) => Err(AppError::Denied { verb, resource, namespace: namespace.to_owned(), role }),
        }
    }

    /// Why no operator leads, where that can be seen.
    pub async fn leaderless(&self) -> Option<String> {
        let lease = self.instance.as_ref().map_or_else(|| LEASE.to_owned(), |instance| format!("{LEASE}-{instance}"));
        terminal::leaderless(&self.connection.client(), &self.operator, &lease, self.clock.now()).await
    }

    /// Lets go of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
