//! The kind `webhook`: a call to a business check.
//!
//! An answer with an allowed status that meets the expectations passes; one that does not fails. No
//! connection, no answer in time, 408, 425, 429 or 5xx, an answer that is too large or cannot be
//! judged: unknown, because a missing answer is no evidence against the change. Every other status
//! outside the allowed ones is a no, 401 and redirects included: nobody else would say that this
//! check is set up wrongly. Redirects are not followed.
//!
//! With `poll` the first call sets work off and later executions ask how it stands. Where they ask
//! survives a restart, and every call of one attempt carries the same `Idempotency-Key`, so that the
//! work is set off once even if the answer to the first call was lost. Headers from secret files go
//! only to the origin (scheme, host and port) of the check's own URL.

mod answer;
mod body;
mod call;
mod poll;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use url::Url;

use self::answer::Answer;
use self::body::Body;
use self::call::{Call, Header};
use self::poll::{Address, Carry};
use super::{Check, CompileError, Context, Kind};
use crate::api::{self, CheckKind, WebhookCheck, WebhookTls};
use crate::model::{Period, QuestionKey, Report};
use crate::outbound::{ClientOptions, Outbound, Secrets, TlsOptions, shown_url};
use crate::rules::Expression;

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::HEAD, Method::DELETE];
/// The part of an execution's time that the call may use: the rest is for judging.
const CALL_SHARE: f64 = 0.95;
const DEFAULT_POLL: SignedDuration = SignedDuration::from_secs(5);
/// The shortest time between two polls: below it we are a burden.
const MIN_POLL: Period = Period::from_millis(100);

/// The kind.
#[derive(Clone)]
pub struct WebhookKind {
    outbound: Outbound,
}

impl WebhookKind {
    /// Checks that go out by `outbound`.
    #[must_use]
    pub const fn new(outbound: Outbound) -> Self {
        Self { outbound }
    }
}

impl Kind for WebhookKind {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn compile(&self, check: &api::Check, namespace: &str) -> Result<Arc<dyn Check>, CompileError> {
        let Some(CheckKind::Webhook(spec)) = check.kind() else {
            return Err(CompileError { field: "webhook".to_owned(), why: "this is no webhook check".to_owned() });
        };
        let webhook = prepare(spec, &check.name, &self.outbound.of(namespace))
            .map_err(|(field, why)| CompileError { field: format!("webhook.{field}"), why })?;
        Ok(Arc::new(webhook))
    }
}

fn prepare(spec: &WebhookCheck, name: &str, outbound: &Outbound) -> Result<Webhook, (&'static str, String)> {
    let url: Url = spec.url.parse().map_err(|why| ("url", format!("`{}` is no URL: {why}", spec.url)))?;
    outbound.guard().check_url(&url).map_err(|refused| ("url", refused.to_string()))?;
    let headers = spec.headers.iter().map(Header::compile).collect::<Result<Vec<_>, _>>();
    let headers = headers.map_err(|why| ("headers", why))?;
    let plain = headers.iter().any(Header::says_no_json);
    let method = spec.method.as_deref().map(method).transpose().map_err(|why| ("method", why))?;
    let no_body = matches!(method, Some(Method::GET | Method::HEAD | Method::DELETE)) && spec.body.is_none();
    let text = if no_body { Some("") } else { spec.body.as_deref() };
    let body = Body::compile(text, plain, &sample()).map_err(|why| ("body", why))?;
    let usual = if matches!(body, Body::Nothing) { Method::GET } else { Method::POST };
    if let Some(status) = spec.status.iter().find(|status| !(100..=599).contains(*status)) {
        return Err(("status", format!("{status} is no status: 100 to 599 are allowed")));
    }
    let compile = |text: &String| Expression::compile(text).map(Arc::new).map_err(|error| error.to_string());
    let path = |json: &api::WebhookJson| JsonPath::parse(&json.path).map(|path| (path, json.equals.clone()));
    let poll = spec.poll.as_ref();
    if poll.and_then(|poll| poll.interval).is_some_and(|interval| interval.exact() < MIN_POLL.exact()) {
        return Err(("poll.interval", format!("at least {MIN_POLL} must lie between two calls")));
    }
    let address = |text: &String| -> Result<Address, String> { Address::parse(text) };
    Ok(Webhook {
        name: name.to_owned(),
        method: method.unwrap_or(usual),
        headers,
        body,
        expect: spec.expect.as_ref().map(compile).transpose().map_err(|why| ("expect", why))?,
        expect_json: spec
            .expect_json
            .as_ref()
            .map(path)
            .transpose()
            .map_err(|why| ("expectJson.path", why.to_string()))?,
        done: poll.and_then(|poll| poll.done.as_ref()).map(compile).transpose().map_err(|why| ("poll.done", why))?,
        address: poll.and_then(|poll| poll.url.as_ref()).map(address).transpose().map_err(|why| ("poll.url", why))?,
        options: options(spec.tls.as_ref())?,
        outbound: outbound.clone(),
        spec: spec.clone(),
        url,
    })
}

