//! Probes: resident black-box checks with a schedule and a state of their own.
//!
//! A kind is a file ([`kinds`] has the table); a round gives an [`Observation`]; a [`machine`]
//! turns rounds into up, degraded, down or unknown; the [`Engine`] makes the rounds on time; the
//! [`Board`] is where everybody else reads.
//!
//! Probes go through the guard of `outbound` like every other call: whoever may write a probe reads
//! its answers in its log lines, so that a probe of a metadata service would hand out credentials.

pub mod aggregate;
mod check;
pub mod exposition;
pub mod history;
pub mod kinds;
pub mod machine;
mod once;
mod places;
mod plan;
mod resident;
mod result;
mod scale;
mod targets;
mod trace;
pub mod usual;
mod view;
mod wire;
mod words;
mod written;

pub use check::{address_field, check};
pub use kinds::{Compiled, SpecError, Tools, compile};
pub use once::{Once, Prepared};
pub use places::Places;
pub use plan::{Plan, plan};
pub use resident::{
    Away, Board, Engine, ExpandError, History, Limits, Made, Maintenances, Options, RunError, Step, TargetPast,
    Transition, expand,
};
pub use result::{Durations, Facts, Failure, Judgement, Line, Log, Observation, Phase, Reason};
pub use targets::{MAX_FILE as MAX_TARGETS_FILE, MAX_TARGETS, bind, own_target};
pub use trace::Trace;
pub use view::{ProbeSelector, ProbeView, Round, TargetView};
pub use written::as_written;
