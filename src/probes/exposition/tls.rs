//! What a TLS handshake has shown.

use jiff::Timestamp;
use serde_json::Value;

use super::families::Families;
use super::text;
use crate::probes::result::Observation;

/// How much the exporter shows for a prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// The certificate and the version.
    Leaf,
    /// The end of the verified chain, too.
    Chain,
    /// And the cipher.
    Cipher,
}

/// Adds what was shown, where anything was.
pub(super) fn shown(families: &mut Families, seen: &Observation, detail: Detail) {
    let Some(version) = text(seen, "tlsVersion") else { return };
    let label = vec![("version", format!("TLS {version}"))];
    families.labelled("probe_tls_version_info", "The version of TLS", label, 1.0);
    if detail == Detail::Cipher {
        let cipher = text(seen, "tlsCipher").unwrap_or("unknown").to_owned();
        families.labelled("probe_tls_cipher_info", "The cipher suite", vec![("cipher", cipher)], 1.0);
    }
    let ends = text(seen, "certificateNotAfter").and_then(|text| text.parse::<Timestamp>().ok());
    if let Some(ends) = ends {
        let ends = ends.as_second() as f64;
        families.gauge("probe_ssl_earliest_cert_expiry", "When the first certificate of the chain ends", ends);
        if detail != Detail::Leaf {
            let help = "When the chain that was verified ends";
            families.gauge("probe_ssl_last_chain_expiry_timestamp_seconds", help, ends);
        }
    }
    if let Some(certificate) = seen.facts.get("certificate") {
        let labels = chain_labels(certificate);
        families.labelled("probe_ssl_last_chain_info", "The server's own certificate", labels, 1.0);
    }
}

fn chain_labels(certificate: &Value) -> Vec<(&'static str, String)> {
    let field = |name: &str| certificate.get(name).and_then(Value::as_str).unwrap_or_default();
    let names = certificate.get("names").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // Addresses are no names there.
    let names: Vec<&str> = names.filter(|name| name.parse::<std::net::IpAddr>().is_err()).collect();
    // A number has no leading zeros there, and may have one as it travels.
    let serial = field("serial").strip_prefix("00").unwrap_or(field("serial")).to_owned();
    vec![
        ("fingerprint_sha256", field("sha256").to_owned()),
        ("issuer", turned(field("issuer"))),
        ("serialnumber", serial),
        ("subject", turned(field("subject"))),
        ("subjectalternative", names.join(",")),
    ]
}

/// A distinguished name from its last part to its first (RFC 4514), as the exporter writes it.
fn turned(name: &str) -> String {
    name.split(", ").collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(",")
}
