//! What is probed: nginx over HTTP and HTTPS, and Redis.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::process::Process;

/// Loopback addresses that the targets answer on. One address has 28,000 ports for clients, and a
/// client that closes first has each of them back after a second only.
pub const ADDRESSES: u8 = 16;
/// The file, below the targets' directory, with the authority that signed the target's certificate.
pub const AUTHORITY: &str = "authority.pem";
/// How long a target may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request and its answer.
    Http,
    /// The same over TLS, with a P-256 certificate that is verified.
    Https,
    /// A connection, and nothing else.
    Tcp,
    /// A connection, a line sent and a line expected.
    Exchange,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Tcp, Self::Exchange];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Exchange => "tcp exchange",
        }
    }
}

/// The running targets, on the first core.
pub struct Targets {
    _processes: Vec<Process>,
    plain: u16,
    secure: u16,
    redis: u16,
    directory: tempfile::TempDir,
}

impl Targets {
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let [plain, secure, redis] = free_ports()?;
        write_certificate(root)?;
        std::fs::write(root.join("nginx.conf"), nginx_config(root, plain, secure))?;
        let config = root.join("nginx.conf").display().to_string();
        let errors = root.join("errors.log").display().to_string();
        let nginx = Process::start("0", &find("nginx")?, &["-c", &config, "-e", &errors], &root.join("nginx.log"))?;
        let mut arguments: Vec<String> = vec!["--port".into(), redis.to_string()];
        arguments.extend(["--save", "", "--protected-mode", "no", "--maxclients", "4096", "--bind"].map(String::from));
        arguments.extend((1..=ADDRESSES).map(|last| format!("127.0.0.{last}")));
        let redis_process = Process::start("0", &find("redis-server")?, &arguments, &root.join("redis.log"))?;
        for port in [plain, secure, redis] {
            wait_for(SocketAddr::from(([127, 0, 0, 1], port)))?;
        }
        Ok(Self { _processes: vec![nginx, redis_process], plain, secure, redis, directory })
    }

    pub fn port(&self, kind: Kind) -> u16 {
        match kind {
            Kind::Http | Kind::Tcp => self.plain,
            Kind::Https => self.secure,
            Kind::Exchange => self.redis,
        }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The address that the `turn`th probe asks.
pub fn host(turn: usize) -> String {
    format!("127.0.0.{}", turn % usize::from(ADDRESSES) + 1)
}

fn nginx_config(root: &Path, plain: u16, secure: u16) -> String {
    let root = root.display();
    format!(
        "daemon off; master_process off; pid {root}/pid; worker_rlimit_nofile 20000;
         events {{ worker_connections 16384; }}
         http {{
           access_log off; keepalive_timeout 0; server_tokens off;
           client_body_temp_path {root}/a; proxy_temp_path {root}/b;
           fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
           server {{
             listen {plain} backlog=4096; listen {secure} ssl backlog=4096;
             ssl_protocols TLSv1.3; ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.key;
             location / {{ return 200 'ok'; }}
           }}
         }}"
    )
}

/// An authority and, signed by it, a P-256 certificate for every address and for `localhost`.
fn write_certificate(root: &Path) -> anyhow::Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let names: Vec<String> = (0..ADDRESSES.into()).map(host).chain(["localhost".to_owned()]).collect();
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    std::fs::write(root.join(AUTHORITY), authority.pem())?;
    std::fs::write(root.join("server.pem"), certificate.pem())?;
    std::fs::write(root.join("server.key"), key.serialize_pem())?;
    Ok(())
}

/// Ports that were free a moment ago.
pub fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut listeners = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("0.0.0.0:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Waits until somebody listens.
pub fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        anyhow::ensure!(start.elapsed() < PATIENCE, "nobody listens on {address}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(())
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let mut places = places.iter().map(|place| Path::new(place).join(program));
    places.find(|path| path.exists()).with_context(|| format!("{program} is needed: run tests/setup.sh"))
}
