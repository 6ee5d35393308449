//! Fetching a calendar.

use std::time::Duration;

use reqwest::header::{ACCEPT, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Method, StatusCode};
use url::Url;

use super::CalendarError;
use super::source::Good;
use crate::outbound::{ClientOptions, Outbound, explain, read_limited};
use crate::windows::MAX_CALENDAR_BYTES;

/// How long one attempt may take: servers that render a calendar from a database are slow.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Calendars often lie behind a redirect or two; each is judged by the guard.
const MAX_REDIRECTS: usize = 5;
/// The longest validator that is kept and sent back.
const MAX_VALIDATOR: usize = 512;

/// What came back.
pub(super) enum Fetched {
    /// Nothing has changed since the copy that was named.
    Same,
    /// A body, not yet read as a calendar.
    New { bytes: Vec<u8>, etag: Option<String>, last_modified: Option<String> },
}

/// Asks for a calendar, and only for a newer one where there is a copy.
pub(super) async fn fetch(outbound: &Outbound, url: &Url, have: Option<&Good>) -> Result<Fetched, CalendarError> {
    let failed = |why: String| CalendarError::Fetch(why);
    let options = ClientOptions { redirects: MAX_REDIRECTS, timeout: TIMEOUT, ..ClientOptions::default() };
    let client = outbound.client(&options).await.map_err(|error| failed(error.to_string()))?;
    let mut request = client.request(Method::GET, url).map_err(|error| failed(error.to_string()))?;
    request = request.header(ACCEPT, "text/calendar, text/plain;q=0.5, */*;q=0.1");
    if let Some(etag) = have.and_then(|good| good.etag.as_deref()) {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(date) = have.and_then(|good| good.last_modified.as_deref()) {
        request = request.header(IF_MODIFIED_SINCE, date);
    }
    let response = request.send().await.map_err(|error| failed(explain(&error)))?;
    match response.status() {
        StatusCode::OK => {
            let (etag, last_modified) =
                (validator(response.headers(), &ETAG), validator(response.headers(), &LAST_MODIFIED));
            let bytes = read_limited(response, MAX_CALENDAR_BYTES).await.map_err(|error| failed(error.to_string()))?;
            Ok(Fetched::New { bytes, etag, last_modified })
        }
        StatusCode::NOT_MODIFIED if have.is_some() => Ok(Fetched::Same),
        status => Err(failed(format!("the server answered {status}"))),
    }
}

fn validator(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= MAX_VALIDATOR).then(|| value.to_owned())
}
