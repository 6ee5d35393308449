//! A small shop that answers over HTTP, with faults that can be put into it.
//!
//! Two of them stand in for the two populations of a release: the old revision and the canary.
//! Faults follow a count and not chance, so that every run of the demo tells the same story.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::DemoError;
use crate::outbound::Client;

/// How many orders one end-to-end test places.
const E2E_ORDERS: u32 = 20;
/// The longest delay that may be put in: longer than any time-out of the demo's files.
const MAX_DELAY_MS: u64 = 10_000;
/// The largest body that the shop reads: its bodies are a few words.
const MAX_BODY: usize = 4 * 1024;

/// What is wrong with a shop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Faults {
    /// Every so many orders one fails with 500; 0 means none does.
    pub error_every: u32,
    /// How much longer every answer takes.
    pub delay_ms: u64,
}

/// One shop.
#[derive(Clone)]
pub struct Shop {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    url: Url,
    client: Client,
    orders: AtomicU32,
    state: RwLock<(String, Faults)>,
}

impl Shop {
    /// Opens a shop on a free port of the loopback address, until `shutdown`.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn open(
        name: &'static str,
        revision: &str,
        client: Client,
        shutdown: CancellationToken,
    ) -> Result<Self, DemoError> {
        let failed = |error: &dyn std::fmt::Display| DemoError::Service { name, why: error.to_string() };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(|e| failed(&e))?;
        let address = listener.local_addr().map_err(|e| failed(&e))?;
        let url = Url::parse(&format!("http://{address}/")).map_err(|e| failed(&e))?;
        let state = RwLock::new((revision.to_owned(), Faults::default()));
        let shop = Self { shared: Arc::new(Shared { name, url, client, orders: AtomicU32::new(0), state }) };
        let router = Router::new()
            .route("/", get(about))
            .route("/healthz", get(health))
            .route("/orders", post(order))
            .route("/e2e", post(end_to_end))
            .route("/faults", post(set_faults))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(shop.clone());
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, shop = name, "A service of the demo has stopped.");
            }
        });
        Ok(shop)
    }

    /// Where it answers, with a slash at the end.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.shared.url
    }

    /// Brings a revision, and what is wrong with it.
    pub fn deploy(&self, revision: &str, faults: Faults) {
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = (revision.to_owned(), faults);
        self.shared.orders.store(0, Ordering::Relaxed);
    }

    fn revision(&self) -> String {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn faults(&self) -> Faults {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner).1
    }

    async fn delay(&self) {
        let delay = self.faults().delay_ms;
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    /// Places one order over HTTP; what went wrong, and how long it took.
    async fn place_order(&self) -> (Option<String>, Duration) {
        let started = tokio::time::Instant::now();
        let result = match self.shared.url.join("orders").map_err(|error| error.to_string()) {
            Ok(url) => self.post(&url).await,
            Err(error) => Err(error),
        };
        (result.err(), started.elapsed())
    }

    async fn post(&self, url: &Url) -> Result<(), String> {
        let request = self.shared.client.request(reqwest::Method::POST, url).map_err(|error| error.to_string())?;
        let answer = request.send().await.map_err(|error| crate::outbound::explain(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("status {}", answer.status().as_u16())) }
    }
}

async fn about(State(shop): State<Shop>) -> Json<Value> {
    Json(json!({"service": shop.shared.name, "revision": shop.revision(), "faults": shop.faults()}))
}

async fn health(State(shop): State<Shop>) -> &'static str {
    shop.delay().await;
    "ok\n"
}

async fn order(State(shop): State<Shop>) -> (StatusCode, Json<Value>) {
    shop.delay().await;
    let number = shop.shared.orders.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let every = shop.faults().error_every;
    if every > 0 && number.is_multiple_of(every) {
        let error = json!({"error": "payment provider said no", "order": number});
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(error));
    }
    (StatusCode::CREATED, Json(json!({"order": number, "revision": shop.revision()})))
}

/// The business check that the demo's gate calls: places orders as a customer would, and counts.
async fn end_to_end(State(shop): State<Shop>) -> Json<Value> {
    let orders = futures::future::join_all((0..E2E_ORDERS).map(|_| shop.place_order())).await;
    let failed = orders.iter().filter(|(error, _)| error.is_some()).count();
    let slowest = orders.iter().map(|(_, took)| took.as_millis()).max().unwrap_or(0);
    let error = orders.iter().find_map(|(error, _)| error.clone());
    Json(json!({
        "ok": failed == 0,
        "revision": shop.revision(),
        "orders": E2E_ORDERS,
        "failed": failed,
        "slowestMs": u64::try_from(slowest).unwrap_or(u64::MAX),
        "firstError": error,
    }))
}

async fn set_faults(State(shop): State<Shop>, Json(faults): Json<Faults>) -> (StatusCode, Json<Value>) {
    if faults.delay_ms > MAX_DELAY_MS {
        let error = json!({"error": format!("delayMs is {}; at most {MAX_DELAY_MS} is allowed", faults.delay_ms)});
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(error));
    }
    shop.deploy(&shop.revision(), faults);
    (StatusCode::OK, Json(json!({"faults": faults})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{ClientOptions, Outbound, Secrets};

    async fn shop() -> (Shop, Client, tokio_util::sync::DropGuard) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let end = CancellationToken::new();
        let client = Outbound::new(Secrets::new(None)).client(&ClientOptions::default()).await.unwrap();
        let shop = Shop::open("canary", "v1", client.clone(), end.clone()).await.unwrap();
        (shop, client, end.drop_guard())
    }

    async fn ask(shop: &Shop, client: &Client, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = client.request(reqwest::Method::POST, &shop.url().join(path).unwrap()).unwrap();
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    #[tokio::test]
    async fn a_sound_shop_takes_every_order() {
        let (shop, client, _stop) = shop().await;
        let (status, body) = ask(&shop, &client, "e2e", None).await;
        assert_eq!(status, 200);
        assert_eq!((&body["ok"], &body["failed"], &body["orders"]), (&json!(true), &json!(0), &json!(20)));
    }

    #[tokio::test]
    async fn an_injected_fault_fails_the_same_orders_every_time() {
        let (shop, client, _stop) = shop().await;
        let (status, _) = ask(&shop, &client, "faults", Some(json!({"errorEvery": 3}))).await;
        assert_eq!(status, 200);
        let (_, body) = ask(&shop, &client, "e2e", None).await;
        assert_eq!((&body["ok"], &body["failed"]), (&json!(false), &json!(6)));
        assert_eq!(body["firstError"], json!("status 500"));
    }

    #[tokio::test]
    async fn a_delay_beyond_the_limit_is_refused() {
        let (shop, client, _stop) = shop().await;
        let (status, body) = ask(&shop, &client, "faults", Some(json!({"delayMs": 60_000}))).await;
        assert_eq!(status, 422);
        assert!(body["error"].as_str().unwrap().contains("10000"), "{body}");
    }
}
