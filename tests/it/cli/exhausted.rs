//! A prober that runs out of descriptors: that is its own trouble, and says nothing about a target.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::Gates;
use super::serving::Serving;

/// A connection to the admin listener that stays open: the server has none left for another.
struct Metrics(BufReader<TcpStream>);

impl Metrics {
    fn open(serving: &Serving) -> Self {
        Self(BufReader::new(TcpStream::connect(serving.admin_address()).unwrap()))
    }

    fn read(&mut self) -> String {
        write!(self.0.get_mut(), "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Reads again and again until a line has come.
    fn wait_for(&mut self, line: &str) -> String {
        for _ in 0..600 {
            let text = self.read();
            if text.lines().any(|found| found == line) {
                return text;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("{line} does not come about:\n{}", self.read())
    }
}

#[test]
fn without_descriptors_a_healthy_target_is_unknown_and_never_down() {
    let gates = Gates::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let spec = format!("{{tcp: {{address: '{address}'}}, interval: 200ms, timeout: 150ms, down: {{failures: 1}}}}");
    let probe = format!("apiVersion: probegate.io/v1alpha1\nkind: Probe\nmetadata: {{name: web}}\nspec: {spec}\n");
    std::fs::write(gates.path("probes.yaml"), probe).unwrap();
    let mut serving = Serving::start(&gates, &[]);
    let mut metrics = Metrics::open(&serving);
    metrics.wait_for("probegate_probes{state=\"up\"} 1");

    let process = Pid::from_raw(serving.id().try_into().unwrap());
    // It has asked for as many as it can get, which is what this process could get.
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(process, Resource::Nofile, Rlimit { current: Some(3), maximum }).unwrap();
    let text = metrics.wait_for("probegate_probes{state=\"up\"} 0");
    assert!(text.contains("judgement=\"trouble\",reason=\"exhausted\""), "{text}");
    assert!(!text.contains("judgement=\"failed\""), "{text}");

    prlimit(process, Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    metrics.wait_for("probegate_probes{state=\"up\"} 1");
    let log = serving.end();
    assert!(!log.contains("\"to\":\"down\""), "{log}");
}
