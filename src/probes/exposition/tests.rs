use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::probes::result::{Durations, Facts, Log};
use rstest::rstest;

fn spec(value: Value) -> ProbeSpec {
    serde_json::from_value(value).unwrap()
}

fn seen(reason: Option<Reason>, phase: Option<Phase>, facts: &[(&'static str, Value)]) -> Observation {
    let mut durations = Durations::default();
    for (phase, millis) in Phase::ALL.iter().zip(1..) {
        durations.add(*phase, Duration::from_millis(millis));
    }
    let mut all = Facts::default();
    for (name, value) in facts {
        all.set(name, value.clone());
    }
    let message = Cow::Borrowed("");
    Observation { success: reason.is_none(), reason, phase, message, durations, facts: all, log: Log::default() }
}

fn certificate() -> Vec<(&'static str, Value)> {
    vec![
        ("address", json!("127.0.0.1:443")),
        ("tlsVersion", json!("1.3")),
        ("tlsCipher", json!("TLS_AES_128_GCM_SHA256")),
        ("certificateNotAfter", json!("2027-01-01T00:00:00Z")),
        (
            "certificate",
            json!({"subject": "O=Shop, CN=shop.example", "issuer": "CN=authority", "serial": "00ff01",
                   "names": ["shop.example", "127.0.0.1"], "sha256": "ab"}),
        ),
    ]
}

#[test]
fn an_https_round_has_the_metrics_that_dashboards_ask_for() {
    let facts = [
        certificate(),
        vec![
            ("status", json!(200)),
            ("httpVersion", json!("2")),
            ("bodyBytes", json!(120)),
            ("uncompressedBytes", json!(4_096)),
            ("contentLength", json!(120)),
            ("redirects", json!(1)),
            ("finalUrl", json!("https://shop.example/")),
            ("lastModified", json!("2026-01-01T00:00:00Z")),
        ],
    ];
    let http = spec(json!({"http": {"url": "http://shop.example/", "expect": {"rule": "status == 200"}}}));
    insta::assert_snapshot!(metrics(&http, &seen(None, None, &facts.concat())));
}

#[rstest]
#[case("tcp", json!({"tcp": {"address": "a:1", "tls": {}}}), certificate())]
#[case("dns", json!({"dns": {"server": "a", "name": "b", "type": "SOA"}}), vec![
    ("address", json!("[::1]:53")), ("rcode", json!("NOERROR")), ("answers", json!(1)), ("authorities", json!(2)),
    ("additionals", json!(3)), ("serial", json!(2_026_112_101_u32)),
])]
#[case("icmp", json!({"icmp": {"host": "a"}}), vec![
    ("address", json!("127.0.0.1")), ("rttAvg", json!(0.001)), ("ttl", json!(64)),
])]
#[case("grpc", json!({"grpc": {"address": "a:1"}}), vec![
    ("address", json!("127.0.0.1:1")), ("grpcStatus", json!("OK")), ("servingStatus", json!("NOT_SERVING")),
])]
#[case("unix", json!({"unix": {"path": "/run/x"}}), vec![("address", json!("/run/x"))])]
fn each_kind_has_its_metrics(#[case] name: &str, #[case] value: Value, #[case] facts: Vec<(&'static str, Value)>) {
    insta::assert_snapshot!(name, metrics(&spec(value), &seen(None, None, &facts)));
}

