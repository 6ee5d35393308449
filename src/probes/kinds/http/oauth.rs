//! Tokens by client credentials (RFC 6749, 4.4): fetched once, kept until they expire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::answer::{Answer, shown};
use super::auth::check_file;
use super::body::{MAX_BODY, Wants};
use super::request::{Credentials, Outline, Parts, secret};
use super::way::{Errand, Hop, Way};
use crate::api::{ClientCredentials, HttpVersion, IpFamily, WebhookHeader};
use crate::outbound::{MAX_SECRET, Outbound, shown_url};
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::Trace;

/// How long a token holds whose server does not say: the shortest time in common use.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// The longest that a token is kept, whatever its server says.
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is renewed so long before it expires: it must hold until the other side looks at it.
const MARGIN: Duration = Duration::from_secs(30);
/// How long the server of tokens is left alone when it has failed: every probe waits for it.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of a round may go by in waiting for a token; the rest is for the failure to be told.
const SHARE: (u32, u32) = (3, 4);

/// Sources that are in use, by what they are made of: many targets share one token.
static SOURCES: LazyLock<Mutex<HashMap<String, Weak<Source>>>> = LazyLock::new(Mutex::default);

/// Where tokens come from.
pub(super) struct Source {
    way: Way,
    hop: Hop,
    credentials: ClientCredentials,
    /// Whether the client is named in the body and not in a header: some servers know one alone.
    in_body: AtomicBool,
    /// One request at a time, whoever asks.
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<(SecretString, Instant)>,
    failed: Option<(Failure, Instant)>,
}

/// What a server of tokens says (RFC 6749, 5.1 and 5.2).
#[derive(Deserialize)]
struct Said {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Source {
    /// The source of these credentials, made where there is none.
    ///
    /// # Errors
    /// A field that is broken.
    pub(super) fn of(spec: &ClientCredentials, outbound: &Outbound) -> Result<Arc<Self>, SpecError> {
        let made = Self::compile(spec, outbound)?;
        // The directory of secrets and no secret is shown by it.
        let key = format!("{spec:?} {:?}", outbound.secrets());
        let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        sources.retain(|_, source| source.strong_count() > 0);
        let made = Arc::new(made);
        sources.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    fn compile(spec: &ClientCredentials, outbound: &Outbound) -> Result<Self, SpecError> {
        let field = |name: &str| format!("http.auth.oauth2.{name}");
        let wrong = |why: String| SpecError::new(field("tokenUrl"), why);
        let url: Url = spec.token_url.parse().map_err(|error| wrong(format!("this is no URL: {error}")))?;
        outbound.guard().check_url(&url).map_err(|refused| wrong(refused.to_string()))?;
        check_file(&field("clientSecretFile"), &spec.client_secret_file)?;
        if let Some(scope) = spec.scopes.iter().find(|scope| scope.contains(char::is_whitespace)) {
            return Err(SpecError::new(field("scopes"), format!("`{scope}` is no scope: it has spaces")));
        }
        if let Some(name) = spec.parameters.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(SpecError::new(field("parameters"), format!("`{name}` has a field of its own")));
        }
        let way = Way {
            field: "http.auth.oauth2",
            own: url.clone(),
            version: HttpVersion::Any,
            family: IpFamily::Any,
            connect_to: None,
            tls: spec.tls.clone(),
            proxy: None,
            outbound: outbound.clone(),
        };
        let hop = way.hop(url)?;
        let kept = tokio::sync::Mutex::default();
        Ok(Self { way, hop, credentials: spec.clone(), in_body: AtomicBool::new(false), kept })
    }

    /// A token, which is none that was `refused`. That none can be had says nothing about the target.
    ///
    /// # Errors
    /// The secret cannot be read, or the server of tokens gives none; both are our trouble.
    pub(super) async fn token(
        &self,
        trace: &mut Trace,
        refused: Option<&SecretString>,
    ) -> Result<SecretString, Failure> {
        let patience = trace.remaining() * SHARE.0 / SHARE.1;
        match timeout(patience, self.find(patience, refused)).await {
            Ok(found) => found,
            Err(_) => Err(self.failed(&format!("no token within {} ms", patience.as_millis()))),
        }
    }

    async fn find(&self, patience: Duration, refused: Option<&SecretString>) -> Result<SecretString, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = &kept.token
            && *until > Instant::now()
            && refused.is_none_or(|refused| refused.expose_secret() != token.expose_secret())
        {
            return Ok(token.clone());
        }
        kept.token = None;
        if let Some((failure, until)) = &kept.failed
            && *until > Instant::now()
        {
            return Err(failure.clone());
        }
        kept.failed = None;
        // It ends before the round gives up, so that whoever waits behind it hears of the failure.
        let late = || Err(self.failed("no answer in time"));
        match timeout(patience / 10 * 9, self.fetch(patience)).await.unwrap_or_else(|_| late()) {
            Ok((token, life)) => {
                kept.token = Some((token.clone(), Instant::now() + life));
                Ok(token)
            }
            Err(failure) => {
                kept.failed = Some((failure.clone(), Instant::now() + PAUSE));
                Err(failure)
            }
        }
    }

