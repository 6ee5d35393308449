//! The kind `http`: one request on a new connection, with every phase timed.
//!
//! HTTP/1.1 is spoken by hand ([`h1`], [`head`], [`body`]), so that a round costs little more than
//! its system calls; HTTP/2 by its library ([`h2`]). A plain request without secrets is one text,
//! made when the probe is compiled; everything else goes the longer way, step by step.

mod answer;
mod auth;
mod body;
mod date;
mod expect;
mod h1;
mod h2;
mod head;
mod oauth;
mod over_unix;
mod proxy;
mod redirect;
mod request;
mod spec;
mod unpack;
mod way;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use self::answer::Answer;
use self::auth::Auth;
use self::body::{MAX_BODY, MAX_EXCERPT, Wants};
use self::expect::{Expectations, Seen};
use self::h1::Sending;
use self::redirect::{Journey, Step};
use self::request::{Credentials, Outline};
use self::unpack::{Coding, UnpackError};
use self::way::{Errand, Hop, Way};
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{HttpRedirects, ProbeSpec};
use crate::clock::Clock;
use crate::outbound::{Outbound, hide, shown_url};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::Trace;
use crate::probes::wire::{Place, connect_once};

pub(super) use over_unix::OverUnix;

/// The facts of a usual answer, and the lines of its log: what is last seen of each target is kept.
const USUAL_FACTS: usize = 5;
const USUAL_LINES: usize = 5;

/// A compiled probe.
enum Http {
    Plain(Plain),
    Long(Box<Long>),
}

/// A probe that needs neither secrets nor TLS nor a second step. There may be ten thousand of them:
/// nothing is kept that such a round does not need.
struct Plain {
    outbound: Outbound,
    place: Place,
    /// The whole request.
    bytes: Box<[u8]>,
    bodiless: bool,
    verdict: Verdict,
}

/// Any other probe.
struct Long {
    way: Way,
    first: Hop,
    outline: Outline,
    auth: Option<Auth>,
    redirects: Option<HttpRedirects>,
    verdict: Verdict,
}

