//! What an HTTP answer must be: pure.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use secrecy::SecretString;

use crate::api::HttpExpect;
use crate::outbound::hide;
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::{MAX_REGEX, MAX_SHOWN, show};

/// The compiled expectations of an HTTP probe.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    /// Allowed status codes; empty for any 2xx.
    status: Vec<u16>,
    contains: Option<String>,
    matches: Option<Regex>,
    excludes: Option<String>,
    latency: Option<Duration>,
}

impl Expectations {
    pub(super) fn compile(spec: Option<&HttpExpect>) -> Result<Self, SpecError> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        if let Some(status) = spec.status.iter().find(|status| !(100..=599).contains(*status)) {
            return Err(SpecError::new("http.expect.status", format!("{status} is no status: 100 to 599 are allowed")));
        }
        if spec.latency.is_some_and(|latency| latency.max.is_zero()) {
            return Err(SpecError::new("http.expect.latency.max", "it is 0: no answer could be so fast"));
        }
        let body = spec.body.clone().unwrap_or_default();
        let regex = body.matches.as_deref().map(|text| RegexBuilder::new(text).size_limit(MAX_REGEX).build());
        Ok(Self {
            status: spec.status.clone(),
            contains: body.contains,
            matches: regex
                .transpose()
                .map_err(|error| SpecError::new("http.expect.body.matches", error.to_string()))?,
            excludes: body.excludes,
            latency: spec.latency.map(|latency| latency.max.to_std()),
        })
    }

    /// Whether an answer is as expected.
    pub(super) fn judge(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        let status = answer.status;
        let allowed = if self.status.is_empty() { (200..300).contains(&status) } else { self.status.contains(&status) };
        if !allowed {
            let expected = match self.status.as_slice() {
                [] => "2xx".to_owned(),
                some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            };
            let message = format!("status {status} where {expected} is expected; body {}", answer.shown());
            return Err(Failure::new(Reason::Status, message));
        }
        self.judge_body(answer)?;
        match self.latency {
            Some(max) if answer.took > max => {
                let message = format!("took {} ms where {} are allowed", answer.took.as_millis(), max.as_millis());
                Err(Failure::new(Reason::Latency, message).degraded())
            }
            _ => Ok(()),
        }
    }

    fn judge_body(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        let wrong = |message: String| Err(Failure::new(Reason::Body, message));
        let looked_at = self.contains.is_some() || self.matches.is_some() || self.excludes.is_some();
        if !answer.whole && looked_at {
            let message = format!("the body is larger than the {} bytes that are read", answer.body.len());
            return Err(Failure::new(Reason::Size, message));
        }
        let stands = |text: &String| find(answer.body, text.as_bytes());
        if let Some(text) = self.contains.as_ref().filter(|text| !stands(text)) {
            return wrong(format!("the body does not contain {text:?}: {}", answer.shown()));
        }
        if let Some(regex) = self.matches.as_ref().filter(|regex| !regex.is_match(answer.body)) {
            return wrong(format!("the body does not match `{regex}`: {}", answer.shown()));
        }
        if let Some(text) = self.excludes.as_ref().filter(|text| stands(text)) {
            return wrong(format!("the body contains {text:?}"));
        }
        Ok(())
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// Whether `body` is all of it.
    pub(super) whole: bool,
    /// The time from the start of the round to the end of the body.
    pub(super) took: Duration,
    /// Secrets that were sent: they are not shown.
    pub(super) hidden: &'a [SecretString],
}

impl Answer<'_> {
    fn shown(&self) -> String {
        show(&hide(self.body, self.hidden), MAX_SHOWN)
    }
}

/// Whether `needle` stands in `body`.
fn find(body: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || body.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HttpBody, HttpLatency};
    use crate::model::Period;
    use rstest::rstest;

    fn answer(status: u16, body: &str, whole: bool) -> Answer<'_> {
        Answer { status, body: body.as_bytes(), whole, took: Duration::ZERO, hidden: &[] }
    }

    fn expectations() -> Expectations {
        let body =
            HttpBody { contains: Some("ok".into()), matches: Some("^[a-z ]+$".into()), excludes: Some("bad".into()) };
        let latency = HttpLatency { max: Period::from_millis(300), severity: None };
        let spec = HttpExpect { status: vec![200, 204], body: Some(body), latency: Some(latency) };
        Expectations::compile(Some(&spec)).unwrap()
    }

    #[rstest]
    #[case(200, "all ok", 100, None)]
    #[case(204, "ok", 300, None)]
    #[case(201, "ok", 1, Some(Reason::Status))]
    #[case(200, "all", 1, Some(Reason::Body))]
    #[case(200, "ok 1", 1, Some(Reason::Body))]
    #[case(200, "ok bad", 1, Some(Reason::Body))]
    #[case(200, "ok", 301, Some(Reason::Latency))]
    #[case(500, "ok", 301, Some(Reason::Status))]
    fn everything_given_must_hold(
        #[case] status: u16,
        #[case] body: &str,
        #[case] millis: u64,
        #[case] reason: Option<Reason>,
    ) {
        let took = Duration::from_millis(millis);
        let judged = expectations().judge(&Answer { took, ..answer(status, body, true) });
        assert_eq!(judged.err().map(|failure| failure.reason), reason);
    }

    #[rstest]
    #[case(199, false)]
    #[case(200, true)]
    #[case(299, true)]
    #[case(301, false)]
    fn without_a_list_any_2xx_will_do(#[case] status: u16, #[case] good: bool) {
        assert_eq!(Expectations::default().judge(&answer(status, "", false)).is_ok(), good);
    }

    #[test]
    fn a_body_that_is_cut_cannot_be_judged_by_its_content() {
        let failure = expectations().judge(&answer(200, "ok", false)).unwrap_err();
        assert_eq!(failure.reason, Reason::Size);
    }

    #[test]
    fn a_broken_expression_names_its_field() {
        let body = HttpBody { matches: Some("(".into()), ..HttpBody::default() };
        let spec = HttpExpect { body: Some(body), ..HttpExpect::default() };
        let error = Expectations::compile(Some(&spec)).unwrap_err();
        assert_eq!(error.field, "http.expect.body.matches");
    }

    #[test]
    fn a_body_that_repeats_a_secret_is_not_shown_with_it() {
        let hidden = ["s3cret".into()];
        let failure = Expectations::default().judge(&Answer { hidden: &hidden, ..answer(403, "no s3cret", true) });
        assert_eq!(failure.unwrap_err().message, "status 403 where 2xx is expected; body \"no [hidden]\"");
    }
}
