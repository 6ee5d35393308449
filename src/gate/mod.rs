//! The verdict as a state machine without input or output.
//!
//! A [`Plan`] is a gate's spec resolved for one question. A [`Machine`] takes events with the
//! moment at which they arrive, and answers with effects for its driver. It never reads a clock,
//! never waits and never fails: the driver may be a runtime, a simulation or a test.
//!
//! Invariants, which the simulation asserts over seeds (`tests/it/simulation`):
//! - a pass has the passing evidence of every enforced check, gathered at or after the end of the
//!   soak and of the last hold, or names the override or the policy that stood in for it;
//! - a decided machine never changes its verdict and asks for nothing any more;
//! - a failed enforced check blocks at once;
//! - a rollback is held by nothing but a freeze that names rollbacks;
//! - a clock that steps back never brings a pass nearer.

mod check_state;
mod event;
mod judge;
mod machine;
mod plan;
mod status;
#[cfg(test)]
mod tests;

pub use event::{ActiveOverride, Effect, Event, Moment, Standing};
pub use machine::{Machine, Resume};
pub use plan::{DEFAULT_INTERVAL, DEFAULT_RETRY_AFTER, Plan, PlannedCheck};
