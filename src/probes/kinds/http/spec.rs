//! Reading the spec of an HTTP probe.

use std::sync::Arc;

use url::Url;

use super::auth::Auth;
use super::expect::{About, Expectations};
use super::proxy::Proxy;
use super::request::{Credentials, Outline, Parts};
use super::way::Way;
use super::{Http, Long, Plain, SpecError, Tools, Verdict};
use crate::api::{HttpProbe, HttpVersion};
use crate::outbound::{Guard, shown_url};

/// The most redirects that a spec may allow: browsers give up there.
const MAX_REDIRECTS: u32 = 20;

/// Reads a spec.
///
/// # Errors
/// The first field that is broken.
pub(super) fn compile(spec: &HttpProbe, tools: &Tools) -> Result<Http, SpecError> {
    let outbound = &tools.outbound;
    let url = url(&spec.url, outbound.guard())?;
    let secure = url.scheme() == "https";
    let version = spec.version.unwrap_or_default();
    let auth = spec.auth.as_ref().map(|auth| Auth::compile(auth, outbound)).transpose()?;
    let proxy = spec.proxy.as_ref().map(|proxy| Proxy::compile(proxy, outbound.guard())).transpose()?;
    if spec.redirects.as_ref().is_some_and(|redirects| !(1..=MAX_REDIRECTS).contains(&redirects.max)) {
        return Err(SpecError::new("http.redirects.max", format!("1 to {MAX_REDIRECTS} are allowed")));
    }
    if proxy.is_some() && !secure {
        if version == HttpVersion::Http2 {
            let why = "HTTP/2 without TLS does not go through a proxy";
            return Err(SpecError::new("http.version", why));
        }
        if spec.connect_to.is_some() {
            let why = "a proxy connects to the URL's own host where there is no TLS";
            return Err(SpecError::new("http.connectTo", why));
        }
    }
    let headers = &spec.headers;
    let parts =
        Parts { method: spec.method.as_deref(), headers, body: spec.body.as_deref(), compression: spec.compression };
    let outline = Outline::compile("http", parts)?;
    if auth.is_some() && outline.has("authorization") {
        return Err(SpecError::new("http.auth", "there is a header `Authorization` as well"));
    }
    let bodied = outline.method != "HEAD";
    let about = |field| About { field, secure: secure || spec.redirects.is_some(), bodied, version };
    let verdict = Verdict {
        must: Expectations::must(spec.expect.as_ref(), about("http.expect"))?,
        should: Expectations::should(spec.warn.as_ref(), about("http.warn"))?.map(Box::new),
        compression: spec.compression,
        clock: Arc::clone(&tools.clock),
    };
    let way = Way {
        field: "http",
        own: url.clone(),
        version,
        family: spec.family.unwrap_or_default(),
        connect_to: spec.connect_to.clone(),
        tls: spec.tls.clone(),
        proxy,
        outbound: outbound.clone(),
    };
    if !secure && way.tls.is_some() {
        // A redirect may need them; what is broken in them is told now.
        way.secure(url.host_str().unwrap_or_default().trim_matches(['[', ']']), true, true)?;
    }
    let first = way.hop(url)?;
    let simple = first.is_plain()
        && version != HttpVersion::Http2
        && way.proxy.is_none()
        && auth.is_none()
        && spec.redirects.is_none()
        && outline.is_plain();
    let call = first.call(&outline.method, true);
    if simple {
        let bytes = outline.bytes(&call, &Credentials::default()).into();
        let bodiless = !bodied;
        return Ok(Http::Plain(Plain { outbound: way.outbound, place: first.place, bytes, bodiless, verdict }));
    }
    Ok(Http::Long(Box::new(Long { way, first, outline, auth, redirects: spec.redirects.clone(), verdict })))
}

/// Reads the URL.
fn url(text: &str, guard: &Guard) -> Result<Url, SpecError> {
    let wrong = |why: String| SpecError::new("http.url", why);
    if text.is_empty() {
        return Err(wrong("there is none; it may be left out where every target is a URL".to_owned()));
    }
    // A text that is no URL may hold a password all the same.
    let shown = text.split(['?', '#']).next().filter(|text| !text.contains('@')).unwrap_or("…");
    let mut url: Url = text.parse().map_err(|error| wrong(format!("`{shown}` is no URL: {error}")))?;
    guard.check_url(&url).map_err(|refused| wrong(refused.to_string()))?;
    if url.port() == Some(0) {
        return Err(wrong(format!("`{}` has port 0", shown_url(&url))));
    }
    url.set_fragment(None);
    Ok(url)
}
