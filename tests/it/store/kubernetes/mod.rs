//! The home in a cluster, when its API server is away, slow, strict or confused.

mod cluster;
mod fake;
mod watching;
mod writing;
