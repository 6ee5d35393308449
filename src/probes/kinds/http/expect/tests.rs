use super::super::head::Headers;
use super::*;
use rstest::rstest;
use serde_json::json;

/// A clock that stands still at 2026-01-01.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn about(field: &str) -> About<'_> {
    About { field, secure: true, bodied: true, version: HttpVersion::Any }
}

fn must(spec: Value) -> Result<Arc<Expectations>, SpecError> {
    let spec: HttpExpect = serde_json::from_value(spec).unwrap();
    Expectations::must(Some(&spec), about("http.expect"))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    Answer {
        version: Version::Http11,
        status,
        headers: Headers::collect(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))),
        body: body.into(),
        size: body.len() as u64,
        ended: true,
        secured: None,
    }
}

/// A healthy answer by TLS 1.2 with a certificate up to 2026-01-15.
fn healthy() -> Answer {
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Node", "a"),
        ("X-Node", "b"),
        ("Last-Modified", "Wed, 31 Dec 2025 23:00:00 GMT"),
    ];
    let body = r#"{"ok": true, "nodes": [{"up": 1}, {"up": 1.0}], "name": "shop", "none": null}"#;
    let not_after = Some("2026-01-15T00:00:00Z".parse().unwrap());
    let secured = Some(Secured { version: Some(TlsVersion::V1_2), not_after });
    Answer { secured, ..answer(200, &headers, body) }
}

async fn judged(spec: Value, answer: &Answer) -> Result<(), Failure> {
    must(spec).unwrap().judge(&Seen::new(answer, Duration::from_millis(300), &Still, &[])).await
}

#[rstest]
#[case(json!({}))]
#[case(json!({"status": [200, 204]}))]
#[case(json!({"version": "1.1", "tlsVersion": "1.2"}))]
#[case(json!({"certificate": {"validFor": "14d"}}))]
#[case(json!({"headers": [{"name": "x-node"}]}))]
#[case(json!({"headers": [{"name": "x-node", "equals": "b", "matches": "^b$"}]}))]
#[case(json!({"headers": [{"name": "x-fault", "absent": true}, {"name": "x-node", "equals": "c", "absent": true}]}))]
#[case(json!({"body": {"contains": "ok", "matches": "\"up\": *1", "excludes": "down", "notMatches": "fals[e]"}}))]
#[case(json!({"json": [{"path": "$.ok"}, {"path": "$.nodes[*].up", "equals": 1}]}))]
#[case(json!({"json": [{"path": "$.nodes", "equals": [{"up": 1.0}, {"up": 1}]}, {"path": "$.none", "equals": null}]}))]
#[case(json!({"json": [{"path": "$.name", "matches": "^shop$"}, {"path": "$.nodes[?@.up == 1]"}]}))]
#[case(json!({"rule": "status == 200 && json.ok && headers[\"x-node\"] == \"a, b\""}))]
#[case(json!({"rule": "body.contains(\"shop\") && seconds < 1.0"}))]
#[case(json!({"size": {"min": 10, "max": 1000}}))]
#[case(json!({"lastModified": {"maxAge": "1h"}}))]
#[case(json!({"latency": {"max": "300ms"}}))]
#[tokio::test]
async fn a_healthy_answer_is_as_expected(#[case] spec: Value) {
    assert_eq!(judged(spec, &healthy()).await, Ok(()));
}