    async fn fetch(&self, patience: Duration) -> Result<(SecretString, Duration), Failure> {
        let secret = secret(self.way.outbound.secrets(), &self.credentials.client_secret_file).await?;
        let in_body = self.in_body.load(Ordering::Relaxed);
        let mut hidden = Credentials::default();
        let mut answer = self.ask(patience, &secret, in_body, &mut hidden).await?;
        // By the book every server knows the header; some know the body alone.
        if matches!(answer.status, 400 | 401) && !in_body {
            let second = self.ask(patience, &secret, true, &mut hidden).await?;
            if (200..300).contains(&second.status) {
                self.in_body.store(true, Ordering::Relaxed);
                answer = second;
            }
        }
        self.read(&answer, &hidden)
    }

    async fn ask(
        &self,
        patience: Duration,
        secret: &SecretString,
        in_body: bool,
        credentials: &mut Credentials,
    ) -> Result<Answer, Failure> {
        let body = self.form(secret, in_body);
        credentials.hide(secret.expose_secret());
        credentials.authorization = None;
        if !in_body {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let client = encode(&self.credentials.client_id);
            let pair = STANDARD.encode(format!("{client}:{}", encode(secret.expose_secret())));
            credentials.hide(&pair);
            credentials.authorization = Some(format!("Basic {pair}").into());
        }
        let header = |name: &str, value: &str| WebhookHeader {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..WebhookHeader::default()
        };
        let headers =
            [header("Content-Type", "application/x-www-form-urlencoded"), header("Accept", "application/json")];
        let parts = Parts { method: Some("POST"), headers: &headers, body: Some(&body), compression: false };
        let outline = Outline::compile("http.auth.oauth2", parts).map_err(|error| self.failed(&error.why))?;
        let wants = Wants { content: MAX_BODY, length: 0 };
        let errand = Errand { outline: &outline, credentials, method: "POST", with_body: true, wants };
        // What happens on this way is not part of the round.
        let mut trace = Trace::begin(patience);
        let answered = self.way.fetch(&mut trace, &self.hop, errand).await;
        answered.map_err(|failure| self.failed(&format!("{}: {}", failure.reason, failure.message)))
    }

    /// The body of a request.
    fn form(&self, secret: &SecretString, in_body: bool) -> String {
        let spec = &self.credentials;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !spec.scopes.is_empty() {
            form.append_pair("scope", &spec.scopes.join(" "));
        }
        form.extend_pairs(&spec.parameters);
        if in_body {
            form.append_pair("client_id", &spec.client_id).append_pair("client_secret", secret.expose_secret());
        }
        form.finish()
    }

    /// Reads the answer of the server: the token, and how long it is kept.
    fn read(&self, answer: &Answer, hidden: &Credentials) -> Result<(SecretString, Duration), Failure> {
        let status = answer.status;
        let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
        let Some(said) = said.filter(|_| answer.whole()) else {
            return Err(self.failed(&format!("status {status} and no JSON that could hold a token")));
        };
        if !(200..300).contains(&status) {
            let words = [said.error, said.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
            return Err(self.failed(&format!("status {status}: {}", shown(words.as_bytes(), &hidden.hidden))));
        }
        if said.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(self.failed("the token is none to bear"));
        }
        let Some(token) = said.access_token.filter(|token| (1..=MAX_SECRET).contains(&token.len())) else {
            return Err(self.failed(&format!("status {status}, and no token of 1 to {MAX_SECRET} bytes")));
        };
        let told = said.expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        Ok((token.into(), life(told)))
    }

    fn failed(&self, why: &str) -> Failure {
        let url = shown_url(&self.hop.url);
        Failure::new(Reason::Secret, format!("no token of {url}: {why}"))
    }
}

/// Parameters of the request that are not the user's.
const RESERVED: [&str; 4] = ["grant_type", "client_id", "client_secret", "scope"];

/// How long a token is kept whose server says that it holds for so many seconds.
fn life(told: Option<u64>) -> Duration {
    let life = told.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE);
    // A token that holds for less than the margin is good for the round that it was fetched for.
    life.saturating_sub(MARGIN.min(life / 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, 270)]
    #[case(Some(3_600), 3_570)]
    #[case(Some(60), 45)]
    #[case(Some(0), 0)]
    #[case(Some(u64::MAX), 24 * 60 * 60 - 30)]
    fn a_token_is_renewed_before_it_expires(#[case] told: Option<u64>, #[case] seconds: u64) {
        assert_eq!(life(told).as_secs(), seconds);
    }
}
