//! The driver of runs: takes questions, keeps each one's run going, and answers.
//!
//! The machine of `gate` decides; this module gives it clocks, checks and a store. A verdict is
//! answered only once the store has acknowledged it. Whatever goes wrong on our own side is a
//! `wait`.

mod adopt;
mod answer;
mod ask;
mod attempt;
mod commit;
mod drive;
mod executor;
mod lead;
mod lookup;
mod metrics;
mod onlooker;
mod open;
mod record;
mod service;

pub use ask::{Answer, Ask, AskError, CheckAnswer};
pub use lead::Lead;
pub use service::{Engine, Parts};
