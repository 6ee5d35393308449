//! The ready-made probes: each one is run against the server that it is for, which is a real one where
//! Debian has it, and against another, which it must not take for its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use probegate::api::{Probe, ProbeSpec};
use probegate::clock::SystemClock;
use probegate::outbound::{Outbound, Secrets};
use probegate::probes::{Judgement, Observation, Reason, Tools, bind, compile, plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::servers::Real;
use crate::checks::peers::{Authority, Peer, answer, closed_port, read_request, tls_peer};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(400);

/// Of a server that says something else and might go on.
const SAYS_MORE: &[Reason] = &[Reason::Expect, Reason::Timeout];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("probes")
}

fn library() -> Vec<(PathBuf, Probe)> {
    let files = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let probes: Vec<Probe> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            probes.into_iter().map(move |probe| (path.clone(), probe))
        })
        .collect()
}

/// A ready-made probe, to be aimed at a server of the test.
struct Ready {
    name: &'static str,
    spec: ProbeSpec,
}

impl Ready {
    fn named(name: &'static str) -> Self {
        let found = library().into_iter().find(|(_, probe)| probe.metadata.name.as_deref() == Some(name));
        let mut spec = found.unwrap_or_else(|| panic!("there is no probe {name}")).1.spec;
        // How fast a busy machine answers is not what is tested here.
        spec.latency = None;
        if let Some(http) = &mut spec.http {
            http.warn = None;
            if let Some(expect) = &mut http.expect {
                expect.latency = None;
            }
        }
        Self { name, spec }
    }

    /// Turns it to a server of the test; names, paths and everything else stay as they are in the file.
    fn at(mut self, target: &str) -> Self {
        self.spec = bind(&self.spec, target).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self
    }

    /// Changes the spec where another name than the file's has to be asked for.
    fn with(mut self, change: impl FnOnce(&mut ProbeSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    async fn observe(&self, within: Duration, trusted: &Authority) -> Observation {
        let secrets = tempfile::tempdir().unwrap();
        for file in ["kubernetes/ca.crt", "postgresql/ca.crt", "mail/ca.crt", "ca.crt"] {
            let path = secrets.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, trusted.pem()).unwrap();
        }
        std::fs::write(secrets.path().join("kubernetes/token"), "s3cret\n").unwrap();
        let tools = Tools {
            outbound: Outbound::new(Secrets::new(Some(secrets.path().to_owned()))),
            clock: Arc::new(SystemClock::new()),
            root: Some(root()),
        };
        compile(&self.spec, within, &tools).unwrap_or_else(|error| panic!("{}: {error}", self.name)).observe().await
    }

    async fn is_up(&self, trusted: &Authority) {
        let seen = self.observe(PATIENCE, trusted).await;
        assert_eq!(seen.judgement(), Judgement::Good, "{}: {seen:?}", self.name);
    }

    async fn fails(&self, reasons: &[Reason], trusted: &Authority) {
        let silence = reasons.contains(&Reason::Timeout);
        let seen = self.observe(if silence { SHORT } else { PATIENCE }, trusted).await;
        assert_eq!(seen.judgement(), Judgement::Failed, "{}: {seen:?}", self.name);
        assert!(seen.reason.is_some_and(|reason| reasons.contains(&reason)), "{}: {seen:?}", self.name);
    }
}

#[test]
fn every_ready_made_probe_can_be_made() {
    let library = library();
    assert!(library.len() >= 30, "only {}", library.len());
    let tools =
        Tools { outbound: Outbound::new(Secrets::default()), clock: Arc::new(SystemClock::new()), root: Some(root()) };
    for (path, probe) in library {
        let path = path.display();
        plan(&probe.spec).unwrap_or_else(|error| panic!("{path}: {error}"));
        if let Err(error) = compile(&probe.spec, PATIENCE, &tools) {
            panic!("{path}: {error}");
        }
        let labels = probe.metadata.labels.unwrap_or_default();
        assert!(labels.contains_key("tier") && labels.contains_key("app"), "{path}: labels tier and app");
    }
}

#[test]
fn every_ready_made_probe_stands_in_the_readme_and_is_run_here() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let tests = ["library.rs", "script/flows.rs"].map(|file| root().join("../tests/it/probing").join(file));
    let tests: String = tests.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
    for (path, probe) in library() {
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("`{file}`")), "{file} is not in probes/README.md");
        let name = probe.metadata.name.unwrap();
        let run = if probe.spec.script.is_some() { file.to_owned() } else { format!("Ready::named(\"{name}\").") };
        assert!(tests.contains(&run), "{name} is not run in the tests");
    }
}

