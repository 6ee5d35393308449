//! `http` in a script: requests, and answers.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use rhai::{Array, Dynamic, Engine, Map};
use serde_json::Value;

use super::engine::{duration, parsed, text_of};
use super::fault::{Answer, Fault};
use super::request::{Request, send};
use super::run::current;
use crate::outbound::shown_url;
use crate::probes::result::Reason;
use crate::probes::wire::{MAX_SHOWN, show};
use crate::rules::{did_you_mean, to_json, type_name};

/// What may stand in the options of a request.
const OPTIONS: [&str; 8] = ["headers", "body", "form", "query", "bearer", "basic", "timeout", "redirects"];
/// The most redirects that a request may ask to be followed.
const MAX_REDIRECTS: i64 = 10;

/// The handle of `http` in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Http;

/// An answer as a script sees it.
#[derive(Debug, Clone)]
pub(super) struct Response(pub(super) Arc<Seen>);

/// What came back.
#[derive(Debug)]
pub(super) struct Seen {
    /// Method and URL, as they are shown.
    pub(super) what: String,
    pub(super) url: url::Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether `body` is all of it.
    pub(super) whole: bool,
    pub(super) took: Duration,
}

/// Registers what scripts can do with it.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Http>("http");
    for method in ["get", "delete", "head"] {
        engine.register_fn(method, move |_: &mut Http, url: &str| call(method, url, None, &Map::new()));
        engine.register_fn(method, move |_: &mut Http, url: &str, options: Map| call(method, url, None, &options));
    }
    for method in ["post", "put", "patch"] {
        engine.register_fn(method, move |_: &mut Http, url: &str| call(method, url, None, &Map::new()));
        engine.register_fn(method, move |_: &mut Http, url: &str, body: Dynamic| {
            call(method, url, Some(body), &Map::new())
        });
        engine.register_fn(method, move |_: &mut Http, url: &str, body: Dynamic, options: Map| {
            call(method, url, Some(body), &options)
        });
    }
    engine.register_fn("request", |_: &mut Http, method: &str, url: &str| call(method, url, None, &Map::new()));
    engine.register_fn("request", |_: &mut Http, method: &str, url: &str, options: Map| {
        call(method, url, None, &options)
    });
    engine.register_fn("cookie", |_: &mut Http, name: &str| -> Answer<Dynamic> {
        let run = current()?;
        let cookies = run.cookies.borrow();
        Ok(cookies.get(name).map_or(Dynamic::UNIT, |value| value.to_owned().into()))
    });
    answers(engine);
}

fn answers(engine: &mut Engine) {
    engine.register_type_with_name::<Response>("response");
    engine.register_get("status", |seen: &mut Response| i64::from(seen.0.status));
    engine.register_get("ok", |seen: &mut Response| (200..300).contains(&seen.0.status));
    engine.register_get("url", |seen: &mut Response| seen.0.url.to_string());
    engine.register_get("seconds", |seen: &mut Response| seen.0.took.as_secs_f64());
    engine.register_get("headers", Response::headers);
    engine.register_fn("header", Response::header);
    engine.register_get("body", |seen: &mut Response| seen.text());
    engine.register_get("json", |seen: &mut Response| -> Answer<Dynamic> {
        parsed(&seen.text()?, &format!("{}: the body", seen.0.what))
    });
    engine.register_fn("value", Response::value);
    engine.register_fn("expect", |seen: &mut Response, status: i64| seen.expect(&[status]));
    engine.register_fn("expect", |seen: &mut Response, statuses: Array| -> Answer<Response> {
        let statuses = statuses.iter().map(Dynamic::as_int).collect::<Result<Vec<_>, _>>();
        let statuses = statuses.map_err(|found| Fault::of_script(format!("expect: {found} is no status")).thrown())?;
        seen.expect(&statuses)
    });
}

/// Makes a request, and whatever redirects it asks to be followed.
fn call(method: &str, url: &str, body: Option<Dynamic>, options: &Map) -> Answer<Response> {
    let run = current()?;
    let mut request = Request::new(&run.given, method, url)?;
    if let Some(body) = body {
        set_body(&mut request, &body)?;
    }
    for (name, value) in options {
        option(&mut request, name, value)?;
    }
    send(&run, request)
}

