//! Checks that look outward: what they say of real and of misbehaving servers.

use crate::probing::servers as real;

mod metric;
mod outbound;
pub mod peers;
mod probes;
mod probing;
mod resident;
mod webhook;
mod world;
