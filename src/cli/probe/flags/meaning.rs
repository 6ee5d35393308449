//! The spec that an address and its flags mean.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::{Begin, Flags, Version};
use crate::api::{
    BasicAuth, BearerAuth, CertificateExpect, ExpectedOutcome, GrpcProbe, HttpAuth, HttpBody, HttpExpect, HttpJson,
    HttpProbe, HttpProxy, HttpRedirects, HttpVersion, IpFamily, LatencyRule, ProbeSpec, ProbeTls, StartTls, TcpProbe,
    TlsExpect, TlsProbe, UdpProbe, UnixHttp, UnixProbe, WebhookHeader, WebsocketProbe,
};
use crate::cli::probe::address::Scheme;

/// Where a protocol usually listens; without one, where TLS does.
const fn usual_port(begin: Option<Begin>) -> u16 {
    match begin {
        None => 443,
        Some(Begin::Smtp) => 25,
        Some(Begin::Imap) => 143,
        Some(Begin::Pop3) => 110,
        Some(Begin::Ftp) => 21,
        Some(Begin::Postgres) => 5432,
        Some(Begin::Mysql) => 3306,
        Some(Begin::Ldap) => 389,
    }
}

impl Flags {
    /// The spec that the address and the flags mean.
    pub(in crate::cli::probe) fn spec(&self, scheme: Scheme) -> anyhow::Result<ProbeSpec> {
        let kind = scheme.kind();
        for (name, given, kinds) in self.flags() {
            // An empty list stands for every kind.
            ensure!(
                !given || kinds.is_empty() || kinds.contains(&kind),
                "{name} does not go with an address of the kind {kind}: it is for {}",
                kinds.join(", ")
            );
        }
        let mut spec = ProbeSpec {
            expect: self.wanted.expect_failure.then_some(ExpectedOutcome::Failure),
            latency: self.wanted.max_latency.map(|max| LatencyRule { max: Some(max), ..LatencyRule::default() }),
            ..ProbeSpec::default()
        };
        match scheme {
            Scheme::Http(url) => spec.http = Some(self.http(url)?.into()),
            Scheme::Websocket(url) => spec.websocket = Some(self.websocket(url)?.into()),
            Scheme::Tcp(address) => spec.tcp = Some(self.tcp(address)?.into()),
            Scheme::Tls(address) => spec.tls = Some(self.tls(address)?.into()),
            Scheme::Udp(address) => {
                let send = self.send.clone().context("a udp address needs --send: what is to be sent")?;
                let expect = self.wanted.expect.clone();
                spec.udp = Some(Box::new(UdpProbe { address, family: self.family(), send, expect }));
            }
            Scheme::Grpc { address, service, tls } => {
                ensure!(tls || !self.secured(), "options of TLS go with grpcs://");
                let tls = if tls { Some(self.tls_options()?) } else { None };
                let (family, metadata) = (self.family(), self.headers()?);
                spec.grpc = Some(Box::new(GrpcProbe { address, family, service, authority: None, metadata, tls }));
            }
            Scheme::Dns(dns) => {
                let tls = if self.secured() { Some(self.tls_options()?) } else { None };
                spec.dns = Some(Box::new(crate::api::DnsProbe { tls, ..*dns }));
            }
            Scheme::Icmp(icmp) => spec.icmp = Some(Box::new(crate::api::IcmpProbe { family: self.family(), ..icmp })),
            Scheme::Unix(path) => spec.unix = Some(self.unix(path)?.into()),
        }
        Ok(spec)
    }

    fn http(&self, url: String) -> anyhow::Result<HttpProbe> {
        let secure = url.starts_with("https:");
        ensure!(secure || !self.secured(), "options of TLS go with https://");
        let auth = self.auth()?;
        Ok(HttpProbe {
            url,
            method: self.method.clone(),
            headers: self.headers()?,
            body: self.body.clone(),
            auth,
            redirects: self.redirects.map(|max| HttpRedirects { max, allow_downgrade: false }),
            version: self.http.map(|version| match version {
                Version::One => HttpVersion::Http1,
                Version::Two => HttpVersion::Http2,
                Version::Any => HttpVersion::Any,
            }),
            compression: self.compressed,
            proxy: self.proxy.clone().map(|url| HttpProxy { url, auth: None }),
            family: self.family(),
            connect_to: self.connect_to.clone(),
            tls: if self.secured() { Some(self.tls_options()?) } else { None },
            expect: self.http_expect(),
            warn: None,
        })
    }

