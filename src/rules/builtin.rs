//! The ready-made rules, compiled into the program.

/// The files of the folder `rules` in this package; a test holds the list against the folder.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$((concat!("rules/", $name), include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/rules/", $name)))),+]
    };
}

/// Path and text of every ready-made rule.
pub(super) static BUILTIN: &[(&str, &str)] = files![
    "budget.rhai",
    "business-hours.rhai",
    "circuit-breaker.rhai",
    "friday-afternoon.rhai",
    "holidays.rhai",
    "in-flight.rhai",
    "large-batches.rhai",
    "passed-first.rhai",
    "weekend.rhai",
];

/// Path and text of the examples of every ready-made rule.
pub(super) static EXAMPLES: &[(&str, &str)] = files![
    "budget.examples.yaml",
    "business-hours.examples.yaml",
    "circuit-breaker.examples.yaml",
    "friday-afternoon.examples.yaml",
    "holidays.examples.yaml",
    "in-flight.examples.yaml",
    "large-batches.examples.yaml",
    "passed-first.examples.yaml",
    "weekend.examples.yaml",
];
