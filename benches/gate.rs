//! The figures of the gate, measured on the real program: `make bench-gate`.
//!
//! The program runs on one core and the client on another (`taskset`). Its answers are compared in
//! the same run with a bare server on the same HTTP stack that reads the same request and sends a
//! body of the same length: what the ratio leaves out is the network and HTTP, which are not ours.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a bench prints its figures, and may end where its JSON has another shape"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use probegate::api::GateRun;
use probegate::store::sqlite::{Options, SqliteStore};
use probegate::store::{Store, StoreExt};
use serde_json::{Value, json};

/// Gates in the store.
const GATES: u64 = 1_000;
/// Decided runs in the store.
const RUNS: u64 = 100_000;
/// Connections that ask at one time.
const CONNECTIONS: u64 = 32;
/// How long each load is measured.
const LOAD: Duration = Duration::from_secs(6);
/// Runs of fifty checks that are measured.
const FIFTIES: u64 = 200;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::env::args().any(|arg| arg == "peer") {
        return runtime.block_on(peer());
    }
    runtime.block_on(measure())
}

fn question(gate: &str, change: &str) -> Value {
    json!({
        "gate": format!("shop/{gate}"),
        "change": {"id": change, "target": "checkout", "revision": change, "action": "release", "actor": "ci"},
        "batch": {"index": 2, "total": 5, "percent": 10},
        "point": "post",
    })
}

/// The bare server, in a process of its own.
async fn peer() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("Ready for questions. url=http://{}", listener.local_addr()?);
    let body = json!({
        "verdict": "pass", "id": "shop/gate-17-0123456789abcdef-1", "reason": "the one check passed", "until": null,
        "retryAfterSeconds": null, "checks": [{"name": "window", "outcome": "pass", "mode": "enforce",
        "summary": "no window or freeze selects this change", "since": "2026-11-21T12:00:00.123456789Z"}],
    })
    .to_string();
    let answer = axum::routing::post(move |asked: Bytes| {
        let body = body.clone();
        async move {
            let read: Result<Value, _> = serde_json::from_slice(&asked);
            read.map(|_| ([("content-type", "application/json")], body)).map_err(|error| error.to_string())
        }
    });
    axum::serve(listener, axum::Router::new().route("/v1/check", answer)).await?;
    Ok(())
}

/// A server in a process of its own, on the first core.
struct Served {
    child: Child,
    address: SocketAddr,
    started_in: Duration,
}

impl Served {
    fn start(program: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("taskset, of util-linux, is needed")?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let address = loop {
            let line = lines.next().context("the server ended while it started")??;
            if line.contains("Ready for questions.") {
                let url = line.split("http://").nth(1).context("no URL in the line")?;
                break url.trim_matches(['"', ' ']).parse()?;
            }
        };
        let started_in = begun.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address, started_in })
    }

    fn program(files: &Path, data: &Path) -> anyhow::Result<Self> {
        let (files, data) = (files.to_string_lossy(), data.to_string_lossy());
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let args: Vec<&str> = ["serve", "-f", &files, "--data", &data].into_iter().chain(listen).collect();
        Self::start(Path::new(env!("CARGO_BIN_EXE_probegate")), &args)
    }

    /// Resident memory in MB.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kilobytes / 1_024.0)
    }

    /// Processor time used, in seconds; the kernel counts in hundredths.
    fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
        let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, wait: &str, body: Bytes) -> anyhow::Result<Bytes> {
    let request = hyper::Request::post(format!("/v1/check?wait={wait}"))
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == 200, "status {}", response.status());
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Answers per second, microseconds of the server's processor per answer, and the latencies.
struct Load {
    rate: f64,
    cpu_micros: f64,
    latencies: Vec<Duration>,
}

