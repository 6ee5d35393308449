//! A whole server on free ports: the real engine on the embedded store in memory, checks that say
//! what a script says, and a client that sends exactly what it is given.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use probegate::api::{self, Gate, Override, Probe};
use probegate::checks::{Check, CompileError, Context, Kind, Table};
use probegate::clock::{Clock, SystemClock};
use probegate::engine::{Ask, Engine, Parts};
use probegate::model::{Outcome, Report};
use probegate::outbound::{Outbound, Secrets};
use probegate::probes;
use probegate::server::{Access, Deps, Health, Listeners, Metrics, Prober, Server, Standing, Tls};
use probegate::store::sqlite::{Options, SqliteStore};
use probegate::store::{Cache, Ledger, Store, StoreExt};
use probegate::windows::Compiled;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What the scripted check says: by `revision/point/index`, else pass.
#[derive(Clone, Default)]
pub struct Script {
    says: Arc<Mutex<BTreeMap<String, Outcome>>>,
    changed: Arc<tokio::sync::Notify>,
    executions: Arc<Mutex<u32>>,
}

impl Script {
    pub fn say(&self, question: &str, outcome: Outcome) {
        self.says.lock().unwrap().insert(question.to_owned(), outcome);
        self.changed.notify_waiters();
    }

    pub fn executions(&self) -> u32 {
        *self.executions.lock().unwrap()
    }
}

struct Scripted(Script);

impl Kind for Scripted {
    fn name(&self) -> &'static str {
        "rule"
    }

    fn compile(&self, _: &api::Check, _: &str) -> Result<Arc<dyn Check>, CompileError> {
        Ok(Arc::new(ScriptedCheck(self.0.clone())))
    }
}

struct ScriptedCheck(Script);

#[async_trait]
impl Check for ScriptedCheck {
    async fn execute(&self, context: &Context) -> Report {
        *self.0.executions.lock().unwrap() += 1;
        let question = &context.question;
        let key = format!("{}/{}/{}", question.change.revision, question.point, question.batch.index);
        assert!(!question.change.revision.starts_with("panic"), "a check that panics");
        let outcome = self.0.says.lock().unwrap().get(&key).copied().unwrap_or(Outcome::Pass);
        Report::new(outcome, format!("the script says {outcome}"))
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

/// A clock that is set by hand.
#[derive(Debug)]
pub struct HandClock(Mutex<jiff::Timestamp>);

impl HandClock {
    pub fn at(instant: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(instant.parse().unwrap())))
    }

    pub fn set(&self, instant: jiff::Timestamp) {
        *self.0.lock().unwrap() = instant;
    }
}

impl Clock for HandClock {
    fn now(&self) -> jiff::Timestamp {
        *self.0.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now().as_microsecond()).unwrap())
    }
}

/// How to put a world together.
#[derive(Default)]
pub struct Setup {
    pub store: Option<Arc<dyn Store>>,
    pub ask: Option<Arc<dyn Ask>>,
    pub tokens: Option<PathBuf>,
    pub tls: Option<Tls>,
    pub health: Health,
    pub windows: Vec<Arc<Compiled>>,
    pub clock: Option<Arc<dyn Clock>>,
    /// Probes: they are made before the server begins.
    pub probes: Vec<Probe>,
    /// The directory with the probes' secrets.
    pub secrets: Option<PathBuf>,
}

