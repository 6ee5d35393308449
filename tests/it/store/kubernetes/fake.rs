//! An API server in this process: enough of one to be listed, watched and written, and to
//! misbehave as it is told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Method, Request, Response};
use kube::client::Body;
use probegate::cluster::{Connection, Scope};
use probegate::store::kubernetes::KubernetesStore;
use serde_json::{Value, json};
use tokio::sync::watch;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a call gets instead of an answer.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// A status with a body, and perhaps `Retry-After`.
    Status(u16, &'static str, Option<u64>),
    /// Nothing for so long.
    Slow(Duration),
    /// A body as it is.
    Text(&'static str),
}

#[derive(Default)]
struct State {
    version: u64,
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    /// What happened, by version.
    history: Vec<(u64, String, String)>,
    /// What happened before this is not known any more.
    oldest: u64,
    /// By verb, in order; each is used once.
    faults: HashMap<&'static str, VecDeque<Fault>>,
    /// By verb, for as long as it stands.
    outages: HashMap<&'static str, Fault>,
    calls: Vec<String>,
    page_limit: Option<usize>,
}

/// The API server.
#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    /// Counts what watches have to look at: news, and orders to close.
    news: watch::Sender<(u64, u64)>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let state = State { version: 10, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), news: watch::Sender::new((0, 0)) }
    }

    pub(super) fn connection(&self) -> Connection {
        let fake = self.clone();
        let answer = move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<Answer, Infallible>(fake.answer(request).await) }
        };
        Connection::over(tower::service_fn(answer), "default")
    }

    pub(super) fn store(&self) -> Arc<KubernetesStore> {
        KubernetesStore::open(&self.connection(), Scope::everything())
    }

    /// The next call of a verb gets this.
    pub(super) fn fault(&self, verb: &'static str, fault: Fault) {
        self.state.lock().unwrap().faults.entry(verb).or_default().push_back(fault);
    }

    /// Every call of a verb gets this until it is taken back.
    pub(super) fn outage(&self, verb: &'static str, fault: Option<Fault>) {
        let mut state = self.state.lock().unwrap();
        match fault {
            Some(fault) => drop(state.outages.insert(verb, fault)),
            None => drop(state.outages.remove(verb)),
        }
    }

    /// Ends every watch that is open.
    pub(super) fn close_watches(&self) {
        self.news.send_modify(|(_, closed)| *closed += 1);
    }

    /// Forgets what happened until now: watches that begin before it get 410.
    pub(super) fn compact(&self) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        state.oldest = state.version;
        state.history.clear();
    }

    /// Forgets what happened until now, but not where it ended: a watch may begin here.
    pub(super) fn compact_before_now(&self) {
        let mut state = self.state.lock().unwrap();
        state.oldest = state.version - 1;
        state.history.clear();
    }

    /// A watch that goes on misses what happened until now.
    pub(super) fn forget_history(&self) {
        self.state.lock().unwrap().history.clear();
    }

    /// A line on every watch, as it is.
    pub(super) fn say(&self, line: &str) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        state.history.push((version, "*".to_owned(), line.to_owned()));
        drop(state);
        self.news.send_modify(|(news, _)| *news += 1);
    }

    pub(super) fn bookmark(&self) {
        let version = self.state.lock().unwrap().version + 1;
        let object = json!({"kind": "GateRun", "apiVersion": "probegate.io/v1alpha1", "metadata": {"resourceVersion": version.to_string()}});
        self.say(&json!({"type": "BOOKMARK", "object": object}).to_string());
    }

    /// Somebody else writes an object.
    pub(super) fn put(&self, plural: &str, name: &str, body: &Value) {
        let mut state = self.state.lock().unwrap();
        state.write(plural, "shop", name, body.clone(), None);
        drop(state);
        self.news.send_modify(|(news, _)| *news += 1);
    }

    /// Somebody else deletes an object.
    pub(super) fn delete(&self, plural: &str, name: &str) {
        self.state.lock().unwrap().remove(plural, "shop", name);
        self.news.send_modify(|(news, _)| *news += 1);
    }

    /// An object, as it is stored.
    pub(super) fn stored(&self, plural: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), "shop".to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Every call until now, as `verb path?query`.
    pub(super) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(super) fn calls_of(&self, verb: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with(verb)).collect()
    }

    /// Pages end after so many objects, whatever was asked.
    pub(super) fn page_limit(&self, limit: usize) {
        self.state.lock().unwrap().page_limit = Some(limit);
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        let words: Vec<String> = path.split('/').skip(4).map(str::to_owned).collect();
        let (namespace, rest) = match words.as_slice() {
            [first, namespace, rest @ ..] if first == "namespaces" => (Some(namespace.clone()), rest.to_vec()),
            all => (None, all.to_vec()),
        };
        let verb = match parts.method {
            Method::GET if query.contains("watch=true") => "watch",
            Method::GET if rest.len() == 1 => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "delete",
        };
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(format!("{verb} {path}?{query}"));
            let outage = state.outages.get(verb).cloned();
            state.faults.get_mut(verb).and_then(VecDeque::pop_front).or(outage)
        };
        match fault {
            Some(Fault::Status(code, text, retry_after)) => {
                let mut answer = Response::builder().status(code);
                if let Some(seconds) = retry_after {
                    answer = answer.header("Retry-After", seconds);
                }
                return answer.body(UnsyncBoxBody::new(Full::from(text))).unwrap();
            }
            Some(Fault::Text(text)) => return Response::new(UnsyncBoxBody::new(Full::from(text))),
            Some(Fault::Slow(wait)) => tokio::time::sleep(wait).await,
            None => {}
        }
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or(Value::Null);
        let plural = rest[0].clone();
        let answer = match verb {
            "watch" => return self.watch(plural, &query),
            "list" => Ok(self.state.lock().unwrap().list(&plural, namespace.as_deref(), &query)),
            "get" => self.state.lock().unwrap().get(&plural, namespace.as_deref().unwrap_or_default(), &rest[1]),
            verb => self.write(verb, &plural, namespace.as_deref().unwrap_or_default(), &rest, body),
        };
        match answer {
            Ok(body) => Response::new(UnsyncBoxBody::new(Full::from(body.to_string()))),
            Err((code, reason)) => {
                let details = json!({"kind": plural, "name": rest.get(1).map_or("x", String::as_str)});
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                    "message": "so it says", "details": details
                });
                Response::builder().status(code).body(UnsyncBoxBody::new(Full::from(status.to_string()))).unwrap()
            }
        }
    }

    fn write(
        &self,
        verb: &str,
        plural: &str,
        namespace: &str,
        rest: &[String],
        body: Value,
    ) -> Result<Value, (u16, &'static str)> {
        let mut state = self.state.lock().unwrap();
        let name = rest.get(1).cloned().unwrap_or_else(|| body["metadata"]["name"].as_str().unwrap().to_owned());
        let key = (plural.to_owned(), namespace.to_owned(), name.clone());
        let stored = state.objects.get(&key).cloned();
        let version =
            body["metadata"]["resourceVersion"].as_str().or(body["preconditions"]["resourceVersion"].as_str());
        let answer = match (verb, stored) {
            ("create", Some(_)) => Err((409, "AlreadyExists")),
            ("create", None) => {
                let mut body = body;
                body.as_object_mut().unwrap().remove("status");
                Ok(state.write(plural, namespace, &name, body, None))
            }
            (_, None) => Err((404, "NotFound")),
            (_, Some(stored)) if version.is_some_and(|version| stored["metadata"]["resourceVersion"] != version) => {
                Err((409, "Conflict"))
            }
            ("delete", Some(_)) => Ok(state.remove(plural, namespace, &name)),
            ("patch", Some(mut stored)) => {
                stored["status"] = body["status"].clone();
                Ok(state.write(plural, namespace, &name, stored.clone(), Some(&stored)))
            }
            (_, Some(stored)) => Ok(state.write(plural, namespace, &name, body, Some(&stored))),
        };
        drop(state);
        self.news.send_modify(|(news, _)| *news += 1);
        answer
    }

    fn watch(&self, plural: String, query: &str) -> Answer {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap();
        let from: u64 = from.parse().unwrap();
        if from < self.state.lock().unwrap().oldest {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            return Response::builder().status(410).body(UnsyncBoxBody::new(Full::from(status.to_string()))).unwrap();
        }
        let (state, mut news) = (Arc::clone(&self.state), self.news.subscribe());
        let closed = news.borrow_and_update().1;
        let lines = unfold((state, news, from), move |(state, mut news, mut from)| {
            let plural = plural.clone();
            async move {
                loop {
                    if news.borrow_and_update().1 != closed {
                        return None;
                    }
                    let next = {
                        let state = state.lock().unwrap();
                        let mut later = state.history.iter();
                        later.find(|(version, kind, _)| *version > from && (*kind == plural || kind == "*")).cloned()
                    };
                    if let Some((version, _, line)) = next {
                        from = version;
                        let frame = Frame::data(Bytes::from(line + "\n"));
                        return Some((Ok::<_, Infallible>(frame), (state, news, from)));
                    }
                    news.changed().await.ok()?;
                }
            }
        });
        Response::new(UnsyncBoxBody::new(StreamBody::new(lines)))
    }
}

