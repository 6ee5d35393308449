//! The integration tests: one binary, a module per story.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may fail loudly, its helpers too; clippy knows only the functions marked as tests"
)]

mod checks;
mod cli;
#[allow(dead_code, reason = "what one story does not use yet, another does")]
mod cluster;
mod demo;
mod engine;
mod faults;
mod files;
mod house;
mod kill;
mod probing;
mod replicas;
mod rollouts;
mod rules;
mod server;
mod simulation;
mod standing;
mod store;
mod terminal;
mod windows;
