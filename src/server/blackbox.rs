//! `/probe`: one round for Prometheus, as `blackbox_exporter` makes it.
//!
//! A module is a probe with the annotation `probegate.io/module`; the target comes with the request.
//! Nothing is remembered: Prometheus keeps what it scrapes.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::access::{Caller, Scope};
use super::api::FullName;
use super::app::App;
use super::json::Params;
use super::limits::{MAX_PREPARED, MAX_SCRAPE, MAX_SCRAPES, SCRAPE_MARGIN};
use super::problem::{Kind, Problem, echo};
use crate::api::{ANNOTATION_MODULE, Probe, ProbeSpec, name_of, namespace_of};
use crate::probes::exposition::{MEDIA_TYPE, at_target, metrics};
use crate::probes::{Compiled, Failure, Observation, Reason, SpecError, Trace, address_field, compile};

/// The header in which Prometheus says how long it waits.
const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";
/// The module of requests that name none, as there.
const DEFAULT_MODULE: &str = "http_2xx";

/// What makes one prepared module differ from another: the probe and its version, the target, the
/// name, and the time.
type Key = (String, Option<String>, String, Option<String>, Duration);

/// A module at a target, and what makes its rounds, or why no round can be as the module asks.
type Prepared = (ProbeSpec, Result<Compiled, SpecError>);

/// What requests share.
pub(super) struct Scrapes {
    places: Semaphore,
    prepared: Mutex<LruCache<Key, Arc<Prepared>>>,
}

impl Scrapes {
    pub(super) fn new() -> Self {
        let room = NonZeroUsize::new(MAX_PREPARED).unwrap_or(NonZeroUsize::MIN);
        Self { places: Semaphore::new(MAX_SCRAPES), prepared: Mutex::new(LruCache::new(room)) }
    }
}