    fn auth(&self) -> anyhow::Result<Option<HttpAuth>> {
        let mut auth = HttpAuth::default();
        if let (Some(username), Some(file)) = (&self.user, &self.password_file) {
            auth.basic = Some(BasicAuth { username: username.clone(), password_file: file_name(file)? });
        } else if let Some(file) = &self.bearer_file {
            auth.bearer = Some(BearerAuth { token_file: file_name(file)? });
        } else {
            return Ok(None);
        }
        Ok(Some(auth))
    }

    fn http_expect(&self) -> Option<HttpExpect> {
        let wanted = self.wanted.clone();
        let body = HttpBody {
            contains: wanted.contains,
            matches: wanted.matches,
            excludes: wanted.excludes,
            not_matches: None,
        };
        let expect = HttpExpect {
            status: wanted.status,
            body: (body != HttpBody::default()).then_some(body),
            json: wanted.json.into_iter().map(|path| HttpJson { path, ..HttpJson::default() }).collect(),
            rule: wanted.rule,
            certificate: wanted.valid_for.map(|valid_for| CertificateExpect { valid_for }),
            ..HttpExpect::default()
        };
        (expect != HttpExpect::default()).then_some(expect)
    }

    fn websocket(&self, url: String) -> anyhow::Result<WebsocketProbe> {
        ensure!(url.starts_with("wss:") || !self.secured(), "options of TLS go with wss://");
        Ok(WebsocketProbe {
            url,
            headers: self.headers()?,
            family: self.family(),
            connect_to: self.connect_to.clone(),
            tls: if self.secured() { Some(self.tls_options()?) } else { None },
            send: self.send.clone(),
            expect: self.wanted.expect.clone(),
            ..WebsocketProbe::default()
        })
    }

    fn tcp(&self, address: String) -> anyhow::Result<TcpProbe> {
        let tls = if self.tls || self.secured() { Some(self.tls_options()?) } else { None };
        let (send, expect) = (self.send.clone(), self.wanted.expect.clone());
        Ok(TcpProbe { address, family: self.family(), tls, send, expect, steps: Vec::new() })
    }

    fn tls(&self, address: String) -> anyhow::Result<TlsProbe> {
        let expect = TlsExpect {
            // A certificate that may be any need not be trusted.
            trusted: self.insecure.then_some(false),
            valid_for: self.wanted.valid_for,
            ..TlsExpect::default()
        };
        let options = ProbeTls { insecure_skip_verify: false, ..self.tls_options()? };
        let named = address.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        Ok(TlsProbe {
            address: if named { address } else { format!("{address}:{}", usual_port(self.start_tls)) },
            family: self.family(),
            start_tls: self.start_tls.map(|begin| match begin {
                Begin::Smtp => StartTls::Smtp,
                Begin::Imap => StartTls::Imap,
                Begin::Pop3 => StartTls::Pop3,
                Begin::Ftp => StartTls::Ftp,
                Begin::Postgres => StartTls::Postgres,
                Begin::Mysql => StartTls::Mysql,
                Begin::Ldap => StartTls::Ldap,
            }),
            tls: (options != ProbeTls::default()).then_some(options),
            expect: (expect != TlsExpect::default()).then_some(expect),
            ..TlsProbe::default()
        })
    }

    fn unix(&self, path: String) -> anyhow::Result<UnixProbe> {
        let expect = self.http_expect();
        let asks = self.path.is_some()
            || self.method.is_some()
            || self.body.is_some()
            || !self.headers.is_empty()
            || expect.is_some();
        let http = UnixHttp {
            path: self.path.clone(),
            method: self.method.clone(),
            headers: self.headers()?,
            body: self.body.clone(),
            expect,
            warn: None,
        };
        if asks && (self.send.is_some() || self.wanted.expect.is_some()) {
            bail!("either --send and --expect, or HTTP with --path and its like");
        }
        let (send, expect) = (self.send.clone(), self.wanted.expect.clone());
        Ok(UnixProbe { path, http: asks.then_some(http), send, expect })
    }

