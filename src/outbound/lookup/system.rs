//! The resolver of the machine, as its files describe it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::names::{Fault, Found, Names, Step};
use super::servers::Servers;
use super::{Lookup, LookupError, is_of};
use crate::api::IpFamily;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long a question may take with everything that it leads to. Whoever waits is more impatient;
/// this ends the work.
const MAX_LOOKUP: Duration = Duration::from_secs(20);
/// The most questions that are out at once: each takes up to four sockets, and there may be as many
/// names as targets when the program starts.
const MAX_OUT: usize = 64;
/// How much of a file is read: a hosts file that blocks advertising has a few megabytes.
const MAX_FILE: u64 = 8 << 20;

/// The machine's resolver: /etc/hosts, then the name servers of /etc/resolv.conf with its search
/// domains. Both files are followed. Other sources that a machine's nsswitch.conf may name (mDNS,
/// NIS, LDAP, systemd's own names) are not asked. An address needs no resolver, and `localhost` and
/// the names below it are the loopback addresses (RFC 6761), without asking anybody.
///
/// What is known costs a lock; a question is asked once, however many wait for it. Questions are
/// asked on the runtime on which this was made, for the sockets belong to it: whoever waits may come
/// from any other, and may leave. Made outside a runtime, it asks on the runtime of whoever waits.
#[derive(Clone)]
pub struct SystemLookup {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Option<Handle>,
    source: Source,
    known: Mutex<Known>,
    loaded: tokio::sync::Mutex<Option<Loaded>>,
    out: Semaphore,
}

/// Where the name servers come from.
enum Source {
    Files { resolv_conf: PathBuf, hosts: PathBuf },
    Servers(Vec<SocketAddr>),
}

struct Known {
    names: Names,
    /// When the files are looked at again.
    look: Option<Instant>,
}

/// A configuration as it was read.
struct Loaded {
    servers: Arc<Servers>,
    marks: [Mark; 2],
    looked: Instant,
}

/// What changes with a file: its time, its size, and the file itself.
type Mark = Option<(SystemTime, u64, u64)>;

impl Default for SystemLookup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemLookup").finish_non_exhaustive()
    }
}

impl SystemLookup {
    /// The machine's own files.
    #[must_use]
    pub fn new() -> Self {
        Self::reading("/etc/resolv.conf", "/etc/hosts")
    }

    /// Other files of the same kinds.
    #[must_use]
    pub fn reading(resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> Self {
        Self::from(Source::Files { resolv_conf: resolv_conf.into(), hosts: hosts.into() })
    }

    /// No files: these name servers.
    #[must_use]
    pub fn asking(servers: impl Into<Vec<SocketAddr>>) -> Self {
        Self::from(Source::Servers(servers.into()))
    }

    fn from(source: Source) -> Self {
        let known = Mutex::new(Known { names: Names::new(), look: None });
        let (runtime, out) = (Handle::try_current().ok(), Semaphore::new(MAX_OUT));
        Self { shared: Arc::new(Shared { runtime, source, known, loaded: tokio::sync::Mutex::default(), out }) }
    }

    async fn find(&self, name: &str, family: IpFamily) -> Found {
        match self.shared.step(name, family) {
            Step::Use(found) => found,
            Step::Wait(coming) => wait(coming).await,
            Step::Ask(tell, coming, generation) => {
                let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
                self.shared.spawn(async move {
                    let (found, ttl) = shared.ask(&name, family).await;
                    let now = Instant::now();
                    shared.known().names.store((&name, family), found.clone(), ttl, (generation, now));
                    tell.send_replace(Some(found));
                });
                wait(coming).await
            }
        }
    }
}

async fn wait(mut coming: super::names::Coming) -> Found {
    let found = coming.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
    found.unwrap_or_else(|| Err(Fault::Trouble("the resolver has been shut down".into())))
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(work)),
            None => drop(tokio::spawn(work)),
        }
    }

    /// What to do about a name; and, once in a while, looks at the files.
    fn step(self: &Arc<Self>, name: &str, family: IpFamily) -> Step {
        let now = Instant::now();
        let mut known = self.known();
        let due = known.look.is_some_and(|look| now >= look);
        if due || known.look.is_none() {
            known.look = Some(now + LOOK_EVERY);
        }
        let step = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            known.names.step(&name.to_ascii_lowercase(), family, now)
        } else {
            known.names.step(name, family, now)
        };
        drop(known);
        // A question looks at the files by itself.
        if due && !matches!(step, Step::Ask(..)) {
            let shared = Arc::clone(self);
            self.spawn(async move {
                let _ = shared.servers().await;
            });
        }
        step
    }

    async fn ask(&self, name: &str, family: IpFamily) -> (Found, Duration) {
        let servers = self.servers().await;
        // The semaphore is never closed.
        let _permit = self.out.acquire().await;
        let late = || (Err(Fault::Trouble("no answer in time".into())), Duration::ZERO);
        timeout(MAX_LOOKUP, servers.resolve(name, family)).await.unwrap_or_else(|_| late())
    }

    /// The servers of the files as they are, looked at once in a while.
    async fn servers(&self) -> Arc<Servers> {
        let mut loaded = self.loaded.lock().await;
        let (resolv_conf, hosts) = match &self.source {
            Source::Files { resolv_conf, hosts } => (resolv_conf, hosts),
            Source::Servers(addresses) => {
                let new =
                    || Loaded { servers: Arc::new(Servers::of(addresses)), marks: [None; 2], looked: Instant::now() };
                return Arc::clone(&loaded.get_or_insert_with(new).servers);
            }
        };
        let now = Instant::now();
        if let Some(loaded) = loaded.as_ref().filter(|loaded| now < loaded.looked + LOOK_EVERY) {
            return Arc::clone(&loaded.servers);
        }
        let marks = [mark(resolv_conf).await, mark(hosts).await];
        if let Some(loaded) = loaded.as_mut().filter(|loaded| loaded.marks == marks) {
            loaded.looked = now;
            return Arc::clone(&loaded.servers);
        }
        let text = read(resolv_conf).await.map_err(|why| format!("{}: {why}", resolv_conf.display()));
        let servers = Arc::new(Servers::read(text, &read(hosts).await.unwrap_or_default()));
        if loaded.replace(Loaded { servers: Arc::clone(&servers), marks, looked: now }).is_some() {
            tracing::info!("The machine's resolver has been configured anew; its answers are asked for again.");
            self.known().names.forget();
        }
        servers
    }
}

async fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt;
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).await.map_err(|error| error.to_string())?;
    Ok(text)
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.lookup_in(name, IpFamily::Any).await
    }

    async fn lookup_in(&self, name: &str, family: IpFamily) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Some(address).filter(|address| is_of(*address, family)).into_iter().collect());
        }
        if is_localhost(name) {
            let all = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return Ok(all.into_iter().filter(|address| is_of(*address, family)).collect());
        }
        let name_of = || name.to_owned();
        match self.find(name, family).await {
            Ok(addresses) => Ok(addresses.to_vec()),
            Err(Fault::NoSuchName(why)) => Err(LookupError::NoSuchName { name: name_of(), why: why.to_string() }),
            Err(Fault::Trouble(why)) => Err(LookupError::Trouble { name: name_of(), why: why.to_string() }),
        }
    }
}

/// Whether a name is `localhost` or below it.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::UdpSocket;

    /// A name server over UDP whose zone is a function, and the number of questions it heard.
    struct Server {
        lookup: SystemLookup,
        asked: Arc<AtomicUsize>,
    }

    /// The answer to a question: records, a code, or silence.
    type Answer = Option<Result<Vec<RData>, ResponseCode>>;

    async fn server(zone: impl Fn(&str, RecordType) -> Answer + Send + 'static) -> Server {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..size]).unwrap();
                let query = question.queries[0].clone();
                counter.fetch_add(1, Ordering::SeqCst);
                let Some(answer) = zone(&query.name().to_ascii(), query.query_type()) else { continue };
                let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
                reply.add_query(query.clone());
                match answer {
                    Ok(found) => {
                        for data in found {
                            reply.add_answer(Record::from_rdata(query.name().clone(), 30, data));
                        }
                    }
                    Err(code) => reply.metadata.response_code = code,
                }
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    // It answers late, so that questions overlap.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let _ = socket.send_to(&reply.to_vec().unwrap(), from).await;
                });
            }
        });
        Server { lookup: SystemLookup::asking([address]), asked }
    }

    fn v4(last: u8) -> RData {
        RData::A(A::new(192, 0, 2, last))
    }

    fn v6(last: u16) -> RData {
        RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
    }

    async fn texts(server: &Server, name: &str) -> Vec<String> {
        server.lookup.lookup(name).await.unwrap().iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn addresses_and_localhost_are_known_without_asking() {
        let server = server(|_, _| None).await;
        for name in ["127.0.0.1", "::1", "localhost", "LOCALHOST.", "shop.localhost"] {
            assert!(!server.lookup.lookup(name).await.unwrap().is_empty(), "{name}");
        }
        assert_eq!(server.lookup.lookup_in("localhost", IpFamily::Ipv6).await.unwrap(), [Ipv6Addr::LOCALHOST]);
        assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn both_families_come_in_turn_and_are_asked_for_once() {
        let server =
            server(|_, kind| Some(Ok(if kind == RecordType::A { vec![v4(1), v4(2), v4(3)] } else { vec![v6(1)] })))
                .await;
        let all = futures::future::join_all((0..50).map(|_| texts(&server, "Shop.Example"))).await;
        for found in all {
            assert_eq!(found, ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]);
        }
        assert_eq!(texts(&server, "shop.example").await.len(), 4);
        assert_eq!(server.asked.load(Ordering::SeqCst), 2, "one question for each family");
    }

    #[tokio::test]
    async fn a_family_that_is_never_told_does_not_hold_up_the_other() {
        let server = server(|_, kind| (kind == RecordType::A).then(|| Ok(vec![v4(1)]))).await;
        assert_eq!(texts(&server, "shop.example").await, ["192.0.2.1"]);
        assert_eq!(server.lookup.lookup_in("shop.example", IpFamily::Ipv4).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_answer_without_an_address_is_told_from_trouble() {
        let server = server(|name, _| {
            Some(match name {
                "none.example." => Err(ResponseCode::NXDomain),
                "empty.example." => Ok(Vec::new()),
                "broken.example." => Err(ResponseCode::ServFail),
                "refused.example." => Err(ResponseCode::Refused),
                _ => Ok(vec![RData::CNAME(CNAME(Name::from_ascii("ring.example.").unwrap()))]),
            })
        })
        .await;
        let error = async |name: &str| server.lookup.lookup(name).await.unwrap_err().to_string();
        assert_eq!(error("none.example").await, "the name none.example does not resolve: there is no such name");
        assert_eq!(error("empty.example").await, "the name empty.example does not resolve: it has no address");
        for name in ["broken.example", "refused.example"] {
            let error = error(name).await;
            assert!(error.starts_with(&format!("the resolver is in trouble with {name}: ")), "{error}");
        }
        let error = error("ring.example").await;
        assert!(error.starts_with("the name ring.example does not resolve"), "{error}");
        let error = server.lookup.lookup("a..b").await.unwrap_err();
        assert!(matches!(error, LookupError::NoSuchName { .. }), "{error}");
    }

    #[tokio::test]
    async fn many_names_at_once_all_find_their_address() {
        let server = server(|_, kind| Some(Ok(if kind == RecordType::A { vec![v4(1)] } else { Vec::new() }))).await;
        let names: Vec<String> = (0..MAX_OUT * 3).map(|n| format!("n{n}.example")).collect();
        let found = futures::future::join_all(names.iter().map(|name| texts(&server, name))).await;
        assert!(found.iter().all(|found| *found == ["192.0.2.1"]));
    }

    #[tokio::test]
    async fn a_resolver_that_is_not_there_is_trouble() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for lookup in [SystemLookup::asking([closed]), SystemLookup::reading("/nonexistent/a", "/nonexistent/b")] {
            let error = lookup.lookup("shop.example").await.unwrap_err();
            assert!(matches!(error, LookupError::Trouble { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_with_many_addresses_is_cut() {
        let server = server(|_, kind| {
            let last = 0..40_u8;
            Some(Ok(if kind == RecordType::A { last.map(v4).collect() } else { last.map(|n| v6(n.into())).collect() }))
        })
        .await;
        assert_eq!(texts(&server, "many.example").await.len(), super::super::MAX_ADDRESSES);
    }

    #[test]
    fn whoever_waits_may_be_on_another_runtime_that_ends() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let long = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server =
            long.block_on(server(|_, kind| Some(Ok(if kind == RecordType::A { vec![v4(1)] } else { Vec::new() }))));
        for name in ["one.example", "two.example"] {
            let found = runtime().block_on(server.lookup.lookup(name)).unwrap();
            assert_eq!(found, [Ipv4Addr::new(192, 0, 2, 1)]);
        }
        // Whoever loses patience does not end the question for the others.
        runtime().block_on(async {
            let _ = timeout(Duration::ZERO, server.lookup.lookup("three.example")).await;
        });
        assert_eq!(runtime().block_on(server.lookup.lookup("three.example")).unwrap().len(), 1);
        assert_eq!(server.asked.load(Ordering::SeqCst), 6);
    }

    #[test]
    fn made_outside_a_runtime_it_asks_on_that_of_whoever_waits() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.7 shop.example\n").unwrap();
        let lookup = SystemLookup::reading("/nonexistent/resolv.conf", hosts);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(lookup.lookup("shop.example")).unwrap(), [Ipv4Addr::new(192, 0, 2, 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_files_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.7 shop.example # a comment\n2001:db8::7 shop.example\n").unwrap();
        let lookup = SystemLookup::reading("/nonexistent/resolv.conf", &hosts);
        assert_eq!(lookup.lookup("Shop.Example").await.unwrap().len(), 2);
        assert_eq!(lookup.lookup_in("shop.example", IpFamily::Ipv6).await.unwrap().len(), 1);
        std::fs::write(&hosts, "192.0.2.8 shop.example\n").unwrap();
        let moved = [IpAddr::from(Ipv4Addr::new(192, 0, 2, 8))];
        // The first that asks after a while makes it look; the answer follows.
        while lookup.lookup("shop.example").await.unwrap() != moved {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
