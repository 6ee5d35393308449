//! The kind `tls`: a handshake, and the certificates that it shows.
//!
//! The handshake is made with any chain, so that one that has expired or is not trusted is read and
//! judged like everything else that is expected.

mod expect;
mod starttls;

use std::sync::Arc;

use tokio::net::TcpStream;

use self::expect::Expectations;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, StartTls, TlsExpect, TlsProbe};
use crate::clock::Clock;
use crate::outbound::GuardedLookup;
use crate::probes::result::{Failure, Phase};
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, Secure, check_alpn, connect};

struct Tls {
    place: Place,
    start: Option<StartTls>,
    secure: Secure,
    expect: Expectations,
    warn: Option<Expectations>,
    lookup: GuardedLookup,
    clock: Arc<dyn Clock>,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.tls.as_ref().map(|tls| prepare(tls, tools))
}

fn prepare(spec: &TlsProbe, tools: &Tools) -> Result<Ready, SpecError> {
    let place = Place::parse("tls.address", &spec.address, spec.family, None)?;
    let host = place.host.clone();
    check_alpn("tls.alpn", &spec.alpn)?;
    let alpn: Vec<&str> = spec.alpn.iter().map(String::as_str).collect();
    let secure = Secure::compile_inspecting("tls.tls", spec.tls.as_ref(), &host, &alpn, &tools.outbound)?;
    let trusting = spec.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify);
    let compile = |field: &str, expect: &TlsExpect| Expectations::compile(field, expect, trusting, &spec.alpn);
    let tls = Arc::new(Tls {
        place,
        start: spec.start_tls,
        secure,
        expect: compile("tls.expect", &spec.expect.clone().unwrap_or_default())?,
        warn: spec.warn.as_ref().map(|warn| compile("tls.warn", warn)).transpose()?,
        lookup: tools.outbound.lookup().clone(),
        clock: Arc::clone(&tools.clock),
    });
    let prober: Prober = Arc::new(move |trace| {
        let tls = Arc::clone(&tls);
        Box::pin(async move { tls.round(trace).await })
    });
    Ok(Ready { prober, host })
}

impl Tls {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let mut stream: TcpStream = connect(trace, &self.lookup, &self.place).await?;
        if let Some(start) = self.start {
            trace.enter(Phase::Processing);
            starttls::turn(start, &mut stream).await?;
            trace.log("the other side turns to TLS");
        }
        let (stream, shown) = self.secure.inspect(trace, stream).await?;
        let now = self.clock.now();
        let trusted = self.secure.trusted(&stream, now).await;
        trace.fact("trusted", trusted.is_ok());
        self.expect.judge(&shown, &trusted, now)?;
        match &self.warn {
            Some(warn) => warn.judge(&shown, &trusted, now).map_err(Failure::degraded),
            None => Ok(()),
        }
    }
}
