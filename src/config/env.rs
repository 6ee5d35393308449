//! The one reader of the environment.

use std::path::PathBuf;

/// A variable's value; `None` where it is not set, empty, or not UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable's value as a path.
#[must_use]
pub fn env_path(name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from)
}

/// Whether a variable switches something on: `1`, `true`, `yes` or `on`.
#[must_use]
pub fn env_flag(name: &str) -> bool {
    env(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}