impl State {
    fn write(&mut self, plural: &str, namespace: &str, name: &str, mut body: Value, old: Option<&Value>) -> Value {
        self.version += 1;
        let version = self.version;
        let metadata = body["metadata"].as_object_mut().unwrap();
        metadata.insert("namespace".to_owned(), json!(namespace));
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        metadata.entry("uid").or_insert_with(|| json!(format!("uid-{version}")));
        metadata.entry("creationTimestamp").or_insert_with(|| json!("2026-11-21T12:00:00Z"));
        metadata.entry("managedFields").or_insert_with(|| json!([{"manager": "somebody"}]));
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let known = old.is_some() || self.objects.contains_key(&key);
        let line = json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": body});
        self.objects.insert(key, body.clone());
        self.history.push((version, plural.to_owned(), line.to_string()));
        body
    }

    fn remove(&mut self, plural: &str, namespace: &str, name: &str) -> Value {
        self.version += 1;
        let version = self.version;
        let mut body = self.objects.remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned())).unwrap();
        body["metadata"]["resourceVersion"] = json!(version.to_string());
        let line = json!({"type": "DELETED", "object": body});
        self.history.push((version, plural.to_owned(), line.to_string()));
        json!({"kind": "Status", "status": "Success"})
    }

    fn get(&self, plural: &str, namespace: &str, name: &str) -> Result<Value, (u16, &'static str)> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).cloned().ok_or((404, "NotFound"))
    }

    fn list(&self, plural: &str, namespace: Option<&str>, query: &str) -> Value {
        let text = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key));
        let from: usize = text("continue=").map_or(0, |text| text.parse().unwrap());
        let limit: usize = text("limit=").map_or(usize::MAX, |text| text.parse().unwrap());
        let limit = limit.min(self.page_limit.unwrap_or(usize::MAX));
        let ours = |(key, _): &(&(String, String, String), &Value)| {
            key.0 == plural && namespace.is_none_or(|namespace| namespace == key.1)
        };
        let all: Vec<Value> = self.objects.iter().filter(ours).map(|(_, body)| body.clone()).collect();
        let next = if from + limit < all.len() { (from + limit).to_string() } else { String::new() };
        let items: Vec<Value> = all.into_iter().skip(from).take(limit).collect();
        json!({"kind": "List", "metadata": {"resourceVersion": self.version.to_string(), "continue": next}, "items": items})
    }
}
