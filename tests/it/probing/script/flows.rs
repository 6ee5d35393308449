//! The ready-made flows against servers that behave so, and that do not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Path as At, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use probegate::api::Probe;
use probegate::probes::{Judgement, Observation, Reason, compile};
use rstest::rstest;
use serde_json::{Value, json};

use super::super::world::{PATIENCE, log, reason, tools_at};
use super::{Web, keep, steps};

/// A ready-made probe, with its script, in a directory of its own.
fn library(file: &str, directory: &Path) -> Probe {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("probes");
    let probe: Probe = serde_saphyr::from_str(&std::fs::read_to_string(home.join(file)).unwrap()).unwrap();
    let script = probe.spec.script.as_ref().unwrap().file.clone().unwrap();
    std::fs::create_dir_all(directory.join("scripts")).unwrap();
    std::fs::copy(home.join(&script), directory.join(&script)).unwrap();
    probe
}

async fn observe(probe: &Probe, directory: &Path) -> Observation {
    let tools = tools_at(Some(directory));
    compile(&probe.spec, PATIENCE, &tools).unwrap_or_else(|error| panic!("{error}")).observe().await
}

#[derive(Default)]
struct Shop {
    orders: Mutex<BTreeMap<String, Value>>,
    baskets: Mutex<BTreeMap<String, Vec<Value>>>,
    fault: &'static str,
}

type Shared = State<Arc<Shop>>;

