//! Clusters of `tests/cluster`, which needs root and what `tests/setup.sh` has built.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Cluster;
use super::keeper::Keeper;

/// Where the script keeps the state of its clusters.
const STATE: &str = "/tmp/probegate-cluster";
/// How the names of the tests' clusters begin; the process's number follows.
const PREFIX: &str = "it-";

/// One cluster's `tests/cluster/cluster`.
pub struct Script {
    name: String,
    /// Whether the API server writes down who did what.
    audited: bool,
}

impl Script {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cluster")
    }

    /// Runs it with `arguments`, such as `["stop", "apiserver", "KILL"]`.
    ///
    /// # Panics
    /// It fails: with what it has said.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "cluster {}: {}", arguments.join(" "), text(&output.stderr));
        text(&output.stdout)
    }

    fn output(&self, arguments: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new(Self::path());
        command.args(arguments).env("PROBEGATE_CLUSTER_NAME", &self.name);
        if self.audited {
            command.env("PROBEGATE_CLUSTER_AUDIT", "1");
        }
        command.output()
    }
}

/// Starts `control-plane` or `up`.
pub fn start(kind: &str, purpose: &str, audited: bool) -> Result<Cluster, String> {
    end_leftovers();
    let dash = if purpose.is_empty() { "" } else { "-" };
    let script = Script { name: format!("{PREFIX}{}{dash}{purpose}", std::process::id()), audited };
    let down = "PROBEGATE_CLUSTER_NAME=$2 exec \"$1\" down";
    let path = Script::path();
    let keeper = Keeper::start(down, &[&path.to_string_lossy(), &script.name])
        .map_err(|error| format!("while starting a shell: {error}"))?;
    let output = script.output(&[kind]).map_err(|error| format!("while running {}: {error}", path.display()))?;
    if !output.status.success() {
        return Err(format!("{} {kind} says: {}", path.display(), String::from_utf8_lossy(&output.stderr)));
    }
    let state = Path::new(STATE).join(&script.name);
    let read = |file: &str| {
        std::fs::read_to_string(state.join(file)).map_err(|error| format!("while reading {file}: {error}"))
    };
    let launcher = read("launcher.pid")?;
    let network = File::open(format!("/proc/{}/ns/net", launcher.trim()))
        .map_err(|error| format!("while looking for the cluster's network: {error}"))?;
    Ok(Cluster {
        kubeconfig: state.join("admin.kubeconfig"),
        network: Some(network),
        script: Some(script),
        _keeper: Some(keeper),
    })
}

/// Ends clusters of test processes that are gone and were killed together with their keeper.
fn end_leftovers() {
    let Ok(entries) = std::fs::read_dir(STATE) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let process: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !process.is_empty() && !Path::new("/proc").join(&process).exists() {
            let _ = Script { name, audited: false }.output(&["down"]);
        }
    }
}
