//! `/openapi.json`: the API for programs, out of the types that it is made of.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::api::{check, overrides, probes, runs, windows};
use super::app::App;
use super::problem::Problem;
use super::{blackbox, events, hooks};

/// A run with its full evidence. Its schema is the resource's own.
#[derive(utoipa::ToSchema)]
pub(super) struct GateRun;

/// An override. Its schema is the resource's own.
#[derive(utoipa::ToSchema)]
pub(super) struct Override;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Probegate",
        description = "The check that a rollout must pass before and after every batch.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "gate", description = "Questions and verdicts."),
        (name = "runs", description = "What was asked and decided, with the evidence."),
        (name = "windows", description = "Release windows and freezes."),
        (name = "overrides", description = "Audited exceptions."),
        (name = "probes", description = "The resident probes, their past, and rounds by hand."),
        (name = "events", description = "What happens, as it happens."),
        (name = "hooks", description = "The rollout controllers' own ways to ask."),
    ),
    paths(
        check::check,
        runs::list,
        runs::show,
        runs::show_by_id,
        runs::cancel,
        runs::cancel_by_id,
        runs::cancel_by_post,
        windows::list,
        windows::explain,
        overrides::list,
        overrides::show,
        overrides::create,
        overrides::revoke,
        probes::list,
        probes::show,
        probes::show_by_name,
        probes::history,
        probes::history_by_name,
        probes::run,
        probes::run_by_name,
        blackbox::probe,
        events::stream,
        hooks::flagger::answer,
        hooks::argo::answer_body,
        hooks::argo::answer_query,
        serve,
    ),
    components(schemas(Problem, GateRun, Override)),
    security((), ("bearer" = []), ("signature" = [])),
)]
struct Document;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "gate",
    responses((status = 200, description = "The API, as OpenAPI 3.1.", body = Object)),
)]
pub(super) async fn serve(State(app): State<Arc<App>>) -> Response {
    let mut response = app.openapi.clone().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The document as bytes.
pub(super) fn document() -> Bytes {
    serde_json::to_vec(&value()).unwrap_or_default().into()
}

/// The document.
#[must_use]
pub fn value() -> Value {
    let mut document = Document::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let signature = ApiKeyValue::new(super::access::HEADER_SIGNATURE);
    components.add_security_scheme("signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    let mut value = serde_json::to_value(&document).unwrap_or_default();
    if let Some(schemas) = value.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        resources(schemas);
    }
    value
}

/// Puts the resources' own schemas in the place of the stand-ins.
fn resources(schemas: &mut serde_json::Map<String, Value>) {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    generator.subschema_for::<crate::api::GateRun>();
    generator.subschema_for::<crate::api::Override>();
    for (name, schema) in generator.take_definitions(true) {
        // The API's own types keep their schemas; the resources' stand-ins are replaced.
        if name == "GateRun" || name == "Override" || !schemas.contains_key(&name) {
            schemas.insert(name, schema);
        }
    }
}
