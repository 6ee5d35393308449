//! A probe from an address and flags: what can be typed.

mod meaning;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::model::Period;

/// How an address is asked, and what must come back.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "How to ask an address")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line, on or off by itself")]
pub(super) struct Flags {
    /// The method.
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// A header, or of gRPC a piece of metadata, as `Name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A body to send.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Follow at most so many redirects.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20))]
    redirects: Option<u32>,
    /// The version of HTTP.
    #[arg(long, value_enum, value_name = "VERSION")]
    http: Option<Version>,
    /// Ask for a compressed answer and look at what is in it.
    #[arg(long)]
    compressed: bool,
    /// Ask through a proxy.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// The user of basic authentication.
    #[arg(long, value_name = "NAME", requires = "password_file", conflicts_with = "bearer_file")]
    user: Option<String>,
    /// The file with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// A file with a token to show.
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,
    /// Of a Unix socket: ask for this path by HTTP.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// What to send once connected; `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` are understood.
    #[arg(long, value_name = "TEXT")]
    send: Option<String>,
    /// Speak TLS over TCP.
    #[arg(long)]
    tls: bool,
    /// Speak this protocol up to where it turns to TLS.
    #[arg(long = "starttls", value_enum, value_name = "PROTOCOL")]
    start_tls: Option<Begin>,
    /// Connect to this host, or host and port; names and certificates stay the address's.
    #[arg(long, value_name = "HOST")]
    connect_to: Option<String>,
    /// Use IPv4 alone.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 alone.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// The name that the certificate must be for, and that is sent (SNI).
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The certificates to trust, in PEM, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client's certificate chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The client's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Take any certificate.
    #[arg(short = 'k', long)]
    insecure: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// What must come back.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What must come back")]
struct Wanted {
    /// Allowed status codes, with commas between them. Otherwise any 2xx.
    #[arg(long, value_name = "CODES", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(100..=599))]
    status: Vec<u16>,
    /// A text that stands in the body.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// A text that does not stand in the body.
    #[arg(long, value_name = "TEXT")]
    excludes: Option<String>,
    /// A regular expression that matches in the body.
    #[arg(long, value_name = "REGEX")]
    matches: Option<String>,
    /// A JSON path that selects something in the body; may be given several times.
    #[arg(long, value_name = "PATH")]
    json: Vec<String>,
    /// A Rhai expression that is true; it knows `status`, `headers`, `body`, `json` and `seconds`.
    #[arg(long, value_name = "EXPRESSION")]
    rule: Option<String>,
    /// A regular expression that matches in what comes back.
    #[arg(long, value_name = "REGEX")]
    expect: Option<String>,
    /// How long every certificate must stay valid, such as `14d`.
    #[arg(long, value_name = "TIME")]
    valid_for: Option<Period>,
    /// What takes longer is degraded.
    #[arg(long, value_name = "TIME")]
    max_latency: Option<Period>,
    /// It must fail: a port must be shut, a login must be refused.
    #[arg(long)]
    expect_failure: bool,
}

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    /// HTTP/1.1.
    #[value(name = "1.1")]
    One,
    /// HTTP/2; in the clear with prior knowledge.
    #[value(name = "2")]
    Two,
    /// Whatever the server prefers.
    Any,
}

/// A protocol that begins in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Begin {
    /// SMTP.
    Smtp,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// FTP.
    Ftp,
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL` and `MariaDB`.
    Mysql,
    /// LDAP.
    Ldap,
}

/// Kinds that ask by HTTP, and those that exchange texts or speak TLS.
const HTTP: &[&str] = &["http", "unix"];
const URLS: &[&str] = &["http", "websocket"];
const HEADED: &[&str] = &["http", "unix", "websocket", "grpc"];
const TEXTS: &[&str] = &["tcp", "udp", "unix", "websocket"];
const SECURE: &[&str] = &["http", "websocket", "tcp", "tls", "dns", "grpc"];
const NAMED: &[&str] = &["http", "websocket", "tcp", "tls", "grpc", "icmp", "udp"];

impl Flags {
    /// Whether any flag was given that only an address can take.
    pub(super) fn given(&self) -> Option<&'static str> {
        self.flags().into_iter().find(|(_, given, _)| *given).map(|(name, ..)| name)
    }

    /// Every flag with the kinds that can take it.
    fn flags(&self) -> Vec<(&'static str, bool, &'static [&'static str])> {
        let wanted = &self.wanted;
        vec![
            ("--method", self.method.is_some(), HTTP),
            ("--header", !self.headers.is_empty(), HEADED),
            ("--body", self.body.is_some(), HTTP),
            ("--redirects", self.redirects.is_some(), &["http"]),
            ("--http", self.http.is_some(), &["http"]),
            ("--compressed", self.compressed, &["http"]),
            ("--proxy", self.proxy.is_some(), &["http"]),
            ("--user", self.user.is_some(), &["http"]),
            ("--bearer-file", self.bearer_file.is_some(), &["http"]),
            ("--path", self.path.is_some(), &["unix"]),
            ("--send", self.send.is_some(), TEXTS),
            ("--tls", self.tls, &["tcp"]),
            ("--starttls", self.start_tls.is_some(), &["tls"]),
            ("--connect-to", self.connect_to.is_some(), URLS),
            ("--ipv4", self.ipv4, NAMED),
            ("--ipv6", self.ipv6, NAMED),
            ("--server-name", self.server_name.is_some(), SECURE),
            ("--ca", self.ca.is_some(), SECURE),
            ("--cert", self.cert.is_some(), SECURE),
            ("--insecure", self.insecure, SECURE),
            ("--status", !wanted.status.is_empty(), HTTP),
            ("--contains", wanted.contains.is_some(), HTTP),
            ("--excludes", wanted.excludes.is_some(), HTTP),
            ("--matches", wanted.matches.is_some(), HTTP),
            ("--json", !wanted.json.is_empty(), HTTP),
            ("--rule", wanted.rule.is_some(), HTTP),
            ("--expect", wanted.expect.is_some(), TEXTS),
            ("--valid-for", wanted.valid_for.is_some(), &["http", "tls"]),
            ("--max-latency", wanted.max_latency.is_some(), &[]),
            ("--expect-failure", wanted.expect_failure, &[]),
        ]
    }
}
