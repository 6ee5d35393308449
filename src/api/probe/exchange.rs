//! The kinds that exchange texts: `tcp`, `udp`, `unix`, `websocket`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::HttpExpect;
use super::network::IpFamily;
use super::tls::ProbeTls;
use crate::api::gate::WebhookHeader;

/// A TCP connection, and optionally an exchange of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpProbe {
    /// Host and port, such as `redis.shop:6379` or `[::1]:22`. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub address: String,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// Speak TLS from the first byte, or, where a step has `startTLS`, from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
    /// What to send once connected; `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` are understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub send: Option<String>,
    /// A regular expression that must match in the first 4 KiB of what comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
    /// A longer exchange, step by step; after `send` and `expect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub steps: Vec<ExchangeStep>,
}

/// One step of an exchange: expects first, then sends, then turns to TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeStep {
    /// A regular expression that must match in what has come since the last step; at most 4 KiB are
    /// looked at. Its named groups can be sent in later steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
    /// What to send; escapes as above, and `${name}` stands for a named group of an earlier `expect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub send: Option<String>,
    /// Turn to TLS here.
    #[serde(default, rename = "startTLS", skip_serializing_if = "std::ops::Not::not")]
    pub start_tls: bool,
    /// What to tell of what `expect` has matched: it stands in the result, under the fact `matched`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub facts: Vec<MatchedFact>,
}

/// Something to tell of a text that was matched, such as the version of who has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchedFact {
    /// What it is called.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What it says: `${name}` stands for a named group of the step's `expect`, `${1}` for a group by its
    /// number, `$$` for a dollar. At most 256 bytes of it are kept.
    #[schemars(length(max = 512))]
    pub value: String,
}

/// A datagram, and what comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UdpProbe {
    /// Host and port. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub address: String,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// What to send; `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` are understood.
    #[schemars(length(min = 1, max = 4_096))]
    pub send: String,
    /// A regular expression that a datagram that comes back must match. Absent: any datagram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
}

/// A Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.http) || (!has(self.send) && !has(self.expect))",
        "message": "either http, or send and expect"
    }
]))]
pub struct UnixProbe {
    /// The path of the socket, from the root. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 107))]
    pub path: String,
    /// An HTTP request over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<UnixHttp>,
    /// What to send once connected; `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` are understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub send: Option<String>,
    /// A regular expression that must match in the first 4 KiB of what comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
}

/// An HTTP request over a Unix socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnixHttp {
    /// Path and query. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048))]
    pub path: Option<String>,
    /// The method. Default GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = r"^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$"))]
    pub method: Option<String>,
    /// Headers to send. `Host` is `localhost` unless one is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<WebhookHeader>,
    /// A body to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// What the answer must be. Absent: any 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// What the answer should be: otherwise the round counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<HttpExpect>,
}

/// A websocket (RFC 6455), and optionally an exchange of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebsocketProbe {
    /// Where to ask: ws or wss. May be left out where every target is a URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2_048))]
    pub url: String,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<WebhookHeader>,
    /// Subprotocols to offer; the server must choose one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 128)))]
    pub subprotocols: Vec<String>,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// Host and port, or host, to connect to instead of the URL's; names and certificates stay the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub connect_to: Option<String>,
    /// Options for wss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
    /// A message of text to send once connected. Absent, with no `expect`: a ping, and its pong is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub send: Option<String>,
    /// A regular expression that a message that comes back must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
}
