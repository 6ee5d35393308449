//! The routes, in one table: the router, the metrics and the OpenAPI test read it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use super::api::{check, overrides, probes, runs, windows};
use super::app::App;
use super::limits::{HOOK_TIMEOUT, MAX_SCRAPE, MAX_WAIT, REQUEST_TIMEOUT};
use super::problem::{Kind, Problem};
use super::{blackbox, events, front, hooks, openapi};

/// How a route's callers read an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// By HTTP's own rules.
    Api,
    /// 200 passes, 403 holds, the rest is retried or lost.
    Flagger,
    /// 200 with a verdict, the rest is an error and aborts.
    Argo,
}

/// What holds for every request to a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) template: &'static str,
    /// The methods, in lower case as OpenAPI writes them.
    pub(super) methods: &'static [&'static str],
    pub(super) flavour: Flavour,
    /// Whether a replayed request would do harm.
    pub(super) write: bool,
    pub(super) public: bool,
    /// Whether, of several replicas, only the one that leads can answer.
    pub(super) led: bool,
    pub(super) timeout: Duration,
}

const fn api(template: &'static str, methods: &'static [&'static str]) -> Route {
    Route {
        template,
        methods,
        flavour: Flavour::Api,
        write: false,
        public: false,
        led: false,
        timeout: REQUEST_TIMEOUT,
    }
}

const fn write(template: &'static str, methods: &'static [&'static str]) -> Route {
    Route { write: true, ..api(template, methods) }
}

/// A route that makes a round first.
const fn slow(template: &'static str, methods: &'static [&'static str]) -> Route {
    Route { timeout: MAX_SCRAPE.saturating_add(REQUEST_TIMEOUT), ..api(template, methods) }
}

/// A route that the replica answers that probes.
const fn led(route: Route) -> Route {
    Route { led: true, ..route }
}

const fn hook(template: &'static str, methods: &'static [&'static str], flavour: Flavour) -> Route {
    Route { flavour, timeout: HOOK_TIMEOUT, ..api(template, methods) }
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    Route { timeout: MAX_WAIT.saturating_add(REQUEST_TIMEOUT), ..api("/v1/check", &["post"]) },
    api("/v1/runs", &["get"]),
    write("/v1/runs/{id}", &["get", "delete"]),
    write("/v1/runs/{namespace}/{name}", &["get", "delete"]),
    write("/v1/runs/{namespace}/{name}/cancel", &["post"]),
    api("/v1/windows", &["get"]),
    api("/v1/windows/explain", &["get"]),
    write("/v1/overrides", &["get", "post"]),
    write("/v1/overrides/{namespace}/{name}", &["get", "delete"]),
    api("/v1/probes", &["get"]),
    api("/v1/probes/{name}", &["get"]),
    led(api("/v1/probes/{name}/history", &["get"])),
    led(slow("/v1/probes/{name}/run", &["post"])),
    api("/v1/probes/{namespace}/{name}", &["get"]),
    led(api("/v1/probes/{namespace}/{name}/history", &["get"])),
    led(slow("/v1/probes/{namespace}/{name}/run", &["post"])),
    slow("/probe", &["get"]),
    api("/v1/events", &["get"]),
    hook("/hooks/flagger/{namespace}/{gate}/{type}", &["post"], Flavour::Flagger),
    hook("/hooks/argo", &["get", "post", "put"], Flavour::Argo),
    Route { public: true, ..api("/openapi.json", &["get"]) },
];

/// Every route with its methods, in lower case.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    ROUTES.iter().map(|route| (route.template, route.methods))
}

/// What holds where no route is.
const NOWHERE: Route = Route { public: true, ..api("none", &[]) };

/// The route of a template that the router has matched.
pub(super) fn route(matched: &str) -> &'static Route {
    ROUTES.iter().find(|route| route.template == matched).unwrap_or(&NOWHERE)
}

fn handlers(template: &'static str) -> Option<MethodRouter<Arc<App>>> {
    Some(match template {
        "/v1/check" => post(check::check),
        "/v1/runs" => get(runs::list),
        "/v1/runs/{id}" => get(runs::show_by_id).delete(runs::cancel_by_id),
        "/v1/runs/{namespace}/{name}" => get(runs::show).delete(runs::cancel),
        "/v1/runs/{namespace}/{name}/cancel" => post(runs::cancel_by_post),
        "/v1/windows" => get(windows::list),
        "/v1/windows/explain" => get(windows::explain),
        "/v1/overrides" => get(overrides::list).post(overrides::create),
        "/v1/overrides/{namespace}/{name}" => get(overrides::show).delete(overrides::revoke),
        "/v1/probes" => get(probes::list),
        "/v1/probes/{name}" => get(probes::show_by_name),
        "/v1/probes/{name}/history" => get(probes::history_by_name),
        "/v1/probes/{name}/run" => post(probes::run_by_name),
        "/v1/probes/{namespace}/{name}" => get(probes::show),
        "/v1/probes/{namespace}/{name}/history" => get(probes::history),
        "/v1/probes/{namespace}/{name}/run" => post(probes::run),
        "/probe" => get(blackbox::probe),
        "/v1/events" => get(events::stream),
        "/hooks/flagger/{namespace}/{gate}/{type}" => post(hooks::flagger::answer),
        "/hooks/argo" => get(hooks::argo::answer_query).post(hooks::argo::answer_body).put(hooks::argo::answer_body),
        "/openapi.json" => get(openapi::serve),
        _ => return None,
    })
}

/// The router of the main listener.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        if let Some(handlers) = handlers(route.template) {
            router = router.route(route.template, handlers);
        }
    }
    router
        .fallback(|| async { Problem::new(Kind::NotFound, "there is no such path; /openapi.json lists them all") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "the header Allow names the methods of this path")
        })
        .layer(from_fn_with_state(Arc::clone(&app), front::guard))
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_has_its_handlers() {
        for route in ROUTES {
            assert!(handlers(route.template).is_some(), "{}", route.template);
        }
    }
}
