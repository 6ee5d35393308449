//! Rollouts that a gate stands in front of: watched, held, let on, and put back.
//!
//! [`decide`] is a pure function of what an [`Adapter`](adapter::Adapter) reads and what the gates
//! answer; it remembers nothing but what stands in the cluster. The rest of the module gives it
//! watches and carries out what it says.

pub mod adapter;
pub mod decide;
pub mod kruise;
pub mod observation;
pub mod record;

mod act;
mod driver;
mod gates;
mod look;
mod metrics;
mod orphans;
mod queue;
mod standing;
mod watch;

pub use driver::{Parts, Rollouts};
pub use standing::{LETS_OUT_UNGATED, ROLLOUT_HELD};
