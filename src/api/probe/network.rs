//! The kinds `dns`, `grpc` and `icmp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::ProbeTls;
use crate::api::gate::WebhookHeader;
use crate::model::Period;

/// Which addresses of a name to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// Whichever the name has, in the resolver's order.
    #[default]
    Any,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// How a DNS query travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsTransport {
    /// Datagrams, and TCP where the answer is truncated.
    #[default]
    Udp,
    /// TCP.
    Tcp,
    /// TLS (RFC 7858).
    Tls,
}

/// A DNS query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsProbe {
    /// The server to ask: a host with or without a port (53; 853 for TLS). May be left out where
    /// there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub server: String,
    /// The name to ask for.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The type of record, such as `A`, `SOA` or `TXT`. Default A.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub record_type: Option<String>,
    /// How the query travels. Default udp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<DnsTransport>,
    /// Whether the server is asked to ask others. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursion: Option<bool>,
    /// Options for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
    /// What the answer must be. Absent: the code NOERROR and at least one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<DnsExpect>,
    /// What the answer should be: otherwise the round counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<DnsExpect>,
}

/// What a DNS answer must be; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsExpect {
    /// Allowed response codes, such as `NOERROR` or `NXDOMAIN`. Absent: NOERROR under `expect`, any
    /// under `warn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 16)))]
    pub rcode: Vec<String>,
    /// Whether the answer must be authoritative, or must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authoritative: Option<bool>,
    /// Whether the server must say that it has validated the answer (DNSSEC), or must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// The records of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<DnsRecords>,
    /// The records of the authority section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<DnsRecords>,
    /// The additional records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<DnsRecords>,
    /// Other servers that must have the same serial in the zone's SOA record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 300)))]
    pub same_serial: Vec<String>,
    /// How far the serials may be apart. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_serial_lag: Option<u32>,
}

/// What the records of a section must be. A record is compared as a line of a zone file with single
/// spaces, such as `shop.example. 300 IN A 192.0.2.1`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsRecords {
    /// At least so many records. Default 1 for the answer under `expect`, otherwise 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub min: Option<u32>,
    /// At most so many records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub max: Option<u32>,
    /// Regular expressions, each of which matches some record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4_096)))]
    pub some: Vec<String>,
    /// Regular expressions, one of which matches each record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4_096)))]
    pub all: Vec<String>,
    /// Regular expressions, none of which matches a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4_096)))]
    pub none: Vec<String>,
}

/// The health service of a gRPC server (`grpc.health.v1.Health/Check`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcProbe {
    /// Host and port. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub address: String,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// The service whose health is asked for. Absent: that of the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
    /// The authority to send. Absent: the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub authority: Option<String>,
    /// Metadata to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub metadata: Vec<WebhookHeader>,
    /// Speak TLS. Absent: in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
}

/// Echo requests (ICMP, or `ICMPv6`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IcmpProbe {
    /// The host. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub host: String,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// How many requests a round sends. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub count: Option<u32>,
    /// The time between two requests of a round. Default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing: Option<Period>,
    /// How many bytes each request carries. Default 56.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65_000))]
    pub size: Option<u32>,
    /// The hops that a request may make. Default the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub ttl: Option<u32>,
    /// Forbid fragmentation, so that `size` measures the path's MTU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dont_fragment: bool,
    /// What must hold. Absent: one answer at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<IcmpExpect>,
    /// What should hold: otherwise the round counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<IcmpExpect>,
}

/// What the answers must be; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IcmpExpect {
    /// At most so many percent of the requests may be lost. Default under `expect`: less than all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 99))]
    pub max_loss: Option<u32>,
    /// The slowest answer may take so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rtt: Option<Period>,
    /// At least so many hops must be left of each answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub min_ttl: Option<u32>,
}