#[tokio::test]
async fn web_servers_proxies_and_registries() {
    let authority = Authority::new();
    let (nginx, registry) = (Real::nginx_with(&authority).await, Real::registry().await);
    let page = nginx.address();
    Ready::named("nginx").at(&page).is_up(&authority).await;
    Ready::named("ingress-nginx").at(&page).is_up(&authority).await;
    Ready::named("haproxy-ingress").at(&page).is_up(&authority).await;
    Ready::named("ingress-default-backend").at(&page).is_up(&authority).await;
    Ready::named("registry").at(&registry.address()).is_up(&authority).await;
    Ready::named("registry").at(&page).fails(&[Reason::Status], &authority).await;
    Ready::named("nginx").at(&registry.address()).fails(&[Reason::Status], &authority).await;

    for name in ["traefik", "envoy"] {
        let ready = Ready::named(name);
        let peer = Peer::answering(answer("200 OK", "", "OK")).await;
        ready.at(&peer.place()).is_up(&authority).await;
    }
    Ready::named("traefik").at(&page).fails(&[Reason::Status], &authority).await;
    Ready::named("envoy").at(&page).fails(&[Reason::Status], &authority).await;

    let socket = Peer::start(|stream| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(_)) = futures::StreamExt::next(&mut socket).await {}
    })
    .await;
    Ready::named("websocket").at(&socket.place()).is_up(&authority).await;
    Ready::named("websocket").at(&page).fails(&[Reason::Status], &authority).await;
}

#[tokio::test]
async fn certificates_are_looked_at() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let nginx = Real::nginx_with(&authority).await;
    let listed = || {
        Ready::named("certificates").at(&nginx.address_of(1)).with(|spec| {
            spec.tls.as_mut().unwrap().tls.as_mut().unwrap().ca_file = Some("ca.crt".to_owned());
        })
    };
    listed().is_up(&authority).await;
    listed().fails(&[Reason::Certificate], &stranger).await;
    listed().at(&nginx.address()).fails(&[Reason::Tls], &authority).await;
}

#[tokio::test]
async fn the_control_plane() {
    let authority = Authority::new();
    let certificate = authority.issue(&["kubernetes.default.svc", "node-1"]);
    let api = tls_peer(authority.server(&certificate, false), answer("200 OK", "", "ok")).await;
    Ready::named("kubernetes-api").at(&api.place()).is_up(&authority).await;
    Ready::named("kubernetes-api").at(&api.place()).fails(&[Reason::Certificate], &Authority::new()).await;
    Ready::named("kubernetes-api-certificate").at(&api.place()).is_up(&authority).await;
    let other = authority.issue(&["elsewhere.example"]);
    let other = tls_peer(authority.server(&other, false), String::new()).await;
    let probe = Ready::named("kubernetes-api-certificate").at(&other.place());
    probe.fails(&[Reason::Certificate], &authority).await;
    Ready::named("kubelets").at(&api.place()).is_up(&authority).await;
    let unready = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
    let unready = answer("500 Internal Server Error", "", unready);
    let unready = tls_peer(authority.server(&certificate, false), unready).await;
    Ready::named("kubernetes-api").at(&unready.place()).fails(&[Reason::Status], &authority).await;
    Ready::named("kubelets").at(&unready.place()).fails(&[Reason::Status], &authority).await;

    let kubelet = Peer::answering(answer("200 OK", "", "ok")).await;
    Ready::named("kubelet").at(&kubelet.place()).is_up(&authority).await;
    Ready::named("way-out").at(&kubelet.place()).is_up(&authority).await;
    Ready::named("coredns").at(&kubelet.place()).fails(&[Reason::Body], &authority).await;
    let coredns = Peer::answering(answer("200 OK", "", "OK")).await;
    Ready::named("coredns").at(&coredns.place()).is_up(&authority).await;
    Ready::named("kubelet").at(&coredns.place()).fails(&[Reason::Body], &authority).await;
}