#[test]
fn a_failure_tells_its_reason_and_phase() {
    let http = spec(json!({"http": {"url": "https://shop.example/"}}));
    let text = metrics(&http, &seen(Some(Reason::Refused), Some(Phase::Connect), &[]));
    for line in [
        "probe_success 0",
        "probe_failure_info{phase=\"connect\",reason=\"refused\"} 1",
        "probe_http_status_code 0",
        "probe_http_ssl 0",
        "probe_http_content_length 0",
        "probe_ip_protocol 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("probe_ssl"), "{text}");
    let body = metrics(&http, &seen(Some(Reason::Body), Some(Phase::Transfer), &[("status", json!(200))]));
    assert!(body.contains("probe_failed_due_to_regex 1") && body.contains("probe_http_content_length -1"), "{body}");
}

#[rstest]
#[case("^SSH-", "regex", "bytes")]
#[case("(?s-u)\\ASSH\\x2d", "bytes", "regex")]
fn what_was_expected_tells_why_it_failed(#[case] expected: &str, #[case] failed: &str, #[case] not: &str) {
    let tcp = spec(json!({"tcp": {"address": "a:1", "expect": expected}}));
    let text = metrics(&tcp, &seen(Some(Reason::Expect), Some(Phase::Transfer), &[("expected", json!(expected))]));
    assert!(text.contains(&format!("probe_failed_due_to_{failed} 1")), "{text}");
    assert!(text.contains(&format!("probe_failed_due_to_{not} 0")), "{text}");
}

#[test]
fn what_was_matched_is_a_metric() {
    let tcp = spec(json!({"tcp": {"address": "a:22"}}));
    let text = metrics(&tcp, &seen(None, None, &[("matched", json!({"ssh_version": "2.0", "comment": "a \"b\""}))]));
    let line = "probe_expect_info{comment=\"a \\\"b\\\"\",ssh_version=\"2.0\"} 1";
    assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    assert!(!metrics(&tcp, &seen(None, None, &[])).contains("probe_expect_info"));
}

#[test]
fn addresses_have_the_hashes_of_the_exporter() {
    // FNV-1a of the four bytes.
    assert_eq!(fnv1a(&[127, 0, 0, 1]), 3_668_918_509);
    assert_eq!(fnv1a(&[]), 0x811c_9dc5);
}

#[rstest]
#[case(json!({"http": {}}), "shop.example/x", "http.url", json!("http://shop.example/x"))]
#[case(json!({"http": {}}), "https://shop.example/", "http.url", json!("https://shop.example/"))]
#[case(json!({"http": {"headers": [{"name": "host", "value": "b:443"}]}}), "https://a/", "http.tls.serverName", json!("b"))]
#[case(json!({"tcp": {}}), "redis:6379", "tcp.address", json!("redis:6379"))]
#[case(json!({"grpc": {}}), "https://orders:50051/", "grpc.address", json!("orders:50051"))]
#[case(json!({"dns": {"name": "a"}}), "10.0.0.1", "dns.server", json!("10.0.0.1"))]
#[case(json!({"icmp": {}}), "router", "icmp.host", json!("router"))]
#[case(json!({"unix": {}}), "/run/x", "unix.path", json!("/run/x"))]
fn a_target_takes_its_place(#[case] module: Value, #[case] target: &str, #[case] field: &str, #[case] value: Value) {
    let bound = serde_json::to_value(at_target(&spec(module), target, None).unwrap()).unwrap();
    assert_eq!(bound.pointer(&format!("/{}", field.replace('.', "/"))), Some(&value), "{bound}");
}

#[test]
fn a_host_name_is_sent_and_is_what_the_certificate_is_for() {
    let http = spec(json!({"http": {}}));
    let bound = at_target(&http, "https://10.0.0.1/", Some("shop.example")).unwrap().http.unwrap();
    assert_eq!(bound.headers[0].value.as_deref(), Some("shop.example"));
    assert_eq!(bound.tls.unwrap().server_name.as_deref(), Some("shop.example"));
    let own = spec(json!({"http": {"headers": [{"name": "Host", "value": "other.example"}]}}));
    let error = at_target(&own, "10.0.0.1", Some("shop.example")).unwrap_err();
    assert!(matches!(error, ModuleError::Host { .. }), "{error}");
    let tcp = spec(json!({"tcp": {"tls": {}}}));
    let bound = at_target(&tcp, "10.0.0.1:1", Some("shop.example")).unwrap().tcp.unwrap();
    assert_eq!(bound.tls.unwrap().server_name.as_deref(), Some("shop.example"));
    assert!(at_target(&tcp, "no port", None).is_err());
}
