//! The resident prober: threads, seats, records, and the board where everybody reads.

mod ask;
mod board;
mod cell;
mod collector;
mod engine;
mod entry;
mod events;
mod expand;
mod limits;
mod look;
mod metrics;
mod past;
mod record;
mod round;
mod seats;
mod status;
mod worker;

pub use ask::RunError;
pub use board::Board;
pub use cell::Made;
pub use engine::{Engine, Options};
pub use entry::Away;
pub use events::Transition;
pub use expand::{ExpandError, expand};
pub use limits::Limits;
pub use past::{History, Step, TargetPast};
pub use seats::Maintenances;
