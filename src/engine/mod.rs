//! The driver of runs: takes questions, keeps each one's run going, and answers.

mod ask;

pub use ask::{Answer, Ask, AskError, CheckAnswer};