async fn load(served: &Served, bodies: Arc<Vec<Bytes>>) -> anyhow::Result<Load> {
    let (begun, cpu) = (Instant::now(), served.cpu()?);
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let mut sender = connect(served.address).await?;
        let bodies = Arc::clone(&bodies);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut turn = usize::try_from(connection)? * 7;
            while begun.elapsed() < LOAD {
                turn += 1;
                let body = bodies.get(turn % bodies.len()).context("no body")?.clone();
                let asked = Instant::now();
                ask(&mut sender, "0s", body).await?;
                latencies.push(asked.elapsed());
            }
            anyhow::Ok(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    Ok(Load { rate: count / begun.elapsed().as_secs_f64(), cpu_micros: (served.cpu()? - cpu) * 1e6 / count, latencies })
}

fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    let place = sorted.len().saturating_sub(1) * per_mille / 1_000;
    sorted.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

impl Load {
    fn print(&self, what: &str) {
        println!(
            "{what:<44} {:>9.0}/s  {:>6.1} µs CPU each  p50 {:.2} ms  p99 {:.2} ms",
            self.rate,
            self.cpu_micros,
            quantile(&self.latencies, 500),
            quantile(&self.latencies, 990),
        );
    }
}

/// Writes the gates: every one with a window check, and one with fifty.
fn write_gates(files: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(files)?;
    let gate = |name: &str, checks: Vec<Value>| {
        json!({"apiVersion": "probegate.io/v1alpha1", "kind": "Gate", "metadata": {"name": name, "namespace": "shop"},
               "spec": {"target": {"names": ["*"]}, "post": {"checks": checks}}})
        .to_string()
    };
    let window = |name: String| json!({"name": name, "window": {}});
    let mut text: Vec<String> =
        (0..GATES).map(|n| gate(&format!("gate-{n}"), vec![window("window".to_owned())])).collect();
    text.push(gate("fifty", (0..50).map(|n| window(format!("window-{n}"))).collect()));
    // Some tens of gates a file, as people keep them.
    for (n, part) in text.chunks(50).enumerate() {
        std::fs::write(files.join(format!("gates-{n}.yaml")), part.join("\n---\n"))?;
    }
    Ok(())
}

/// Fills the store with decided runs of ordinary size.
async fn write_runs(data: &Path) -> anyhow::Result<()> {
    let store: Arc<dyn Store> = SqliteStore::open(data, Options::default())?;
    let evidence = "a value, its threshold and the query that gave it; ".repeat(30);
    let runs = futures::stream::iter(0..RUNS).map(|n| {
        let (store, evidence) = (Arc::clone(&store), evidence.clone());
        async move {
            let change =
                json!({"id": format!("old-{n}"), "target": format!("t-{}", n % 5_000), "revision": format!("v{n}")});
            let run: GateRun = serde_json::from_value(json!({
                "metadata": {"name": format!("old-{n}"), "namespace": "shop", "labels": {
                    "probegate.io/question": format!("{n:032x}"), "probegate.io/subject": format!("{:032x}", n % 5_000),
                    "probegate.io/revision": format!("{:032x}", n + 7)}},
                "spec": {"gate": format!("gate-{}", n % GATES), "change": change, "point": "post"},
                "status": {"verdict": "pass", "reason": "the one check passed", "attempt": 1,
                    "startedAt": "2026-11-20T12:00:00Z", "decidedAt": "2026-11-20T12:05:00Z", "cause": "checks",
                    "checks": [{"name": "window", "kind": "window", "mode": "enforce", "outcome": "pass",
                                "summary": "open", "evidence": {"seen": evidence}}],
                    "conditions": [{"type": "Decided", "status": "True", "reason": "Passed", "message": "",
                                    "lastTransitionTime": "2026-11-20T12:05:00Z"}]},
            }))?;
            store.create_as(&run).await?;
            anyhow::Ok(())
        }
    });
    let mut written = runs.buffer_unordered(256);
    while let Some(one) = written.next().await {
        one?;
    }
    Ok(())
}

/// Questions that were asked and decided.
async fn decided(served: &Served) -> anyhow::Result<Vec<Bytes>> {
    let mut sender = connect(served.address).await?;
    let mut bodies = Vec::new();
    for n in 0..GATES {
        let body = Bytes::from(question(&format!("gate-{n}"), &format!("c-{n}")).to_string());
        let answer: Value = serde_json::from_slice(&ask(&mut sender, "10s", body.clone()).await?)?;
        anyhow::ensure!(answer["verdict"] == "pass", "{answer}");
        bodies.push(body);
    }
    Ok(bodies)
}

/// From the question to the written verdict of a run with fifty checks.
async fn fifties(served: &Served) -> anyhow::Result<Vec<Duration>> {
    let mut sender = connect(served.address).await?;
    let mut latencies = Vec::new();
    for n in 0..FIFTIES {
        let mut asked = question("fifty", &format!("f-{n}"));
        asked["change"]["target"] = json!(format!("fifty-{n}"));
        let begun = Instant::now();
        let answer: Value = serde_json::from_slice(&ask(&mut sender, "10s", asked.to_string().into()).await?)?;
        latencies.push(begun.elapsed());
        anyhow::ensure!(answer["verdict"] == "pass", "{answer}");
    }
    latencies.sort_unstable();
    Ok(latencies)
}

async fn measure() -> anyhow::Result<()> {
    // The client keeps off the servers' core.
    let pinned = Command::new("taskset").args(["-pc", "1", &std::process::id().to_string()]).output()?;
    anyhow::ensure!(pinned.status.success(), "this bench needs two cores");
    let dir = tempfile::tempdir()?;
    let (empty, files, data) = (dir.path().join("empty"), dir.path().join("files"), dir.path().join("data"));
    std::fs::create_dir_all(&empty)?;
    write_gates(&files)?;

    let mut starts = Vec::new();
    for n in 0..10 {
        starts.push(Served::program(&empty, &dir.path().join(format!("start-{n}")))?.started_in);
    }
    starts.sort_unstable();
    println!(
        "{:<44} p50 {:.0} ms  max {:.0} ms",
        "start to ready, empty",
        quantile(&starts, 500),
        quantile(&starts, 1_000)
    );
    let idle = Served::program(&empty, &dir.path().join("idle"))?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{:<44} {:.1} MB", "resident when idle", idle.resident()?);
    drop(idle);

    println!("writing {RUNS} runs…");
    write_runs(&data).await?;
    let served = Served::program(&files, &data)?;
    println!(
        "{:<44} {:.0} ms",
        format!("start to ready, {GATES} gates, {RUNS} runs"),
        served.started_in.as_secs_f64() * 1e3
    );
    let fifties = fifties(&served).await?;
    println!(
        "{:<44} p50 {:.1} ms  p99 {:.1} ms",
        "a run of 50 checks, decided and on disk",
        quantile(&fifties, 500),
        quantile(&fifties, 990)
    );
    let bodies = Arc::new(decided(&served).await?);
    let bench = std::env::current_exe()?;
    for round in 1..=3 {
        let ours = load(&served, Arc::clone(&bodies)).await?;
        let peer = Served::start(&bench, &["peer"])?;
        let bare = load(&peer, Arc::clone(&bodies)).await?;
        ours.print(&format!("round {round}: decided runs answered"));
        bare.print(&format!("round {round}: bare server"));
        println!(
            "round {round}: ratio {:.2} in rate, {:.2} in CPU each",
            ours.rate / bare.rate,
            ours.cpu_micros / bare.cpu_micros
        );
    }
    println!("{:<44} {:.1} MB", "resident after the load", served.resident()?);
    Ok(())
}
