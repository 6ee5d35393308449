//! The module `windows`.