fn method(text: &str) -> Result<Method, String> {
    let found = METHODS.into_iter().find(|method| method.as_str() == text);
    found.ok_or_else(|| format!("`{text}` is not allowed: it is one of GET, POST, PUT, PATCH, HEAD, DELETE"))
}

fn options(tls: Option<&WebhookTls>) -> Result<ClientOptions, (&'static str, String)> {
    let Some(tls) = tls else { return Ok(ClientOptions::default()) };
    for (field, path) in
        [("tls.caFile", &tls.ca_file), ("tls.certFile", &tls.cert_file), ("tls.keyFile", &tls.key_file)]
    {
        if let Some(path) = path {
            Secrets::check_path(path).map_err(|error| (field, error.to_string()))?;
        }
    }
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        return Err(("tls", "certFile and keyFile belong together".to_owned()));
    }
    let tls = TlsOptions {
        ca_file: tls.ca_file.clone(),
        cert_file: tls.cert_file.clone(),
        key_file: tls.key_file.clone(),
        insecure_skip_verify: tls.insecure_skip_verify,
    };
    Ok(ClientOptions { tls, ..ClientOptions::default() })
}

/// A question to try a template with.
fn sample() -> Value {
    json!({
        "gate": "gate", "namespace": "default", "run": "run", "point": "pre",
        "change": {
            "id": "id", "target": "target", "revision": "revision", "action": "release", "actor": "actor",
            "invoker": "automation", "cluster": "", "labels": {},
        },
        "batch": {"index": 1, "total": 1, "percent": 100}, "execution": 1, "idempotencyKey": "key",
    })
}

struct Webhook {
    name: String,
    url: Url,
    method: Method,
    headers: Vec<Header>,
    body: Body,
    expect: Option<Arc<Expression>>,
    expect_json: Option<(JsonPath, Value)>,
    done: Option<Arc<Expression>>,
    address: Option<Address>,
    options: ClientOptions,
    outbound: Outbound,
    spec: WebhookCheck,
}

#[async_trait]
impl Check for Webhook {
    async fn execute(&self, context: &Context) -> Report {
        let carry = Carry::read(context.carry.as_ref());
        let key = self.key(context, carry.attempt);
        let polled = carry.url.as_deref().and_then(|url| url.parse::<Url>().ok());
        let url = polled.as_ref().unwrap_or(&self.url);
        let body = match (&polled, self.body.render(&body::question(context, &key))) {
            (Some(_), _) => None,
            (None, Ok(body)) => body,
            (None, Err(why)) => return Report { carry: carry.value(), ..Report::unknown(why) },
        };
        let call = Call {
            method: if polled.is_some() { Method::GET } else { self.method.clone() },
            url,
            body,
            headers: &self.headers,
            trusted: url.origin() == self.url.origin(),
            options: &self.options,
            key: &key,
            timeout: context.timeout.mul_f64(CALL_SHARE),
            now: context.now,
        };
        let method = call.method.to_string();
        let polls = carry.polls + u32::from(carry.started);
        let carry = Carry { polls, ..carry };
        let report = match call.make(&self.outbound).await {
            Ok((answer, took)) => self
                .take(&answer, url, carry)
                .await
                .with("answer", answer::evidence(&answer))
                .with("durationMs", u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            Err(why) => {
                Report { carry: carry.value(), ..Report::unknown(format!("no answer from {}: {why}", shown_url(url))) }
            }
        };
        self.with_question(report, url, &method, &key, polls)
    }

    fn once(&self) -> bool {
        true
    }
}

impl Webhook {
    /// The same for every call of one attempt in one run.
    fn key(&self, context: &Context, attempt: u32) -> String {
        let namespace = &context.question.namespace;
        QuestionKey::over(&[namespace, &context.run, &self.name, &attempt.to_string()]).to_string()
    }

