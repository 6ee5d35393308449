//! The operator: the standing of resources kept written, one leader among several replicas, rollouts
//! that are let through batch by batch.

mod leader;
pub mod standing;

pub use leader::{Candidate, Ended};
pub use standing::Standings;
