//! Requests that only the leader can answer, handed on to it.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{Request, Response};
use tokio::sync::watch;
use url::Url;

use crate::outbound::{self, Client, ClientOptions, Outbound, OutboundError, Secrets};
use crate::server::Relay;

/// The largest answer that is handed back: the past of a probe with many targets has some megabytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How long the leader may take: a run by hand makes a round of every target.
const PATIENCE: Duration = Duration::from_secs(60);

/// Knows where the leader is.
pub(super) struct ToLeader {
    client: Client,
    leader: watch::Receiver<Option<String>>,
}

impl ToLeader {
    pub(super) async fn new(leader: watch::Receiver<Option<String>>) -> Result<Self, OutboundError> {
        let options = ClientOptions { timeout: PATIENCE, ..ClientOptions::default() };
        Ok(Self { client: Outbound::new(Secrets::default()).client(&options).await?, leader })
    }
}

#[async_trait]
impl Relay for ToLeader {
    async fn relay(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let leader = self.leader.borrow().clone();
        let leader = leader.ok_or("another replica leads, or none does, and it tells no address; ask again")?;
        let trouble = |why: String| format!("the leader at {leader} cannot be asked: {why}");
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let url = Url::parse(&leader).and_then(|url| url.join(path)).map_err(|error| trouble(error.to_string()))?;
        let (parts, body) = request.into_parts();
        let call = self.client.request(parts.method, &url).map_err(|refused| trouble(refused.to_string()))?;
        let answer = call.headers(parts.headers).body(body).send().await;
        let answer = answer.map_err(|error| trouble(outbound::explain(&error)))?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        let body = outbound::read_limited(answer, MAX_ANSWER).await.map_err(|error| trouble(error.to_string()))?;
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        // Whoever hands it on says how long it is and how it comes.
        if let Some(kind) = headers.remove(axum::http::header::CONTENT_TYPE) {
            response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }
}
