//! The store: what every home promises, what the embedded one does when its disk misbehaves, and
//! what the one in a cluster does when its API server does.

mod bodies;
mod contract;
mod faults;
mod home;
mod kill;
mod kubernetes;
mod limits;
mod model;
mod renamed;
mod residents;
mod retention;
