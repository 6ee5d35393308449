//! TLS: options of every kind that speaks it, and the kind `tls`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::IpFamily;
use crate::model::Period;

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// A protocol that begins in the clear and turns to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// SMTP: EHLO, STARTTLS (RFC 3207).
    Smtp,
    /// IMAP: STARTTLS (RFC 3501).
    Imap,
    /// POP3: STLS (RFC 2595).
    Pop3,
    /// FTP: AUTH TLS (RFC 4217).
    Ftp,
    /// `PostgreSQL`: `SSLRequest`.
    Postgres,
    /// `MySQL` and `MariaDB`: the TLS request of the handshake.
    Mysql,
    /// LDAP: the extended operation (RFC 4511).
    Ldap,
}

/// Options of a TLS client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeTls {
    /// The name that the certificate must be for, and that is sent (SNI). Absent: the host that is
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// A file below the secrets directory with the certificates to trust, in PEM. Absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_file: Option<String>,
    /// A file below the secrets directory with the client's certificate chain, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cert_file: Option<String>,
    /// A file below the secrets directory with the client's key, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key_file: Option<String>,
    /// Take any certificate. Said in the facts of every round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
    /// The least version. Default 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The greatest version. Default 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

/// A TLS handshake and the certificates that it shows: a chain that has expired or is not trusted
/// is evidence, and not merely a connection that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsProbe {
    /// Host and port, such as `shop.example:443`. May be left out where there are `targets`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub address: String,
    /// Which addresses of a name to use. Default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<IpFamily>,
    /// Speak this protocol up to where it turns to TLS.
    #[serde(default, rename = "startTLS", skip_serializing_if = "Option::is_none")]
    pub start_tls: Option<StartTls>,
    /// Protocols to offer (ALPN), such as `h2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 64)))]
    pub alpn: Vec<String>,
    /// Whom to trust, and who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProbeTls>,
    /// What must hold. Absent: a chain that is trusted, valid now, and for the server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<TlsExpect>,
    /// What should hold: otherwise the round counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<TlsExpect>,
}

/// What a handshake must show; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsExpect {
    /// Whether the chain must lead to a certificate that is trusted, be valid now and be for the
    /// server's name. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// How long every certificate of the chain must stay valid, such as `14d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<Period>,
    /// Names that the certificate must be for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// A regular expression that matches in the issuer's distinguished name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub issuer: Option<String>,
    /// The SHA-256 of the server's certificate in hexadecimal, with or without colons; one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 64, max = 95)))]
    pub fingerprints: Vec<String>,
    /// The least version that must come about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The cipher suites of which one must come about, by their standard names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub ciphers: Vec<String>,
    /// The protocol that must be chosen (ALPN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub alpn: Option<String>,
}
