//! The operator: the standing of resources kept written, one leader among several replicas, rollouts
//! that are let through batch by batch.

mod access;
mod asked;
mod events;
mod leader;
mod places;
pub mod rollouts;
mod secrets;
pub mod standing;
pub mod terminal;

pub use access::{Deed, Reviews, User};
pub use asked::run_when_asked;
pub use events::publish as publish_events;
pub use leader::{Candidate, Ended};
pub use places::Places;
pub use rollouts::Rollouts;
pub use secrets::ClusterVault;
pub use standing::Standings;
