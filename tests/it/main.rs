//! The integration tests: one binary, a module per story.

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
