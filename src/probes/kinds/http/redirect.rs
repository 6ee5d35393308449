//! Where redirects lead: pure.

use secrecy::SecretString;
use url::Url;

use super::answer::{Answer, shown};
use crate::api::HttpRedirects;
use crate::outbound::{Guard, shown_url};
use crate::probes::result::{Failure, Reason};

/// Where a round stands on its way through redirects.
#[derive(Debug)]
pub(super) struct Journey {
    max: usize,
    allow_downgrade: bool,
    /// Where it has been: method and URL.
    been: Vec<(String, Url)>,
}

/// The next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) url: Url,
    pub(super) method: String,
    pub(super) with_body: bool,
}

impl Journey {
    /// Begins; without rules no redirect is followed.
    pub(super) fn new(rules: Option<&HttpRedirects>) -> Self {
        Self {
            max: rules.map_or(0, |rules| usize::try_from(rules.max).unwrap_or(usize::MAX)),
            allow_downgrade: rules.is_some_and(|rules| rules.allow_downgrade),
            been: Vec::new(),
        }
    }

    /// How many redirects were followed.
    pub(super) const fn steps(&self) -> usize {
        self.been.len()
    }

    /// Where an answer to `from` leads; `None` where it is the last one.
    ///
    /// # Errors
    /// It leads too far, round in a circle, to where nobody may go, or nowhere.
    pub(super) fn next(
        &mut self,
        from: &Step,
        answer: &Answer,
        guard: &Guard,
        hidden: &[SecretString],
    ) -> Result<Option<Step>, Failure> {
        if self.max == 0 || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let wrong = |message: String| Err(Failure::new(Reason::Redirect, message));
        let status = answer.status;
        let Some(location) = answer.headers.all("location").next() else {
            return wrong(format!("status {status} leads nowhere: there is no Location"));
        };
        let parsed = std::str::from_utf8(location).ok().and_then(|text| from.url.join(text.trim()).ok());
        let Some(mut url) = parsed else {
            return wrong(format!("status {status} leads to {}, which is no URL", shown(location, hidden)));
        };
        url.set_fragment(None);
        let there = shown_url(&url);
        if let Err(refused) = guard.check_url(&url) {
            return wrong(format!("status {status} leads to where no request may go: {refused}"));
        }
        if from.url.scheme() == "https" && url.scheme() == "http" && !self.allow_downgrade {
            return wrong(format!("status {status} leads from https to {there}, without TLS"));
        }
        let method = method_after(status, &from.method);
        let with_body = from.with_body && method == from.method;
        self.been.push((from.method.clone(), from.url.clone()));
        if self.been.iter().any(|(old, been)| *old == method && *been == url) {
            return wrong(format!("the redirects go round in a circle, back to {there}"));
        }
        if self.been.len() > self.max {
            return wrong(format!("more than {} redirects; the next one leads to {there}", self.max));
        }
        Ok(Some(Step { url, method: method.to_owned(), with_body }))
    }
}

/// The method of the next request (RFC 9110, 15.4).
fn method_after(status: u16, method: &str) -> &str {
    match (status, method) {
        (303, "HEAD") => method,
        (303, _) | (301 | 302, "POST") => "GET",
        _ => method,
    }
}

/// Whether what is meant for `own` may go to `other`: the same host, port and scheme, or the same
/// host's own step up to https.
pub(super) fn is_trusted(own: &Url, other: &Url) -> bool {
    let usual = |url: &Url| url.port().is_none();
    let same_port = own.port_or_known_default() == other.port_or_known_default();
    let step_up = own.scheme() == "http" && other.scheme() == "https" && usual(own) && usual(other);
    own.host_str() == other.host_str() && (step_up || (own.scheme() == other.scheme() && same_port))
}

#[cfg(test)]
mod tests {
    use super::super::head::{Headers, Version};
    use super::*;
    use rstest::rstest;

    fn answer(status: u16, location: Option<&str>) -> Answer {
        let location = location.map(|location| (b"Location".as_slice(), location.as_bytes()));
        Answer {
            version: Version::Http11,
            status,
            headers: Headers::collect(location.into_iter()),
            body: Vec::new(),
            size: 0,
            ended: true,
            secured: None,
        }
    }