#[tokio::test]
async fn etcd_and_prometheus() {
    let authority = Authority::new();
    let (etcd, prometheus) = (Real::etcd().await, Real::prometheus().await);
    Ready::named("etcd").at(&etcd.address()).is_up(&authority).await;
    Ready::named("etcd-clients").at(&etcd.address()).is_up(&authority).await;
    Ready::named("grpc-service").at(&etcd.address()).is_up(&authority).await;
    Ready::named("prometheus-ready").at(&prometheus.address()).is_up(&authority).await;
    Ready::named("prometheus-healthy").at(&prometheus.address()).is_up(&authority).await;
    Ready::named("prometheus-query").at(&prometheus.address()).is_up(&authority).await;
    Ready::named("etcd").at(&prometheus.address()).fails(&[Reason::Status], &authority).await;
    Ready::named("etcd-clients").at(&prometheus.address()).fails(&[Reason::Protocol, Reason::Reset], &authority).await;
    Ready::named("grpc-service").at(&prometheus.address()).fails(&[Reason::Protocol, Reason::Reset], &authority).await;
    for name in ["prometheus-ready", "prometheus-healthy", "prometheus-query"] {
        Ready::named(name).at(&etcd.address()).fails(&[Reason::Status], &authority).await;
    }
    let sick = Peer::answering(answer("503 Service Unavailable", "", "{\"health\": \"false\"}")).await;
    Ready::named("etcd").at(&sick.place()).fails(&[Reason::Status], &authority).await;
}

#[tokio::test]
async fn data_stores_shake_hands() {
    let authority = Authority::new();
    let (redis, postgres) = (Real::redis().await, Real::postgres(&authority).await);
    let mariadb = Real::mariadb().await;
    Ready::named("redis").at(&redis.address()).is_up(&authority).await;
    Ready::named("postgresql").at(&postgres.address()).is_up(&authority).await;
    Ready::named("postgresql-certificate").at(&postgres.address()).is_up(&authority).await;
    Ready::named("mysql").at(&mariadb.address()).is_up(&authority).await;
    Ready::named("redis").at(&mariadb.address()).fails(&[Reason::Expect, Reason::Reset], &authority).await;
    Ready::named("mysql").at(&redis.address()).fails(&[Reason::Timeout], &authority).await;
    Ready::named("postgresql").at(&mariadb.address()).fails(&[Reason::Expect, Reason::Reset], &authority).await;
    let stranger = Authority::new();
    Ready::named("postgresql-certificate").at(&postgres.address()).fails(&[Reason::Certificate], &stranger).await;

    // What a broker answers: its length, the correlation id, no error, one key and its versions.
    let broker = b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\x01\0\x12\0\0\0\x03";
    let broker = kafka(broker).await;
    Ready::named("kafka").at(&broker.place()).is_up(&authority).await;
    // Error 35: it does not know the version.
    let refusing = kafka(b"\0\0\0\x0a\0\0\0\x01\0\x23\0\0\0\0").await;
    Ready::named("kafka").at(&refusing.place()).fails(&[Reason::Expect], &authority).await;
    let starting = b"E\0\0\0\x30SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0".to_vec();
    let starting = saying(starting).await;
    Ready::named("postgresql").at(&starting.place()).fails(&[Reason::Expect], &authority).await;
    let loading = saying(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()).await;
    Ready::named("redis").at(&loading.place()).fails(&[Reason::Expect], &authority).await;
    let full = saying(b"\x17\0\0\0\xff\x10\x04Too many connections".to_vec()).await;
    Ready::named("mysql").at(&full.place()).fails(&[Reason::Expect], &authority).await;
}

