//! How requests travel: to which place, through which proxy, by TLS, by which HTTP.

use tokio::net::TcpStream;
use url::Url;

use super::answer::{Answer, Secured};
use super::body::Wants;
use super::h1::{self, Sending};
use super::h2;
use super::proxy::Proxy;
use super::redirect::is_trusted;
use super::request::{Call, Credentials, Outline};
use crate::api::{HttpVersion, IpFamily, ProbeTls};
use crate::outbound::Outbound;
use crate::probes::SpecError;
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, Secure, connect};

/// What all requests of one probe have in common.
pub(super) struct Way {
    /// Where the options stand in the spec.
    pub(super) field: &'static str,
    /// The URL that the spec names: what is meant for it goes nowhere else.
    pub(super) own: Url,
    pub(super) version: HttpVersion,
    pub(super) family: IpFamily,
    pub(super) connect_to: Option<String>,
    pub(super) tls: Option<ProbeTls>,
    pub(super) proxy: Option<Proxy>,
    pub(super) outbound: Outbound,
}

/// One place that is asked.
pub(super) struct Hop {
    pub(super) url: Url,
    /// Where to connect to; a proxy connects there where there is one.
    pub(super) place: Place,
    /// Path and query.
    target: String,
    /// Host and port, as the URL has them.
    authority: String,
    secure: Option<Secure>,
    /// Whether what is meant for the spec's own URL may go there.
    trusted: bool,
}

/// A request on its way.
#[derive(Clone, Copy)]
pub(super) struct Errand<'a> {
    pub(super) outline: &'a Outline,
    pub(super) credentials: &'a Credentials,
    pub(super) method: &'a str,
    pub(super) with_body: bool,
    pub(super) wants: Wants,
}

impl Hop {
    /// Whether nothing but TCP and HTTP/1.1 lies between.
    pub(super) const fn is_plain(&self) -> bool {
        self.secure.is_none()
    }

    /// What is sent there without a proxy.
    pub(super) fn call<'a>(&'a self, method: &'a str, with_body: bool) -> Call<'a> {
        Call {
            method,
            with_body,
            target: &self.target,
            authority: &self.authority,
            trusted: self.trusted,
            proxied: false,
        }
    }
}

impl Way {
    /// Prepares to ask `url`, which the guard has let through.
    ///
    /// # Errors
    /// A place or a name that is none.
    pub(super) fn hop(&self, url: Url) -> Result<Hop, SpecError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let trusted = is_trusted(&self.own, &url);
        let same_host = url.host_str() == self.own.host_str();
        let direct = Place { host: host.clone(), port, family: self.family };
        let place = match self.connect_to.as_deref().filter(|_| same_host) {
            None => direct,
            Some(text) => {
                let field = format!("{}.connectTo", self.field);
                let place = Place::parse(&field, text, Some(self.family), Some(port))?;
                let guard = self.outbound.guard();
                // Behind a proxy nobody else judges it.
                let judged = match place.host.parse() {
                    Ok(address) => guard.check_address(address),
                    Err(_) => guard.check_name(&place.host),
                };
                judged.map_err(|why| SpecError::new(field, why.to_string()))?;
                // A port that is given stands for the port of the spec's own URL and for no other.
                let same_port = port == self.own.port_or_known_default().unwrap_or(80);
                if same_port || place.port == port { place } else { direct }
            }
        };
        let secure = if url.scheme() == "https" { Some(self.secure(&host, same_host, trusted)?) } else { None };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let bare = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| bare.to_owned(), |port| format!("{bare}:{port}"));
        Ok(Hop { url, place, target, authority, secure, trusted })
    }

    /// A TLS client for a host.
    ///
    /// # Errors
    /// Broken options.
    pub(super) fn secure(&self, host: &str, same_host: bool, trusted: bool) -> Result<Secure, SpecError> {
        let mut options = self.tls.clone().unwrap_or_default();
        if !same_host {
            options.server_name = None;
        }
        if !trusted {
            (options.cert_file, options.key_file) = (None, None);
        }
        let alpn: &[&str] = match self.version {
            HttpVersion::Http1 => &["http/1.1"],
            HttpVersion::Http2 => &["h2"],
            HttpVersion::Any => &["h2", "http/1.1"],
        };
        Secure::compile(&format!("{}.tls", self.field), Some(&options), host, alpn, &self.outbound)
    }

    /// Sends a request to a place and reads the answer.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub(super) async fn fetch(&self, trace: &mut Trace, hop: &Hop, errand: Errand<'_>) -> Result<Answer, Failure> {
        let stream = self.reach(trace, hop, errand.credentials).await?;
        let Some(secure) = &hop.secure else {
            return self.exchange(trace, stream, hop, errand, self.version == HttpVersion::Http2).await;
        };
        let (stream, shown) = secure.inspect(trace, stream).await?;
        let second = shown.alpn.as_deref() == Some("h2");
        if self.version == HttpVersion::Http2 && !second {
            let message = "the server does not speak HTTP/2: it has chosen no protocol (ALPN)";
            return Err(Failure::new(Reason::Protocol, message));
        }
        let mut answer = self.exchange(trace, stream, hop, errand, second).await?;
        answer.secured =
            Some(Secured { version: shown.version, not_after: shown.chain.ok().map(|chain| chain.ends().1) });
        Ok(answer)
    }

    /// Connects, through the proxy where there is one.
    async fn reach(&self, trace: &mut Trace, hop: &Hop, credentials: &Credentials) -> Result<TcpStream, Failure> {
        let lookup = self.outbound.lookup();
        let Some(proxy) = &self.proxy else { return connect(trace, lookup, &hop.place).await };
        let mut stream = proxy.connect(trace, lookup).await?;
        if hop.secure.is_some() {
            proxy.tunnel(trace, &mut stream, &hop.place.to_string(), credentials).await?;
        }
        Ok(stream)
    }

    async fn exchange<S>(
        &self,
        trace: &mut Trace,
        mut stream: S,
        hop: &Hop,
        errand: Errand<'_>,
        second: bool,
    ) -> Result<Answer, Failure>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    {
        let Errand { outline, credentials, wants, .. } = errand;
        let call = hop.call(errand.method, errand.with_body);
        if second {
            let asking = h2::Asking { outline, call, credentials, scheme: hop.url.scheme(), wants };
            return Box::pin(h2::exchange(trace, stream, asking)).await;
        }
        let proxy = self.proxy.as_ref().filter(|_| hop.is_plain());
        let whole = format!("http://{}{}", hop.authority, hop.target);
        let call = if proxy.is_some() { Call { target: &whole, proxied: true, ..call } } else { call };
        let bytes = outline.bytes(&call, credentials);
        let sending = Sending { bytes: &bytes, bodiless: errand.method == "HEAD", wants };
        let answer = h1::exchange(trace, &mut stream, sending).await?;
        match proxy {
            Some(proxy) if answer.status == 407 => Err(proxy.refusal()),
            _ => Ok(answer),
        }
    }

    /// Begins the way to another place.
    pub(super) fn turn(trace: &mut Trace) {
        trace.enter(Phase::Resolve);
    }
}