    fn step(method: &str, url: &str) -> Step {
        Step { url: url.parse().unwrap(), method: method.to_owned(), with_body: method == "POST" }
    }

    fn journey() -> Journey {
        Journey::new(Some(&HttpRedirects { max: 3, allow_downgrade: false }))
    }

    #[rstest]
    #[case(301, "GET", "/b", "GET", "http://shop/b")]
    #[case(302, "POST", "/b", "GET", "http://shop/b")]
    #[case(303, "PUT", "b?c#d", "GET", "http://shop/b?c")]
    #[case(303, "HEAD", "b", "HEAD", "http://shop/b")]
    #[case(307, "POST", "https://other:8443/", "POST", "https://other:8443/")]
    #[case(308, "POST", "//other/x", "POST", "http://other/x")]
    fn a_redirect_is_followed(
        #[case] status: u16,
        #[case] method: &str,
        #[case] location: &str,
        #[case] next: &str,
        #[case] url: &str,
    ) {
        let from = step(method, "http://shop/a");
        let next_step = journey().next(&from, &answer(status, Some(location)), &Guard::new(), &[]).unwrap().unwrap();
        assert_eq!(next_step, Step { with_body: next == "POST", ..step(next, url) });
    }

    #[rstest]
    #[case(200, Some("/b"))]
    #[case(304, None)]
    #[case(300, Some("/b"))]
    fn other_answers_are_the_last(#[case] status: u16, #[case] location: Option<&str>) {
        let from = step("GET", "http://shop/a");
        assert_eq!(journey().next(&from, &answer(status, location), &Guard::new(), &[]), Ok(None));
        assert_eq!(Journey::new(None).next(&from, &answer(302, Some("/b")), &Guard::new(), &[]), Ok(None));
    }

    #[rstest]
    #[case(None, "leads nowhere")]
    #[case(Some("http://[::"), "is no URL")]
    #[case(Some("http://shop/b?token=x"), "from https to http://shop/b?…, without TLS")]
    #[case(Some("https://169.254.169.254/"), "no request may go")]
    #[case(Some("https://user:pass@shop/"), "no request may go")]
    #[case(Some("file:///etc/passwd"), "no request may go")]
    #[case(Some("/a"), "round in a circle")]
    fn a_bad_redirect_says_why(#[case] location: Option<&str>, #[case] why: &str) {
        let from = step("GET", "https://shop/a");
        let failure = journey().next(&from, &answer(302, location), &Guard::new(), &[]).unwrap_err();
        assert_eq!(failure.reason, Reason::Redirect);
        assert!(failure.message.contains(why) && !failure.message.contains("token"), "{}", failure.message);
    }

    #[test]
    fn a_long_way_has_an_end() {
        let mut journey = journey();
        let mut at = step("GET", "http://shop/0");
        for turn in 1..=3 {
            at = journey.next(&at, &answer(302, Some(&format!("/{turn}"))), &Guard::new(), &[]).unwrap().unwrap();
        }
        let failure = journey.next(&at, &answer(302, Some("/4")), &Guard::new(), &[]).unwrap_err();
        assert_eq!(failure.message, "more than 3 redirects; the next one leads to http://shop/4");
    }

    #[rstest]
    #[case("http://shop/", "http://shop/x", true)]
    #[case("http://shop/", "https://shop/", true)]
    #[case("https://shop/", "https://shop:443/", true)]
    #[case("http://shop:80/", "http://shop/", true)]
    #[case("https://shop/", "http://shop/", false)]
    #[case("http://shop:8080/", "https://shop/", false)]
    #[case("https://shop/", "https://shop:8443/", false)]
    #[case("https://shop/", "https://other/", false)]
    #[case("https://shop/", "https://shop.example/", false)]
    fn secrets_stay_where_they_belong(#[case] own: &str, #[case] other: &str, #[case] trusted: bool) {
        assert_eq!(is_trusted(&own.parse().unwrap(), &other.parse().unwrap()), trusted);
    }
}
