//! What every story of a kind needs: tools, one round, and servers on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use probegate::clock::SystemClock;
use probegate::outbound::{Outbound, Secrets};
use probegate::probes::{Observation, Reason, SpecError, Tools, compile};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// The longest that a round takes whose end is not its timeout: a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Tools without secrets.
pub fn tools() -> Tools {
    tools_at(None)
}

/// Tools with secrets, and files of resources, below a directory.
pub fn tools_at(directory: Option<&Path>) -> Tools {
    let root = directory.map(PathBuf::from);
    Tools { outbound: Outbound::new(Secrets::new(root.clone())), clock: Arc::new(SystemClock::new()), root }
}

/// What is wrong with a spec.
pub fn refused(spec: Value, tools: &Tools) -> SpecError {
    compile(&serde_json::from_value(spec).unwrap(), PATIENCE, tools).err().expect("a spec that is refused")
}

/// One round.
pub async fn round(spec: Value) -> Observation {
    round_with(spec, PATIENCE, &tools()).await
}

/// One round with a timeout and tools.
pub async fn round_with(spec: Value, timeout: Duration, tools: &Tools) -> Observation {
    let spec = serde_json::from_value(spec).unwrap();
    compile(&spec, timeout, tools).unwrap_or_else(|error| panic!("{error}")).observe().await
}

/// The reason of a round that failed.
pub fn reason(seen: &Observation) -> Reason {
    assert!(!seen.success, "{seen:?}");
    seen.reason.unwrap_or_else(|| panic!("{seen:?}"))
}

/// The round's log as one text.
pub fn log(seen: &Observation) -> String {
    seen.log.lines().collect::<Vec<_>>().join("\n")
}

/// A server that hands every connection to `talk`, and counts them; it ends with this value.
pub struct Peer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub async fn start<F, T>(talk: F) -> Self
    where
        F: Fn(TcpStream) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let acceptor = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(talk(stream));
            }
        });
        Self { address, connections, acceptor }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// A port where nobody listens.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