#[rstest]
#[case(json!({"status": [201, 204]}), Reason::Status, "status 200 where 201 or 204 is expected; body \"{")]
#[case(json!({"version": "2"}), Reason::Protocol, "the answer came by HTTP/1.1 where HTTP/2 is expected")]
#[case(json!({"tlsVersion": "1.3"}), Reason::Tls, "the answer came by TLS 1.2 where TLS 1.3 is expected")]
#[case(
    json!({"certificate": {"validFor": "14d1s"}}),
    Reason::Certificate,
    "a certificate of the chain ends at 2026-01-15T00:00:00Z, where it must be valid for 14d1s"
)]
#[case(json!({"headers": [{"name": "x-fault"}]}), Reason::Header, "header `x-fault` is not there where it must be")]
#[case(
    json!({"headers": [{"name": "x-fault", "equals": "no"}]}),
    Reason::Header,
    "header `x-fault` is not there, where \"no\" is expected"
)]
#[case(
    json!({"headers": [{"name": "X-Node", "matches": "^c"}]}),
    Reason::Header,
    "header `X-Node` is \"a\" (and 1 more), where a match of `^c` is expected"
)]
#[case(
    json!({"headers": [{"name": "X-Node", "absent": true}]}),
    Reason::Header,
    "header `X-Node` is \"a\", which must not be"
)]
#[case(
    json!({"headers": [{"name": "X-Node", "equals": "b", "absent": true}]}),
    Reason::Header,
    "header `X-Node` is \"b\", which must not be"
)]
#[case(json!({"body": {"contains": "down"}}), Reason::Body, "the body does not contain \"down\": \"{")]
#[case(json!({"body": {"matches": "^ok"}}), Reason::Body, "the body does not match `^ok`: \"{")]
#[case(json!({"body": {"excludes": "shop"}}), Reason::Body, "the body contains \"shop\", which must not be")]
#[case(json!({"body": {"notMatches": "sh.p"}}), Reason::Body, "the body matches `sh.p` with \"shop\", which must not be")]
#[case(json!({"json": [{"path": "$.absent"}]}), Reason::Json, "$.absent selects nothing in \"{")]
#[case(
    json!({"json": [{"path": "$.nodes[*].up", "equals": "1"}]}),
    Reason::Json,
    "$.nodes[*].up is \"1\" where `\"1\"` is expected"
)]
#[case(json!({"json": [{"path": "$.ok", "equals": false}]}), Reason::Json, "$.ok is \"true\" where `false` is expected")]
#[case(
    json!({"json": [{"path": "$.name", "matches": "^x"}]}),
    Reason::Json,
    "$.name is \"shop\", which does not match `^x`"
)]
#[case(json!({"rule": "json.ok == false"}), Reason::Rule, "`json.ok == false` is false; status 200, body \"{")]
#[case(json!({"rule": "json.absent.deep"}), Reason::Rule, "`json.absent.deep` cannot be judged: line 1, column")]
#[case(json!({"size": {"max": 10}}), Reason::Size, "the body has 77 bytes where at most 10 are expected")]
#[case(json!({"size": {"min": 100}}), Reason::Size, "the body has 77 bytes where at least 100 are expected")]
#[case(
    json!({"lastModified": {"maxAge": "59m"}}),
    Reason::Age,
    "last modified at 2025-12-31T23:00:00Z, 3600 s ago, where 59m are allowed"
)]
#[case(
    json!({"latency": {"max": "299ms", "severity": "down"}}),
    Reason::Latency,
    "took 300.0 ms where 299 ms are allowed"
)]
#[tokio::test]
async fn whatever_is_not_as_expected_is_told_with_what_was_found(
    #[case] spec: Value,
    #[case] reason: Reason,
    #[case] message: &str,
) {
    let failure = judged(spec, &healthy()).await.unwrap_err();
    assert!(failure.reason == reason && failure.message.starts_with(message) && !failure.degraded, "{failure:?}");
}

#[rstest]
#[case(json!({"tlsVersion": "1.2"}), Reason::Tls)]
#[case(json!({"certificate": {"validFor": "1s"}}), Reason::Certificate)]
#[case(json!({"lastModified": {"maxAge": "1h"}}), Reason::Age)]
#[case(json!({"json": [{"path": "$"}]}), Reason::Json)]
#[case(json!({"rule": "json.ok"}), Reason::Rule)]
#[tokio::test]
async fn what_is_not_there_is_not_as_expected(#[case] spec: Value, #[case] reason: Reason) {
    let failure = judged(spec, &answer(200, &[], "<html>")).await.unwrap_err();
    assert_eq!(failure.reason, reason, "{failure:?}");
}

#[rstest]
#[case(199, false)]
#[case(200, true)]
#[case(299, true)]
#[case(301, false)]
#[tokio::test]
async fn without_a_list_any_2xx_will_do_and_under_warn_any_at_all(#[case] status: u16, #[case] good: bool) {
    let answer = answer(status, &[], "");
    let seen = Seen::new(&answer, Duration::ZERO, &Still, &[]);
    let must = Expectations::must(None, about("http.expect")).unwrap();
    assert_eq!(must.judge(&seen).await.is_ok(), good);
    let should = Expectations::should(Some(&HttpExpect::default()), about("http.warn")).unwrap().unwrap();
    assert_eq!(should.judge(&seen).await, Ok(()));
}

#[tokio::test]
async fn a_slow_answer_is_degraded_unless_said_otherwise_and_other_faults_come_first() {
    let failure = judged(json!({"latency": {"max": "100ms"}}), &healthy()).await.unwrap_err();
    assert!(failure.degraded && failure.reason == Reason::Latency, "{failure:?}");
    let spec = json!({"latency": {"max": "100ms"}, "body": {"contains": "down"}});
    assert_eq!(judged(spec, &healthy()).await.unwrap_err().reason, Reason::Body);
}

