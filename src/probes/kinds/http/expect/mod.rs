//! What an HTTP answer must be.

mod content;
mod json;

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use self::content::{Content, HeaderRule};
use self::json::{JsonRule, judge_rule};
use super::answer::{Answer, Secured, shown};
use super::body::{MAX_BODY, Wants};
use super::date::read_date;
use super::head::Version;
use crate::api::{HttpExpect, HttpVersion, Severity, TlsVersion};
use crate::clock::Clock;
use crate::model::Period;
use crate::probes::SpecError;
use crate::probes::kinds::too_slow;
use crate::probes::result::{Failure, Reason};
use crate::rules::Expression;

/// The compiled expectations of an HTTP probe.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    /// Allowed status codes.
    status: Vec<u16>,
    /// Whether any 2xx will do where there is no list.
    good_status: bool,
    version: Option<Version>,
    tls_version: Option<TlsVersion>,
    valid_for: Option<Period>,
    headers: Vec<HeaderRule>,
    min_size: Option<u64>,
    max_size: Option<u64>,
    content: Content,
    json: Vec<JsonRule>,
    max_age: Option<Period>,
    rule: Option<Arc<Expression>>,
    latency: Option<(Duration, Severity)>,
}

/// What is known of the request when its expectations are compiled.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Where the expectations stand in the spec, such as `http.expect`.
    pub(super) field: &'a str,
    /// Whether an answer can come over TLS.
    pub(super) secure: bool,
    /// Whether an answer can have a body.
    pub(super) bodied: bool,
    /// The version of HTTP that is spoken.
    pub(super) version: HttpVersion,
}

/// An answer, as it is judged.
pub(super) struct Seen<'a> {
    pub(super) answer: &'a Answer,
    /// The time from the start of the round to the end of the body.
    pub(super) took: Duration,
    pub(super) clock: &'a dyn Clock,
    /// What must not be shown.
    pub(super) hidden: &'a [SecretString],
    json: OnceLock<Result<Value, String>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(answer: &'a Answer, took: Duration, clock: &'a dyn Clock, hidden: &'a [SecretString]) -> Self {
        Self { answer, took, clock, hidden, json: OnceLock::new() }
    }

    /// The body as JSON, or why it is none.
    fn json(&self) -> Result<&Value, &String> {
        let read = || serde_json::from_slice(&self.answer.body).map_err(|error| error.to_string());
        self.json.get_or_init(read).as_ref()
    }

    fn shown(&self, bytes: &[u8]) -> String {
        shown(bytes, self.hidden)
    }

    fn body(&self) -> String {
        self.shown(&self.answer.body)
    }
}

impl Expectations {
    /// Compiles what must be: any 2xx where nothing else is given.
    ///
    /// # Errors
    /// A broken field, by its path.
    pub(super) fn must(spec: Option<&HttpExpect>, about: About<'_>) -> Result<Arc<Self>, SpecError> {
        static ANY_GOOD: LazyLock<Arc<Expectations>> =
            LazyLock::new(|| Arc::new(Expectations { good_status: true, ..Expectations::default() }));
        match spec {
            // Most probes ask for no more, and have this in common.
            None => Ok(Arc::clone(&ANY_GOOD)),
            Some(spec) => Ok(Arc::new(Self { good_status: true, ..Self::compile(spec, about)? })),
        }
    }

    /// Compiles what should be.
    ///
    /// # Errors
    /// A broken field, by its path.
    pub(super) fn should(spec: Option<&HttpExpect>, about: About<'_>) -> Result<Option<Self>, SpecError> {
        spec.map(|spec| Self::compile(spec, about)).transpose()
    }

