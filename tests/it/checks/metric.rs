//! The check `metric`: against a real Prometheus, and against servers that answer badly.

use std::time::Duration;

use probegate::checks::metric::MetricKind;
use probegate::model::{Outcome, Report};
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::matchers::{body_string_contains, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::peers::{closed_port, outbound};
use super::real::Real;
use super::world::{check, context, try_check};

fn kind(default: Option<&str>) -> MetricKind {
    MetricKind::new(outbound(), default.map(|url| url.parse().unwrap()))
}

async fn ask(server: &str, metric: Value) -> Report {
    check(&kind(Some(server)), json!({"metric": metric})).execute(&context()).await
}

/// A server that gives one answer to everything.
async fn server(status: u16, body: Value) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(status).set_body_json(body)).mount(&server).await;
    server
}

fn vector(samples: &[(&str, &str)]) -> Value {
    let now = context().now.as_second();
    let result: Vec<Value> =
        samples.iter().map(|(pod, value)| json!({"metric": {"pod": pod}, "value": [now, value]})).collect();
    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
}

/// A series with a value for each step of 15 seconds up to now.
fn matrix(values: &[&str]) -> Value {
    let now = context().now.as_second();
    let count = i64::try_from(values.len()).unwrap();
    let points: Vec<Value> =
        values.iter().zip(0_i64..).map(|(value, index)| json!([now - (count - 1 - index) * 15, value])).collect();
    json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {"pod": "a"}, "values": points}]}})
}

#[tokio::test]
async fn a_real_server_answers_instant_and_range_queries() {
    let prometheus = Real::prometheus().await;
    let url = prometheus.url("");
    let up = |limit: Value| {
        let mut metric = json!({"query": "up{job=\"self\"}"});
        metric.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
        metric
    };
    // Until the first scrape there is no data, and no data is no pass.
    let mut report = ask(&url, up(json!({"min": 1}))).await;
    for _ in 0..200 {
        if report.outcome != Outcome::Unknown {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        report = ask(&url, up(json!({"min": 1}))).await;
    }
    assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
    assert!(report.summary.starts_with("1 of up{instance="), "{}", report.summary);
    assert!(report.summary.ends_with("is not below 1"), "{}", report.summary);

    let report = ask(&url, up(json!({"max": "0.5"}))).await;
    assert_eq!(report.outcome, Outcome::Fail);
    assert!(report.summary.ends_with("is above 0.5"), "{}", report.summary);
    assert_eq!((&report.evidence["seriesCount"], &report.evidence["threshold"]), (&json!(1), &json!({"max": "0.5"})));

    let report = ask(&url, json!({"query": "scalar(vector(3))", "max": 3})).await;
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Pass, "3 is not above 3"));

    let report = ask(&url, json!({"query": "vector(3)", "max": 2, "for": "1m", "step": "5s"})).await;
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Fail, "3 is above 2 for all of the last 60 s"));
    assert!(report.since.is_some());

    // The server has only just begun: the series is younger than the range.
    let mut report = ask(&url, up(json!({"min": 2, "for": "10m"}))).await;
    while report.summary.starts_with("no data") {
        tokio::time::sleep(Duration::from_millis(100)).await;
        report = ask(&url, up(json!({"min": 2, "for": "10m"}))).await;
    }
    assert_eq!(report.outcome, Outcome::Pending, "{report:?}");
    let report = ask(&url, up(json!({"min": 1, "for": "10m"}))).await;
    assert_eq!(report.outcome, Outcome::Unknown, "{report:?}");
    assert!(report.summary.starts_with("too few points of up{"), "{}", report.summary);

    let report = ask(&url, json!({"query": "sum(", "max": 1})).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("bad_data") && report.summary.contains("parse error"), "{}", report.summary);

    let report = ask(&url, json!({"query": "absent_metric", "max": 1})).await;
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Unknown, "no data: the query gives no sample"));
    let report = ask(&url, json!({"query": "vector(0) / 0", "max": 1})).await;
    assert_eq!(report.outcome, Outcome::Unknown, "{report:?}");
}

#[tokio::test]
async fn a_target_with_an_evil_name_changes_no_query_of_a_real_server() {
    let prometheus = Real::prometheus().await;
    let metric = json!({"query": "vector(5) unless on() absent({job=\"${target}\"})", "max": 1});
    let check = check(&kind(Some(&prometheus.url(""))), json!({"metric": metric}));
    for target in ["a\"}) or vector(0) #", "a\\", "a'b`c\n", "ü€😀", "\u{0}"] {
        let mut context = context();
        context.question.change.target = target.to_owned();
        let report = check.execute(&context).await;
        // Nothing has this label: the query is well formed and gives nothing.
        assert_eq!(report.summary, "no data: the query gives no sample", "{target:?}");
    }
}

#[tokio::test]
async fn every_series_is_judged_and_the_worst_is_named() {
    let server = server(200, vector(&[("a", "0.1"), ("b", "0.9"), ("c", "0.7")])).await;
    let report = ask(&server.uri(), json!({"query": "errors", "max": "0.5"})).await;
    assert_eq!(report.outcome, Outcome::Fail);
    assert_eq!(report.summary, "0.9 of {pod=\"b\"} is above 0.5, and 1 more series");
    assert_eq!(report.evidence["series"][0]["labels"], json!({"pod": "b"}));
}

