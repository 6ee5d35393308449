//! The kind `grpc`: one call of the health service (`grpc.health.v1.Health/Check`) over HTTP/2.

mod message;
mod status;

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT as USER_AGENT_HEADER};
use hyper::rt::Executor;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use self::message::Health;
use self::status::Status;
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{GrpcProbe, ProbeSpec};
use crate::outbound::{Outbound, USER_AGENT, hide};
use crate::probes::result::{Failure, Line, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Headers, Place, Secure, connect, transport_failure};

/// The method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The media type of gRPC.
const GRPC: &str = "application/grpc";
/// The largest head or tail of an answer, uncompressed: as much as other clients take.
const MAX_HEADERS: u32 = 16 * 1024;
/// The largest body of an answer: the message has two bytes.
const MAX_ANSWER: usize = 4 * 1024;
/// What a server may send before we have read it: one window, of the size that HTTP/2 begins with.
const WINDOW: u32 = 65_535;
/// The longest time-out that the header can hold: eight digits of milliseconds.
const MAX_TIMEOUT_MILLIS: u128 = 99_999_999;
/// Headers that belong to the protocol and not to a caller.
const OWN_HEADERS: [&str; 9] = [
    "te",
    "content-type",
    "content-length",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

struct Grpc {
    place: Place,
    uri: Uri,
    service: String,
    metadata: Headers,
    tls: Option<Secure>,
    outbound: Outbound,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.grpc.as_ref().map(|grpc| {
        let grpc = Arc::new(prepare(grpc, &tools.outbound)?);
        let host = grpc.place.host.clone();
        let prober: Prober = Arc::new(move |trace| {
            let grpc = Arc::clone(&grpc);
            Box::pin(async move { grpc.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

fn prepare(spec: &GrpcProbe, outbound: &Outbound) -> Result<Grpc, SpecError> {
    let place = Place::parse("grpc.address", &spec.address, spec.family, None)?;
    let authority = spec.authority.clone().unwrap_or_else(|| place.to_string());
    let scheme = if spec.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query(METHOD).build();
    let uri =
        uri.map_err(|_| SpecError::new("grpc.authority", format!("`{authority}` is no authority such as host:port")))?;
    let metadata = Headers::compile("grpc.metadata", &spec.metadata)?;
    let own = |name: &str| OWN_HEADERS.contains(&name) || name.starts_with("grpc-");
    if let Some(index) = metadata.names().position(|name| own(name.as_str())) {
        let field = format!("grpc.metadata[{index}].name");
        return Err(SpecError::new(field, "this name belongs to the protocol, and is no metadata"));
    }
    let tls = spec.tls.as_ref().map(|tls| Secure::compile("grpc.tls", Some(tls), &place.host, &["h2"], outbound));
    Ok(Grpc {
        place,
        uri,
        service: spec.service.clone().unwrap_or_default(),
        metadata,
        tls: tls.transpose()?,
        outbound: outbound.clone(),
    })
}

impl Grpc {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let (metadata, hidden) = self.metadata.read(self.outbound.secrets()).await?;
        let stream = connect(trace, self.outbound.lookup(), &self.place).await?;
        let Some(secure) = &self.tls else {
            return self.call(trace, stream, metadata, &hidden).await;
        };
        let stream = secure.handshake(trace, stream).await?;
        self.call(trace, stream, metadata, &hidden).await
    }

    async fn call(
        &self,
        trace: &mut Trace,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        metadata: HeaderMap,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        trace.enter(Phase::Request);
        let tasks = Tasks::default();
        let _end = Ended(tasks.clone());
        let (mut sender, connection) = http2::Builder::new(tasks)
            .max_header_list_size(MAX_HEADERS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| transport_failure(&error))?;
        let request = self.request(trace, metadata);
        trace.note(Line::Sent(request.1));
        let answered = async {
            // The request is a few bytes: it is written at once.
            trace.enter(Phase::Processing);
            let response = sender.send_request(request.0).await.map_err(|error| transport_failure(&error))?;
            trace.enter(Phase::Transfer);
            self.judge(trace, response, hidden).await
        };
        tokio::pin!(answered);
        // The connection moves the bytes; when it ends first, what it has brought is still judged.
        tokio::select! {
            biased;
            judged = &mut answered => judged,
            ended = connection => match (answered.await, ended) {
                // Why the connection ended says more than that it did.
                (Err(lost), Err(error)) if lost.reason == Reason::Reset => Err(transport_failure(&error)),
                (judged, _) => judged,
            },
        }
    }

    /// The request, and the length of its body.
    fn request(&self, trace: &Trace, mut headers: HeaderMap) -> (Request<Full<Bytes>>, usize) {
        headers.entry(USER_AGENT_HEADER).or_insert(HeaderValue::from_static(USER_AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let left = trace.remaining().as_millis().clamp(1, MAX_TIMEOUT_MILLIS);
        if let Ok(left) = HeaderValue::from_str(&format!("{left}m")) {
            headers.insert("grpc-timeout", left);
        }
        let body = message::request(&self.service);
        let length = body.len();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        (request, length)
    }

    async fn judge(
        &self,
        trace: &mut Trace,
        response: Response<Incoming>,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let http = response.status().as_u16();
        trace.fact("status", http);
        trace.note(Line::Status(http));
        if http != 200 {
            return Err(Failure::new(Reason::Status, format!("HTTP status {http} where a gRPC server answers 200")));
        }
        let kind =
            response.headers().get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
        if !kind.as_ref().is_some_and(|kind| kind.starts_with(GRPC)) {
            let found = kind.map_or_else(|| "no media type".to_owned(), |kind| format!("the media type {kind}"));
            return Err(Failure::new(Reason::Protocol, format!("{found} where {GRPC} is expected")));
        }
        let garbled = |why: String| Failure::new(Reason::Protocol, why);
        // Where there is no body, the head is the tail.
        let mut status = Status::read(response.headers()).map_err(garbled)?;
        let (body, tail) = read(response.into_body()).await?;
        if let Some(tail) = tail {
            status = Status::read(&tail).map_err(garbled)?.or(status);
        }
        trace.fact("answerBytes", body.len());
        let mut status = status.ok_or_else(|| garbled("the answer has no grpc-status".to_owned()))?;
        status.message = String::from_utf8_lossy(&hide(status.message.as_bytes(), hidden)).into_owned();
        trace.fact("grpcStatus", status.name());
        if !status.message.is_empty() {
            trace.fact("grpcMessage", status.message.as_str());
        }
        if status.code != 0 {
            return Err(status.failure(&self.service));
        }
        let serving = message::answer(&body).map_err(|why| garbled(format!("the answer is no health: {why}")))?;
        trace.fact("servingStatus", serving.name());
        if serving == Health::Serving {
            return Ok(());
        }
        let what = if self.service.is_empty() { "the server".to_owned() } else { format!("`{}`", self.service) };
        Err(Failure::new(Reason::Serving, format!("{what} is {} where SERVING is expected", serving.name())))
    }
}

/// The whole body and what stands behind it.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), Failure> {
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| transport_failure(&error))?.into_data() {
            Ok(data) if seen.len() + data.len() > MAX_ANSWER => {
                return Err(Failure::new(
                    Reason::Size,
                    format!("the answer is larger than the {MAX_ANSWER} bytes that are read"),
                ));
            }
            Ok(data) => seen.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(tail) = frame.into_trailers() {
                    return Ok((seen, Some(tail)));
                }
            }
        }
    }
    Ok((seen, None))
}

/// Runs what hyper wants to have run beside a connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tokio::spawn(task).abort_handle());
    }
}

/// Ends the tasks of a round with the round, however that ends.
struct Ended(Tasks);

impl Drop for Ended {
    fn drop(&mut self) {
        for task in self.0.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Secrets;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({}), "grpc.address")]
    #[case(json!({"address": "shop"}), "grpc.address")]
    #[case(json!({"address": "shop:1", "authority": "a b"}), "grpc.authority")]
    #[case(json!({"address": "shop:1", "tls": {"serverName": "a b"}}), "grpc.tls.serverName")]
    #[case(json!({"address": "shop:1", "metadata": [{"name": "a", "value": "b"}, {"name": "grpc-timeout", "value": "1S"}]}),
        "grpc.metadata[1].name")]
    #[case(json!({"address": "shop:1", "metadata": [{"name": "TE", "value": "b"}]}), "grpc.metadata[0].name")]
    fn what_makes_no_sense_is_refused_by_its_field(#[case] spec: Value, #[case] field: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let error = prepare(&spec, &Outbound::new(Secrets::default())).err().unwrap();
        assert_eq!(error.field, field, "{error}");
    }

    #[rstest]
    #[case(json!({"address": "shop:50051"}), "http://shop:50051/grpc.health.v1.Health/Check")]
    #[case(json!({"address": "[::1]:1", "authority": "shop.example", "tls": {}}),
        "https://shop.example/grpc.health.v1.Health/Check")]
    fn the_authority_is_the_address_or_what_is_given(#[case] spec: Value, #[case] uri: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        assert_eq!(prepare(&spec, &Outbound::new(Secrets::default())).unwrap().uri.to_string(), uri);
    }
}