    /// What an answer from `url` says.
    async fn take(&self, answer: &Answer, url: &Url, carry: Carry) -> Report {
        let allowed = self.allowed(answer.status);
        if answer.is_trouble() && !allowed {
            let summary = format!("answered {}: {}", answer.status, answer.excerpt);
            return Report { carry: carry.value(), again: answer.retry_after, ..Report::unknown(summary) };
        }
        if self.spec.poll.is_some() && (allowed || answer.status == 202) {
            match self.finished(answer).await {
                Ok(true) => {}
                Ok(false) => return self.wait(answer, url, carry).await,
                Err(why) => return Report { carry: carry.value(), ..Report::unknown(why) },
            }
        }
        match self.judge(answer, allowed).await {
            Ok(Ok(())) => Report::pass(format!("answered {}{}", answer.status, self.expectation())),
            Ok(Err(why)) => Report { carry: carry.next_attempt().value(), ..Report::fail(why) },
            Err(why) => Report { carry: carry.value(), ..Report::unknown(why) },
        }
    }

    fn allowed(&self, status: u16) -> bool {
        if self.spec.status.is_empty() { (200..300).contains(&status) } else { self.spec.status.contains(&status) }
    }

    async fn finished(&self, answer: &Answer) -> Result<bool, String> {
        match &self.done {
            Some(done) => answer.holds(done).await,
            None => Ok(answer.status != 202),
        }
    }

    /// The other side is still at work.
    async fn wait(&self, answer: &Answer, url: &Url, carry: Carry) -> Report {
        let next = match (&self.address, carry.started, &answer.location) {
            (_, true, _) => Ok(carry.url.clone()),
            (Some(address), ..) => address.after(answer, url).await.map(|url| Some(url.into())),
            (None, false, Some(location)) => {
                url.join(location).map(|url| Some(url.into())).map_err(|why| format!("Location `{location}`: {why}"))
            }
            (None, false, None) => Ok(None),
        };
        let interval = self.spec.poll.as_ref().and_then(|poll| poll.interval).map_or(DEFAULT_POLL, Period::exact);
        let again = Some(answer.retry_after.map_or(interval, |wait| wait.max(interval)));
        match next {
            Ok(url) => {
                let summary =
                    format!("not finished yet (answered {}, asked again {} times)", answer.status, carry.polls);
                let carry = Carry { started: true, url, ..carry };
                Report { carry: carry.value(), again, ..Report::pending(summary) }
            }
            Err(why) => {
                Report { carry: carry.value(), ..Report::unknown(format!("where to ask again is not known: {why}")) }
            }
        }
    }

    /// Whether the answer is as expected: `Ok(Err(…))` says what was found instead, `Err` that it
    /// cannot be told.
    async fn judge(&self, answer: &Answer, allowed: bool) -> Result<Result<(), String>, String> {
        if !allowed {
            let expected = match self.spec.status.as_slice() {
                [] => "2xx".to_owned(),
                some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            };
            let hint = if (300..400).contains(&answer.status) { " (redirects are not followed)" } else { "" };
            let found = format!("answered {} where {expected} is expected{hint}: {}", answer.status, answer.excerpt);
            return Ok(Err(found));
        }
        if let Some(expect) = &self.expect
            && !answer.holds(expect).await?
        {
            return Ok(Err(format!("`{}` does not hold for: {}", expect.text(), answer.excerpt)));
        }
        match &self.expect_json {
            Some((path, wanted)) => answer.has(path, wanted),
            None => Ok(Ok(())),
        }
    }

    /// What was expected beside the status, for a sentence.
    fn expectation(&self) -> String {
        let expect = self.expect.as_ref().map(|expect| format!("`{}` holds", expect.text()));
        let json = self.expect_json.as_ref().map(|(path, wanted)| format!("{path} is {wanted}"));
        let all: Vec<String> = expect.into_iter().chain(json).collect();
        if all.is_empty() { String::new() } else { format!(", and {}", all.join(" and ")) }
    }

    fn with_question(&self, report: Report, url: &Url, method: &str, key: &str, polls: u32) -> Report {
        let mut report = report
            .with("url", shown_url(url))
            .with("method", method)
            .with("idempotencyKey", key)
            .with("polls", polls)
            .with(
                "expected",
                json!({
                    "status": self.spec.status,
                    "expect": self.spec.expect,
                    "expectJson": self.spec.expect_json,
                }),
            );
        if self.options.tls.insecure_skip_verify {
            report = report.with("tls", "the server's certificate was not checked");
        }
        report
    }
}
