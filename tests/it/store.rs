//! The store: what every home promises, and what the embedded one does when its disk misbehaves.

mod bodies;
mod contract;
mod faults;
mod home;
mod kill;
mod limits;
mod model;
mod residents;
mod retention;
