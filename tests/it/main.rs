//! The integration tests: one binary, a module per story.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checks;
mod cli;
mod demo;
mod engine;
mod files;
mod house;
mod rules;
mod server;
mod store;
mod windows;
