//! The module `rules`.
