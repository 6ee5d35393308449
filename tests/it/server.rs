//! The gate over HTTP: requests as callers send them, answers as they read them.

mod access;
mod argo;
mod blackbox;
mod events;
mod flagger;
mod limits;
mod manifests;
mod openapi;
mod overrides;
mod probes;
mod questions;
mod records;
mod schema;
mod shutdown;
mod tls;
pub mod world;
