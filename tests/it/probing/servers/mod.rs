//! Real servers from the distribution's packages, each with a directory and with ports of its own.

mod data;
mod mail;
mod names;
mod watching;
mod web;

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often another port is tried: between choosing and binding it somebody else may take it.
const TRIES: usize = 5;
/// Debian's user without rights, for servers that refuse to run as root.
const NOBODY: u32 = 65_534;

/// What the servers' certificates are for: where they are, and where ready-made probes expect them.
const NAMES: &[&str] =
    &["localhost", "127.0.0.1", "www.example.com", "resolver.example.com", "smtp.mail.svc", "postgresql.default.svc"];

/// What a server needs to be started in `directory`, on ports of its own.
struct Recipe {
    /// The program's name, or its path.
    program: String,
    arguments: Vec<String>,
    /// It refuses to run as root: run it, and let it own its directory, as nobody.
    unprivileged: bool,
    /// What is sent to it, and what must come back, before it counts as started.
    greeting: (Vec<u8>, Vec<u8>),
}

impl Recipe {
    fn new<A: Into<String>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.to_owned(), arguments, unprivileged: false, greeting: (Vec::new(), Vec::new()) }
    }

    /// Started when `answer` stands in what comes back for `sent`.
    fn ready(mut self, sent: impl Into<Vec<u8>>, answer: impl Into<Vec<u8>>) -> Self {
        self.greeting = (sent.into(), answer.into());
        self
    }

    /// Started when a GET of `path` is answered with 200.
    fn ready_at(self, path: &str) -> Self {
        self.ready(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"), " 200 OK")
    }

    fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }
}

/// A running server; it ends with this value.
pub struct Real {
    child: Child,
    /// The first of its ports.
    pub port: u16,
    ports: Vec<u16>,
    directory: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        // A server with children of its own ends them at this; the others are ended all the same.
        let _ = Command::new("kill").args(["-s", "QUIT", &self.child.id().to_string()]).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(2) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// Starts what `prepare` makes of a directory and `count` free ports, and waits until the first
    /// port answers as the recipe says.
    async fn start(count: usize, prepare: impl Fn(&Path, &[u16]) -> Recipe) -> Self {
        for _ in 1..TRIES {
            if let Some(real) = Self::try_start(count, &prepare).await {
                return real;
            }
        }
        Self::try_start(count, &prepare).await.expect("a free port for the server; see its output above")
    }

    async fn try_start(count: usize, prepare: &impl Fn(&Path, &[u16]) -> Recipe) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // Servers that give up their rights still have to reach their files.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let ports = free_ports(count);
        let recipe = prepare(directory.path(), &ports);
        if recipe.unprivileged && am_root() {
            give_away(directory.path(), NOBODY);
        }
        let output = std::fs::File::create(directory.path().join("output.log")).unwrap();
        let child = command(&recipe.program, recipe.unprivileged)
            .args(&recipe.arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start ({error}): run tests/setup.sh", recipe.program));
        let mut real = Self { child, port: ports[0], ports, directory };
        let start = Instant::now();
        loop {
            let answers = answers(real.port, &recipe.greeting.0, &recipe.greeting.1).await;
            if let Some(status) = real.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(real.path("output.log")).unwrap_or_default();
                eprintln!("{} ended with {status}:\n{said}", recipe.program);
                return None;
            }
            if answers {
                return Some(real);
            }
            assert!(start.elapsed() < PATIENCE, "{} does not answer on {}", recipe.program, real.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its address on the first port.
    pub fn address(&self) -> String {
        self.address_of(0)
    }

    /// Its address on one of its ports.
    pub fn address_of(&self, port: usize) -> String {
        format!("127.0.0.1:{}", self.ports[port])
    }

    /// A URL on its first port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }
}

/// A command that ends with this process, however that ends.
fn command(program: &str, unprivileged: bool) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if unprivileged && am_root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command.arg("--").arg(find(program));
    command
}

/// A program's path: servers stand where users' paths do not reach.
fn find(program: &str) -> PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"];
    let places = places.iter().map(|place| Path::new(place).join(program));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("there is no {program}: run tests/setup.sh"))
}

fn am_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Makes `user` the owner of a directory and of what is in it.
fn give_away(directory: &Path, user: u32) {
    for entry in std::fs::read_dir(directory).unwrap() {
        chown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
    }
    chown(directory, Some(user), Some(user)).unwrap();
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Whether `answer` stands in the first bytes that come back for `sent`.
async fn answers(port: u16, sent: &[u8], answer: &[u8]) -> bool {
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(sent).await?;
        let mut seen = Vec::new();
        let mut piece = [0; 1_024];
        while !answer.is_empty() && !seen.windows(answer.len()).any(|window| window == answer) {
            let count = stream.read(&mut piece).await?;
            if count == 0 || seen.len() > 16_384 {
                return Ok(false);
            }
            seen.extend_from_slice(&piece[..count]);
        }
        std::io::Result::Ok(true)
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), exchange).await, Ok(Ok(true)))
}
