//! Addresses of everything that can be probed, by their scheme.

use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use url::Url;

use crate::api::{DnsProbe, DnsTransport, IcmpProbe};

/// The schemes, for messages.
const SCHEMES: &str = "http, https, ws, wss, tcp, tls, dns, grpc, grpcs, icmp, udp and unix";

/// An address by its scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    /// A whole URL.
    Http(String),
    /// A whole URL.
    Websocket(String),
    /// Host and port.
    Tcp(String),
    /// Host, with or without a port.
    Tls(String),
    /// Server, name and the rest of the question.
    Dns(Box<DnsProbe>),
    /// Host and port, the service, and whether TLS is spoken.
    Grpc { address: String, service: Option<String>, tls: bool },
    /// Host, and how to ask it.
    Icmp(IcmpProbe),
    /// Host and port.
    Udp(String),
    /// The path of a socket.
    Unix(String),
}

impl Scheme {
    /// The field of a probe's spec that it belongs under.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Websocket(_) => "websocket",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Dns(_) => "dns",
            Self::Grpc { .. } => "grpc",
            Self::Icmp(_) => "icmp",
            Self::Udp(_) => "udp",
            Self::Unix(_) => "unix",
        }
    }
}

impl FromStr for Scheme {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:/path` and `unix:///path` are the same.
            let path = path.strip_prefix("//").unwrap_or(path);
            ensure!(path.starts_with('/'), "`{text}` names no socket by its path from the root: unix:/run/app.sock");
            return Ok(Self::Unix(path.to_owned()));
        }
        if let Some(host) = text.strip_prefix("ping:") {
            return icmp(&format!("icmp://{}", host.trim_start_matches('/')));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!(
                "`{text}` is no address to probe: it has no scheme; write http://{text} or tcp://{text}; there are \
                 {SCHEMES}"
            );
        };
        let bare = |example: &str| {
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            let plain = !rest.is_empty() && !rest.contains(['/', '?', '#', '@']);
            ensure!(plain, "`{text}` is more or less than host and port: write {example}");
            Ok(rest.to_owned())
        };
        Ok(match scheme {
            "http" | "https" => Self::Http(text.to_owned()),
            "ws" | "wss" => Self::Websocket(text.to_owned()),
            "tcp" => Self::Tcp(bare("tcp://redis:6379")?),
            "tls" => Self::Tls(bare("tls://shop.example:443")?),
            "udp" => Self::Udp(bare("udp://game:27015")?),
            "grpc" | "grpcs" => grpc(text, scheme == "grpcs")?,
            "dns" => dns(text)?,
            "icmp" | "ping" => icmp(text)?,
            other => bail!("there is no scheme `{other}`: {SCHEMES} are known"),
        })
    }
}

/// Host, port and path of a URL whose scheme is none of the web's.
fn parts(text: &str) -> anyhow::Result<(Url, String)> {
    let url: Url = text.parse().with_context(|| format!("`{text}` is no address"))?;
    ensure!(url.username().is_empty() && url.password().is_none(), "an address carries no user or password");
    let host = url.host_str().filter(|host| !host.is_empty()).with_context(|| format!("`{text}` names no host"))?;
    let address = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((url, address))
}

fn grpc(text: &str, tls: bool) -> anyhow::Result<Scheme> {
    let (url, address) = parts(text)?;
    ensure!(url.query().is_none(), "`{text}` has a query: write grpc://orders:50051/shop.Orders");
    let service = url.path().trim_matches('/');
    Ok(Scheme::Grpc { address, service: (!service.is_empty()).then(|| service.to_owned()), tls })
}

