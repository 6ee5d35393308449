//! The kind `udp`: a datagram, and the one that comes back.

use std::sync::Arc;

use regex::bytes::Regex;

use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, UdpProbe};
use crate::outbound::GuardedLookup;
use crate::probes::result::{Failure, Line, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Heard, MAX_SHOWN, Place, ask, expression, show, unescape};

struct Udp {
    place: Place,
    send: Vec<u8>,
    expect: Option<Regex>,
    lookup: GuardedLookup,
}

/// What came back: its length and its beginning.
type Answer = (usize, Box<[u8]>);

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.udp.as_ref().map(|udp| prepare(udp, tools))
}

fn prepare(spec: &UdpProbe, tools: &Tools) -> Result<Ready, SpecError> {
    let place = Place::parse("udp.address", &spec.address, spec.family, None)?;
    let host = place.host.clone();
    let send = unescape(&spec.send).map_err(|why| SpecError::new("udp.send", why))?;
    if send.is_empty() {
        return Err(SpecError::new("udp.send", "it is empty: a server answers only what it is asked"));
    }
    let expect = expression("udp.expect", spec.expect.as_deref())?;
    let udp = Arc::new(Udp { place, send, expect, lookup: tools.outbound.lookup().clone() });
    let prober: Prober = Arc::new(move |trace| {
        let udp = Arc::clone(&udp);
        Box::pin(async move { udp.round(trace).await })
    });
    Ok(Ready { prober, host })
}

impl Udp {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let asked = ask(trace, &self.lookup, &self.place, &self.send, |datagram| self.hear(datagram)).await;
        let ((bytes, start), _) = asked?;
        trace.fact("answerBytes", bytes);
        trace.note(Line::Received(start, bytes));
        Ok(())
    }

    fn hear(&self, datagram: &[u8]) -> Heard<Answer> {
        match &self.expect {
            // Another one may follow that matches.
            Some(expect) if !expect.is_match(datagram) => {
                let seen = show(datagram, MAX_SHOWN);
                Heard::Other(Failure::new(Reason::Expect, format!("received {seen}, which does not match `{expect}`")))
            }
            _ => Heard::Answer((datagram.len(), datagram.iter().copied().take(MAX_SHOWN).collect())),
        }
    }
}
