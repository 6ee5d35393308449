//! `probegate serve`, asked by `probegate check --server` and by a plain HTTP client.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};

use super::{Gates, command, probegate};

/// A running server; it is ended when it is dropped.
pub struct Serving {
    child: Child,
    log: BufReader<ChildStderr>,
    pub main: String,
    admin: String,
}

impl Serving {
    /// Starts it on free ports and waits until it says where it answers.
    pub fn start(gates: &Gates, more: &[&str]) -> Self {
        let (files, data) = (gates.files(), gates.data());
        let here = ["serve", "-f", &files, "--data", &data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let arguments = [&here[..], &["--log-format", "json"], more].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut urls = Vec::new();
        while urls.len() < 2 {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
            let entry: serde_json::Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            urls.extend(entry["url"].as_str().map(str::to_owned));
        }
        Self { child, log, main: urls.remove(0), admin: urls.remove(0) }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it shows its metrics.
    pub fn admin_address(&self) -> &str {
        self.admin.trim_start_matches("http://")
    }

    /// Ends it in order, and gives the rest of its log.
    pub fn end(&mut self) -> String {
        self.signal("TERM");
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        rest
    }

    fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// The body of a GET on the admin listener.
    fn admin(&self, path: &str) -> String {
        let address = self.admin.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_answers_as_the_files_do_and_ends_in_order() {
    let gates = Gates::new();
    let mut serving = Serving::start(&gates, &[]);
    for (gate, target, code) in [("passes", "web", 0), ("blocks", "web", 1), ("waits", "frozen", 2)] {
        let gate = format!("shop/{gate}");
        let ran = probegate(&[
            "check",
            "--server",
            &serving.main,
            "--gate",
            &gate,
            "--target",
            target,
            "--revision",
            "v1",
            "--wait",
            "5s",
        ]);
        assert_eq!(ran.code, code, "{gate}: {}{}", ran.out, ran.err);
    }
    let runs = probegate(&["run", "list", "--server", &serving.main, "-o", "json"]).json();
    assert_eq!(runs["items"].as_array().unwrap().len(), 3, "{runs}");
    let id = runs["items"][0]["id"].as_str().unwrap();
    assert_eq!(probegate(&["run", "show", id, "--server", &serving.main]).code, 0);
    let missing = probegate(&["run", "show", "shop/none", "--server", &serving.main]);
    assert!(missing.code == 3 && missing.err.contains("404"), "{}", missing.err);

    serving.signal("TERM");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    serving.log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Ending") && !rest.contains("panicked"), "{rest}");
    let mut out = String::new();
    serving.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "", "standard output stays empty");
}

#[test]
fn an_override_goes_over_the_server_too() {
    let gates = Gates::new();
    let serving = Serving::start(&gates, &[]);
    let create = ["override", "create", "--gate", "shop/blocks", "--change", "c-9", "--check", "never"];
    let made = probegate(&[&create[..], &["--reason", "a drill", "--server", &serving.main, "-o", "json"]].concat());
    assert_eq!(made.code, 0, "{}", made.err);
    let name = format!("shop/{}", made.json()["metadata"]["name"].as_str().unwrap());
    let asked = ["--gate", "shop/blocks", "--target", "web", "--change", "c-9", "--revision", "v1"];
    let ran = probegate(&[&["check", "--server", &serving.main][..], &asked].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let revoked =
        probegate(&["override", "revoke", &name, "--reason", "over", "--server", &serving.main, "-o", "json"]);
    assert_eq!(revoked.json()["status"]["revoked"]["reason"], "over");
}

#[test]
fn a_broken_edit_keeps_the_last_good_state_and_is_told() {
    let gates = Gates::new();
    let serving = Serving::start(&gates, &[]);
    assert!(serving.admin("/readyz").starts_with("HTTP/1.1 200"));
    std::fs::write(gates.path("rules/never.rhai"), "fn decide(facts) { block( }").unwrap();
    std::fs::write(gates.path("more.yaml"), "kind: Gate\nspec: [").unwrap();
    let told = (0..200).any(|_| {
        let detail = serving.admin("/readyz?verbose");
        let both = detail.contains("more.yaml") && detail.contains("never.rhai");
        if !both {
            std::thread::yield_now();
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        both
    });
    assert!(told, "{}", serving.admin("/readyz?verbose"));
    assert!(serving.admin("/readyz").starts_with("HTTP/1.1 200"), "the last good state can be asked");
    let asked = ["--gate", "shop/blocks", "--target", "web", "--revision", "v1"];
    let ran = probegate(&[&["check", "--server", &serving.main][..], &asked].concat());
    assert!(ran.code == 1 && ran.out.contains("never on a release"), "{}{}", ran.out, ran.err);
}

#[test]
fn every_metric_of_the_dashboards_and_alerts_exists() {
    let gates = Gates::new();
    // Nobody listens on port 9: the rounds fail, which is all the same here.
    let probe = "apiVersion: probegate.io/v1alpha1\nkind: Probe\nmetadata: {name: web}\n\
                 spec: {tcp: {address: '127.0.0.1:9'}, interval: 100ms}\n";
    std::fs::write(gates.path("probe.yaml"), probe).unwrap();
    let serving = Serving::start(&gates, &[]);
    let asked = ["--gate", "shop/passes", "--target", "web", "--revision", "v1"];
    assert_eq!(probegate(&[&["check", "--server", &serving.main][..], &asked].concat()).code, 0);
    let start = std::time::Instant::now();
    let mut shown = serving.admin("/metrics");
    while !shown.contains("probegate_probe_up{") && start.elapsed() < std::time::Duration::from_secs(20) {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        shown = serving.admin("/metrics");
    }
    let known: BTreeSet<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut named = BTreeSet::new();
    for file in ["probegate.json", "alerts.yaml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| word.starts_with("probegate_") || word.starts_with("process_"));
        named.extend(metrics.map(str::to_owned));
    }
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let base = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(known.contains(name.as_str()) || base.is_some_and(|base| known.contains(base)), "{name} is not shown");
    }
}
