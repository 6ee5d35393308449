//! What several probers have in common: TLS, files, families of addresses.

use super::section::Section;
use crate::api::{IpFamily, ProbeTls, TlsVersion};

/// The options of a TLS client below `tls_config`; `None` where there are none.
pub(super) fn options(module: &str, section: &Section<'_>) -> Option<ProbeTls> {
    let inner = section.section("tls_config")?;
    let mut tls = ProbeTls {
        server_name: inner.text("server_name").filter(|name| !name.is_empty()),
        ca_file: file(&inner, "ca_file"),
        cert_file: file(&inner, "cert_file"),
        key_file: file(&inner, "key_file"),
        insecure_skip_verify: inner.flag("insecure_skip_verify").unwrap_or(false),
        min_version: version(&inner, "min_version"),
        max_version: version(&inner, "max_version"),
    };
    for (key, place) in [("ca", &mut tls.ca_file), ("cert", &mut tls.cert_file), ("key", &mut tls.key_file)] {
        if inner.get(key).is_some() {
            *place = Some(secret(&inner, key, &format!("{module}-{key}.pem")));
        }
    }
    for key in ["ca_ref", "cert_ref", "key_ref"] {
        inner.lost(key, "a probe takes it from a file below the secrets directory");
    }
    inner.end();
    (tls != ProbeTls::default()).then_some(tls)
}

fn version(section: &Section<'_>, key: &str) -> Option<TlsVersion> {
    match section.text(key)?.as_str() {
        "TLS12" => Some(TlsVersion::V1_2),
        "TLS13" => Some(TlsVersion::V1_3),
        "TLS10" | "TLS11" => {
            section.warn(key, "no-counterpart", "a probe speaks TLS 1.2 and 1.3 and nothing older");
            None
        }
        other => {
            let message = format!("there is no version `{other}`");
            section.wrong(key, "word", message, ["TLS10", "TLS11", "TLS12", "TLS13"]);
            None
        }
    }
}

/// A file, as a probe names it: below the secrets directory.
pub(super) fn file(section: &Section<'_>, key: &str) -> Option<String> {
    let path = section.text(key).filter(|path| !path.is_empty())?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let name = parts.join("/");
    let message = format!("the file is looked for below the secrets directory (--secrets), as `{name}`");
    section.warn(key, "secret-file", message);
    Some(name)
}

/// A secret that stands in the file itself: it is not carried over, only where it is to be put.
pub(super) fn secret(section: &Section<'_>, key: &str, name: &str) -> String {
    // A module's name may hold anything.
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let message = format!("a probe holds no secret: write it into the file `{name}` below the secrets directory");
    section.warn(key, "secret-file", message);
    name
}

/// Which addresses are used.
pub(super) fn family(section: &Section<'_>) -> Option<IpFamily> {
    const PREFERRED: &str = "preferred_ip_protocol";
    let preferred = section.text(PREFERRED).filter(|preferred| !preferred.is_empty());
    let family = match preferred.as_deref() {
        None | Some("ip6") => IpFamily::Ipv6,
        Some("ip4") => IpFamily::Ipv4,
        Some(other) => {
            section.wrong(PREFERRED, "word", format!("there is no protocol `{other}`"), ["ip4", "ip6"]);
            return None;
        }
    };
    if section.flag("ip_protocol_fallback") == Some(false) {
        return Some(family);
    }
    if preferred.is_some() {
        let message = "a probe prefers no family, but takes the addresses in the resolver's order; \
                       with `ip_protocol_fallback: false` it would use this one alone";
        section.warn(PREFERRED, "no-counterpart", message);
    }
    None
}

/// Says that a probe leaves the choice of its own address to the system.
pub(super) fn source(section: &Section<'_>) {
    section.lost("source_ip_address", "a probe leaves the choice of its own address to the system");
}
