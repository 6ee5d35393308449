//! The module `probes`.
