//! Name servers for the zone `probegate.test`.

use std::fmt::Write as _;

use super::{NAMES, Real, Recipe};
use crate::checks::peers::Authority;

/// What stands in the zone, beside its SOA.
const RECORDS: &[&str] = &[
    "@ IN NS ns1.probegate.test.",
    "@ IN NS ns2.probegate.test.",
    "ns1 IN A 127.0.0.1",
    "ns2 IN A 127.0.0.1",
    "one IN A 127.0.0.1",
    "six IN AAAA ::1",
    "both IN A 127.0.0.1",
    "both IN AAAA ::1",
    "many IN A 127.0.0.1",
    "many IN A 127.0.0.2",
    "many IN A 127.0.0.3",
    "alias IN CNAME one.probegate.test.",
    "ring IN CNAME round.probegate.test.",
    "round IN CNAME ring.probegate.test.",
    "text IN TXT \"v=probegate\"",
    "mail IN MX 10 one.probegate.test.",
];

/// A question over TCP for `one.probegate.test`, and how an authoritative answer to it begins.
const QUESTION: &[u8] = b"\0\x24\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03one\x09probegate\x04test\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\x12\x34\x84";

impl Real {
    /// BIND with the zone at `serial`, over UDP and TCP on the first port, over TLS on the second.
    pub async fn named(serial: u32, authority: &Authority) -> Self {
        Self::start(2, |directory, ports| {
            let (certificate, key) = authority.issue(NAMES);
            std::fs::write(directory.join("server.pem"), certificate).unwrap();
            std::fs::write(directory.join("server.key"), key).unwrap();
            let soa = format!("@ IN SOA ns1.probegate.test. root.probegate.test. {serial} 3600 600 86400 60");
            std::fs::write(directory.join("zone"), format!("$TTL 60\n{soa}\n{}\n", RECORDS.join("\n"))).unwrap();
            let (root, plain, secure) = (directory.display(), ports[0], ports[1]);
            let config = format!(
                "tls own {{ cert-file \"{root}/server.pem\"; key-file \"{root}/server.key\"; }};
                 options {{
                   directory \"{root}\"; pid-file none; session-keyfile none; lock-file none;
                   listen-on port {plain} {{ 127.0.0.1; }}; listen-on port {secure} tls own {{ 127.0.0.1; }};
                   listen-on-v6 {{ none; }}; recursion no; notify no; dnssec-validation no;
                 }};
                 controls {{ }};
                 zone \"probegate.test\" {{ type primary; file \"{root}/zone\"; }};"
            );
            std::fs::write(directory.join("named.conf"), config).unwrap();
            let config = format!("{root}/named.conf");
            Recipe::new("named", ["-g", "-4", "-n", "1", "-c", &config]).ready(QUESTION, ANSWER)
        })
        .await
    }

    /// Unbound with the same names and another `serial`, over UDP and TCP on the first port, over
    /// TLS on the second. It answers out of its own head and asks nobody.
    pub async fn unbound(serial: u32, authority: &Authority) -> Self {
        Self::start(2, |directory, ports| {
            let (certificate, key) = authority.issue(NAMES);
            std::fs::write(directory.join("server.pem"), certificate).unwrap();
            std::fs::write(directory.join("server.key"), key).unwrap();
            let (root, plain, secure) = (directory.display(), ports[0], ports[1]);
            let mut data = String::new();
            for record in RECORDS {
                let (name, rest) = record.split_once(' ').unwrap();
                let name = if name == "@" { String::new() } else { format!("{name}.") };
                writeln!(data, "  local-data: '{name}probegate.test. 60 {rest}'").unwrap();
            }
            let config = format!(
                "server:\n  directory: \"{root}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  \
                 use-syslog: no\n  num-threads: 1\n  interface: 127.0.0.1@{plain}\n  interface: 127.0.0.1@{secure}\n  \
                 tls-port: {secure}\n  tls-service-pem: \"{root}/server.pem\"\n  \
                 tls-service-key: \"{root}/server.key\"\n  access-control: 127.0.0.0/8 allow\n  \
                 local-zone: \".\" refuse\n  local-zone: \"probegate.test.\" static\n  \
                 local-data: 'probegate.test. 60 IN SOA ns1.probegate.test. root.probegate.test. {serial} 3600 600 \
                 86400 60'\n{data}remote-control:\n  control-enable: no\n"
            );
            std::fs::write(directory.join("unbound.conf"), config).unwrap();
            let config = format!("{root}/unbound.conf");
            Recipe::new("unbound", ["-d", "-c", &config]).ready(QUESTION, ANSWER)
        })
        .await
    }
}
