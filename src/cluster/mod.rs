//! The connection to a Kubernetes cluster, and what every call over it has in common.
//!
//! A time-out on every call ([`guard`]), a name for every failure ([`ApiError`]), pauses between
//! attempts ([`Backoff`]), and which objects of the cluster are ours ([`Scope`]). It knows none of
//! the program's resources: the store's other home and the operator stand on it.

mod backoff;
mod connect;
mod error;
mod guard;
mod metrics;
mod scope;

pub use backoff::Backoff;
pub use connect::{ConnectError, ConnectOptions, Connection};
pub use error::{ApiError, Call, Named};
pub use guard::{CALL_TIMEOUT, LIST_TIMEOUT, WATCH_IDLE};
pub use metrics::CallMetrics;
pub use scope::{LABEL_INSTANCE, Scope, ScopeError, api_in};
