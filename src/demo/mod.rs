//! The module `demo`.