/// What is done with an answer, wherever it came from.
struct Verdict {
    must: Arc<Expectations>,
    should: Option<Box<Expectations>>,
    /// Whether a compressed body is decompressed.
    compression: bool,
    clock: Arc<dyn Clock>,
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.http.as_ref().map(|http| {
        let http = Arc::new(spec::compile(http, tools)?);
        let host = http.place().host.clone();
        let prober: Prober = Arc::new(move |trace| {
            let http = Arc::clone(&http);
            Box::pin(async move { http.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

impl Http {
    /// Where it connects to first.
    const fn place(&self) -> &Place {
        match self {
            Self::Plain(plain) => &plain.place,
            Self::Long(long) => &long.first.place,
        }
    }

    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        trace.reserve(USUAL_FACTS, USUAL_LINES);
        match self {
            Self::Plain(plain) => plain.round(trace).await,
            Self::Long(long) => Box::pin(long.round(trace)).await,
        }
    }
}

impl Plain {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let mut stream = connect_once(trace, self.outbound.lookup(), &self.place).await?;
        let sending = Sending { bytes: &self.bytes, bodiless: self.bodiless, wants: self.verdict.wants() };
        let answer = h1::exchange(trace, &mut stream, sending).await?;
        // Nothing is to come: the connection does not wait for the judgement.
        drop(stream);
        self.verdict.judge(trace, answer, Duration::ZERO, &[]).await
    }
}

impl Long {
    /// A round with secrets, TLS, redirects or a proxy.
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let mut hidden = Vec::new();
        let ended = self.authorized_round(trace, &mut hidden).await;
        ended.map_err(|failure| without(failure, &hidden))
    }

    async fn authorized_round(&self, trace: &mut Trace, hidden: &mut Vec<SecretString>) -> Result<(), Failure> {
        let (credentials, token) = self.credentials(trace, None).await?;
        hidden.clone_from(&credentials.hidden);
        let mut lead = self.begin(trace);
        let mut ended = self.journey(trace, &credentials).await;
        if let (Ok(Answer { status: 401, .. }), Some(token)) = (&ended, token) {
            trace.log("the token is refused: another one is fetched");
            let (credentials, _) = self.credentials(trace, Some(&token)).await?;
            hidden.extend(credentials.hidden.iter().cloned());
            lead = self.begin(trace);
            ended = self.journey(trace, &credentials).await;
        }
        self.verdict.judge(trace, ended?, lead, hidden).await
    }

    /// Leaves out of the round's times what was done before it; how long that took.
    fn begin(&self, trace: &mut Trace) -> Duration {
        if self.auth.is_none() && self.outline.is_plain() {
            return Duration::ZERO;
        }
        trace.restart(Phase::Resolve);
        trace.elapsed()
    }

    /// The secrets of a round, and the token among them.
    async fn credentials(
        &self,
        trace: &mut Trace,
        refused: Option<&SecretString>,
    ) -> Result<(Credentials, Option<SecretString>), Failure> {
        let secrets = self.way.outbound.secrets();
        let mut credentials = Credentials::default();
        self.outline.secrets(secrets, &mut credentials).await?;
        if let Some(proxy) = &self.way.proxy {
            proxy.secrets(secrets, &mut credentials).await?;
        }
        let token = match &self.auth {
            Some(auth) => auth.authorize(trace, secrets, &mut credentials, refused).await?,
            None => None,
        };
        Ok((credentials, token))
    }

    /// Asks, and follows redirects to the last answer.
    async fn journey(&self, trace: &mut Trace, credentials: &Credentials) -> Result<Answer, Failure> {
        let mut journey = Journey::new(self.redirects.as_ref());
        let mut step = Step { url: self.first.url.clone(), method: self.outline.method.clone(), with_body: true };
        let mut other;
        let mut hop = &self.first;
        loop {
            let errand = Errand {
                outline: &self.outline,
                credentials,
                method: &step.method,
                with_body: step.with_body,
                wants: self.verdict.wants(),
            };
            let answer = self.way.fetch(trace, hop, errand).await.map_err(|failure| led(failure, &journey))?;
            let guard = self.way.outbound.guard();
            let next = journey.next(&step, &answer, guard, &credentials.hidden);
            if journey.steps() > 0 {
                trace.fact("redirects", journey.steps());
            }
            let Some(next) = next? else {
                if journey.steps() > 0 {
                    let url = shown_url(&step.url);
                    trace.fact("finalUrl", text_without(&url, &credentials.hidden));
                }
                return Ok(answer);
            };
            let there = text_without(&shown_url(&next.url), &credentials.hidden);
            trace.log(format!("redirected to {there}"));
            other = self.way.hop(next.url.clone()).map_err(|error| {
                Failure::new(Reason::Redirect, format!("the redirect leads to {there}: {}", error.why))
            })?;
            hop = &other;
            step = next;
            Way::turn(trace);
        }
    }
}

/// A failure behind a redirect: that it leads to where nobody may go is the target's fault.
fn led(failure: Failure, journey: &Journey) -> Failure {
    if journey.steps() > 0 && failure.reason == Reason::Forbidden {
        return Failure { reason: Reason::Redirect, ..failure };
    }
    failure
}

fn text_without(text: &str, hidden: &[SecretString]) -> String {
    String::from_utf8_lossy(&hide(text.as_bytes(), hidden)).into_owned()
}

/// A failure whose message repeats no secret.
fn without(mut failure: Failure, hidden: &[SecretString]) -> Failure {
    failure.message = text_without(&failure.message, hidden);
    failure
}

impl Verdict {
    /// How much of a body matters; a compressed one is needed as a whole.
    fn wants(&self) -> Wants {
        let content = if self.compression { MAX_BODY } else { MAX_EXCERPT };
        let wants = Wants { content, length: 0 }.and(self.must.wants());
        self.should.as_ref().map_or(wants, |should| wants.and(should.wants()))
    }

    /// Judges an answer; `lead` is the time of the round that does not count.
    async fn judge(
        &self,
        trace: &mut Trace,
        answer: Answer,
        lead: Duration,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let took = trace.elapsed().saturating_sub(lead);
        let answer = if self.compression { unpacked(trace, answer).await? } else { answer };
        if let Some(modified) = answer.headers.text("last-modified").and_then(date::read_date) {
            trace.fact("lastModified", modified.to_string());
        }
        let seen = Seen::new(&answer, took, &*self.clock, hidden);
        self.must.judge(&seen).await?;
        match &self.should {
            Some(should) => should.judge(&seen).await.map_err(Failure::degraded),
            None => Ok(()),
        }
    }
}

/// The answer with its body decompressed, where it is compressed and at hand as a whole.
async fn unpacked(trace: &mut Trace, mut answer: Answer) -> Result<Answer, Failure> {
    let failed = |error: UnpackError| {
        let reason = if error == UnpackError::TooLarge { Reason::Size } else { Reason::Protocol };
        Failure::new(reason, format!("status {}, and {error}", answer.status))
    };
    // Without a byte there is nothing to decompress, as in the answer to a HEAD.
    let Some(coding) = Coding::of(&answer.headers).map_err(failed)?.filter(|_| answer.size > 0) else {
        return Ok(answer);
    };
    if !answer.whole() {
        answer.ended = false;
        return Ok(answer);
    }
    let sink = coding.unpack(&answer.body).await.map_err(failed)?;
    trace.fact("uncompressedBytes", sink.received);
    (answer.body, answer.size) = (sink.kept, sink.received);
    Ok(answer)
}

#[cfg(test)]
mod tests;