/// Nobody gets in without the cookie of the login.
fn logged_in(headers: &HeaderMap) -> Result<(), StatusCode> {
    let cookie = headers.get("cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
    if cookie == "session=s-1" { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

async fn log_in(State(shop): Shared, Json(body): Json<Value>) -> Response {
    let good = body == json!({"user": "probe@example.com", "password": "s3cret"}) && shop.fault != "login refused";
    if good {
        return ([("set-cookie", "session=s-1; Path=/api; HttpOnly")], StatusCode::NO_CONTENT).into_response();
    }
    (StatusCode::FORBIDDEN, format!("the password {} is wrong", body["password"])).into_response()
}

async fn make_basket(State(shop): Shared, headers: HeaderMap) -> Result<(StatusCode, Json<Value>), StatusCode> {
    logged_in(&headers)?;
    shop.baskets.lock().unwrap().insert("b-1".to_owned(), Vec::new());
    Ok((StatusCode::CREATED, Json(json!({"id": "b-1"}))))
}

async fn put_item(
    State(shop): Shared,
    At(id): At<String>,
    headers: HeaderMap,
    Json(item): Json<Value>,
) -> Result<StatusCode, StatusCode> {
    logged_in(&headers)?;
    shop.baskets.lock().unwrap().get_mut(&id).ok_or(StatusCode::NOT_FOUND)?.push(item);
    if shop.fault == "basket broken" { Err(StatusCode::INTERNAL_SERVER_ERROR) } else { Ok(StatusCode::CREATED) }
}

async fn drop_basket(State(shop): Shared, At(id): At<String>, headers: HeaderMap) -> Result<StatusCode, StatusCode> {
    logged_in(&headers)?;
    shop.baskets.lock().unwrap().remove(&id).map(|_| StatusCode::NO_CONTENT).ok_or(StatusCode::NOT_FOUND)
}

async fn make_order(
    State(shop): Shared,
    headers: HeaderMap,
    Json(mut order): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    logged_in(&headers)?;
    assert_eq!(order["test"], true);
    let id = format!("o/{}", shop.orders.lock().unwrap().len() + 1);
    let items = shop.baskets.lock().unwrap()[order["basket"].as_str().unwrap()].clone();
    order["items"] = items.into();
    if shop.fault == "order mixed up" {
        order["reference"] = json!("somebody else's");
    }
    if shop.fault != "order lost" {
        shop.orders.lock().unwrap().insert(id.clone(), order);
    }
    let body = if shop.fault == "order without id" { json!({}) } else { json!({"id": id}) };
    Ok((StatusCode::CREATED, Json(body)))
}

async fn show_order(State(shop): Shared, At(id): At<String>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    logged_in(&headers)?;
    shop.orders.lock().unwrap().get(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn drop_order(State(shop): Shared, At(id): At<String>, headers: HeaderMap) -> Result<StatusCode, StatusCode> {
    logged_in(&headers)?;
    if shop.fault == "orders stay" {
        return Ok(StatusCode::OK);
    }
    shop.orders.lock().unwrap().remove(&id).map(|_| StatusCode::NO_CONTENT).ok_or(StatusCode::NOT_FOUND)
}

async fn shop(fault: &'static str) -> (Web, Arc<Shop>) {
    let shop = Arc::new(Shop { fault, ..Shop::default() });
    let router = axum::Router::new()
        .route("/api/login", post(log_in))
        .route("/api/baskets", post(make_basket))
        .route("/api/baskets/{id}", delete(drop_basket))
        .route("/api/baskets/{id}/items", post(put_item))
        .route("/api/orders", post(make_order))
        .route("/api/orders/{id}", get(show_order).delete(drop_order))
        .with_state(Arc::clone(&shop));
    (Web::start(router).await, shop)
}

async fn check_out(web: &Web) -> Observation {
    let directory = tempfile::tempdir().unwrap();
    let mut probe = library("checkout.yaml", directory.path());
    probe.spec.script.as_mut().unwrap().target = Some(web.url.clone());
    probe.spec.latency = None;
    keep(directory.path(), &BTreeMap::from([("checkout/password", "s3cret\n")]));
    observe(&probe, directory.path()).await
}

#[tokio::test]
async fn a_shop_sells_and_takes_back() {
    let (web, shop) = shop("").await;
    let seen = check_out(&web).await;
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
    let names: Vec<String> = steps(&seen).into_iter().map(|(name, ok)| format!("{name}: {ok}")).collect();
    assert_eq!(names, ["log in: true", "put in basket: true", "check out: true", "verify: true"]);
    assert_eq!((shop.orders.lock().unwrap().len(), shop.baskets.lock().unwrap().len()), (0, 0));
    // What was made last is taken back first.
    assert_eq!(
        web.asked(),
        [
            "POST /api/login",
            "POST /api/baskets",
            "POST /api/baskets/b-1/items",
            "POST /api/orders",
            "GET /api/orders/o%2F1",
            "DELETE /api/orders/o%2F1",
            "GET /api/orders/o%2F1",
            "DELETE /api/baskets/b-1",
        ]
    );
    assert!(log(&seen).contains("/api/login answered 204 in "), "{}", log(&seen));
}

#[rstest]
#[case("login refused", Reason::Status, "log in", "answered 403 where 200 or 204 is expected")]
#[case("basket broken", Reason::Status, "put in basket", "answered 500 where 200 or 201 is expected")]
#[case("order without id", Reason::Json, "check out", "has no `id`")]
#[case("order lost", Reason::Status, "verify", "answered 404 where 200 is expected")]
#[case("order mixed up", Reason::Assert, "verify", "the order has another reference")]
#[tokio::test]
async fn a_shop_that_fails_is_told_with_its_step_and_is_cleaned_up(
    #[case] fault: &'static str,
    #[case] expected: Reason,
    #[case] step: &str,
    #[case] message: &str,
) {
    let (web, shop) = shop(fault).await;
    let seen = check_out(&web).await;
    assert_eq!((reason(&seen), seen.judgement()), (expected, Judgement::Failed), "{seen:?}");
    assert_eq!(seen.facts.get("step"), Some(&json!(step)), "{seen:?}");
    assert!(
        seen.message.starts_with(&format!("in step `{step}`, line ")) && seen.message.contains(message),
        "{seen:?}"
    );
    assert!(steps(&seen).ends_with(&[(step.to_owned(), false)]), "{seen:?}");
    assert_eq!(shop.baskets.lock().unwrap().len(), 0, "the basket is left behind");
    let left = usize::from(fault == "order without id");
    assert_eq!(shop.orders.lock().unwrap().len(), left, "an order is left behind");
    assert!(!format!("{seen:?}").contains("s3cret"), "{seen:?}");
}

#[tokio::test]
async fn a_shop_that_keeps_the_test_order_is_degraded() {
    let (web, _shop) = shop("orders stay").await;
    let seen = check_out(&web).await;
    assert_eq!((seen.judgement(), seen.reason), (Judgement::Degraded, Some(Reason::Assert)), "{seen:?}");
    assert!(seen.message.contains("the clean-up failed: line ") && seen.message.contains("still there"), "{seen:?}");
    // What comes after it is cleaned up all the same.
    assert_eq!(web.asked().last().unwrap(), "DELETE /api/baskets/b-1");
}

/// An authorization server and what it protects, in one.
async fn identity(fault: &'static str) -> Web {
    let token = move |headers: HeaderMap, body: String| async move {
        // client:s3 cret, each part as it stands in a form.
        assert_eq!(headers["authorization"], "Basic Y2xpZW50OnMzJTIwY3JldA==");
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(body, "grant_type=client_credentials&scope=probe");
        match fault {
            "login refused" => (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))),
            "no token" => (StatusCode::OK, Json(json!({"token_type": "Bearer"}))),
            _ => (StatusCode::OK, Json(json!({"access_token": "t-0123456789", "token_type": "Bearer"}))),
        }
    };
    let me = move |headers: HeaderMap| async move {
        let known = headers.get("authorization").is_some_and(|value| value == "Bearer t-0123456789");
        match (known, fault) {
            (true, "token refused") => (StatusCode::FORBIDDEN, "who is t-0123456789?").into_response(),
            (true, _) | (false, "open to everybody") => "it is me".into_response(),
            (false, _) => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    let revoke = async |body: String| {
        assert_eq!(body, "token=t-0123456789");
        StatusCode::OK
    };
    let router = axum::Router::new()
        .route("/oauth2/token", post(token))
        .route("/oauth2/revoke", post(revoke))
        .route("/v1/me", get(me));
    Web::start(router).await
}

#[rstest]
#[case("", None, "as expected", true)]
#[case("login refused", Some(Reason::Status), "in step `log in`", false)]
#[case("no token", Some(Reason::Json), "has no `access_token`", false)]
#[case("token refused", Some(Reason::Status), "in step `use the token`", true)]
#[case("open to everybody", Some(Reason::Status), "answered 200 where 401 or 403 is expected", true)]
#[tokio::test]
async fn a_client_logs_in_and_gives_its_token_back(
    #[case] fault: &'static str,
    #[case] expected: Option<Reason>,
    #[case] message: &str,
    #[case] given_back: bool,
) {
    let web = identity(fault).await;
    let directory = tempfile::tempdir().unwrap();
    let mut probe = library("oauth-login.yaml", directory.path());
    let script = probe.spec.script.as_mut().unwrap();
    script.target = Some(web.url.clone());
    script.parameters.insert("apiUrl".to_owned(), json!(format!("{}/v1/me", web.url)));
    keep(
        directory.path(),
        &BTreeMap::from([("oauth-login/client-id", "client"), ("oauth-login/client-secret", "s3 cret")]),
    );
    let seen = observe(&probe, directory.path()).await;
    assert_eq!(seen.reason, expected, "{seen:?}");
    assert!(seen.message.contains(message), "{seen:?}");
    assert_eq!(web.asked().last().unwrap() == "POST /oauth2/revoke", given_back, "{:?}", web.asked());
    let all = format!("{seen:?}");
    assert!(!all.contains("s3 cret") && !all.contains("t-0123456789"), "{all}");
}