fn option(request: &mut Request, name: &str, value: &Dynamic) -> Answer<()> {
    let wrong =
        |what: &str| Fault::of_script(format!("the option `{name}` is {}: it is {what}", type_name(value))).thrown();
    let map = || value.as_map_ref().map_err(|_| wrong("a map such as #{name: \"value\"}"));
    match name {
        "headers" => {
            for (name, value) in map()?.iter() {
                request.header(name, &text_of(value))?;
            }
        }
        "query" => {
            for (name, value) in map()?.iter() {
                request.url.query_pairs_mut().append_pair(name, &text_of(value));
            }
        }
        "form" => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in map()?.iter() {
                form.append_pair(name, &text_of(value));
            }
            request.body = form.finish().into();
            request.usual_header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        "body" => set_body(request, value)?,
        "bearer" => request.header("authorization", &format!("Bearer {}", text_of(value)))?,
        "basic" => {
            let map = map()?;
            let part = |key: &str| map.get(key).map(text_of).ok_or_else(|| wrong("a map with user and password"));
            request.basic(&part("user")?, &part("password")?)?;
        }
        "timeout" => {
            let text = value.as_immutable_string_ref().map_err(|_| wrong("a text such as \"500ms\""))?;
            request.timeout = Some(duration("timeout", &text)?);
        }
        "redirects" => match value.as_int() {
            Ok(count @ 0..=MAX_REDIRECTS) => request.redirects = u32::try_from(count).unwrap_or_default(),
            _ => return Err(wrong("a number up to 10")),
        },
        other => {
            let near = did_you_mean(other, OPTIONS);
            return Err(Fault::of_script(format!("a request has no option `{other}`{near}")).thrown());
        }
    }
    Ok(())
}

/// A text goes as it is, nothing as nothing, everything else as JSON.
fn set_body(request: &mut Request, body: &Dynamic) -> Answer<()> {
    if body.is_unit() {
        request.body.clear();
    } else if let Ok(text) = body.as_immutable_string_ref() {
        request.body = text.as_bytes().to_vec();
    } else {
        let value = to_json(body).map_err(|what| Fault::of_script(format!("JSON has no {what}")).thrown())?;
        request.body = value.to_string().into();
        request.usual_header(CONTENT_TYPE, "application/json");
    }
    Ok(())
}

impl Response {
    /// Every header by its name in lower case; of several the values with commas in between.
    fn headers(&mut self) -> Map {
        let headers = &self.0.headers;
        headers.keys().map(|name| (name.as_str().into(), joined(headers, name.as_str()).into())).collect()
    }

    fn header(&mut self, name: &str) -> Dynamic {
        let known = self.0.headers.contains_key(name.to_ascii_lowercase().as_str());
        if known { joined(&self.0.headers, &name.to_ascii_lowercase()).into() } else { Dynamic::UNIT }
    }

    fn text(&self) -> Answer<String> {
        if !self.0.whole {
            let message =
                format!("{}: the body is larger than the {} bytes that are read", self.0.what, self.0.body.len());
            return Err(Fault::new(Reason::Size, message).thrown());
        }
        Ok(String::from_utf8_lossy(&self.0.body).into_owned())
    }

    /// What stands at a path of names and numbers in the JSON of the body, such as `items.0.id`; it
    /// must be there.
    fn value(&mut self, path: &str) -> Answer<Dynamic> {
        let what = format!("{}: the body", self.0.what);
        let text = self.text()?;
        let whole: Value = serde_json::from_str(&text)
            .map_err(|error| Fault::new(Reason::Json, format!("{what} is no JSON: {error}")).thrown())?;
        let mut at = &whole;
        for part in path.split('.') {
            let next = match at {
                Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                other => other.get(part),
            };
            let missing = || Fault::new(Reason::Json, format!("{what} has no `{path}`")).thrown();
            at = next.filter(|value| !value.is_null()).ok_or_else(missing)?;
        }
        crate::rules::to_script(at, &mut crate::rules::Allowance::full())
            .map_err(|error| Fault::new(Reason::Size, format!("{what} is too much for a script: {error}")).thrown())
    }

    /// Fails unless the status is one of these.
    fn expect(&mut self, statuses: &[i64]) -> Answer<Self> {
        let Seen { what, status, body, .. } = &*self.0;
        if statuses.contains(&i64::from(*status)) {
            return Ok(self.clone());
        }
        let expected = statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        // The body of a success may hold what must not be shown, a token for example.
        let shown = if *status >= 400 { format!("; body {}", show(body, MAX_SHOWN)) } else { String::new() };
        let message = format!("{what} answered {status} where {expected} is expected{shown}");
        Err(Fault::new(Reason::Status, message).thrown())
    }
}

fn joined(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values.collect::<Vec<_>>().join(", ")
}

/// Method and URL for a person.
pub(super) fn shown(method: &hyper::Method, url: &url::Url) -> String {
    format!("{method} {}", shown_url(url))
}