fn dns(text: &str) -> anyhow::Result<Scheme> {
    const EXAMPLE: &str = "write dns://10.96.0.10/shop.example?type=A";
    let (url, server) = parts(text)?;
    let name = url.path().trim_start_matches('/');
    ensure!(!name.is_empty(), "`{text}` names nothing to ask for: {EXAMPLE}");
    let mut dns = DnsProbe { server, name: name.to_owned(), ..DnsProbe::default() };
    for (key, value) in url.query_pairs() {
        match (key.as_ref(), value.as_ref()) {
            ("type", kind) => dns.record_type = Some(kind.to_owned()),
            ("transport", "udp") => dns.transport = Some(DnsTransport::Udp),
            ("transport", "tcp") => dns.transport = Some(DnsTransport::Tcp),
            ("transport", "tls") => dns.transport = Some(DnsTransport::Tls),
            ("transport", other) => bail!("there is no transport `{other}`: udp, tcp and tls are known"),
            ("recursion", value) => {
                let wanted = value.parse().with_context(|| format!("recursion is true or false, and not `{value}`"));
                dns.recursion = Some(wanted?);
            }
            (other, _) => bail!("there is no parameter `{other}` in a dns address: type, transport and recursion are"),
        }
    }
    Ok(Scheme::Dns(Box::new(dns)))
}

fn icmp(text: &str) -> anyhow::Result<Scheme> {
    let (url, host) = parts(text)?;
    ensure!(
        url.port().is_none() && url.path().trim_matches('/').is_empty(),
        "`{text}` is more than a host: icmp://HOST"
    );
    let host = host.trim_matches(['[', ']']).to_owned();
    let mut icmp = IcmpProbe { host, ..IcmpProbe::default() };
    for (key, value) in url.query_pairs() {
        let number = || value.parse::<u32>().with_context(|| format!("{key} is a number, and not `{value}`"));
        match key.as_ref() {
            "count" => icmp.count = Some(number()?),
            "size" => icmp.size = Some(number()?),
            "ttl" => icmp.ttl = Some(number()?),
            other => bail!("there is no parameter `{other}` in an icmp address: count, size and ttl are"),
        }
    }
    Ok(Scheme::Icmp(icmp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://shop/healthz?x=1", Scheme::Http("https://shop/healthz?x=1".into()))]
    #[case("tcp://redis:6379/", Scheme::Tcp("redis:6379".into()))]
    #[case("tcp://[::1]:22", Scheme::Tcp("[::1]:22".into()))]
    #[case("unix:/run/x.sock", Scheme::Unix("/run/x.sock".into()))]
    #[case("unix:///run/x.sock", Scheme::Unix("/run/x.sock".into()))]
    #[case("ping:router", Scheme::Icmp(IcmpProbe { host: "router".into(), ..IcmpProbe::default() }))]
    #[case("icmp://[::1]", Scheme::Icmp(IcmpProbe { host: "::1".into(), ..IcmpProbe::default() }))]
    #[case("grpc://[::1]:50051", Scheme::Grpc { address: "[::1]:50051".into(), service: None, tls: false })]
    fn every_scheme_has_its_address(#[case] text: &str, #[case] scheme: Scheme) {
        assert_eq!(text.parse::<Scheme>().unwrap(), scheme);
    }

    #[rstest]
    #[case("redis:6379", "write http://redis:6379 or tcp://redis:6379")]
    #[case("lst", "it has no scheme")]
    #[case("ftp://shop/", "there is no scheme `ftp`")]
    #[case("tcp://redis:6379/0", "write tcp://redis:6379")]
    #[case("dns://10.0.0.1", "names nothing to ask for")]
    #[case("dns://10.0.0.1/a?kind=A", "there is no parameter `kind`")]
    #[case("dns:///a", "names no host")]
    #[case("unix:run/x.sock", "from the root")]
    #[case("icmp://host:1", "more than a host")]
    #[case("grpc://user:secret@host:1", "an address carries no user or password")]
    fn what_is_no_address_is_told_with_what_is(#[case] text: &str, #[case] message: &str) {
        let error = format!("{:#}", text.parse::<Scheme>().unwrap_err());
        assert!(error.contains(message), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(dns|icmp|grpc|unix|tcp|ping)?(:|://)\\PC{0,40}") {
            let _ = text.parse::<Scheme>();
        }
    }
}
