//! Several replicas of the program in one cluster: who leads, who answers, who may ask.

mod everything;
mod installed;
mod leader;
pub mod program;
mod relay;
mod rights;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::Place;

/// How long anything may take before a test gives up: a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `probegate serve --kubernetes`. Dropping it kills it.
pub struct Replica {
    child: Child,
    /// Where it answers questions.
    pub url: String,
}

impl Replica {
    /// Starts one where the test's API server answers, and waits until it is ready.
    pub fn start(place: &Place, name: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_probegate"))
            .args(["serve", "--kubernetes", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--identity", name, "--advertise", "127.0.0.1"])
            .args(["--namespaces", &place.namespace, "--lease-namespace", &place.namespace])
            .arg("--kubeconfig")
            .arg(&place.kubeconfig)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let mut said = |what: &str| loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen:#?}")).unwrap();
            let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            seen.push(line);
            if told.to_string().contains(what) {
                let url = told.pointer("/fields/url").or_else(|| told.get("url")).and_then(|url| url.as_str());
                break url.unwrap_or_else(|| panic!("no url in {told}")).to_owned();
            }
        };
        let url = said("Ready for questions.");
        said("Ready for probes and scrapes");
        // Nobody else reads what it says: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
