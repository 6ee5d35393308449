//! Whom a probe probes: pure. A target takes the place of the address in the kind's own field; what
//! is bound is a spec of its own, with one target and no list.

use url::Url;

use super::SpecError;
use super::wire::Place;
use crate::api::ProbeSpec;

/// The most targets of one probe: a service with more is probed through its own front.
pub const MAX_TARGETS: usize = 1_000;
/// The longest file of targets: as many lines as there may be targets, of ordinary length.
pub const MAX_FILE: usize = 256 * 1024;

/// The target of a spec without `targets`: what stands in the kind's own field, without credentials.
#[must_use]
pub fn own_target(spec: &ProbeSpec) -> String {
    let shown = |text: &str| text.parse().map_or_else(|_| text.to_owned(), |url: Url| crate::outbound::shown_url(&url));
    if let Some(http) = &spec.http {
        return shown(&http.url);
    }
    if let Some(websocket) = &spec.websocket {
        return shown(&websocket.url);
    }
    if let Some(script) = &spec.script {
        return script.target.as_deref().map(shown).unwrap_or_default();
    }
    let texts = [
        spec.tcp.as_ref().map(|kind| &kind.address),
        spec.tls.as_ref().map(|kind| &kind.address),
        spec.dns.as_ref().map(|kind| &kind.server),
        spec.grpc.as_ref().map(|kind| &kind.address),
        spec.icmp.as_ref().map(|kind| &kind.host),
        spec.udp.as_ref().map(|kind| &kind.address),
        spec.unix.as_ref().map(|kind| &kind.path),
    ];
    texts.into_iter().flatten().next().cloned().unwrap_or_default()
}

/// The spec of one target.
///
/// # Errors
/// The kind cannot take such a target.
pub fn bind(spec: &ProbeSpec, target: &str) -> Result<ProbeSpec, SpecError> {
    let mut bound = ProbeSpec { targets: None, ..spec.clone() };
    let wrong = |why: String| SpecError::new("targets", why);
    if let Some(http) = &mut bound.http {
        at_url(&mut http.url, &mut http.connect_to, target).map_err(wrong)?;
    } else if let Some(websocket) = &mut bound.websocket {
        at_url(&mut websocket.url, &mut websocket.connect_to, target).map_err(wrong)?;
    } else if let Some(tcp) = &mut bound.tcp {
        let name = host_of(&tcp.address);
        at_address(&mut tcp.address, target, None)?;
        if let (Some(tls), Some(name)) = (&mut tcp.tls, name) {
            tls.server_name.get_or_insert(name);
        }
    } else if let Some(tls) = &mut bound.tls {
        let name = host_of(&tls.address);
        at_address(&mut tls.address, target, Some(443))?;
        if let Some(name) = name {
            tls.tls.get_or_insert_default().server_name.get_or_insert(name);
        }
    } else if let Some(grpc) = &mut bound.grpc {
        let (name, whole) = (host_of(&grpc.address), grpc.address.clone());
        at_address(&mut grpc.address, target, None)?;
        if let Some(name) = name {
            grpc.authority.get_or_insert(whole);
            if let Some(tls) = &mut grpc.tls {
                tls.server_name.get_or_insert(name);
            }
        }
    } else if let Some(udp) = &mut bound.udp {
        at_address(&mut udp.address, target, None)?;
    } else if let Some(dns) = &mut bound.dns {
        target.clone_into(&mut dns.server);
    } else if let Some(icmp) = &mut bound.icmp {
        icmp.host = Place::parse("targets", target, None, Some(1))?.host;
    } else if let Some(unix) = &mut bound.unix {
        target.clone_into(&mut unix.path);
    } else if let Some(script) = &mut bound.script {
        script.target = Some(target.to_owned());
    }
    Ok(bound)
}

/// The host of an address, where it is a name: it stays what certificates are for.
fn host_of(address: &str) -> Option<String> {
    let place = Place::parse("address", address, None, None).ok()?;
    place.host.parse::<std::net::IpAddr>().is_err().then_some(place.host)
}

fn at_url(url: &mut String, connect_to: &mut Option<String>, target: &str) -> Result<(), String> {
    if target.contains("://") {
        target.clone_into(url);
        return Ok(());
    }
    if url.is_empty() {
        return Err(format!("`{target}` is no URL, and there is none that it could be connected for"));
    }
    *connect_to = Some(target.to_owned());
    Ok(())
}

/// A target without a port takes that of the address, or else the kind's usual one.
fn at_address(address: &mut String, target: &str, usual: Option<u16>) -> Result<(), SpecError> {
    let port = Place::parse("address", address, None, usual).ok().map(|place| place.port).or(usual);
    *address = Place::parse("targets", target, None, port)?.to_string();
    Ok(())
}

