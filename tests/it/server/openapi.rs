//! `/openapi.json` is true: every route is in it, and answers fit their schemas.

use probegate::model::Outcome;
use probegate::server::routes;
use serde_json::{Value, json};

use super::schema::fits;
use super::world::{Reply, World, question};

#[tokio::test]
async fn every_route_is_in_it_and_nothing_else() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in routes() {
        let mut documented: Vec<&str> = paths[path].as_object().unwrap().keys().map(String::as_str).collect();
        documented.retain(|word| ["get", "post", "put", "delete"].contains(word));
        documented.sort_unstable();
        let mut wanted = methods.to_vec();
        wanted.sort_unstable();
        assert_eq!(documented, wanted, "{path}");
    }
    assert_eq!(paths.len(), routes().count());
}

/// The schema of an answer, by status or class of it.
fn schema<'a>(document: &'a Value, method: &str, path: &str, reply: &Reply) -> &'a Value {
    let responses = &document["paths"][path][method]["responses"];
    let class = format!("{}XX", reply.status / 100);
    let response = responses.get(reply.status.to_string()).or_else(|| responses.get(&class));
    let response = response.unwrap_or_else(|| panic!("{method} {path} does not tell of {}", reply.status));
    let media = reply.headers["content-type"].split(';').next().unwrap();
    &response["content"][media]["schema"]
}

#[tokio::test]
async fn answers_fit_their_schemas() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await.json();
    world.script.say("bad/post/2", Outcome::Fail);
    let mut unknown = question("v1");
    unknown["gate"] = "shop/nowhere".into();
    let soon = {
        use probegate::clock::Clock;
        probegate::clock::SystemClock::new().now() + jiff::SignedDuration::from_hours(1)
    };
    let wanted = json!({"gate": "shop/checkout", "change": "c", "effect": "pass", "reason": "r", "expires": soon});
    let argo = json!({"gate": "shop/checkout", "latest": "l", "stable": "s"});
    let mut seen = vec![
        ("post", "/v1/check", world.post("/v1/check?wait=5s", &question("bad")).await),
        ("post", "/v1/check", world.post("/v1/check", &unknown).await),
        ("post", "/v1/check", world.post("/v1/check", &json!({"gat": 1})).await),
        ("get", "/v1/runs", world.get("/v1/runs").await),
        ("get", "/v1/runs", world.get("/v1/runs?limit=x").await),
        ("post", "/v1/overrides", world.post("/v1/overrides", &wanted).await),
        ("get", "/v1/overrides", world.get("/v1/overrides").await),
        ("get", "/v1/windows", world.get("/v1/windows").await),
        ("get", "/v1/windows/explain", world.get("/v1/windows/explain").await),
        ("post", "/hooks/argo", world.post("/hooks/argo", &argo).await),
        ("get", "/openapi.json", world.get("/openapi.json").await),
    ];
    let id = seen[0].2.json()["id"].as_str().unwrap().to_owned();
    seen.push(("get", "/v1/runs/{namespace}/{name}", world.get(&format!("/v1/runs/{id}")).await));
    seen.push(("get", "/v1/runs/{id}", world.get(&format!("/v1/runs/{}", id.replace('/', "%2F"))).await));
    for (method, path, reply) in seen {
        let schema = schema(&document, method, path, &reply);
        assert!(schema.is_object(), "{method} {path} {} has no schema", reply.status);
        fits(&document, schema, &reply.json(), "$").unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
                }
                object.values().for_each(|inner| walk(document, inner));
            }
            Value::Array(items) => items.iter().for_each(|inner| walk(document, inner)),
            _ => {}
        }
    }
    let document = probegate::server::openapi();
    walk(&document, &document);
}

#[test]
fn the_examples_fit_their_own_schemas() {
    let document = probegate::server::openapi();
    for name in ["CheckRequest", "OverrideRequest", "FlaggerPayload", "ArgoPayload"] {
        let schema = &document["components"]["schemas"][name];
        assert!(schema["example"].is_object(), "{name} has an example");
        fits(&document, schema, &schema["example"], name).unwrap();
    }
}
