//! `probegate serve --kubernetes` as a node's kubelet runs it: started again whenever it ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, TICK};

/// The pause before it is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// A program that is kept running. Dropping it ends it for good.
pub struct Program {
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    /// The process, 0 while there is none.
    process: AtomicU32,
    starts: AtomicU32,
    ending: AtomicBool,
    lines: Mutex<Vec<Value>>,
    url: Mutex<Option<String>>,
    admin: Mutex<Option<String>>,
}

impl Program {
    /// Starts it where the API server of `kubeconfig` answers; `namespaces` are those that it looks at,
    /// and the first one has its lease.
    pub fn start(kubeconfig: &Path, namespaces: &[&str], name: &str) -> Self {
        Self::start_with(kubeconfig, namespaces, name, Vec::new())
    }

    /// The same, with more in its environment.
    pub fn start_with(
        kubeconfig: &Path,
        namespaces: &[&str],
        name: &str,
        environment: Vec<(&'static str, PathBuf)>,
    ) -> Self {
        let words = ["serve", "--kubernetes", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
        let own = ["--log-format", "json", "--identity", name, "--lease-namespace", namespaces[0], "--namespaces"];
        arguments.extend(own.map(str::to_owned));
        arguments.push(namespaces.join(","));
        let shared =
            Arc::new(Shared { arguments, kubeconfig: kubeconfig.to_owned(), environment, ..Shared::default() });
        let kept = Arc::clone(&shared);
        let supervisor = std::thread::spawn(move || kept.keep());
        Self { shared, supervisor: Some(supervisor) }
    }

    /// Where it answers questions, once it does.
    pub fn url(&self) -> Option<String> {
        self.shared.url.lock().unwrap().clone()
    }

    /// What it answers at a path of health and metrics: status and text.
    pub async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let url = self.shared.admin.lock().unwrap().clone()?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let answer = client.get(format!("{url}{path}")).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// Waits until it may be asked.
    pub async fn until_ready(&self) {
        let (begun, mut last) = (tokio::time::Instant::now(), None);
        while last.as_ref().is_none_or(|(status, _)| *status != 200) {
            assert!(begun.elapsed() < PATIENCE, "never ready: {last:?}\n{}", self.said());
            tokio::time::sleep(TICK).await;
            last = self.admin("/readyz").await;
        }
    }

    /// Whether it may not be asked, for this reason.
    pub async fn is_unready_because(&self, why: &str) -> bool {
        self.admin("/readyz").await.is_some_and(|(status, text)| status == 503 && text.contains(why))
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.shared.starts.load(Ordering::SeqCst)
    }

    /// Kills it at once; it is started again.
    pub fn kill(&self) {
        self.shared.kill();
    }

    /// Whether it has said this, at any level.
    pub fn has_said(&self, what: &str) -> bool {
        self.shared.lines.lock().unwrap().iter().any(|line| line.to_string().contains(what))
    }

    /// Everything that it has said.
    pub fn everything(&self) -> String {
        self.shared.lines.lock().unwrap().iter().map(|line| line.to_string() + "\n").collect()
    }

    /// Its warnings and errors, for a test that fails.
    pub fn said(&self) -> String {
        let lines = self.shared.lines.lock().unwrap();
        let loud = lines.iter().filter(|line| is_loud(line));
        loud.map(|line| line.to_string() + "\n").collect()
    }

    /// How many lines of warning and error there are so far.
    pub fn loud_lines(&self) -> usize {
        self.shared.lines.lock().unwrap().iter().filter(|line| is_loud(line)).count()
    }

    /// The loudest message since line number `from`: how often it was said, and what it is. What is said
    /// for each question that is asked is left out.
    pub fn most_repeated(&self, from: usize) -> (usize, String) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.shared.lines.lock().unwrap().iter().filter(|line| is_loud(line)).skip(from) {
            let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let message = format!("{}{}", text("/fields/message"), text("/message"));
            if !message.contains("of a question") && !message.contains("about a caller") {
                let kind = format!("{}{}", text("/fields/kind"), text("/kind"));
                *counts.entry(format!("{message} {kind}")).or_default() += 1;
            }
        }
        counts.into_iter().map(|(message, count)| (count, message)).max().unwrap_or_default()
    }
}

fn is_loud(line: &Value) -> bool {
    matches!(line["level"].as_str(), Some("WARN" | "ERROR"))
}

impl Shared {
    fn keep(&self) {
        while !self.ending.load(Ordering::SeqCst) {
            let mut child = Command::new(env!("CARGO_BIN_EXE_probegate"))
                .args(&self.arguments)
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .envs(self.environment.iter().map(|(name, value)| (name, value)))
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            self.process.store(child.id(), Ordering::SeqCst);
            self.starts.fetch_add(1, Ordering::SeqCst);
            // It may have been ended in between.
            if self.ending.load(Ordering::SeqCst) {
                let _ = child.kill();
            }
            self.read(&mut child);
            self.process.store(0, Ordering::SeqCst);
            let _ = child.wait();
            (*self.url.lock().unwrap(), *self.admin.lock().unwrap()) = (None, None);
            std::thread::park_timeout(PAUSE);
        }
    }

    fn read(&self, child: &mut Child) {
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            let said: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            let url = said.pointer("/fields/url").or_else(|| said.get("url")).and_then(Value::as_str);
            let url = url.map(str::to_owned);
            let text = said.to_string();
            if text.contains("Ready for questions.") {
                *self.url.lock().unwrap() = url;
            } else if text.contains("Ready for probes and scrapes") {
                *self.admin.lock().unwrap() = url;
            }
            self.lines.lock().unwrap().push(said);
        }
    }

    fn kill(&self) {
        let process = self.process.load(Ordering::SeqCst);
        if process != 0 {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.shared.kill();
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.thread().unpark();
            let _ = supervisor.join();
        }
    }
}
