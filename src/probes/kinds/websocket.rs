//! The kind `websocket`: a handshake, and a message or a ping that is answered.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use hyper::HeaderMap;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE, USER_AGENT as USER_AGENT_HEADER};
use regex::bytes::{Regex, RegexBuilder};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, timeout};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use super::{Prober, Ready, SpecError, Tools};
use crate::api::{ProbeSpec, WebsocketProbe};
use crate::outbound::{Outbound, USER_AGENT, hide};
use crate::probes::result::{Failure, Line, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{Headers, MAX_REGEX, MAX_SHOWN, Place, Secure, connect, io_reason, show};

/// The largest message, and the largest frame of one: a probe waits for a word, not for a file.
const MAX_MESSAGE: usize = 1 << 20;
/// The most messages that are looked at, pings and pongs of the server included: a stream of
/// others would otherwise be followed up to the timeout.
const MAX_MESSAGES: usize = 1_000;
/// What is read and written at once; most messages are smaller.
const BUFFER: usize = 8 * 1024;
/// The longest that the server's own end of the connection is waited for. Its coming is no part of
/// what is judged.
const CLOSE_PATIENCE: Duration = Duration::from_millis(100);
/// What our pings carry: a pong that was not asked for has something else.
const PING: &[u8] = b"probegate";
/// Headers that the handshake itself sets.
const OWN_HEADERS: [&str; 7] = [
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
];

struct Websocket {
    /// What is asked for, with the scheme ws or wss.
    uri: hyper::Uri,
    /// Host, and port where the URL has one.
    host: HeaderValue,
    place: Place,
    headers: Headers,
    subprotocols: Option<HeaderValue>,
    send: Option<String>,
    expect: Option<Regex>,
    tls: Option<Secure>,
    outbound: Outbound,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.websocket.as_ref().map(|websocket| {
        let websocket = Arc::new(prepare(websocket, &tools.outbound)?);
        let host = websocket.place.host.clone();
        let prober: Prober = Arc::new(move |trace| {
            let websocket = Arc::clone(&websocket);
            Box::pin(async move { websocket.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

fn prepare(spec: &WebsocketProbe, outbound: &Outbound) -> Result<Websocket, SpecError> {
    let wrong = |why: String| SpecError::new("websocket.url", why);
    if spec.url.is_empty() {
        return Err(wrong("it is missing: write a URL such as ws://shop.example/live".to_owned()));
    }
    let url: Url = spec.url.parse().map_err(|error| wrong(format!("`{}` is no URL: {error}", spec.url)))?;
    let http = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => return Err(wrong(format!("the scheme `{other}` is not allowed: it is ws or wss"))),
    };
    // The guard knows the schemes of HTTP, which the handshake is.
    let mut asked = url.clone();
    asked.set_scheme(http).map_err(|()| wrong(format!("`{}` is no URL of a websocket", spec.url)))?;
    outbound.guard().check_url(&asked).map_err(|refused| wrong(refused.to_string()))?;
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let family = spec.family.unwrap_or_default();
    let place = match &spec.connect_to {
        Some(other) => Place::parse("websocket.connectTo", other, spec.family, Some(port))?,
        None => Place { host: name.clone(), port, family },
    };
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{}://{authority}{}{query}", url.scheme(), url.path());
    let uri = uri.parse().map_err(|error| wrong(format!("`{}` cannot be asked for: {error}", spec.url)))?;
    let host = HeaderValue::from_str(&authority).map_err(|_| wrong("its host has control characters".to_owned()))?;
    let tls = match http {
        "https" => Some(Secure::compile("websocket.tls", spec.tls.as_ref(), &name, &["http/1.1"], outbound)?),
        _ => None,
    };
    let headers = Headers::compile("websocket.headers", &spec.headers)?;
    if let Some(index) = headers.names().position(|name| OWN_HEADERS.contains(&name.as_str())) {
        let field = format!("websocket.headers[{index}].name");
        return Err(SpecError::new(field, "the handshake sets this header itself; subprotocols have a field"));
    }
    let expect = spec.expect.as_deref().map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build());
    Ok(Websocket {
        uri,
        host,
        place,
        headers,
        subprotocols: subprotocols(&spec.subprotocols)?,
        send: spec.send.clone(),
        expect: expect.transpose().map_err(|error| SpecError::new("websocket.expect", error.to_string()))?,
        tls,
        outbound: outbound.clone(),
    })
}

/// The header that offers them.
fn subprotocols(names: &[String]) -> Result<Option<HeaderValue>, SpecError> {
    for (index, name) in names.iter().enumerate() {
        // Both are tokens of HTTP.
        if name.parse::<HeaderName>().is_err() {
            let field = format!("websocket.subprotocols[{index}]");
            return Err(SpecError::new(field, format!("`{name}` is no subprotocol's name: spaces and commas divide")));
        }
    }
    let joined = names.join(", ");
    let value = HeaderValue::from_str(&joined);
    let value = value.map_err(|_| SpecError::new("websocket.subprotocols", "they have control characters"))?;
    Ok((!names.is_empty()).then_some(value))
}

impl Websocket {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let (headers, hidden) = self.headers.read(self.outbound.secrets()).await?;
        let stream = connect(trace, self.outbound.lookup(), &self.place).await?;
        let Some(secure) = &self.tls else {
            return self.talk(trace, stream, headers, &hidden).await;
        };
        let stream = secure.handshake(trace, stream).await?;
        self.talk(trace, stream, headers, &hidden).await
    }

    async fn talk(
        &self,
        trace: &mut Trace,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        headers: HeaderMap,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let stream = Timed::new(stream, trace.exchange());
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(BUFFER + MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let opened = client_async_with_config(self.request(headers), stream, Some(config)).await;
        let (mut socket, response) = opened.map_err(|error| failure(trace, &error, hidden))?;
        let status = response.status().as_u16();
        trace.fact("status", status);
        trace.note(Line::Status(status));
        if let Some(chosen) = response.headers().get("sec-websocket-protocol") {
            trace.fact("subprotocol", String::from_utf8_lossy(chosen.as_bytes()));
        }
        let message = match (&self.send, &self.expect) {
            (Some(text), _) => Some(Message::text(text.as_str())),
            (None, Some(_)) => None,
            (None, None) => Some(Message::Ping(Bytes::from_static(PING))),
        };
        if let Some(message) = message {
            trace.log(format!("sending {}", described(&message, hidden)));
            socket.send(message).await.map_err(|error| failure(trace, &error, hidden))?;
        }
        if self.expect.is_some() || self.send.is_none() {
            self.wait(trace, &mut socket, hidden).await?;
        }
        close(trace, &mut socket).await;
        Ok(())
    }

    fn request(&self, mut headers: HeaderMap) -> Request {
        for (name, value) in [(HOST, self.host.clone()), (USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT))] {
            headers.entry(name).or_insert(value);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::from_str(&generate_key()) {
            headers.insert("sec-websocket-key", key);
        }
        if let Some(subprotocols) = &self.subprotocols {
            headers.insert("sec-websocket-protocol", subprotocols.clone());
        }
        let mut request = Request::new(());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    /// Reads until a message matches, or until the pong, where nothing else is expected.
    async fn wait<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        trace: &mut Trace,
        socket: &mut WebSocketStream<S>,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let mut last = None;
        for count in 1..=MAX_MESSAGES {
            let Some(message) = socket.next().await else { return Err(self.ended(None, last.as_deref())) };
            let message = message.map_err(|error| failure(trace, &error, hidden))?;
            let bytes = match (&message, &self.expect) {
                (Message::Close(frame), _) => {
                    if let Some(frame) = frame {
                        trace.fact("closeCode", u16::from(frame.code));
                    }
                    return Err(self.ended(frame.as_ref(), last.as_deref()));
                }
                (Message::Pong(bytes), None) if bytes.as_ref() == PING => {
                    trace.log("the pong came");
                    return Ok(());
                }
                (Message::Text(text), Some(_)) => text.as_bytes(),
                (Message::Binary(bytes), Some(_)) => bytes,
                _ => continue,
            };
            let shown = described(&message, hidden);
            trace.fact("messages", count);
            trace.fact("messageBytes", bytes.len());
            if self.expect.as_ref().is_some_and(|expect| expect.is_match(bytes)) {
                trace.log(format!("received {shown}"));
                return Ok(());
            }
            trace.log(format!("received {shown}, which is not what is expected"));
            last = Some(shown);
        }
        let why = format!("{MAX_MESSAGES} messages came, and none of them is what is expected");
        Err(Failure::new(Reason::Expect, why))
    }

    /// The server went away while something was waited for.
    fn ended(&self, frame: Option<&CloseFrame>, last: Option<&str>) -> Failure {
        let how = match frame {
            Some(frame) => format!(
                "the server closed with code {} {}",
                u16::from(frame.code),
                show(frame.reason.as_bytes(), MAX_SHOWN)
            ),
            None => "the server closed".to_owned(),
        };
        match (&self.expect, last) {
            (Some(expect), Some(last)) => {
                Failure::new(Reason::Expect, format!("{how}; its last message is {last}, and none matches `{expect}`"))
            }
            (Some(expect), None) => {
                Failure::new(Reason::Expect, format!("{how} without a message that matches `{expect}`"))
            }
            (None, _) => Failure::new(Reason::Reset, format!("{how} before its pong came")),
        }
    }
}

/// Says goodbye, and waits a moment for the same from the other side: its logs shall show an end,
/// not a break. Whatever happens here is not judged.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(trace: &mut Trace, socket: &mut WebSocketStream<S>) {
    let goodbye = async {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        if socket.close(Some(frame)).await.is_err() {
            return;
        }
        for _ in 0..MAX_MESSAGES {
            if !matches!(socket.next().await, Some(Ok(_))) {
                return;
            }
        }
    };
    if timeout(CLOSE_PATIENCE.min(trace.remaining() / 2), goodbye).await.is_err() {
        trace.log("the server did not close in its turn");
    }
}

fn described(message: &Message, hidden: &[SecretString]) -> String {
    let shown = |bytes: &[u8]| show(&hide(bytes, hidden), MAX_SHOWN);
    match message {
        Message::Text(text) => format!("the text {}", shown(text.as_bytes())),
        Message::Binary(bytes) => format!("the bytes {}", shown(bytes)),
        Message::Ping(_) => "a ping".to_owned(),
        Message::Pong(_) => "a pong".to_owned(),
        Message::Close(_) | Message::Frame(_) => "an end".to_owned(),
    }
}

fn failure(trace: &mut Trace, error: &Error, hidden: &[SecretString]) -> Failure {
    match error {
        Error::Io(error) => Failure::new(io_reason(error, Reason::Reset), format!("in mid-exchange: {error}")),
        Error::Http(response) => {
            let status = response.status().as_u16();
            trace.fact("status", status);
            trace.note(Line::Status(status));
            let body = response.body().as_deref().unwrap_or_default();
            let body = show(&hide(body, hidden), MAX_SHOWN);
            Failure::new(Reason::Status, format!("status {status} where 101 is expected; body {body}"))
        }
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(error)) => {
            Failure::new(Reason::Header, format!("the handshake's header Sec-WebSocket-Protocol: {error}"))
        }
        Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => Failure::new(Reason::Reset, "the connection ended in mid-exchange"),
        Error::Capacity(error) => Failure::new(Reason::Size, format!("{error}; at most {MAX_MESSAGE} bytes are read")),
        Error::AttackAttempt => {
            Failure::new(Reason::Size, "the head of the handshake's answer is too large, or comes in crumbs")
        }
        other => Failure::new(Reason::Protocol, format!("no websocket: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Secrets;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({}), "websocket.url")]
    #[case(json!({"url": "shop.example"}), "websocket.url")]
    #[case(json!({"url": "http://shop.example/"}), "websocket.url")]
    #[case(json!({"url": "ws://169.254.169.254/"}), "websocket.url")]
    #[case(json!({"url": "ws://ada:secret@shop.example/"}), "websocket.url")]
    #[case(json!({"url": "ws://shop/", "connectTo": "a b"}), "websocket.connectTo")]
    #[case(json!({"url": "ws://shop/", "expect": "("}), "websocket.expect")]
    #[case(json!({"url": "ws://shop/", "subprotocols": ["a", "b c"]}), "websocket.subprotocols[1]")]
    #[case(json!({"url": "ws://shop/", "headers": [{"name": "Upgrade", "value": "x"}]}), "websocket.headers[0].name")]
    #[case(json!({"url": "wss://shop/", "tls": {"serverName": "a b"}}), "websocket.tls.serverName")]
    fn what_makes_no_sense_is_refused_by_its_field(#[case] spec: Value, #[case] field: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let error = prepare(&spec, &Outbound::new(Secrets::default())).err().unwrap();
        assert_eq!(error.field, field, "{error}");
    }

    #[rstest]
    #[case("ws://shop.example", None, "shop.example:80", "shop.example", "/")]
    #[case("wss://shop.example:8443/live?a=b#c", None, "shop.example:8443", "shop.example:8443", "/live?a=b")]
    #[case("ws://[::1]:9/x", Some("10.0.0.1"), "10.0.0.1:9", "[::1]:9", "/x")]
    fn the_url_says_where_and_for_whom(
        #[case] url: &str,
        #[case] connect_to: Option<&str>,
        #[case] place: &str,
        #[case] host: &str,
        #[case] path: &str,
    ) {
        let connect_to = connect_to.map(str::to_owned);
        let spec = WebsocketProbe { url: url.to_owned(), connect_to, ..WebsocketProbe::default() };
        let made = prepare(&spec, &Outbound::new(Secrets::default())).unwrap();
        assert_eq!((made.place.to_string().as_str(), made.host.to_str().unwrap()), (place, host));
        let request = made.request(HeaderMap::new());
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), path);
    }
}
