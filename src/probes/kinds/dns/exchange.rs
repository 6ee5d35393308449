//! A question to a server and its answer, over every transport.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::{Answer, Parsed, Question};
use crate::api::{DnsTransport, IpFamily, ProbeTls};
use crate::outbound::{GuardedLookup, Outbound};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{Heard, Place, Secure, ask, connect, io_reason};

/// The port of DNS, and that of DNS over TLS.
const PORT: u16 = 53;
const TLS_PORT: u16 = 853;

/// A server, and how it is asked.
pub(super) struct Server {
    pub(super) place: Place,
    transport: DnsTransport,
    secure: Option<Secure>,
    lookup: GuardedLookup,
}

impl Server {
    /// Compiles the server that stands under `field`.
    pub(super) fn compile(
        field: &str,
        text: &str,
        transport: DnsTransport,
        tls: Option<&ProbeTls>,
        outbound: &Outbound,
    ) -> Result<Self, SpecError> {
        let over_tls = transport == DnsTransport::Tls;
        let place = Place::parse(field, text, None, Some(if over_tls { TLS_PORT } else { PORT }))?;
        let secure = if over_tls { Some(Secure::compile("dns.tls", tls, &place.host, &[], outbound)?) } else { None };
        Ok(Self { place, transport, secure, lookup: outbound.lookup().clone() })
    }

    /// Asks.
    pub(super) async fn ask(&self, trace: &mut Trace, question: &Question) -> Result<Answer, Failure> {
        let id = number()?;
        let wrong = |why| Failure::new(Reason::Unsupported, format!("the question cannot be written: {why}"));
        let bytes = question.encode(id).map_err(wrong)?;
        if self.transport != DnsTransport::Udp {
            return self.by_stream(trace, &self.place, question, (id, &bytes)).await;
        }
        let (answer, address) =
            ask(trace, &self.lookup, &self.place, &bytes, |datagram| match question.read(id, datagram) {
                Parsed::Answer(answer) => Heard::Answer(*answer),
                Parsed::Lie(why) => Heard::Other(lie(why)),
                Parsed::Broken(why) => Heard::Wrong(broken(&why)),
            })
            .await?;
        if !answer.truncated {
            return Ok(answer);
        }
        trace.log("the answer is truncated; the question is asked again over TCP");
        let whole = self.by_stream(trace, &at(address), question, (id, &bytes)).await?;
        Ok(Answer { truncated: true, ..whole })
    }

    async fn by_stream(
        &self,
        trace: &mut Trace,
        place: &Place,
        question: &Question,
        message: (u16, &[u8]),
    ) -> Result<Answer, Failure> {
        let stream = connect(trace, &self.lookup, place).await?;
        match &self.secure {
            Some(secure) => {
                let mut stream = secure.handshake(trace, stream).await?;
                let answer = exchange(trace, &mut stream, question, message).await;
                // A farewell in good manners; what comes of it says nothing.
                let _ = stream.shutdown().await;
                answer
            }
            None => exchange(trace, stream, question, message).await,
        }
    }
}

/// The place of an address that has answered.
fn at(address: SocketAddr) -> Place {
    Place { host: address.ip().to_string(), port: address.port(), family: IpFamily::Any }
}

/// A number that nobody can guess.
fn number() -> Result<u16, Failure> {
    let number = getrandom::u32().map(u32::to_be_bytes);
    let number = number.map_err(|error| Failure::new(Reason::Exhausted, format!("no random number: {error}")))?;
    let [high, low, ..] = number;
    Ok(u16::from_be_bytes([high, low]))
}

fn lie(why: &str) -> Failure {
    Failure::new(Reason::Protocol, format!("what came back is no answer to the question: {why}"))
}

fn broken(why: &str) -> Failure {
    Failure::new(Reason::Protocol, format!("the answer is broken: {why}"))
}

async fn exchange(
    trace: &mut Trace,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    question: &Question,
    (id, bytes): (u16, &[u8]),
) -> Result<Answer, Failure> {
    let mut stream = Timed::new(stream, trace.exchange());
    let io = |what: &'static str, reason| {
        move |error: std::io::Error| Failure::new(io_reason(&error, reason), format!("{what}: {error}"))
    };
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    let sent = async {
        stream.write_all(&framed).await?;
        stream.flush().await
    };
    sent.await.map_err(io("while sending", Reason::Send))?;
    let length = stream.read_u16().await.map_err(io("before the answer", Reason::Reset))?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(io("within the answer", Reason::Reset))?;
    match question.read(id, &answer) {
        Parsed::Answer(answer) => Ok(*answer),
        Parsed::Lie(why) => Err(lie(why)),
        Parsed::Broken(why) => Err(broken(&why)),
    }
}
