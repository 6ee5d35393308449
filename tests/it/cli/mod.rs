//! The command line as its users meet it: the real binary, its exit codes, its two outputs.

mod asking;
mod exhausted;
mod probing;
mod records;
mod resident;
mod serving;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::SignedDuration;
use probegate::clock::{Clock, SystemClock};

/// The real binary, in an environment that says nothing.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probegate"));
    for name in ["PROBEGATE_SERVER", "PROBEGATE_TOKEN", "PROBEGATE_LOG", "NO_COLOR", "CI", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("USER", "ada").args(arguments);
    command
}

/// What a run of the binary ended with.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

pub fn probegate(arguments: &[&str]) -> Ran {
    command(arguments).output().expect("the binary runs").into()
}

/// Gates that pass, block and wait, each by what it is called.
const GATES: &str = r#"
apiVersion: probegate.io/v1alpha1
kind: Gate
metadata: {name: passes, namespace: shop}
spec:
  target: {names: [web]}
  pre: {checks: [{name: window, window: {}}]}
  post: {soak: 1s, checks: [{name: window, window: {}}]}
---
apiVersion: probegate.io/v1alpha1
kind: Gate
metadata: {name: blocks, namespace: shop}
spec:
  target: {names: [web]}
  pre:
    checks:
    - {name: window, window: {}}
    - {name: never, rule: rules/never.rhai}
---
apiVersion: probegate.io/v1alpha1
kind: Gate
metadata: {name: waits, namespace: shop}
spec:
  target: {names: [frozen]}
  pre: {checks: [{name: window, window: {}}]}
---
apiVersion: probegate.io/v1alpha1
kind: ReleaseWindow
metadata: {name: stop-the-line, namespace: shop}
spec:
  type: freeze
  selector: {targets: [frozen]}
  reason: the database moves
  ticket: OPS-1
  owner: storage
  expires: EXPIRES
---
apiVersion: probegate.io/v1alpha1
kind: Probe
metadata: {name: nobody, namespace: shop}
spec:
  tcp: {address: "127.0.0.1:9"}
"#;

/// A directory with the gates.
pub struct Gates {
    home: tempfile::TempDir,
}

impl Gates {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let gates = home.path().join("gates");
        std::fs::create_dir_all(gates.join("rules")).expect("a directory");
        let expires = SystemClock::new().now() + SignedDuration::from_hours(48);
        let text = GATES.replace("EXPIRES", &expires.to_string());
        std::fs::write(gates.join("gates.yaml"), text).expect("a file");
        let rule = r#"fn decide(facts) { block("never on a " + facts.change.action) }"#;
        std::fs::write(gates.join("rules/never.rhai"), rule).expect("a file");
        Self { home }
    }

    pub fn files(&self) -> String {
        self.home.path().join("gates").display().to_string()
    }

    pub fn data(&self) -> String {
        self.home.path().join("data").display().to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.files()).join(name)
    }
}
