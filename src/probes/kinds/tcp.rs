//! The kind `tcp`: a connection, and optionally an exchange of texts.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, TcpProbe};
use crate::outbound::GuardedLookup;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{MAX_REGEX, MAX_SHOWN, Place, connect, io_reason, show, unescape};

/// How much of what comes back is looked at: a greeting has no more, and the field says so.
const MAX_ANSWER: usize = 4_096;

struct Tcp {
    place: Place,
    send: Vec<u8>,
    expect: Option<Regex>,
    lookup: GuardedLookup,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.tcp.as_ref().map(|tcp| prepare(tcp, tools))
}

fn prepare(spec: &TcpProbe, tools: &Tools) -> Result<Ready, SpecError> {
    let place = Place::parse("tcp.address", &spec.address, spec.family, None)?;
    let host = place.host.clone();
    let send = spec.send.as_deref().map(unescape).transpose();
    let send = send.map_err(|why| SpecError::new("tcp.send", why))?.unwrap_or_default();
    let compiled = spec.expect.as_deref().map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build()).transpose();
    let expect = compiled.map_err(|error| SpecError::new("tcp.expect", error.to_string()))?;
    let tcp = Arc::new(Tcp { place, send, expect, lookup: tools.outbound.lookup().clone() });
    let prober: Prober = Arc::new(move |trace| {
        let tcp = Arc::clone(&tcp);
        Box::pin(async move { tcp.round(trace).await })
    });
    Ok(Ready { prober, host })
}

impl Tcp {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let stream = connect(trace, &self.lookup, &self.place).await?;
        if self.send.is_empty() && self.expect.is_none() {
            return Ok(());
        }
        let mut stream = Timed::new(stream, trace.exchange());
        if !self.send.is_empty() {
            let sent = async {
                stream.write_all(&self.send).await?;
                stream.flush().await
            };
            sent.await
                .map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}")))?;
            trace.log(format!("sent {}", show(&self.send, MAX_SHOWN)));
        }
        match &self.expect {
            None => Ok(()),
            Some(expect) => self.expected(trace, &mut stream, expect).await,
        }
    }

    async fn expected(
        &self,
        trace: &mut Trace,
        stream: &mut (impl AsyncReadExt + Unpin),
        expect: &Regex,
    ) -> Result<(), Failure> {
        let mut answer = Vec::new();
        let mut chunk = [0; 1_024];
        loop {
            let read = stream.read(&mut chunk).await.map_err(|error| {
                let seen = show(&answer, MAX_SHOWN);
                Failure::new(io_reason(&error, Reason::Reset), format!("after {seen}: {error}"))
            })?;
            let room = MAX_ANSWER.saturating_sub(answer.len());
            answer.extend(chunk.iter().take(read.min(room)));
            trace.fact("answerBytes", answer.len());
            if expect.is_match(&answer) {
                trace.log(format!("received {}", show(&answer, MAX_SHOWN)));
                return Ok(());
            }
            if read == 0 || answer.len() >= MAX_ANSWER {
                let seen = show(&answer, MAX_SHOWN);
                return Err(Failure::new(Reason::Expect, format!("received {seen}, which does not match `{expect}`")));
            }
            trace.log(format!("received {read} bytes: {}", show(&answer, MAX_SHOWN)));
        }
    }
}
