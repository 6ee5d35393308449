//! What is allowed, as tables; every exception carries its reason.

/// The most lines of a source file, its test module not counted.
pub const MAX_LINES: usize = 400;
/// The most lines of `src/main.rs`.
pub const MAX_MAIN_LINES: usize = 40;

/// Files that may be longer, up to how many lines, and why.
pub const LENGTHS: &[(&str, usize, &str)] = &[
    ("src/api/gate.rs", 520, "one resource is read on one page, as its users read it"),
    ("src/calendars/book.rs", 460, "one follower's states and their transitions, which make sense together only"),
    ("src/windows/series.rs", 460, "one row of periods for each kind of schedule, computed alike"),
];

/// Which top-level modules each top-level module may import; its own is always allowed.
///
/// From the bottom to the rim: words, resources; pure decisions; the store's interface; what the
/// engine stands on; adapters, which do not know each other; the composition; the command line.
pub const IMPORTS: &[(&str, &[&str])] = &[
    // Words and values. They stand on nothing of ours.
    ("model", &[]),
    ("clock", &[]),
    ("telemetry", &[]),
    // Resources.
    ("api", &["model"]),
    // Decisions: pure.
    ("windows", &["model", "api"]),
    ("rules", &["model", "api"]),
    ("gate", &["model", "api"]),
    // Interfaces and what implements them.
    ("cluster", &["model", "api", "clock"]),
    ("store", &["model", "api", "clock", "cluster"]),
    // What checks look at. Every call out goes through `outbound`.
    ("outbound", &["model", "api", "clock"]),
    ("calendars", &["model", "api", "windows", "store", "clock", "outbound"]),
    ("probes", &["model", "api", "rules", "store", "clock", "outbound"]),
    // The kinds of checks, and the driver of runs, which knows their interface alone.
    ("checks", &["model", "api", "windows", "rules", "store", "clock", "outbound", "calendars", "probes"]),
    ("engine", &["model", "api", "gate", "store", "checks", "clock"]),
    // What only a cluster has.
    (
        "operator",
        &[
            "model",
            "api",
            "windows",
            "gate",
            "store",
            "checks",
            "engine",
            "clock",
            "cluster",
            "calendars",
            "probes",
            "outbound",
        ],
    ),
    // Adapters: they do not know each other.
    ("config", &["model", "api", "windows", "rules", "gate", "store", "checks", "clock", "probes"]),
    ("server", &["model", "api", "windows", "engine", "store", "clock", "probes"]),
    ("client", &["model", "engine", "outbound"]),
    // The composition root, and who stands on it.
    (
        "app",
        &[
            "model",
            "api",
            "windows",
            "rules",
            "gate",
            "store",
            "checks",
            "engine",
            "clock",
            "cluster",
            "telemetry",
            "outbound",
            "calendars",
            "probes",
            "config",
            "server",
            "operator",
        ],
    ),
    ("demo", &["model", "engine", "clock", "outbound", "client", "app"]),
    (
        "cli",
        &[
            "model",
            "api",
            "windows",
            "rules",
            "gate",
            "store",
            "checks",
            "engine",
            "clock",
            "cluster",
            "telemetry",
            "outbound",
            "calendars",
            "probes",
            "config",
            "server",
            "client",
            "app",
            "demo",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Modules that decide: no input, no output, no clock, no runtime.
pub const PURE: &[&str] = &["model", "api", "windows", "rules", "gate"];

/// What pure modules do not touch.
pub const IMPURE: &[&str] = &[
    "tokio::",
    "futures::",
    "async ",
    ".await",
    "std::fs",
    "std::net",
    "std::io",
    "std::process",
    "std::thread",
    "reqwest",
    "hyper",
    "axum",
    "rusqlite",
    "prometheus",
    "tracing::",
];

/// Exceptions to [`IMPURE`]: the file, the word, and why.
pub const IMPURE_IN: &[(&str, &str, &str)] = &[(
    "src/rules/sandbox.rs",
    "std::thread",
    "a script is evaluated on a stack of its own, so that none can end the process",
)];

/// What only one module may say, and why.
pub const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "config",
        &["env::var", "env::set_var", "env::remove_var", "env::current_dir", "env::temp_dir", "env::home_dir"],
        "only `config` reads the environment",
    ),
    ("clock", &["Timestamp::now", "Zoned::now", "SystemTime::now"], "only `clock` reads the wall clock"),
    ("store", &["rusqlite"], "only the store's embedded home knows its database (and the probes' history its own)"),
    ("server", &["axum::serve", "axum::Router"], "only `server` speaks HTTP to callers (and the demo's two services)"),
    (
        "cluster",
        &["kube::Client", "kube::Api", "kube::api"],
        "only `cluster`, the store's home in a cluster and the operator speak to an API server",
    ),
    ("outbound", &["reqwest::Client::builder", "reqwest::ClientBuilder"], "every call out goes through `outbound`"),
];

/// Exceptions to [`ONLY_IN`]: the file, the words, and why.
pub const ALSO_IN: &[(&str, &str, &str)] = &[
    ("src/store/kubernetes/", "kube::", "the store's home in a cluster stands on the connection"),
    ("src/operator/", "kube::", "the operator stands on the connection"),
    ("src/app/", "kube::Client", "the composition hands the connection on"),
    ("src/demo/", "axum::", "the demo's two services are HTTP servers of their own"),
    (
        "src/probes/history/sqlite/",
        "rusqlite",
        "the probes' history is a database of its own: no verdict needs it, and it must never stop the store",
    ),
];
