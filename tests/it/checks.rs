//! Checks that look outward: what they say of real and of misbehaving servers.

use crate::probing::servers as real;

mod library;
mod metric;
mod outbound;
pub mod peers;
mod probes;
mod probing;
mod webhook;
mod world;
