//! HTTP/1.1 on a stream: one write, then reading until the answer is complete. Nothing waits for
//! the end of the connection, and no memory is held while nothing comes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer::{Answer, shown};
use super::body::{BodyError, Decoder, Sink, Wants};
use super::head::{Head, HeadError, HeadReader};
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::io_reason;

/// How much is read at a time.
const PIECE: usize = 16 * 1024;
/// How a record of TLS that tells of an error begins: so answers a TLS port that is asked in the clear.
const TLS_ALERT: &[u8] = &[0x15, 0x03];

thread_local! {
    /// Where all rounds of a thread read to; what came is copied out of it at once.
    static SPACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// A request, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending<'a> {
    /// Head and body.
    pub(super) bytes: &'a [u8],
    /// Whether the answer has no body whatever its headers say: it is one to HEAD or CONNECT.
    pub(super) bodiless: bool,
    pub(super) wants: Wants,
}

/// Reads what there is, and waits where there is nothing; 0 at the end.
pub(super) async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, into: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        SPACE.with_borrow_mut(|space| {
            let mut piece = ReadBuf::new(space);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut piece))?;
            into.extend_from_slice(piece.filled());
            Poll::Ready(Ok(piece.filled().len()))
        })
    })
    .await
}

/// Sends a request and reads its answer.
///
/// # Errors
/// The connection breaks, or what comes is no HTTP.
pub(super) async fn exchange<S>(trace: &mut Trace, stream: &mut S, sending: Sending<'_>) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    trace.enter(Phase::Request);
    let sent = async {
        stream.write_all(sending.bytes).await?;
        stream.flush().await
    };
    let sent = sent.await;
    let mut reader = HeadReader::default();
    if let Err(error) = sent {
        // Who refuses a request early may have answered, and closed before he had read all of it.
        return match head(trace, stream, &mut reader, sending).await {
            Ok((head, rest)) => body(trace, stream, head, rest, sending).await,
            Err(_) => Err(Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}"))),
        };
    }
    trace.note(Line::Sent(sending.bytes.len()));
    trace.enter(Phase::Processing);
    let (head, rest) = head(trace, stream, &mut reader, sending).await?;
    body(trace, stream, head, rest, sending).await
}

/// Reads the head of an answer, and what came with it.
async fn head<S: AsyncRead + Unpin>(
    trace: &mut Trace,
    stream: &mut S,
    reader: &mut HeadReader,
    sending: Sending<'_>,
) -> Result<(Head, Vec<u8>), Failure> {
    let mut begun = false;
    loop {
        let count = read_some(stream, &mut reader.seen).await.map_err(|error| broken_off(begun, &error))?;
        if count == 0 {
            let message = if begun {
                format!("the connection ended in the head of the answer, after {}", shown(&reader.seen, &[]))
            } else {
                "the connection ended without an answer".to_owned()
            };
            return Err(Failure::new(Reason::Reset, message));
        }
        if !begun {
            begun = true;
            trace.enter(Phase::Transfer);
        }
        match reader.next(sending.bodiless) {
            Ok(None) => {}
            Ok(Some(found)) => return Ok(found),
            Err(error) => return Err(no_head(&error, &reader.seen)),
        }
    }
}

fn broken_off(begun: bool, error: &io::Error) -> Failure {
    let place = if begun { "in the middle of the answer" } else { "before an answer" };
    Failure::new(io_reason(error, Reason::Reset), format!("the connection broke {place}: {error}"))
}

fn no_head(error: &HeadError, seen: &[u8]) -> Failure {
    match error {
        HeadError::TooLarge | HeadError::TooMany => Failure::new(Reason::Size, error.to_string()),
        HeadError::NotHttp if seen.starts_with(TLS_ALERT) => {
            Failure::new(Reason::Protocol, "the answer is TLS: an `https` URL is asked for here".to_owned())
        }
        HeadError::NotHttp => Failure::new(Reason::Protocol, format!("{error}: {}", shown(seen, &[]))),
        HeadError::Broken(_) | HeadError::Interim => Failure::new(Reason::Protocol, error.to_string()),
    }
}

/// Reads the body of an answer, as far as it matters.
async fn body<S: AsyncRead + Unpin>(
    trace: &mut Trace,
    stream: &mut S,
    head: Head,
    rest: Vec<u8>,
    sending: Sending<'_>,
) -> Result<Answer, Failure> {
    let status = head.status;
    begun(trace, status, head.version.as_str(), head.length);
    let mut decoder = Decoder::new(head.framing);
    let mut sink = Sink::new(sending.wants);
    let mut input = rest;
    let ended = loop {
        let fed = decoder.feed_all(&mut input, &mut sink);
        if let Err(error) = fed {
            trace.fact("bodyBytes", sink.received);
            return Err(no_body(&error, status));
        }
        if decoder.ended() || sink.enough() {
            break decoder.ended();
        }
        input.clear();
        let count = read_some(stream, &mut input).await.map_err(|error| {
            trace.fact("bodyBytes", sink.received);
            let message = format!("the connection broke after {} bytes of the body: {error}", sink.received);
            Failure::new(io_reason(&error, Reason::Reset), message)
        })?;
        if count == 0 {
            trace.fact("bodyBytes", sink.received);
            decoder.close().map_err(|error| no_body(&error, status))?;
            break true;
        }
    };
    over(trace, &sink, ended);
    Ok(Answer {
        version: head.version,
        status,
        headers: head.headers,
        body: sink.kept,
        size: sink.received,
        ended,
        secured: None,
    })
}

/// Notes that an answer has begun.
pub(super) fn begun(trace: &mut Trace, status: u16, version: &'static str, length: Option<u64>) {
    trace.fact("status", status);
    trace.fact("httpVersion", version);
    if let Some(length) = length {
        trace.fact("contentLength", length);
    }
    trace.note(Line::Status(status));
}

/// Notes that it is over.
pub(super) fn over(trace: &mut Trace, sink: &Sink, ended: bool) {
    trace.fact("bodyBytes", sink.received);
    if ended {
        trace.note(Line::Body(usize::try_from(sink.received).unwrap_or(usize::MAX)));
    } else {
        trace.log(format!("the body has more than {} bytes: the rest is not read", sink.received));
    }
}

fn no_body(error: &BodyError, status: u16) -> Failure {
    let reason = match error {
        BodyError::Chunks(_) => Reason::Protocol,
        BodyError::Short(_) | BodyError::ShortChunks => Reason::Reset,
    };
    Failure::new(reason, format!("answered {status}, and {error}"))
}
