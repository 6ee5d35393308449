//! Files and the environment: YAML with positions, checked against the schemas, and the config
//! directory that is followed while the server runs.
//!
//! A document goes through four hands: `tree` (YAML with the place of every key and value, under
//! limits), `walk` (the schema of its kind, everything wrong and not only the first), the types of
//! `api`, and `judge` (how the resources fit together).

mod apply;
pub mod blackbox;
mod cel;
mod diagnostic;
mod directory;
mod discover;
mod document;
mod env;
mod fingerprint;
mod health;
mod judge;
mod load;
mod reload;
mod scalar;
mod shape;
mod tree;
mod values;
mod walk;
mod watcher;

pub use diagnostic::{Diagnostic, Position, Severity, nearest};
pub use directory::{Directory, Following, Scripts};
pub use discover::{Found, MAX_DIRECTORY_DEPTH, MAX_ENTRIES, MAX_FILES, NO_RULES_IN, PathError};
pub use document::Sourced;
pub use env::{env, env_flag, env_path};
pub use health::Health;
pub use judge::{Judgement, judge};
pub use load::{Loaded, MAX_SCRIPT_BYTES, load, load_with};
pub use tree::{Content, Key, MAX_ALIASES, MAX_DEPTH, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_NODES, Node};