pub struct World {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub store: Arc<dyn Store>,
    pub script: Script,
    pub access: Access,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    pub server: Option<tokio::task::JoinHandle<()>>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem document, with its status said twice.
    pub fn problem(&self) -> Value {
        assert_eq!(self.headers.get("content-type").map(String::as_str), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        problem
    }
}

pub fn gate(namespace: &str, name: &str) -> Gate {
    let check = json!([{"name": "script", "rule": "script.rhai", "interval": "1s"}]);
    serde_json::from_value(json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Gate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "target": {"names": ["*"]},
            "pre": {"checks": check, "retryAfter": "1s"},
            "post": {"checks": check},
        },
    }))
    .unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    #[allow(clippy::too_many_lines, reason = "it puts together what the composition root does, line by line")]
    pub async fn with(setup: Setup) -> Self {
        let clock: Arc<dyn Clock> = setup.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let store =
            setup.store.unwrap_or_else(|| SqliteStore::in_memory_with(Options { clock: Arc::clone(&clock) }).unwrap());
        for (namespace, name) in [("shop", "checkout"), ("shop", "fl"), ("default", "plain")] {
            let _ = store.create_as(&gate(namespace, name)).await;
        }
        for probe in &setup.probes {
            store.create_as(probe).await.unwrap();
        }
        let shutdown = CancellationToken::new();
        let (modules, modules_follow) = Cache::<Probe>::follow(Arc::clone(&store));
        let outbound = Outbound::new(Secrets::new(setup.secrets));
        let tools = probes::Tools { outbound: outbound.clone(), clock: Arc::clone(&clock), root: None };
        let (options, by) = (probes::Options::default(), Arc::clone(&clock));
        let prober = probes::Engine::new(Arc::clone(&store), modules.clone(), outbound, by, options).unwrap();
        let board = prober.board();
        let (gates, gates_follow) = Cache::<Gate>::follow(Arc::clone(&store));
        let (overrides, overrides_follow) = Cache::<Override>::follow(Arc::clone(&store));
        let (past, past_follow) = Ledger::follow(Arc::clone(&store));
        let script = Script::default();
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            gates: gates.clone(),
            overrides: overrides.clone(),
            table: Table::default().with(Scripted(script.clone())),
            clock: Arc::clone(&clock),
            cluster: Some("eu-1".into()),
            lead: probegate::engine::Lead::alone(),
        });
        let background = (engine.clone(), shutdown.clone());
        tokio::spawn(async move {
            let stop = background.1.clone();
            let probing = async { tokio::join!(modules_follow, prober.run()) };
            let followers =
                async { tokio::join!(gates_follow, overrides_follow, past_follow, probing, background.0.run(stop)) };
            tokio::select! { () = background.1.cancelled() => {}, _ = followers => {} }
        });
        gates.wait_synced().await;
        overrides.wait_synced().await;
        past.wait_synced().await;
        modules.wait_synced().await;
        let mut changes = board.changes();
        while !board.synced() {
            changes.changed().await.unwrap();
        }
        let access = match setup.tokens {
            Some(file) => Access::load(file, Arc::clone(&clock)).unwrap(),
            None => Access::open(Arc::clone(&clock)),
        };
        let (metrics, mut registry) = (Metrics::new(), Registry::default());
        metrics.register(&mut registry);
        let compiled = Arc::new(setup.windows);
        let deps = Deps {
            store: Arc::clone(&store),
            ask: setup.ask.unwrap_or_else(|| Arc::new(engine)),
            windows: Arc::new(move || Arc::clone(&compiled)),
            past,
            overrides,
            probes: Prober { board, modules, tools },
            clock,
            access: access.clone(),
            health: setup.health.with("store", {
                let store = Arc::clone(&store);
                move || {
                    let store = Arc::clone(&store);
                    async move {
                        store.ready().await.map_or_else(|e| Standing::NotReady(e.to_string()), |()| Standing::Ready)
                    }
                }
            }),
            metrics: metrics.clone(),
            registry: Arc::new(registry),
            cluster: Some("eu-1".into()),
            relay: None,
        };
        let main = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) = (main.local_addr().unwrap(), admin.local_addr().unwrap());
        let listeners = Listeners { main: vec![main], admin: Some(admin), tls: setup.tls };
        let run = Server::new(deps).run(listeners, shutdown.clone());
        let server = tokio::spawn(async move { run.await.unwrap() });
        Self { address, admin: admin_address, store, script, access, metrics, shutdown, server: Some(server) }
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        send(self.address, method, path, headers, body.as_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub async fn probe(&self, path: &str) -> Reply {
        send(self.admin, "GET", path, &[], b"").await
    }

    pub async fn stop(mut self) -> Arc<dyn Store> {
        self.shutdown.cancel();
        self.server.take().unwrap().await.unwrap();
        Arc::clone(&self.store)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The head of a request; `content-length` is added where there is a body.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: probegate\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if length > 0 && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        write!(head, "content-length: {length}\r\n").unwrap();
    }
    head + "\r\n"
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(method, path, headers, body.len()).as_bytes()).await.unwrap();
    // A server that has refused a large body may have closed its side already.
    let _ = stream.write_all(body).await;
    read(stream).await
}

pub async fn read(mut stream: impl tokio::io::AsyncRead + Unpin) -> Reply {
    let mut bytes = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        // A reset after the answer is no loss: what came before it counts.
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            bytes.extend_from_slice(&chunk[..length]);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("an answer");
    parse(&String::from_utf8(bytes).unwrap())
}

pub fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Reply { status, headers, body: body.to_owned() }
}

/// The question of the brief, about a revision.
pub fn question(revision: &str) -> Value {
    json!({
        "gate": "shop/checkout",
        "change": {"id": "c-17", "target": "checkout", "revision": revision, "action": "release", "actor": "ci"},
        "batch": {"index": 2, "total": 5, "percent": 10},
        "point": "post",
    })
}

/// A file of tokens, one of each scope: its text is the scope's name.
pub fn tokens(dir: &std::path::Path) -> PathBuf {
    let mut yaml = String::from("tokens:\n");
    for scope in ["read", "check", "override", "admin"] {
        let hash = probegate::server::access::hash_of(scope);
        writeln!(yaml, "- {{name: {scope}, subject: {scope}-er, hash: \"{hash}\", scopes: [{scope}]}}").unwrap();
    }
    let hash = probegate::server::access::hash_of("t");
    writeln!(yaml, "- {{name: controller, hash: \"{hash}\", scopes: [check], gates: [\"shop/*\"]}}").unwrap();
    let hash = probegate::server::access::hash_of("old");
    writeln!(yaml, "- {{name: old, hash: \"{hash}\", scopes: [admin], expires: 2020-01-01T00:00:00Z}}").unwrap();
    let hash = probegate::server::access::hash_of("slow");
    writeln!(yaml, "- {{name: slow, hash: \"{hash}\", scopes: [read], rate: 1}}").unwrap();
    yaml.push_str("keys:\n- {name: signer, secretFile: signer.key, scopes: [check, override]}\n");
    std::fs::write(dir.join("signer.key"), "a-key-of-some-length-0123456789\n").unwrap();
    let file = dir.join("tokens.yaml");
    std::fs::write(&file, yaml).unwrap();
    file
}

/// Waits until something holds.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