    /// Whether any option of TLS was given.
    fn secured(&self) -> bool {
        self.insecure || self.ca.is_some() || self.cert.is_some() || self.server_name.is_some()
    }

    fn tls_options(&self) -> anyhow::Result<ProbeTls> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(file_name).transpose();
        Ok(ProbeTls {
            server_name: self.server_name.clone(),
            ca_file: file(&self.ca)?,
            cert_file: file(&self.cert)?,
            key_file: file(&self.key)?,
            insecure_skip_verify: self.insecure,
            ..ProbeTls::default()
        })
    }

    const fn family(&self) -> Option<IpFamily> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(IpFamily::Ipv4),
            (_, true) => Some(IpFamily::Ipv6),
            _ => None,
        }
    }

    fn headers(&self) -> anyhow::Result<Vec<WebhookHeader>> {
        let header = |text: &String| {
            let (name, value) =
                text.split_once(':').with_context(|| format!("`{text}` is no header: write `Name: value`"))?;
            let (name, value) = (name.trim().to_owned(), Some(value.trim().to_owned()));
            anyhow::Ok(WebhookHeader { name, value, ..WebhookHeader::default() })
        };
        self.headers.iter().map(header).collect()
    }
}

/// A file that was named by its path, as a probe names it below `/`, where a probe of flags has its
/// secrets directory.
fn file_name(path: &Path) -> anyhow::Result<String> {
    let whole = path.canonicalize().with_context(|| format!("while looking for {}", path.display()))?;
    let whole = whole.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))?;
    Ok(whole.trim_start_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rstest::rstest;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        flags: Flags,
        address: String,
    }

    fn meant(line: &str) -> anyhow::Result<ProbeSpec> {
        let typed = Typed::try_parse_from(std::iter::once("probe").chain(line.split(' '))).unwrap();
        typed.flags.spec(typed.address.parse()?)
    }

    #[rstest]
    #[case("http://shop/ -X POST --body x -H A:b --status 200,204 --contains ok --json $.a --redirects 3 --http 2")]
    #[case("https://shop/ --insecure --connect-to 10.0.0.1:8443 --valid-for 14d --max-latency 300ms -4")]
    #[case("tcp://redis:6379 --send PING\\r\\n --expect ^\\+PONG --expect-failure")]
    #[case("tls://mail --starttls smtp --valid-for 14d --insecure")]
    #[case("dns://ns1.shop/shop.example?type=SOA&transport=tls --server-name ns1.shop")]
    #[case("grpcs://orders:50051/shop.Orders -H x-team:shop")]
    #[case("icmp://router?count=5&size=1000 -6")]
    #[case("wss://shop/live --send hello --expect world")]
    #[case("udp://game:27015 --send \\xff --expect .")]
    #[case("unix:/run/docker.sock --path /_ping")]
    fn an_address_and_its_flags_mean_a_spec(#[case] line: &str) {
        let name = line.split([':', '/']).next().unwrap();
        let spec = serde_json::to_value(meant(line).unwrap()).unwrap();
        insta::with_settings!({description => line}, { insta::assert_yaml_snapshot!(format!("flags_{name}"), spec) });
    }

    #[rstest]
    #[case(
        "tcp://redis:6379 --status 200",
        "--status does not go with an address of the kind tcp: it is for http, unix"
    )]
    #[case("http://shop/ --insecure", "options of TLS go with https://")]
    #[case("udp://game:1", "--send")]
    #[case("https://shop/ --ca /nowhere.pem", "/nowhere.pem")]
    #[case("http://shop/ -H nothing", "write `Name: value`")]
    #[case("unix:/run/x --send a --path /", "either --send and --expect, or HTTP")]
    fn flags_that_mean_nothing_are_refused(#[case] line: &str, #[case] message: &str) {
        let error = format!("{:#}", meant(line).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}
