//! A way to the API server on which calls get lost, late, refused, and watches break off.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use futures::stream::unfold;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use kube::client::Body as KubeBody;
use serde_json::json;
use tokio::sync::watch;

use crate::cluster::Place;

/// The largest request that is handed on.
const MAX_REQUEST: usize = 16 << 20;

/// One call, before it is handed on.
pub struct Call {
    /// Counts the calls.
    pub number: u64,
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: String,
}

impl Call {
    /// Whether it reads or watches a whole kind.
    pub fn reads(&self, plural: &str) -> bool {
        self.method == "GET" && self.path.ends_with(&format!("/{plural}"))
    }

    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    pub fn is_write(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "PATCH")
    }
}

/// What becomes of a call.
pub enum Fault {
    /// It is handed on after so long.
    Slow(Duration),
    /// It is answered with a status, its reason, and perhaps `Retry-After`.
    Status(u16, &'static str, Option<u64>),
}

type Rule = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    calls: u64,
    rule: Option<Rule>,
}

/// The way. It ends with its test's runtime.
pub struct Proxy {
    state: Arc<Mutex<State>>,
    cuts: watch::Sender<u64>,
    kubeconfig: tempfile::NamedTempFile,
}

impl Proxy {
    pub async fn start(place: &Place) -> Self {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let cuts = watch::Sender::new(0);
        let (client, told, cutting) = (place.client.clone(), Arc::clone(&state), cuts.clone());
        let answer = move |request: Request| {
            let (client, state, cuts) = (client.clone(), Arc::clone(&told), cutting.subscribe());
            async move { Ok::<_, Infallible>(answer(client, &state, cuts, request).await) }
        };
        let service = tower::service_fn(answer);
        let routes = axum::Router::new().fallback_service(service);
        tokio::spawn(async move { axum::serve(door, routes).await });
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
             clusters: [{{name: proxy, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: nobody, user: {{}}}}]\n\
             contexts: [{{name: proxy, context: {{cluster: proxy, user: nobody}}}}]\n"
        );
        std::fs::write(kubeconfig.path(), text).unwrap();
        Self { state, cuts, kubeconfig }
    }

    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.path()
    }

    /// Every call is held against this from now on.
    pub fn rule(&self, rule: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// Everything is handed on again.
    pub fn calm(&self) {
        self.state.lock().unwrap().rule = None;
    }

    /// Every watch that is open breaks off: one time in order, the next time in the middle.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Who cuts, for a task of the test.
    pub fn scissors(&self) -> watch::Sender<u64> {
        self.cuts.clone()
    }

    /// Each of these kinds answers its next watch so that it must list anew.
    pub fn expire_once(&self, plurals: &[&str]) {
        let mut left: BTreeSet<String> = plurals.iter().map(|plural| (*plural).to_owned()).collect();
        self.rule(move |call| {
            let kind = call.path.rsplit('/').next().unwrap_or_default();
            let expires = call.is_watch() && left.remove(kind);
            expires.then_some(Fault::Status(410, "Expired", None))
        });
        self.cut();
    }
}

async fn answer(client: kube::Client, state: &Mutex<State>, cuts: watch::Receiver<u64>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let fault = {
        let mut state = state.lock().unwrap();
        state.calls += 1;
        let call = Call { number: state.calls, method: parts.method.to_string(), path, query: query.clone() };
        state.rule.as_mut().and_then(|rule| rule(&call))
    };
    match fault {
        Some(Fault::Slow(wait)) => tokio::time::sleep(wait).await,
        Some(Fault::Status(code, reason, retry_after)) => return refused(code, reason, retry_after),
        None => {}
    }
    let Ok(bytes) = to_bytes(body, MAX_REQUEST).await else { return refused(400, "BadRequest", None) };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = hyper::Request::builder().method(parts.method.clone()).uri(path);
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != HOST && **name != CONNECTION) {
        onward = onward.header(name, value);
    }
    let answered = client.send(onward.body(KubeBody::from(bytes)).unwrap()).await;
    let Ok(answered) = answered else { return refused(503, "ServiceUnavailable", None) };
    let (mut parts, body) = answered.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    let is_watch = query.contains("watch=true");
    let body = if is_watch { cuttable(body, cuts) } else { Body::new(body) };
    Response::from_parts(parts, body)
}

/// A watch that breaks off when it is told to.
fn cuttable(body: KubeBody, cuts: watch::Receiver<u64>) -> Body {
    let lines = Box::pin(body.into_data_stream());
    Body::from_stream(unfold((lines, cuts), |(mut lines, mut cuts)| async move {
        tokio::select! {
            biased;
            cut = cuts.changed() => {
                let in_order = cut.is_err() || *cuts.borrow() % 2 == 0;
                let broken = Err(Error::new(ErrorKind::ConnectionReset, "it breaks off"));
                (!in_order).then_some((broken, (lines, cuts)))
            }
            line = lines.next() => line.map(|line| (line.map_err(Error::other), (lines, cuts))),
        }
    }))
}

fn refused(code: u16, reason: &str, retry_after: Option<u64>) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the way to the API server is in trouble",
    });
    let mut answer = Response::builder().status(StatusCode::from_u16(code).unwrap());
    answer = answer.header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        answer = answer.header(RETRY_AFTER, seconds);
    }
    answer.body(Body::from(status.to_string())).unwrap()
}
