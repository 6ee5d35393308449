//! HTTP out: one client, one root store, one guard.
//!
//! Everything that calls another server by HTTP takes its client from [`Outbound`]: it has
//! time-outs, trusts the system's certificates or, where there are none, the compiled-in ones, asks
//! no proxy, follows no redirect unless told to, and goes nowhere that [`Guard`] forbids. Secrets
//! and certificates come from files below one directory, or in a cluster from the Secrets of the
//! namespace that refers to them ([`Secrets`]).

mod body;
mod client;
mod guard;
mod lookup;
mod secrets;
mod tls;

pub use body::{BodyError, read_limited, read_start};
pub use client::{Client, ClientOptions, Outbound, explain, refusal, shown_url};
pub use guard::{Guard, Refused};
pub use lookup::{GuardedLookup, Lookup, LookupError, SystemLookup};
pub use secrets::{MAX_PEM, MAX_SECRET, SecretError, Secrets, Vault, hide};
pub use tls::{
    BadChain, CertificateFacts, Chain, ChainVerifier, Prepared, Purpose, TlsClient, TlsError, TlsOptions, Validity,
    roots, tls_config,
};

/// What other servers know us by.
pub const USER_AGENT: &str = concat!("probegate/", env!("CARGO_PKG_VERSION"));

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// It would go somewhere that is forbidden.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A secret or certificate file is in trouble.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The TLS options make no sense.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client cannot be built.
    #[error("while preparing an HTTP client: {0}")]
    Client(String),
}
