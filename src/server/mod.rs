//! The gate over HTTP.
//!
//! [`Server`] takes sockets that somebody else has bound and answers until it is told to stop. The
//! main listener has the API (`/v1/…`), the hooks for rollout controllers (`/hooks/…`) and
//! `/openapi.json`; the admin listener has `/livez`, `/readyz` and `/metrics`.
//!
//! Every request passes one guard (`front`): who asks, how much, how fast, how long, and what
//! becomes of trouble. Trouble is a problem document (RFC 9457), except towards controllers that
//! read status codes in their own way: Flagger gets 403, Argo Rollouts 200 with `wait`.

pub mod access;
mod admin;
mod api;
mod app;
mod audit;
mod blackbox;
mod events;
mod front;
mod health;
mod hooks;
mod json;
pub mod limits;
mod listen;
mod metrics;
mod openapi;
mod problem;
mod relay;
mod routes;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use access::{Access, AccessError, Identity, Reviewer, Scope, Wish, require_loopback};
pub use api::check::CheckRequest;
pub use api::overrides::{OverrideList, OverrideRequest};
pub use api::probes::{
    PastFailure, PastLatency, PastStep, PastSummary, PastTurn, PastWindow, ProbeDetail, ProbeHistory, ProbeList,
    ProbeRun, ProbeRuns, ProbeSummary, ProbeTarget, TargetCounts, TargetHistory,
};
pub use api::runs::{CancelRequest, RunList, RunSummary};
pub use api::windows::{WindowExplanation, WindowList, WindowSummary};
pub use audit::TARGET as AUDIT_TARGET;
pub use health::{Health, HealthDetail, SourceDetail, Standing};
pub use hooks::argo::{ArgoAnswer, ArgoPayload, ArgoVerdict};
pub use hooks::flagger::FlaggerPayload;
pub use metrics::Metrics;
pub use openapi::value as openapi;
pub use problem::{Kind as ProblemKind, Problem};
pub use relay::Relay;
pub use routes::routes;
pub use tls::{Tls, TlsError};

use crate::api::{Override, Probe};
use crate::clock::Clock;
use crate::engine::Ask;
use crate::probes::{Board, ProbeView, Tools, as_written};
use crate::store::{Cache, Ledger, Store};
use crate::windows::Compiled;
use problem::Kind;

/// The windows as they stand now, such as `Arc::new(move || book.current())`.
pub type WindowsNow = Arc<dyn Fn() -> Arc<Vec<Arc<Compiled>>> + Send + Sync>;

/// What the server needs of the probes.
#[derive(Clone)]
pub struct Prober {
    /// How they stand, their past, and runs by hand.
    pub board: Board,
    /// The probes themselves: some of them are modules of `/probe`.
    pub modules: Cache<Probe>,
    /// What rounds for `/probe` are made with.
    pub tools: Tools,
}

impl Prober {
    /// Whether this process probes: of several replicas only the one that leads.
    fn is_here(&self) -> bool {
        self.board.synced()
    }

    /// How every probe stands: as it is seen here, or as another replica has written it.
    fn all(&self) -> Vec<ProbeView> {
        if self.is_here() {
            return self.board.all();
        }
        self.modules.all().iter().map(|probe| as_written(probe)).collect()
    }

    /// How one probe stands.
    fn get(&self, namespace: &str, name: &str) -> Option<ProbeView> {
        if self.is_here() {
            return self.board.get(namespace, name);
        }
        self.modules.get(namespace, name).map(|probe| as_written(&probe))
    }

    /// What only the replica knows that probes.
    ///
    /// # Errors
    /// That is another one.
    fn here(&self) -> Result<&Board, Problem> {
        if self.is_here() {
            return Ok(&self.board);
        }
        Err(Problem::new(
            Kind::Unavailable,
            "another replica leads, and it alone makes rounds and knows the past: ask again",
        ))
    }
}

/// What the server stands on.
#[derive(Clone)]
pub struct Deps {
    /// Where the resources are.
    pub store: Arc<dyn Store>,
    /// Who answers questions.
    pub ask: Arc<dyn Ask>,
    /// The windows.
    pub windows: WindowsNow,
    /// What has happened lately, for windows that count changes.
    pub past: Ledger,
    /// Every override.
    pub overrides: Cache<Override>,
    /// The probes.
    pub probes: Prober,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who may do what.
    pub access: Access,
    /// What `/readyz` asks.
    pub health: Health,
    /// What the server counts; register it before the registry is shared.
    pub metrics: Metrics,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// The cluster of changes that name none: the same as the engine's.
    pub cluster: Option<String>,
    /// The way to the replica that leads, where there are several.
    pub relay: Option<Arc<dyn Relay>>,
}

/// The sockets, bound by the caller.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For questions.
    pub main: Vec<TcpListener>,
    /// For kubelet and Prometheus: never with TLS or tokens.
    pub admin: Option<TcpListener>,
    /// The certificate of the main listeners; without one they speak plain HTTP.
    pub tls: Option<Tls>,
}

/// The gate over HTTP.
pub struct Server {
    deps: Deps,
}

/// The admin listener's service.
#[derive(Clone)]
struct AdminService(axum::Router);

impl listen::Respond for AdminService {
    async fn respond(&self, request: Request<Body>, _: SocketAddr) -> Response {
        let answered: Result<Response, std::convert::Infallible> = self.0.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

impl Server {
    /// A server that listens nowhere yet.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self { deps }
    }

    /// Answers until `shutdown`. Then `/readyz` turns false at once, waiting callers are answered
    /// with what is known, requests under way end within [`limits::DRAIN_LIMIT`], and the rest is
    /// cut; the admin listener goes last. Dropping the future ends everything at once: that is what
    /// a second signal is for.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub async fn run(self, listeners: Listeners, shutdown: CancellationToken) -> Result<(), TlsError> {
        let acceptor = listeners.tls.as_ref().map(Tls::acceptor).transpose()?;
        let (deps, stop, stop_admin) = (self.deps, shutdown.child_token(), CancellationToken::new());
        let app = Arc::new(app::App::new(deps.clone(), stop.clone()));
        let front = front::Front { router: routes::router(Arc::clone(&app)) };
        let admin = AdminService(admin::router(deps.health.clone(), Arc::clone(&deps.registry)));
        let main = listeners.main.into_iter().map(|listener| {
            listen::serve(listener, acceptor.clone(), front.clone(), deps.metrics.clone(), stop.clone())
        });
        let main = async {
            futures::future::join_all(main).await;
            stop_admin.cancel();
        };
        let admin_listener = async {
            if let Some(listener) = listeners.admin {
                listen::serve(listener, None, admin, deps.metrics.clone(), stop_admin.clone()).await;
            }
        };
        let unready = async {
            stop.cancelled().await;
            deps.health.stop();
        };
        let certificate = async {
            if let Some(tls) = &listeners.tls {
                tls.follow(&deps.metrics, stop.clone()).await;
            }
        };
        let tokens = deps.access.follow(&deps.metrics, stop.clone());
        let news = watch::follow(Arc::clone(&app), stop.clone());
        tokio::join!(unready, main, admin_listener, certificate, tokens, news);
        Ok(())
    }
}
