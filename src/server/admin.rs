//! The listener of its own for kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::health::Health;
use super::json;
use super::problem::{Kind, Problem};

/// The media type of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    health: Health,
    registry: Arc<Registry>,
}

/// The routes.
pub(super) fn router(health: Health, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::new(Kind::NotFound, "there are /livez, /readyz and /metrics here") })
        .with_state(Admin { health, registry })
}

/// That this answers is all there is to say: the runtime turns.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let health = admin.health.look().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query == "verbose" || query.starts_with("verbose="));
    if verbose {
        return json::answer(status, &health);
    }
    let bad = health.sources.into_iter().filter(|source| source.state == "notReady");
    let bad: Vec<String> = bad.map(|source| told(source.name, source.detail)).collect();
    let text = if bad.is_empty() { "ok\n".to_owned() } else { format!("not ready: {}\n", bad.join("; ")) };
    (status, text).into_response()
}

fn told(name: String, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{name}: {why}"),
        None => name,
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => {
            let mut response = text.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
            response
        }
        Err(error) => {
            tracing::error!(%error, "The metrics cannot be written.");
            Problem::new(Kind::Internal, "the metrics cannot be written").into_response()
        }
    }
}
