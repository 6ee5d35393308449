//! Scripts: flows against small servers, and scripts that behave badly.

mod flows;
mod language;
mod sandbox;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use probegate::probes::Observation;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::world::{PATIENCE, Peer, round_with, tools_at};

/// The requests that a server has got, by method and path, in their order.
type Requests = Arc<Mutex<Vec<String>>>;

/// A web server of ours on loopback; it ends with this value.
pub struct Web {
    pub url: String,
    pub requests: Requests,
    server: tokio::task::JoinHandle<()>,
}

impl Web {
    /// Serves `router`, and writes down what is asked.
    pub async fn start(router: axum::Router) -> Self {
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        let router = router.layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let line = format!("{} {}", request.method(), request.uri().path());
                seen.lock().unwrap().push(line);
                next.run(request)
            },
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, requests, server }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The spec of a script.
pub fn spec(target: &str, source: &str, more: &Value) -> Value {
    let mut script = json!({"source": source, "target": target});
    script.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"script": script})
}

/// Runs a script.
pub async fn run(target: &str, source: &str) -> Observation {
    run_for(PATIENCE, target, source).await
}

/// Runs a script with a timeout.
pub async fn run_for(timeout: Duration, target: &str, source: &str) -> Observation {
    round_with(spec(target, source, &json!({})), timeout, &tools_at(None)).await
}

/// Runs a script with secrets.
pub async fn run_with(target: &str, source: &str, more: &Value, secrets: &BTreeMap<&str, &str>) -> Observation {
    let directory = tempfile::tempdir().unwrap();
    keep(directory.path(), secrets);
    round_with(spec(target, source, more), PATIENCE, &tools_at(Some(directory.path()))).await
}

/// Writes secrets into a directory.
pub fn keep(directory: &Path, secrets: &BTreeMap<&str, &str>) {
    for (name, value) in secrets {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value).unwrap();
    }
}

/// The names of the steps, each with whether it came to its end.
pub fn steps(seen: &Observation) -> Vec<(String, bool)> {
    let steps = seen.facts.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let step = |step: Value| {
        assert!(step["seconds"].as_f64().unwrap() >= 0.0, "{step}");
        (step["name"].as_str().unwrap().to_owned(), step["ok"].as_bool().unwrap())
    };
    steps.into_iter().map(step).collect()
}

/// A server that takes connections and says nothing.
pub async fn silent() -> Peer {
    Peer::start(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}