/// Reads the lines of a file of targets.
///
/// # Errors
/// There are too many.
pub(super) fn read_lines(text: &str) -> Result<Vec<String>, SpecError> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let targets: Vec<String> = lines.filter(|line| !line.is_empty()).take(MAX_TARGETS + 1).map(str::to_owned).collect();
    if targets.len() > MAX_TARGETS {
        return Err(SpecError::new("targets.file", format!("it has more than {MAX_TARGETS} targets")));
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DnsProbe, GrpcProbe, HttpProbe, ProbeTls, TcpProbe, TlsProbe};

    fn http(url: &str) -> ProbeSpec {
        ProbeSpec {
            http: Some(HttpProbe { url: url.to_owned(), ..HttpProbe::default() }.into()),
            ..ProbeSpec::default()
        }
    }

    fn tcp(address: &str) -> ProbeSpec {
        ProbeSpec {
            tcp: Some(TcpProbe { address: address.to_owned(), ..TcpProbe::default() }.into()),
            ..ProbeSpec::default()
        }
    }

    #[test]
    fn an_address_is_connected_to_for_the_urls_name() {
        let bound = bind(&http("https://shop.example/healthz"), "10.0.0.1:8443").unwrap().http.unwrap();
        assert_eq!(
            (bound.url.as_str(), bound.connect_to.as_deref()),
            ("https://shop.example/healthz", Some("10.0.0.1:8443"))
        );
    }

    #[test]
    fn a_url_takes_the_urls_place() {
        let bound = bind(&http(""), "https://other.example/").unwrap().http.unwrap();
        assert_eq!((bound.url.as_str(), bound.connect_to), ("https://other.example/", None));
        assert!(bind(&http(""), "10.0.0.1").is_err());
    }

    #[test]
    fn a_target_without_a_port_has_that_of_the_address() {
        let address = |spec: &ProbeSpec, target| bind(spec, target).unwrap().tcp.unwrap().address;
        assert_eq!(address(&tcp("redis:6379"), "10.0.0.1"), "10.0.0.1:6379");
        assert_eq!(address(&tcp("redis:6379"), "fd00::1"), "[fd00::1]:6379");
        assert_eq!(address(&tcp(""), "10.0.0.1:1"), "10.0.0.1:1");
        assert_eq!(bind(&tcp(""), "10.0.0.1").unwrap_err().field, "targets");
    }

    #[test]
    fn certificates_stay_those_of_the_name() {
        let spec = ProbeSpec {
            tls: Some(TlsProbe { address: "shop.example:443".to_owned(), ..TlsProbe::default() }.into()),
            ..ProbeSpec::default()
        };
        let bound = bind(&spec, "10.0.0.1").unwrap().tls.unwrap();
        assert_eq!(bound.address, "10.0.0.1:443");
        assert_eq!(bound.tls.unwrap().server_name.as_deref(), Some("shop.example"));

        let grpc = GrpcProbe {
            address: "orders:50051".to_owned(),
            tls: Some(ProbeTls { server_name: Some("orders.shop".to_owned()), ..ProbeTls::default() }),
            ..GrpcProbe::default()
        };
        let bound =
            bind(&ProbeSpec { grpc: Some(grpc.into()), ..ProbeSpec::default() }, "10.0.0.2").unwrap().grpc.unwrap();
        assert_eq!((bound.address.as_str(), bound.authority.as_deref()), ("10.0.0.2:50051", Some("orders:50051")));
        assert_eq!(bound.tls.unwrap().server_name.as_deref(), Some("orders.shop"));
    }

    #[test]
    fn a_name_server_is_a_target() {
        let dns = DnsProbe { name: "shop.example".to_owned(), ..DnsProbe::default() };
        let bound = bind(&ProbeSpec { dns: Some(dns.into()), ..ProbeSpec::default() }, "10.0.0.53").unwrap();
        assert_eq!(bound.dns.unwrap().server, "10.0.0.53");
    }

    #[test]
    fn the_own_target_shows_no_credentials() {
        assert!(!own_target(&http("https://user:secret@shop.example/")).contains("secret"));
        assert_eq!(own_target(&tcp("redis:6379")), "redis:6379");
    }

    #[test]
    fn a_file_has_a_target_on_each_line() {
        assert_eq!(
            read_lines("# all\n10.0.0.1:80\n\n 10.0.0.2:80 # second\n").unwrap(),
            ["10.0.0.1:80", "10.0.0.2:80"]
        );
        assert!(read_lines(&"a\n".repeat(MAX_TARGETS + 1)).is_err());
    }
}
