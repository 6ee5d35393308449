//! The kind `tcp`: a connection, and optionally an exchange of texts, step by step, in the clear or
//! under TLS.

mod exchange;
mod step;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use self::exchange::Exchange;
use self::step::{Groups, Step};
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ExchangeStep, ProbeSpec, TcpProbe};
use crate::outbound::GuardedLookup;
use crate::probes::result::Failure;
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, Secure, connect, connect_once};

/// A text that is sent and one that is expected then, over any stream.
pub(super) struct Talk {
    steps: Vec<Step>,
    groups: usize,
}

impl Talk {
    /// Compiles both; `kind` is what they stand under in the spec.
    ///
    /// # Errors
    /// An escape or an expression that is none.
    pub(super) fn compile(kind: &str, send: Option<&str>, expect: Option<&str>) -> Result<Self, SpecError> {
        let mut groups = Groups::default();
        let steps = short(kind, send, expect, &mut groups)?;
        Ok(Self { steps, groups: groups.len() })
    }

    /// Sends and expects.
    ///
    /// # Errors
    /// The connection breaks, or what comes back is not as expected.
    pub(super) async fn run<S>(&self, trace: &mut Trace, stream: &mut S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.steps.is_empty() {
            return Ok(());
        }
        let mut exchange = Exchange::new(self.groups);
        exchange.run(trace, stream, &self.steps).await?;
        trace.fact("answerBytes", exchange.received());
        Ok(())
    }
}

/// The steps of the short form, which sends first and then expects, where a step expects first.
fn short(kind: &str, send: Option<&str>, expect: Option<&str>, groups: &mut Groups) -> Result<Vec<Step>, SpecError> {
    let (send_field, expect_field) = (format!("{kind}.send"), format!("{kind}.expect"));
    let sends = Step::compile((&expect_field, None), (&send_field, send), &mut Groups::none(), false)?;
    let expects = Step::compile((&expect_field, expect), (&send_field, None), groups, false)?;
    Ok(sends.into_iter().chain(expects).collect())
}

struct Tcp {
    place: Place,
    lookup: GuardedLookup,
    /// What is done in the clear, and what under TLS after it.
    clear: Vec<Step>,
    secure: Option<(Secure, Vec<Step>)>,
    /// How many texts are caught on the way.
    groups: usize,
    /// Whether it writes once at most.
    once: bool,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.tcp.as_ref().map(|tcp| prepare(tcp, tools))
}

fn prepare(spec: &TcpProbe, tools: &Tools) -> Result<Ready, SpecError> {
    let place = Place::parse("tcp.address", &spec.address, spec.family, None)?;
    let host = place.host.clone();
    let mut groups = Groups::default();
    let mut steps = short("tcp", spec.send.as_deref(), spec.expect.as_deref(), &mut groups)?;
    let turn = turning(&spec.steps)?;
    let mut clear_steps = if turn.is_some() { usize::MAX } else { 0 };
    for (place, step) in spec.steps.iter().enumerate() {
        let (expect, send) = (format!("tcp.steps[{place}].expect"), format!("tcp.steps[{place}].send"));
        let parts = ((expect.as_str(), step.expect.as_deref()), (send.as_str(), step.send.as_deref()));
        let mut compiled = Step::compile(parts.0, parts.1, &mut groups, true)?;
        if compiled.is_none() && !step.start_tls {
            let why = "it does nothing: give it expect, send or startTLS";
            return Err(SpecError::new(format!("tcp.steps[{place}]"), why));
        }
        if !step.facts.is_empty() {
            let field = format!("tcp.steps[{place}].facts");
            let Some(expect) = compiled.as_mut().and_then(|step| step.expect.as_mut()) else {
                return Err(SpecError::new(field, "without `expect` nothing is matched that could be told"));
            };
            expect.tell(&field, &step.facts)?;
        }
        steps.extend(compiled);
        if turn == Some(place) {
            clear_steps = steps.len();
        }
    }
    let secure = if turn.is_some() || spec.tls.is_some() {
        let under = steps.split_off(clear_steps.min(steps.len()));
        Some((Secure::compile("tcp.tls", spec.tls.as_ref(), &host, &[], &tools.outbound)?, under))
    } else {
        None
    };
    let once = secure.is_none() && steps.iter().filter(|step| !step.send.is_empty()).count() <= 1;
    let lookup = tools.outbound.lookup().clone();
    let tcp = Arc::new(Tcp { place, lookup, clear: steps, secure, groups: groups.len(), once });
    let prober: Prober = Arc::new(move |trace| {
        let tcp = Arc::clone(&tcp);
        Box::pin(async move { tcp.round(trace).await })
    });
    Ok(Ready { prober, host })
}

/// The step that turns to TLS.
fn turning(steps: &[ExchangeStep]) -> Result<Option<usize>, SpecError> {
    let mut turns = steps.iter().enumerate().filter(|(_, step)| step.start_tls).map(|(place, _)| place);
    match (turns.next(), turns.next()) {
        (_, Some(second)) => {
            Err(SpecError::new(format!("tcp.steps[{second}].startTLS"), "an earlier step has turned to TLS"))
        }
        (first, None) => Ok(first),
    }
}

impl Tcp {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let stream = if self.once {
            connect_once(trace, &self.lookup, &self.place).await?
        } else {
            connect(trace, &self.lookup, &self.place).await?
        };
        let mut exchange = Exchange::new(self.groups);
        let ended = self.talk(trace, &mut exchange, stream).await;
        if exchange.received() > 0 {
            trace.fact("answerBytes", exchange.received());
        }
        let matched = exchange.into_matched();
        if !matched.is_empty() {
            trace.fact("matched", matched);
        }
        ended
    }

    async fn talk(&self, trace: &mut Trace, exchange: &mut Exchange, mut stream: TcpStream) -> Result<(), Failure> {
        if !self.clear.is_empty() {
            exchange.run(trace, &mut stream, &self.clear).await?;
        }
        let Some((secure, steps)) = &self.secure else { return Ok(()) };
        exchange.turn()?;
        let mut stream = secure.handshake(trace, stream).await?;
        if !steps.is_empty() {
            exchange.run(trace, &mut stream, steps).await?;
        }
        // A farewell in good manners; what comes of it says nothing.
        let _ = stream.shutdown().await;
        Ok(())
    }
}