#[rstest]
#[case::no_number(200, vector(&[("a", "0.1"), ("b", "NaN")]), "no data: the value of {pod=\"b\"} is no number")]
#[case::nothing(200, vector(&[]), "no data: the query gives no sample")]
#[case::partial(
    200,
    json!({"status": "success", "data": {"resultType": "vector", "result": []}, "warnings": ["store eu: timeout"]}),
    "the answer is not whole: store eu: timeout"
)]
#[case::an_error(
    422,
    json!({"status": "error", "errorType": "execution", "error": "many-to-many matching"}),
    "status 422: execution: many-to-many matching"
)]
#[case::stale(
    200,
    json!({"status": "success", "data": {"resultType": "scalar", "result": [1_700_000_000, "1"]}}),
    "old: it says nothing about now"
)]
#[tokio::test]
async fn what_is_no_data_is_unknown(#[case] status: u16, #[case] body: Value, #[case] why: &str) {
    let server = server(status, body).await;
    let report = ask(&server.uri(), json!({"query": "errors", "max": "0.5"})).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains(why), "{}", report.summary);
    assert_eq!(report.evidence["query"], json!("errors"));
}

#[rstest]
#[case::long_enough(&["2", "2", "2", "2", "2"], Outcome::Fail, "2 of {pod=\"a\"} is above 1 for all of the last 60 s")]
#[case::not_yet(&["0", "0", "2", "2", "2"], Outcome::Pending, "2 of {pod=\"a\"} is above 1 for 30 s; 60 s fail")]
#[case::over(&["2", "2", "2", "0", "0"], Outcome::Pass, "2 of {pod=\"a\"} is above 1")]
#[case::too_few(&["0", "0"], Outcome::Unknown, "too few points of {pod=\"a\"}: 2 of 5")]
#[tokio::test]
async fn only_a_lasting_stretch_fails(#[case] values: &[&str], #[case] outcome: Outcome, #[case] summary: &str) {
    let server = server(200, matrix(values)).await;
    let report = ask(&server.uri(), json!({"query": "errors", "max": 1, "for": "1m"})).await;
    assert_eq!((report.outcome, report.summary.as_str()), (outcome, summary));
}

#[tokio::test]
async fn the_query_is_sent_with_its_names_filled_in() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/prometheus/api/v1/query"))
        .and(body_string_contains("cluster%3D%22eu-1%22"))
        .respond_with(ResponseTemplate::new(200).set_body_json(vector(&[("a", "1")])))
        .mount(&server)
        .await;
    let metric = json!({
        "server": format!("{}/prometheus/", server.uri()),
        "query": "x{cluster=\"${cluster}\",app=~\"${target}\",v=\"${revision}\"}",
        "max": 1,
    });
    let report = check(&kind(None), json!({"metric": metric})).execute(&context()).await;
    assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
    assert_eq!(report.evidence["query"], json!("x{cluster=\"eu-1\",app=~\"checkout\",v=\"v42\"}"));
}

#[tokio::test]
async fn a_server_in_trouble_is_unknown_in_time() {
    let url = format!("http://{}", closed_port().await);
    let report = ask(&url, json!({"query": "up", "min": 1})).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.contains("refused"), "{}", report.summary);

    let slow = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(method("POST")).respond_with(late).mount(&slow).await;
    let mut context = context();
    context.timeout = Duration::from_millis(200);
    let check = check(&kind(Some(&slow.uri())), json!({"metric": {"query": "up", "min": 1}}));
    let report = check.execute(&context).await;
    assert_eq!(report.outcome, Outcome::Unknown);
    assert!(report.summary.ends_with("no answer within 190 ms"), "{}", report.summary);
}

#[rstest]
#[case(json!({"query": "up", "min": 1}), "metric.server: no server is named")]
#[case(json!({"query": "up", "min": 1, "server": "prometheus"}), "metric.server: `prometheus` is no URL")]
#[case(json!({"query": "up", "min": 1, "server": "http://169.254.169.254/"}), "metric.server: 169.254.169.254 is a link-local")]
#[case(json!({"query": "up", "min": 1, "server": "http://u:p@x/"}), "metric.server: a URL must not carry a user")]
#[case(json!({"query": "up", "server": "http://x/"}), "metric: say what is allowed")]
#[case(json!({"query": "up", "server": "http://x/", "min": 2, "max": 1}), "metric: nothing is allowed")]
#[case(json!({"query": "sum(${target})", "server": "http://x/", "min": 2}), "metric.query: `${target}` must stand inside")]
#[case(json!({"query": "up", "server": "http://x/", "min": 2, "step": "5s"}), "metric.step: it belongs to a range query")]
#[case(json!({"query": "up", "server": "http://x/", "min": 2, "for": "8d"}), "metric.for: `8d` is not allowed")]
#[case(json!({"query": "up", "server": "http://x/", "min": 2, "for": "7d", "step": "10s"}), "metric.step: `for` has 60480 steps")]
#[case(json!({"query": "up", "server": "http://x/", "min": 2, "for": "1m", "step": "2m"}), "metric.step: `2m` is not allowed")]
#[test]
fn a_check_that_makes_no_sense_does_not_compile(#[case] metric: Value, #[case] message: &str) {
    let error = try_check(&kind(None), &json!({"metric": metric})).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}