    fn compile(spec: &HttpExpect, about: About<'_>) -> Result<Self, SpecError> {
        let wrong = |part: &str, why: &str| Err(SpecError::new(format!("{}.{part}", about.field), why));
        for (index, status) in spec.status.iter().enumerate() {
            if !(100..=599).contains(status) {
                let why = format!("{status} is no status: 100 to 599 are allowed");
                return wrong(&format!("status[{index}]"), &why);
            }
        }
        let size = spec.size.unwrap_or_default();
        match (spec.size, size.min, size.max) {
            (Some(_), None, None) => return wrong("size", "at least one of min and max must be given"),
            (_, Some(min), Some(max)) if min > max => {
                return wrong("size", &format!("min ({min}) is greater than max ({max})"));
            }
            _ => {}
        }
        if !about.bodied {
            for (part, given) in [
                ("body", spec.body.is_some()),
                ("json", !spec.json.is_empty()),
                ("size", size.min.is_some_and(|min| min > 0)),
            ] {
                if given {
                    return wrong(part, "the answer to a HEAD has no body: no answer can meet this");
                }
            }
        }
        for (part, given) in [("certificate", spec.certificate.is_some()), ("tlsVersion", spec.tls_version.is_some())] {
            if given && !about.secure {
                return wrong(part, "the answer does not come over TLS: no answer can meet this");
            }
        }
        if spec.last_modified.is_some_and(|age| age.max_age.is_zero()) {
            return wrong("lastModified.maxAge", "it is 0: no content could be so young");
        }
        if spec.latency.is_some_and(|latency| latency.max.is_zero()) {
            return wrong("latency.max", "it is 0: no answer could be so fast");
        }
        let version = match (spec.version, about.version) {
            (None, _) => None,
            (Some(HttpVersion::Any), _) => return wrong("version", "`any` expects nothing: `1.1` and `2` are allowed"),
            (Some(HttpVersion::Http1), HttpVersion::Http2) | (Some(HttpVersion::Http2), HttpVersion::Http1) => {
                return wrong("version", "another version is spoken: no answer can meet this");
            }
            (Some(HttpVersion::Http1), _) => Some(Version::Http11),
            (Some(HttpVersion::Http2), _) => Some(Version::Http2),
        };
        let rule = spec.rule.as_deref().map(Expression::compile).transpose();
        let rule = rule.map_err(|error| SpecError::new(format!("{}.rule", about.field), error.to_string()))?;
        Ok(Self {
            status: spec.status.clone(),
            good_status: false,
            version,
            tls_version: spec.tls_version,
            valid_for: spec.certificate.map(|certificate| certificate.valid_for),
            headers: HeaderRule::compile(about.field, &spec.headers)?,
            min_size: size.min.map(u64::from),
            max_size: size.max.map(u64::from),
            content: Content::compile(about.field, spec.body.as_ref())?,
            json: JsonRule::compile(about.field, &spec.json)?,
            max_age: spec.last_modified.map(|age| age.max_age),
            rule: rule.map(Arc::new),
            latency: spec.latency.map(|latency| (latency.max.to_std(), latency.severity.unwrap_or(Severity::Degraded))),
        })
    }

    /// How much of a body matters.
    pub(super) fn wants(&self) -> Wants {
        let content = if self.looks_at_body() { MAX_BODY } else { 0 };
        Wants { content, length: self.max_size.max(self.min_size).unwrap_or(0) }
    }

    fn looks_at_body(&self) -> bool {
        let rule = self.rule.as_ref().map_or("", |rule| rule.text());
        let by_rule = rule.contains("body") || rule.contains("json");
        by_rule || !self.content.is_empty() || !self.json.is_empty()
    }

    /// Whether an answer is as expected: the first thing that is not, a slower limit last.
    pub(super) async fn judge(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        self.judge_status(seen)?;
        self.judge_way(seen)?;
        for header in &self.headers {
            header.judge(seen)?;
        }
        self.judge_size(seen)?;
        self.judge_body(seen)?;
        self.judge_age(seen)?;
        if let Some(rule) = &self.rule {
            judge_rule(rule, seen).await?;
        }
        match self.latency {
            Some((max, severity)) if seen.took > max => {
                Err(too_slow(seen.took, &format!("{} ms are allowed", max.as_millis()), severity))
            }
            _ => Ok(()),
        }
    }