/// Probe a target by a module, in the metrics of `blackbox_exporter`.
#[utoipa::path(
    get,
    path = "/probe",
    tag = "probes",
    params(
        ("target" = String, Query, description = "What to probe: a URL, `host:port`, or what the module's kind takes."),
        ("module" = Option<String>, Query, description = "The module: the value of the annotation `probegate.io/module` of a probe, or `namespace/name` of one that has it. Absent: `http_2xx`."),
        ("hostname" = Option<String>, Query, description = "The name to send and to check the certificate for."),
        ("debug" = Option<String>, Query, description = "`true` shows the log of the round beside the metrics."),
    ),
    responses(
        (status = 200, description = "Metrics in Prometheus' text format.", body = String, content_type = "text/plain"),
        (status = "4XX", description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn probe(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(Scope::Run)?;
    let params = Params::parse(query.as_deref(), &["target", "module", "hostname", "debug"])?;
    let target = params.text("target").ok_or_else(|| {
        Problem::new(Kind::Parameter, "there is no target: give ?target=ADDRESS&module=NAME").field("target")
    })?;
    let module = find(&app, &caller, params.text("module").unwrap_or(DEFAULT_MODULE))?;
    caller.require_on(Scope::Run, namespace_of(&*module), name_of(&*module)).await?;
    let limit = limit(&headers, &module)?;
    let began = Instant::now();
    let busy = || Problem::new(Kind::Overloaded, format!("{MAX_SCRAPES} rounds for Prometheus are under way"));
    let place = timeout_at(began + limit, app.scrapes.places.acquire()).await;
    let _place = place.map_err(|_| busy())?.map_err(|_| busy())?;
    let prepared = prepare(&app, &module, target, params.text("hostname"), limit)?;
    let (spec, compiled) = &*prepared;
    let seen = match compiled {
        Ok(compiled) => compiled.observe().await,
        Err(error) => Trace::begin(limit).finish(Some(Err(Failure::new(Reason::Unsupported, error.to_string())))),
    };
    let text = metrics(spec, &seen);
    let text = if params.text("debug") == Some("true") { debugged(&seen, &text, spec) } else { text };
    let mut response = (StatusCode::OK, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// The probe that a module's name means.
fn find(app: &App, caller: &Caller, name: &str) -> Result<Arc<Probe>, Problem> {
    let of = |probe: &Probe| {
        let annotations = probe.metadata.annotations.as_ref();
        annotations.and_then(|annotations| annotations.get(ANNOTATION_MODULE)).cloned()
    };
    let modules: Vec<(String, Arc<Probe>)> = app
        .deps
        .probes
        .modules
        .mentioning(ANNOTATION_MODULE)
        .into_iter()
        .filter(|probe| caller.sees(namespace_of(&**probe), name_of(&**probe)))
        .filter_map(|probe| Some((of(&probe)?, probe)))
        .collect();
    let full = FullName::parse(name, "module").ok().filter(|_| name.contains('/'));
    let meant = |module: &str, probe: &Probe| {
        let by_name =
            full.as_ref().is_some_and(|full| full.namespace == namespace_of(probe) && full.name == name_of(probe));
        module == name || by_name
    };
    let found: Vec<&Arc<Probe>> =
        modules.iter().filter(|(module, probe)| meant(module, probe)).map(|(_, probe)| probe).collect();
    match found.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => {
            let detail =
                format!("there is no module `{}`: a probe is one by its annotation {ANNOTATION_MODULE}", echo(name));
            let names = modules.iter().map(|(module, _)| module.as_str());
            let mut problem = Problem::new(Kind::Parameter, detail).field("module");
            problem.nearest = super::problem::nearest(name, names).map(Into::into);
            Err(problem)
        }
        several => {
            let names: Vec<String> =
                several.iter().map(|probe| format!("{}/{}", namespace_of(&***probe), name_of(&***probe))).collect();
            let detail = format!("several probes are the module `{}`: name one of them", echo(name));
            Err(Problem::new(Kind::Parameter, detail).field("module").allowed(name, names))
        }
    }
}

/// How long the round may take: the module's timeout, and less where Prometheus waits less.
fn limit(headers: &HeaderMap, module: &Probe) -> Result<Duration, Problem> {
    let asked = match headers.get(TIMEOUT_HEADER) {
        None => MAX_SCRAPE,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
            let asked = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let asked = asked.ok_or_else(|| {
                let detail = format!("the header {TIMEOUT_HEADER} is a number of seconds");
                Problem::new(Kind::Parameter, detail).field(TIMEOUT_HEADER)
            })?;
            if asked.is_zero() { MAX_SCRAPE } else { asked.min(MAX_SCRAPE) }
        }
    };
    // The answer has to arrive before Prometheus gives up.
    let left = if asked > SCRAPE_MARGIN * 2 { asked.saturating_sub(SCRAPE_MARGIN) } else { asked / 2 };
    Ok(module.spec.timeout.map_or(left, |timeout| timeout.to_std().min(left)))
}

/// The module at a target, compiled before or now.
fn prepare(
    app: &App,
    module: &Probe,
    target: &str,
    hostname: Option<&str>,
    limit: Duration,
) -> Result<Arc<Prepared>, Problem> {
    let name = format!("{}/{}", namespace_of(module), name_of(module));
    let version = module.metadata.resource_version.clone();
    let key: Key = (name, version, target.to_owned(), hostname.map(str::to_owned), limit);
    let known = || app.scrapes.prepared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(prepared) = known().get(&key) {
        return Ok(Arc::clone(prepared));
    }
    let wrong = |detail: String| Problem::new(Kind::Parameter, detail).field("target");
    let spec = at_target(&module.spec, target, hostname).map_err(|error| wrong(error.to_string()))?;
    let compiled = match compile(&spec, limit, &app.deps.probes.tools.of(namespace_of(module))) {
        Ok(compiled) => Ok(compiled),
        // The target is none; or else the module asks for what this target cannot show.
        Err(error) if Some(error.field.as_str()) == address_field(&spec) => return Err(wrong(error.to_string())),
        Err(error) => Err(error),
    };
    let prepared = Arc::new((spec, compiled));
    known().put(key, Arc::clone(&prepared));
    Ok(prepared)
}

fn debugged(seen: &Observation, metrics: &str, spec: &ProbeSpec) -> String {
    let log: String = seen.log.lines().map(|line| line + "\n").collect();
    let spec = serde_saphyr::to_string(spec).unwrap_or_default();
    format!(
        "Logs for the probe:\n{log}\n\nMetrics that would have been returned:\n{metrics}\n\nModule configuration:\n{spec}"
    )
}
