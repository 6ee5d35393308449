//! The module `server`.
