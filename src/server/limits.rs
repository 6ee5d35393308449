//! The limits of the server: everything that comes from outside has one.

use std::time::Duration;

/// The largest body. The largest request that means something is a question with 64 labels, about
/// 30 KB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long the head of a request may take. It also ends idle connections, so it stands above the
/// polling interval of the usual controllers.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may take: the largest one over a poor mobile line.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a handshake may take.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take beside the time that it asked to wait: a store on a slow disk
/// answers in it, and a stuck one is told.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest `wait`: below the 60 s after which the usual proxies cut an idle connection.
pub const MAX_WAIT: Duration = Duration::from_secs(50);
/// How long the answer to a hook may wait for a verdict: callers give up after 10 s, and a controller
/// works through its targets one after another.
pub const HOOK_WAIT: Duration = Duration::from_secs(1);
/// How long a hook may take at all: well inside the callers' 10 s.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(6);
/// Headers of one request.
pub const MAX_HEADERS: usize = 64;
/// Bytes of one request's head: 8 KB of address and a token or two.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Requests at one time on one HTTP/2 connection.
pub const MAX_STREAMS: u32 = 128;
/// Connections at one time and listener: one a caller, and each costs about 20 KB.
pub const MAX_CONNECTIONS: usize = 4_096;
/// Requests at one time: most of them wait for a verdict and cost a few KB.
pub const MAX_IN_FLIGHT: usize = 4_096;
/// Subscribers of `/v1/events` at one time: web pages and dashboards, not fleets.
pub const MAX_SUBSCRIBERS: usize = 256;
/// Events that a slow subscriber may lag behind, and that one who returns can catch up with.
pub const EVENT_BACKLOG: usize = 1_024;
/// How often a silent event stream says that it is there: proxies cut connections that are idle
/// for a minute.
pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
/// Requests per second of one token that names no `rate`: a fleet of a thousand targets polled
/// every second. Twice as many may come at once.
pub const DEFAULT_RATE: u32 = 1_000;
/// Failed authentications per second and address, before the answer is 429: enough for a fleet
/// whose token has just expired to be told so.
pub const FAILED_AUTH_RATE: u32 = 5;
/// Failed authentications of one address at once.
pub const FAILED_AUTH_BURST: u32 = 20;
/// Addresses that are remembered for it; beyond, the settled ones are forgotten.
pub const MAX_ADDRESSES: usize = 10_000;
/// The most namespaces that one request is looked up for: each is a question to the cluster.
pub const MAX_NAMESPACES_ASKED: usize = 4;
/// The longest identifying text, as the schema of `Change` has it.
pub const MAX_TEXT: usize = 253;
/// The longest reason of an override, as its schema has it.
pub const MAX_REASON: usize = 512;
/// Labels of a change, as its schema has it.
pub const MAX_LABELS: usize = 64;
/// The longest key of a label: prefix, slash and name, as Kubernetes has it.
pub const MAX_LABEL_KEY: usize = 317;
/// The longest value of a label, as Kubernetes has it.
pub const MAX_LABEL_VALUE: usize = 63;
/// Rounds for `/probe` at one time: each has a socket and, with TLS, about 50 KB; more wait their turn.
pub const MAX_SCRAPES: usize = 256;
/// The longest round for `/probe`: Prometheus waits a minute at most unless somebody has set more.
pub const MAX_SCRAPE: Duration = Duration::from_secs(60);
/// How much sooner than Prometheus a round for `/probe` gives up, so that its answer arrives.
pub const SCRAPE_MARGIN: Duration = Duration::from_millis(500);
/// Modules that are kept compiled, one for each target: a Prometheus asks about the same ones again
/// and again.
pub const MAX_PREPARED: usize = 4_096;
/// Items of a page that names no `limit`.
pub const DEFAULT_PAGE: usize = 50;
/// The most items of a page: about 1 MB of summaries.
pub const MAX_PAGE: usize = 500;
/// The most records that one list reads for its filters; the page then ends early and `next` goes
/// on.
pub const MAX_SCANNED: usize = 5_000;
/// The longest life of an override: what is needed longer is a change of the gate.
pub const MAX_OVERRIDE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The most characters of a foreign text that an answer repeats.
pub const MAX_ECHO: usize = 80;
/// The longest request id that is taken over from a caller.
pub const MAX_REQUEST_ID: usize = 64;
/// Runs of one target that a hook looks at: batches times attempts of the release under way.
pub const MAX_HOOK_RUNS: usize = 200;
/// How long one source of `/readyz` may take: kubelet's default timeout is 1 s.
pub const HEALTH_TIMEOUT: Duration = Duration::from_millis(800);
/// How long requests under way may take to end at a shutdown. Kubernetes kills after 30 s.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How often token and certificate files are looked at. Secrets are mounted as links to links,
/// which no file watch follows reliably, and the files are small.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// The largest token file: about 2,000 entries.
pub const MAX_TOKENS_FILE: u64 = 1024 * 1024;
/// How far a signature's time may be from ours, in seconds.
pub const SIGNATURE_TOLERANCE_SECONDS: i64 = 300;
/// Signatures of writes that are remembered against replay; more writes within the tolerance are
/// refused until the oldest has run out.
pub const MAX_SIGNATURES: usize = 10_000;
/// The most answers whose first delivery is remembered for the audit log.
pub const MAX_AUDITED: usize = 4_096;
