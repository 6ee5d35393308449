//! The store: what every home promises, and what the embedded one does when its disk misbehaves.

mod contract;
mod home;