/// A server that answers a request for the versions that it speaks with `answer`.
async fn kafka(answer: &'static [u8]) -> Peer {
    Peer::start(move |mut stream| async move {
        let mut request = [0; 14];
        let asked = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";
        if stream.read_exact(&mut request).await.is_ok() && &request == asked {
            let _ = stream.write_all(answer).await;
        }
    })
    .await
}

/// A server that says its line, and nothing more.
async fn saying(line: Vec<u8>) -> Peer {
    let line = Arc::new(line);
    Peer::start(move |mut stream| {
        let line = Arc::clone(&line);
        async move {
            let _ = stream.write_all(&line).await;
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    })
    .await
}

#[tokio::test]
async fn mail_ssh_and_sockets() {
    let authority = Authority::new();
    let smtp = Real::smtp(&authority).await;
    let address = smtp.address();
    Ready::named("smtp").at(&address).is_up(&authority).await;
    Ready::named("smtp-certificate").at(&address).is_up(&authority).await;
    let stranger = Authority::new();
    Ready::named("smtp").at(&address).fails(&[Reason::Certificate], &stranger).await;
    Ready::named("smtp-certificate").at(&address).fails(&[Reason::Certificate], &stranger).await;
    let bastion = saying(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec()).await;
    Ready::named("bastion").at(&bastion.place()).is_up(&authority).await;
    Ready::named("bastion").at(&address).fails(SAYS_MORE, &authority).await;
    Ready::named("smtp").at(&bastion.place()).fails(&[Reason::Expect], &authority).await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let engine = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = if read_request(&mut stream).await.starts_with("GET /_ping ") { "200 OK" } else { "404 No" };
            let _ = stream.write_all(answer(status, "", "OK").as_bytes()).await;
        }
    });
    Ready::named("docker").at(&path.display().to_string()).is_up(&authority).await;
    engine.abort();
    let _ = engine.await;
    Ready::named("docker").at(&path.display().to_string()).fails(&[Reason::Refused], &authority).await;
}

#[tokio::test]
async fn names() {
    let authority = Authority::new();
    let (primary, secondary) = (Real::named(7, &authority).await, Real::named(7, &authority).await);
    let (stale, resolver) = (Real::named(6, &authority).await, Real::unbound(7, &authority).await);
    let asks = |name: &'static str| move |spec: &mut ProbeSpec| spec.dns.as_mut().unwrap().name = name.to_owned();
    let zone = |other: &Real| {
        let other = other.address();
        Ready::named("zone").at(&primary.address()).with(asks("probegate.test")).with(|spec| {
            spec.dns.as_mut().unwrap().expect.as_mut().unwrap().same_serial = vec![other];
        })
    };
    zone(&secondary).is_up(&authority).await;
    zone(&stale).fails(&[Reason::Serial], &authority).await;
    let cluster = |name| Ready::named("cluster-dns").at(&resolver.address()).with(asks(name));
    cluster("one.probegate.test").is_up(&authority).await;
    cluster("many.probegate.test").fails(&[Reason::Records], &authority).await;
    cluster("none.probegate.test").fails(&[Reason::Rcode], &authority).await;
    let over_tls = |address: String| {
        Ready::named("resolver").at(&address).with(asks("one.probegate.test")).with(|spec| {
            let dns = spec.dns.as_mut().unwrap();
            dns.tls = serde_json::from_value(serde_json::json!({"caFile": "ca.crt"})).unwrap();
        })
    };
    over_tls(resolver.address_of(1)).is_up(&authority).await;
    over_tls(resolver.address_of(1)).fails(&[Reason::Certificate], &Authority::new()).await;
}

#[tokio::test]
async fn where_nobody_listens_every_probe_is_refused() {
    let authority = Authority::new();
    let nobody = closed_port().await.to_string();
    for (_, probe) in library() {
        if probe.spec.script.is_some() || probe.spec.unix.is_some() {
            continue;
        }
        let name: &'static str = Box::leak(probe.metadata.name.unwrap().into_boxed_str());
        // A datagram to a port that is shut is answered with a refusal too, unless the kernel is busy.
        let reasons: &[Reason] = &[Reason::Refused];
        Ready::named(name).at(&nobody).fails(reasons, &authority).await;
    }
}
