//! Probegate: the check that a rollout must pass before and after every batch.
//!
//! ARCHITECTURE.md has the map. Decisions are pure and stand at the bottom (`model`, `api`,
//! `windows`, `rules`, `gate`); input and output stand at the rim.

pub mod api;
pub mod app;
pub mod calendars;
pub mod checks;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod engine;
pub mod gate;
pub mod model;
pub mod operator;
pub mod outbound;
pub mod probes;
pub mod rules;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod windows;
