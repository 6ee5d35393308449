//! The demo: two real services, a gate from files that the reader can open, and three changes that
//! go through it over HTTP like everybody's.

mod files;
mod probes;
mod report;
mod service;
mod story;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use url::Url;

pub use report::{Event, Evidence, Report, Stage, Step};
pub use service::{Faults, Shop};

use crate::app::{App, AppError, Home, Options, Serving};
use crate::client::{Address, Client, ClientError};
use crate::outbound::{ClientOptions, Outbound, OutboundError, Secrets};

/// Why the demo cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// One of the two services.
    #[error("while starting the {name} service: {why}")]
    Service {
        /// Which.
        name: &'static str,
        /// The cause.
        why: String,
    },
    /// One of the files.
    #[error("while writing {}: {why}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The program under the demo.
    #[error(transparent)]
    App(#[from] AppError),
    /// A client cannot be made.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The server gave no answer.
    #[error("while asking the gate: {0}")]
    Ask(#[from] ClientError),
}

/// The demo on its stage: everything runs and nothing has been asked yet.
pub struct Demo {
    stage: Stage,
    cast: story::Cast,
    app: App,
    server: tokio::task::JoinHandle<Result<(), AppError>>,
    stop: CancellationToken,
}

impl Demo {
    /// Starts the two services, writes the files below `directory`, and serves the gate over them on
    /// a free port of the loopback address. Everything ends with `stop`.
    ///
    /// # Errors
    /// Whatever cannot be started or written.
    pub async fn start(directory: PathBuf, stop: CancellationToken) -> Result<Self, DemoError> {
        let client = Outbound::new(Secrets::new(None)).client(&ClientOptions::default()).await?;
        let baseline = Shop::open("baseline", story::STABLE, client.clone(), stop.clone()).await?;
        let canary = Shop::open("canary", story::STABLE, client, stop.clone()).await?;
        let clock = crate::clock::SystemClock::new();
        let facts =
            files::Facts { baseline: baseline.url(), canary: canary.url(), now: crate::clock::Clock::now(&clock) };
        files::write(&directory, &facts).await?;

        let options = Options {
            home: Home::Directory(directory.join("data")),
            files: vec![directory.join("gates")],
            follow: true,
            cluster: None,
            prometheus: None,
            secrets: None,
            probing: crate::app::Limits::default(),
        };
        let app = App::start(options, stop.clone()).await?;
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = app.bind(Serving { listen: vec![here], admin: Some(here), ..Serving::default() }).await?;
        let url = |address: Option<SocketAddr>| {
            let text = address.map_or_else(String::new, |address| format!("http://{address}/"));
            Url::parse(&text).map_err(|error| DemoError::Service { name: "gate", why: error.to_string() })
        };
        let (server, admin) = (url(bound.main.first().copied())?, url(bound.admin)?);
        let stage = Stage {
            files: directory.join("gates").display().to_string(),
            server: server.to_string(),
            admin: admin.to_string(),
            baseline: baseline.url().to_string(),
            canary: canary.url().to_string(),
        };
        let client = Client::new(Address { url: server, token: None, ca_file: None }).await?;
        let server = tokio::spawn(bound.run());
        Ok(Self { stage, cast: story::Cast { client, canary }, app, server, stop })
    }

    /// Where everything is.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Takes the three changes through the gate; every event goes to `tell` as it happens.
    ///
    /// # Errors
    /// The gate cannot be asked.
    pub async fn play(&self, tell: &mut (dyn FnMut(Event) + Send)) -> Result<Report, DemoError> {
        let started = tokio::time::Instant::now();
        let since = crate::clock::Clock::now(&crate::clock::SystemClock::new());
        let steps = story::play(&self.cast, tell).await?;
        let probes = probes::look(&self.cast.client, since).await?;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Report { stage: self.stage.clone(), steps, probes, took_ms })
    }

    /// Ends everything.
    ///
    /// # Errors
    /// The server has ended with an error.
    pub async fn end(self) -> Result<(), DemoError> {
        self.stop.cancel();
        if let Ok(served) = self.server.await {
            served?;
        }
        self.app.stop().await;
        Ok(())
    }
}
