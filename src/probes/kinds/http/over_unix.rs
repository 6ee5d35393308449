//! HTTP over a Unix socket: the same request, the same judgement, another stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use super::expect::{About, Expectations};
use super::h1::{self, Sending};
use super::request::{Call, Credentials, Outline, Parts};
use super::{Verdict, without};
use crate::api::{HttpVersion, UnixHttp};
use crate::outbound::Outbound;
use crate::probes::result::{Failure, Phase};
use crate::probes::trace::Trace;
use crate::probes::{SpecError, Tools};

/// A compiled request over a Unix socket.
pub(in crate::probes::kinds) struct OverUnix {
    outline: Outline,
    target: String,
    verdict: Verdict,
    outbound: Outbound,
}

impl OverUnix {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that is broken.
    pub(in crate::probes::kinds) fn compile(spec: &UnixHttp, tools: &Tools) -> Result<Self, SpecError> {
        let parts = Parts {
            method: spec.method.as_deref(),
            headers: &spec.headers,
            body: spec.body.as_deref(),
            compression: false,
        };
        let outline = Outline::compile("unix.http", parts)?;
        let target = spec.path.as_deref().unwrap_or("/");
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
            let why = format!("{target:?} is no path: it begins with `/`, and what is no visible character is escaped");
            return Err(SpecError::new("unix.http.path", why));
        }
        let bodied = outline.method != "HEAD";
        let about = |field| About { field, secure: false, bodied, version: HttpVersion::Http1 };
        let verdict = Verdict {
            must: Expectations::must(spec.expect.as_ref(), about("unix.http.expect"))?,
            should: Expectations::should(spec.warn.as_ref(), about("unix.http.warn"))?.map(Box::new),
            compression: false,
            clock: Arc::clone(&tools.clock),
        };
        Ok(Self { outline, target: target.to_owned(), verdict, outbound: tools.outbound.clone() })
    }

    /// Reads the secrets of a round; what that takes is not part of it.
    ///
    /// # Errors
    /// A secret cannot be had, which is our trouble.
    pub(in crate::probes::kinds) async fn prepare(&self, trace: &mut Trace) -> Result<Prepared, Failure> {
        let mut credentials = Credentials::default();
        self.outline.secrets(self.outbound.secrets(), &mut credentials).await?;
        trace.restart(Phase::Connect);
        Ok(Prepared { credentials, lead: trace.elapsed() })
    }

    /// Asks over a connection, and judges the answer.
    ///
    /// # Errors
    /// Whatever goes wrong, or is not as expected.
    pub(in crate::probes::kinds) async fn ask(
        &self,
        trace: &mut Trace,
        stream: &mut UnixStream,
        prepared: &Prepared,
    ) -> Result<(), Failure> {
        let Prepared { credentials, lead } = prepared;
        let call = Call {
            method: &self.outline.method,
            with_body: true,
            target: &self.target,
            authority: "localhost",
            trusted: true,
            proxied: false,
        };
        let bytes = self.outline.bytes(&call, credentials);
        let bodiless = self.outline.method == "HEAD";
        let sending = Sending { bytes: &bytes, bodiless, wants: self.verdict.wants() };
        let ended = match h1::exchange(trace, stream, sending).await {
            Ok(answer) => self.verdict.judge(trace, answer, *lead, &credentials.hidden).await,
            Err(failure) => Err(failure),
        };
        ended.map_err(|failure| without(failure, &credentials.hidden))
    }
}

/// The secrets of one round.
pub(in crate::probes::kinds) struct Prepared {
    credentials: Credentials,
    /// The time that went by before the round.
    lead: Duration,
}
