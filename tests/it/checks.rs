//! Checks that look outward: what they say of real and of misbehaving servers.

mod library;
mod metric;
mod outbound;
mod peers;
mod probes;
mod probing;
mod real;
mod webhook;
mod world;