#[tokio::test]
async fn a_body_that_is_cut_cannot_be_judged_by_its_content() {
    let cut = Answer { ended: false, size: 2 << 20, ..answer(200, &[], "ok") };
    for spec in [json!({"body": {"contains": "ok"}}), json!({"json": [{"path": "$"}]}), json!({"rule": "body == \"\""})]
    {
        assert_eq!(judged(spec, &cut).await.unwrap_err().reason, Reason::Size);
    }
    assert_eq!(judged(json!({"size": {"min": 3}}), &cut).await, Ok(()));
    let failure = judged(json!({"size": {"max": 10}}), &cut).await.unwrap_err();
    assert_eq!(failure.message, "the body has more than 2097152 bytes where at most 10 are expected");
    assert_eq!(judged(json!({"rule": "status == 200"}), &cut).await, Ok(()));
}

#[tokio::test]
async fn what_repeats_a_secret_is_not_shown_with_it() {
    let answer = answer(403, &[("x-echo", "s3cret")], r#"{"echo": "s3cret"}"#);
    let hidden = ["s3cret".into()];
    for spec in [
        json!({}),
        json!({"status": [403], "headers": [{"name": "x-echo", "absent": true}]}),
        json!({"status": [403], "body": {"contains": "absent"}}),
        json!({"status": [403], "body": {"notMatches": "s3.*t"}}),
        json!({"status": [403], "json": [{"path": "$.echo", "equals": 1}]}),
        json!({"status": [403], "json": [{"path": "$.echo", "matches": "^x"}]}),
        json!({"status": [403], "rule": "body == \"\""}),
    ] {
        let judged = must(spec).unwrap();
        let failure = judged.judge(&Seen::new(&answer, Duration::ZERO, &Still, &hidden)).await.unwrap_err();
        assert!(failure.message.contains("[hidden]") && !failure.message.contains("s3cret"), "{failure:?}");
    }
}

#[rstest]
#[case(json!({"status": [200, 99]}), "http.expect.status[1]")]
#[case(json!({"headers": [{"name": "a"}, {"name": "a b"}]}), "http.expect.headers[1].name")]
#[case(json!({"headers": [{"name": "a", "matches": "("}]}), "http.expect.headers[0].matches")]
#[case(json!({"body": {"matches": "("}}), "http.expect.body.matches")]
#[case(json!({"body": {"notMatches": "("}}), "http.expect.body.notMatches")]
#[case(json!({"json": [{"path": "$"}, {"path": "x["}]}), "http.expect.json[1].path")]
#[case(json!({"json": [{"path": "$", "matches": "("}]}), "http.expect.json[0].matches")]
#[case(json!({"json": [{"path": "$", "matches": "a", "equals": 1}]}), "http.expect.json[0]")]
#[case(json!({"rule": "let x = 1"}), "http.expect.rule")]
#[case(json!({"size": {}}), "http.expect.size")]
#[case(json!({"size": {"min": 2, "max": 1}}), "http.expect.size")]
#[case(json!({"version": "any"}), "http.expect.version")]
#[case(json!({"lastModified": {"maxAge": "0s"}}), "http.expect.lastModified.maxAge")]
#[case(json!({"latency": {"max": "0s"}}), "http.expect.latency.max")]
fn a_broken_field_is_named(#[case] spec: Value, #[case] field: &str) {
    assert_eq!(must(spec).unwrap_err().field, field);
}

#[rstest]
#[case(json!({"body": {"contains": "a"}}), "unix.http.warn.body")]
#[case(json!({"json": [{"path": "$"}]}), "unix.http.warn.json")]
#[case(json!({"size": {"min": 1}}), "unix.http.warn.size")]
#[case(json!({"tlsVersion": "1.3"}), "unix.http.warn.tlsVersion")]
#[case(json!({"certificate": {"validFor": "1d"}}), "unix.http.warn.certificate")]
#[case(json!({"version": "2"}), "unix.http.warn.version")]
fn what_no_answer_can_meet_is_refused(#[case] spec: Value, #[case] field: &str) {
    let spec: HttpExpect = serde_json::from_value(spec).unwrap();
    let about = About { field: "unix.http.warn", secure: false, bodied: false, version: HttpVersion::Http1 };
    assert_eq!(Expectations::should(Some(&spec), about).unwrap_err().field, field);
}
