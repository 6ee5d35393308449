//! The kind `http`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::IpFamily;
use super::state::Severity;
use super::tls::{ProbeTls, TlsVersion};
use crate::api::gate::WebhookHeader;
use crate::model::Period;

/// The version of HTTP to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: over TLS by ALPN, in the clear with prior knowledge (h2c).
    #[serde(rename = "2")]
    Http2,
    /// Over TLS whatever the server prefers, in the clear HTTP/1.1.
    #[serde(rename = "any")]
    Any,
}

/// An HTTP request and what its answer must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// Where to ask: http or https. May be left out where every target is a URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2_048))]
    pub url: String,
    /// The method. Default GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = r"^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$"))]
    pub method: Option<String>,
    /// Headers to send; `Host` replaces the URL's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<WebhookHeader>,
    /// A body to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    /// Whether and how far to follow redirects. Absent: they are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<HttpRedirects>,
    /// The version of HTTP. Default 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<HttpVersion>,
    /// Ask for a compressed answer and look at what is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compression: bool,
    /// Ask through a proxy. Absent: directly, whatever the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<HttpProxy>,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// Host and port, or host, to connect to instead of the URL's; names and certificates stay the URL's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub connect_to: Option<String>,
    /// Options for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
    /// What the answer must be. Absent: any 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
    /// What the answer should be: otherwise the round counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<HttpExpect>,
}

/// Who asks; secrets come from files below the secrets directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.basic), has(self.bearer), has(self.oauth2)].filter(x, x).size() == 1",
        "message": "exactly one of basic, bearer and oauth2"
    }
]))]
pub struct HttpAuth {
    /// User and password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// A token (RFC 6750).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// A token that is fetched first with client credentials (RFC 6749, 4.4), and kept until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<ClientCredentials>,
}

/// User and password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user; no colon.
    #[schemars(length(min = 1, max = 253))]
    pub username: String,
    /// The file with the password; a line end at its end is cut off.
    #[schemars(length(min = 1, max = 253))]
    pub password_file: String,
}

/// A token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BearerAuth {
    /// The file with the token; a line end at its end is cut off.
    #[schemars(length(min = 1, max = 253))]
    pub token_file: String,
}

/// Client credentials of OAuth 2.0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where tokens are made.
    #[schemars(length(min = 1, max = 2_048))]
    pub token_url: String,
    /// The client.
    #[schemars(length(min = 1, max = 253))]
    pub client_id: String,
    /// The file with the client's secret; a line end at its end is cut off.
    #[schemars(length(min = 1, max = 253))]
    pub client_secret_file: String,
    /// The scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub scopes: Vec<String>,
    /// Further parameters of the token request, such as `audience`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), inner(length(max = 1_024)))]
    pub parameters: BTreeMap<String, String>,
    /// Options for https of the token request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
}

/// How far to follow redirects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRedirects {
    /// At most so many; one more is a failure.
    #[schemars(range(min = 1, max = 20))]
    pub max: u32,
    /// A redirect from https to http is a failure, unless this is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_downgrade: bool,
}

/// A proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProxy {
    /// Where it is: `http://host:port`. https goes through it with CONNECT.
    #[schemars(length(min = 1, max = 2_048))]
    pub url: String,
    /// Who asks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<BasicAuth>,
}

/// What an HTTP answer must be; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpExpect {
    /// Allowed status codes. Absent: any 2xx under `expect`, any under `warn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 100, max = 599)))]
    pub status: Vec<u16>,
    /// What the headers must be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<HttpHeader>,
    /// What the body must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody>,
    /// What must stand in a body of JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub json: Vec<HttpJson>,
    /// A Rhai expression that must be true; it knows `status`, `headers` (by lower-case name),
    /// `body`, `json` and `seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub rule: Option<String>,
    /// How large the body must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<HttpSize>,
    /// What the certificates of https must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateExpect>,
    /// The least version of TLS that must come about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<TlsVersion>,
    /// The version of HTTP that must come about: `1.1` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<HttpVersion>,
    /// How old the content may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<LastModified>,
    /// How long the answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<HttpLatency>,
}

/// What a header must be; everything given must hold for one of the header's values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub equals: Option<String>,
    /// A regular expression that matches in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub matches: Option<String>,
    /// The header must not be there, or, with `equals` or `matches`, must not be so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// What a body must look like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpBody {
    /// A text that stands in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub contains: Option<String>,
    /// A regular expression that matches in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub matches: Option<String>,
    /// A text that does not stand in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub excludes: Option<String>,
    /// A regular expression that does not match in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub not_matches: Option<String>,
}

/// A JSON path and what must stand there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.equals) && has(self.matches))", "message": "not both equals and matches"}
]))]
pub struct HttpJson {
    /// A JSON path (RFC 9535), such as `$.checks[*].ok`; it must select something, and everything
    /// that it selects is judged.
    #[schemars(length(min = 1, max = 1_024))]
    pub path: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::api::gate::free_value")]
    pub equals: Option<Value>,
    /// A regular expression that matches in the value's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub matches: Option<String>,
}

/// How large a body must be, in bytes as they came, or as they were decompressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSize {
    /// At least so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// What the certificates of https must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateExpect {
    /// How long every certificate of the chain must stay valid, such as `14d`.
    pub valid_for: Period,
}

/// How old the content may be, by the header `Last-Modified`, which must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastModified {
    /// At most so old.
    pub max_age: Period,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpLatency {
    /// From the start of the round to the end of the body.
    pub max: Period,
    /// What it means to be slower. Default `degraded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}
