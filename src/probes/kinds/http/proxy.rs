//! The way through a proxy.

use secrecy::ExposeSecret;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use url::Url;

use super::auth::{basic, check_basic};
use super::h1::read_some;
use super::head::HeadReader;
use super::request::{Credentials, secret};
use crate::api::{BasicAuth, HttpProxy, IpFamily};
use crate::outbound::{Guard, GuardedLookup, Secrets, USER_AGENT, shown_url};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, connect, io_reason};

/// A proxy.
pub(super) struct Proxy {
    place: Place,
    /// Its URL, for messages.
    shown: String,
    auth: Option<BasicAuth>,
}

impl Proxy {
    /// Reads a proxy.
    ///
    /// # Errors
    /// A URL or a file that is none, or where nobody may go.
    pub(super) fn compile(spec: &HttpProxy, guard: &Guard) -> Result<Self, SpecError> {
        let wrong = |why: String| SpecError::new("http.proxy.url", why);
        // What is refused for its password is not repeated.
        let url: Url = spec.url.parse().map_err(|error| wrong(format!("this is no URL: {error}")))?;
        guard.check_url(&url).map_err(|refused| wrong(refused.to_string()))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "http" || !bare {
            return Err(wrong(format!("`{}` is no proxy such as `http://host:port`", shown_url(&url))));
        }
        if let Some(auth) = &spec.auth {
            check_basic("http.proxy.auth", auth)?;
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let place = Place { host, port: url.port().unwrap_or(80), family: IpFamily::Any };
        Ok(Self { place, shown: shown_url(&url), auth: spec.auth.clone() })
    }

    /// Whether secrets are needed to ask it.
    pub(super) async fn secrets(&self, secrets: &Secrets, credentials: &mut Credentials) -> Result<(), Failure> {
        if let Some(auth) = &self.auth {
            let password = secret(secrets, &auth.password_file).await?;
            credentials.proxy = Some(basic(&auth.username, &password, credentials));
        }
        Ok(())
    }

    /// Connects to it.
    ///
    /// # Errors
    /// It is not there, or not to be found.
    pub(super) async fn connect(&self, trace: &mut Trace, lookup: &GuardedLookup) -> Result<TcpStream, Failure> {
        connect(trace, lookup, &self.place).await.map_err(|failure| self.failed(failure))
    }

    /// Has it connect to `authority`, on a connection to it.
    ///
    /// # Errors
    /// It refuses, or is no proxy.
    pub(super) async fn tunnel(
        &self,
        trace: &mut Trace,
        stream: &mut TcpStream,
        authority: &str,
        credentials: &Credentials,
    ) -> Result<(), Failure> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT}\r\n");
        if let Some(proxy) = &credentials.proxy {
            request.push_str("Proxy-Authorization: ");
            request.push_str(proxy.expose_secret());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let broken = |error: std::io::Error| {
            self.failed(Failure::new(io_reason(&error, Reason::Proxy), format!("while asking it to connect: {error}")))
        };
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let refused = |message: String| self.failed(Failure::new(Reason::Proxy, message));
        let mut reader = HeadReader::default();
        let (head, rest) = loop {
            if read_some(stream, &mut reader.seen).await.map_err(broken)? == 0 {
                return Err(refused("it ended the connection".to_owned()));
            }
            match reader.next(true) {
                Ok(None) => {}
                Ok(Some(found)) => break found,
                Err(error) => return Err(refused(error.to_string())),
            }
        };
        if !(200..300).contains(&head.status) {
            return Err(refused(format!("it does not connect to {authority}: status {}", head.status)));
        }
        if !rest.is_empty() {
            return Err(refused("it speaks before it is spoken to".to_owned()));
        }
        trace.log(format!("the proxy {} has connected to {authority}", self.shown));
        Ok(())
    }

    /// A refusal of its own, in an answer to a request.
    pub(super) fn refusal(&self) -> Failure {
        self.failed(Failure::new(Reason::Proxy, "it wants to know who asks: status 407"))
    }

    /// A failure on the way to it is the proxy's, unless it is ours.
    fn failed(&self, mut failure: Failure) -> Failure {
        if !failure.reason.is_own() {
            failure.reason = Reason::Proxy;
        }
        failure.message = format!("the proxy {}: {}", self.shown, failure.message);
        failure
    }
}
