//! HTTP/2 on a stream: one request on one connection, which ends with the round.

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason as Code, RecvStream};
use hyper::http::request::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answer;
use super::body::{Sink, Wants};
use super::h1::{begun, over};
use super::head::{Headers, MAX_HEAD, Version};
use super::request::{Call, Credentials, Outline};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::io_reason;

/// How much of a body may be on its way: all that is kept of it.
const WINDOW: u32 = 1 << 20;
/// Headers of one connection in HTTP/1, which HTTP/2 forbids.
const CONNECTION: [&str; 3] = ["connection", "proxy-connection", "host"];

/// What is sent, and what of.
pub(super) struct Asking<'a> {
    pub(super) outline: &'a Outline,
    pub(super) call: Call<'a>,
    pub(super) credentials: &'a Credentials,
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    pub(super) wants: Wants,
}

/// Sends a request and reads its answer.
///
/// # Errors
/// The connection breaks, or the other side does not speak HTTP/2.
pub(super) async fn exchange<S>(trace: &mut Trace, stream: S, asking: Asking<'_>) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    trace.enter(Phase::Request);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| broken(&error))?;
    let answered = ask(trace, sender, &asking);
    tokio::pin!(answered);
    tokio::pin!(connection);
    // The connection moves the bytes; when it ends first, what it has brought is still judged.
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        _ = &mut connection => answered.await,
    }
}

async fn ask(trace: &mut Trace, sender: SendRequest<Bytes>, asking: &Asking<'_>) -> Result<Answer, Failure> {
    let mut sender = sender.ready().await.map_err(|error| broken(&error))?;
    let body = if asking.call.with_body { asking.outline.body.clone() } else { Vec::new() };
    let (response, mut sending) =
        sender.send_request(request(asking)?, body.is_empty()).map_err(|error| broken(&error))?;
    if !body.is_empty() {
        sending.send_data(body.into(), true).map_err(|error| broken(&error))?;
    }
    trace.enter(Phase::Processing);
    read(trace, response, asking.wants).await
}

async fn read(trace: &mut Trace, response: ResponseFuture, wants: Wants) -> Result<Answer, Failure> {
    let (head, mut body) = response.await.map_err(|error| broken(&error))?.into_parts();
    trace.enter(Phase::Transfer);
    let headers =
        Headers::collect(head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())));
    let length = headers.text("content-length").and_then(|text| text.parse().ok());
    begun(trace, head.status.as_u16(), Version::Http2.as_str(), length);
    let mut sink = Sink::new(wants);
    let ended = fill(trace, &mut body, &mut sink).await?;
    over(trace, &sink, ended);
    Ok(Answer {
        version: Version::Http2,
        status: head.status.as_u16(),
        headers,
        body: sink.kept,
        size: sink.received,
        ended,
        secured: None,
    })
}

/// Reads the body, as far as it matters; whether it has ended.
async fn fill(trace: &mut Trace, body: &mut RecvStream, sink: &mut Sink) -> Result<bool, Failure> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| {
            trace.fact("bodyBytes", sink.received);
            broken(&error)
        })?;
        sink.push(&data);
        if sink.enough() {
            return Ok(false);
        }
        body.flow_control().release_capacity(data.len()).map_err(|error| broken(&error))?;
    }
    Ok(true)
}

fn request(asking: &Asking<'_>) -> Result<Request<()>, Failure> {
    let Asking { outline, call, credentials, scheme, .. } = asking;
    let uri = format!("{scheme}://{}{}", outline.host(call), call.target);
    let mut request = Request::builder().method(call.method).uri(uri);
    for (name, value) in outline.fields(call, credentials) {
        if !CONNECTION.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            request = request.header(name, value.as_ref());
        }
    }
    request.body(()).map_err(|error| Failure::new(Reason::Send, format!("the request cannot be made: {error}")))
}

fn broken(error: &h2::Error) -> Failure {
    if let Some(io) = error.get_io() {
        return Failure::new(io_reason(io, Reason::Reset), format!("the connection broke: {io}"));
    }
    let reason =
        match error.reason() {
            // The other side took the stream back, or gave the connection up, without blaming us.
            Some(
                Code::NO_ERROR | Code::CANCEL | Code::REFUSED_STREAM | Code::INTERNAL_ERROR | Code::ENHANCE_YOUR_CALM,
            ) if error.is_remote() => Reason::Reset,
            _ => Reason::Protocol,
        };
    // The library tells both alike.
    let large = error.is_library() && error.reason() == Some(Code::PROTOCOL_ERROR);
    let more = if large { format!(", or a head of more than {MAX_HEAD} bytes") } else { String::new() };
    Failure::new(reason, format!("no whole HTTP/2 answer: {error}{more}"))
}