    fn judge_status(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let status = seen.answer.status;
        let (allowed, expected) = match self.status.as_slice() {
            [] if self.good_status => ((200..300).contains(&status), None),
            [] => return Ok(()),
            some => (some.contains(&status), Some(some)),
        };
        if allowed {
            return Ok(());
        }
        let expected = expected.map_or_else(
            || "2xx".to_owned(),
            |some| some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        );
        let body = if seen.answer.body.is_empty() { String::new() } else { format!("; body {}", seen.body()) };
        Err(Failure::new(Reason::Status, format!("status {status} where {expected} is expected{body}")))
    }

    /// Whether it came as it should: by HTTP, by TLS, with a certificate.
    fn judge_way(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let answer = seen.answer;
        if let Some(version) = self.version.filter(|version| *version != answer.version) {
            let (found, wanted) = (answer.version.as_str(), version.as_str());
            let message = format!("the answer came by HTTP/{found} where HTTP/{wanted} is expected");
            return Err(Failure::new(Reason::Protocol, message));
        }
        let secured = answer.secured;
        if let Some(least) = self.tls_version {
            let found = secured.and_then(|secured| secured.version);
            if found.is_none_or(|found| found < least) {
                let found = found.map_or("no TLS".to_owned(), |found| format!("TLS {}", tls_word(found)));
                let message = format!("the answer came by {found} where TLS {} is expected", tls_word(least));
                return Err(Failure::new(Reason::Tls, message));
            }
        }
        self.valid_for.map_or(Ok(()), |valid_for| judge_certificate(valid_for, secured, seen.clock.now()))
    }

    fn judge_size(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let Seen { answer, .. } = seen;
        let too = |limit: u64, allowed: &str| {
            let more = if answer.ended { "" } else { "more than " };
            let message = format!("the body has {more}{} bytes where at {allowed} {limit} are expected", answer.size);
            Err(Failure::new(Reason::Size, message))
        };
        match (self.min_size, self.max_size) {
            (Some(min), _) if answer.ended && answer.size < min => too(min, "least"),
            (_, Some(max)) if answer.size > max => too(max, "most"),
            _ => Ok(()),
        }
    }

    fn judge_body(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        if !self.looks_at_body() {
            return Ok(());
        }
        if !seen.answer.whole() {
            let kept = seen.answer.body.len();
            let message = format!("the body is larger than the {kept} bytes that can be judged by their content");
            return Err(Failure::new(Reason::Size, message));
        }
        self.content.judge(seen)?;
        self.json.iter().try_for_each(|rule| rule.judge(seen))
    }

    fn judge_age(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let Some(max) = self.max_age else { return Ok(()) };
        let wrong = |message: String| Err(Failure::new(Reason::Age, message));
        let Some(text) = seen.answer.headers.text("last-modified") else {
            return wrong(format!("there is no Last-Modified where content of at most {max} is expected"));
        };
        let Some(modified) = read_date(text) else {
            return wrong(format!("Last-Modified {} is no date", seen.shown(text.as_bytes())));
        };
        let age = seen.clock.now().duration_since(modified);
        if age > max.exact() {
            return wrong(format!("last modified at {modified:.0}, {} s ago, where {max} are allowed", age.as_secs()));
        }
        Ok(())
    }
}

const fn tls_word(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    }
}

fn judge_certificate(valid_for: Period, secured: Option<Secured>, now: Timestamp) -> Result<(), Failure> {
    let wrong = |message: String| Err(Failure::new(Reason::Certificate, message));
    let Some(not_after) = secured.and_then(|secured| secured.not_after) else {
        return wrong("the answer came without a certificate whose end could be read".to_owned());
    };
    let left = not_after.duration_since(now);
    if left >= valid_for.exact() {
        return Ok(());
    }
    let when = if left.is_negative() { "ended" } else { "ends" };
    wrong(format!("a certificate of the chain {when} at {not_after:.0}, where it must be valid for {valid_for}"))
}

#[cfg(test)]
mod tests;
