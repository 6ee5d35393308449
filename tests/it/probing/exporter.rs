//! `/probe` beside the real `blackbox_exporter`: the same modules, the same targets, the same metrics.

use std::collections::BTreeMap;
use std::net::TcpListener;

use probegate::config::blackbox::import;
use rstest::rstest;

use super::servers::Real;
use crate::checks::peers::Authority;
use crate::server::world::{Reply, Setup, World, send};

/// What one has and the other has not, and why.
const OURS_ALONE: &[&str] = &[
    // Since version 0.24, and Debian has 0.23.
    "probe_tls_cipher_info",
    // Since version 0.28.
    "probe_failed_due_to_bytes",
    // Why it failed: there a zero is all there is.
    "probe_failure_info",
];
/// A label since version 0.24.
const NEW_LABEL: &str = "serialnumber";

/// The metrics of an answer: name and labels, and the value.
fn metrics(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no metric: {line}"));
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let labels = labels.trim_end_matches('}');
            let mut labels: Vec<String> =
                split(labels).into_iter().filter(|label| !label.starts_with(NEW_LABEL)).collect();
            labels.sort();
            (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
        })
        .collect()
}

/// Labels at their commas, of which values have some of their own.
fn split(labels: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut inside = false;
    for c in labels.chars() {
        inside ^= c == '"';
        match parts.last_mut() {
            Some(last) if c != ',' || inside => last.push(c),
            None if c != ',' => parts.push(c.to_string()),
            _ => parts.push(String::new()),
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// The body of an answer, in one piece.
fn whole(reply: &Reply) -> String {
    if reply.headers.get("transfer-encoding").is_none_or(|coding| coding != "chunked") {
        return reply.body.clone();
    }
    let (mut whole, mut rest) = (String::new(), reply.body.as_str());
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&behind[..size]);
        rest = behind[size..].trim_start_matches("\r\n");
    }
    whole
}

fn is_a_time(name: &str) -> bool {
    name.contains("duration") || name.contains("lookup_time")
}

struct Both {
    exporter: Real,
    ours: World,
}

impl Both {
    async fn start(authority: &Authority, home: &tempfile::TempDir) -> Self {
        let ca = home.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let modules = MODULES.replace("CA", &ca.display().to_string());
        let imported = import("blackbox.yml", modules.as_bytes(), None);
        let lost: Vec<_> = imported.notes.iter().filter(|note| note.rule != "secret-file").collect();
        assert!(lost.is_empty(), "{lost:?}");
        let probes = imported
            .probes
            .into_iter()
            .map(|mut probe| {
                probe.metadata.namespace = Some("default".to_owned());
                probe
            })
            .collect();
        let setup = Setup { probes, secrets: Some("/".into()), ..Setup::default() };
        Self { exporter: Real::blackbox_with(&modules).await, ours: World::with(setup).await }
    }

    /// Asks both about a target.
    async fn compare(&self, module: &str, target: &str) {
        let path = format!("/probe?module={module}&target={target}");
        let theirs = send(self.exporter.address().parse().unwrap(), "GET", &path, &[], b"").await;
        let ours = self.ours.get(&path).await;
        assert_eq!((theirs.status, ours.status), (200, 200), "{path}: {theirs:?} {ours:?}");
        let known = |name: &&String| !OURS_ALONE.iter().any(|own| name.starts_with(&format!("{own}{{")));
        let (theirs, ours) = (metrics(&whole(&theirs)), metrics(&ours.body));
        let names: Vec<&String> = ours.keys().filter(known).collect();
        assert_eq!(names, theirs.keys().collect::<Vec<_>>(), "{path}");
        // A redirect that ends the round counts there, and its body does not; here it is the other way
        // round. A circle of them is noticed at once here, and there when they are used up.
        let of_the_last =
            ["probe_http_redirects{", "probe_http_uncompressed_body_length{", "probe_http_content_length{"];
        let led = target.ends_with("/ring") || target.ends_with("/elsewhere");
        let circle = |name: &str| led && of_the_last.iter().any(|start| name.starts_with(start));
        for (name, value) in theirs.iter().filter(|(name, _)| !is_a_time(name) && !circle(name)) {
            assert!((ours[name] - value).abs() < 1e-9, "{path}: {name} is {} here and {value} there", ours[name]);
        }
    }
}

const MODULES: &str = "
modules:
  http_2xx: {prober: http, timeout: 5s}
  http_text: {prober: http, timeout: 5s, http: {fail_if_body_not_matches_regexp: ['^all ok$']}}
  http_header:
    prober: http
    timeout: 5s
    http: {fail_if_header_not_matches: [{header: Server, regexp: nginx}], no_follow_redirects: true}
  http_post: {prober: http, timeout: 5s, http: {method: POST, body: x=1, valid_status_codes: [200, 405]}}
  https: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA}, fail_if_not_ssl: true}}
  https_one: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA}, enable_http2: false}}
  https_untrusted: {prober: http, timeout: 5s}
  tcp_connect: {prober: tcp, timeout: 5s}
  tcp_http:
    prober: tcp
    timeout: 5s
    tcp: {query_response: [{send: \"GET /healthz HTTP/1.0\\r\\n\\r\"}, {expect: '^HTTP/1.[01] 200'}, {expect: ok}]}
  tcp_wrong:
    prober: tcp
    timeout: 5s
    tcp: {query_response: [{send: \"GET / HTTP/1.0\\r\\n\\r\"}, {expect: ^SSH-}]}
  tcp_tls: {prober: tcp, timeout: 5s, tcp: {tls: true, tls_config: {ca_file: CA}}}
  dns_a: {prober: dns, timeout: 5s, dns: {query_name: many.probegate.test, query_type: A}}
  dns_soa: {prober: dns, timeout: 5s, dns: {query_name: probegate.test, query_type: SOA, transport_protocol: tcp}}
  dns_strict:
    prober: dns
    timeout: 5s
    dns:
      query_name: one.probegate.test
      query_type: A
      validate_answer_rrs: {fail_if_not_matches_regexp: [\"^one.probegate.test.\\t60\\tIN\\tA\\t127.0.0.1$\"]}
  dns_none: {prober: dns, timeout: 5s, dns: {query_name: none.probegate.test, query_type: A}}
  dns_none_wanted:
    prober: dns
    timeout: 5s
    dns: {query_name: none.probegate.test, query_type: A, valid_rcodes: [NXDOMAIN]}
";

#[rstest]
#[case::http(&["http_2xx", "http_text", "http_header", "http_post"], "http", &["/healthz", "/broken", "/elsewhere", "/json", "/ring"])]
#[case::https(&["https", "https_one", "https_untrusted"], "https", &["/healthz", "/broken"])]
#[case::not_https(&["https"], "http", &["/healthz"])]
#[tokio::test]
async fn a_web_server_is_seen_alike(#[case] modules: &[&str], #[case] scheme: &str, #[case] paths: &[&str]) {
    let (authority, home) = (Authority::new(), tempfile::tempdir().unwrap());
    let nginx = Real::nginx_with(&authority).await;
    let both = Both::start(&authority, &home).await;
    let address = nginx.address_of(usize::from(scheme == "https"));
    for module in modules {
        for path in paths {
            both.compare(module, &format!("{scheme}://{address}{path}")).await;
        }
    }
}

#[tokio::test]
async fn a_port_is_seen_alike() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().unwrap());
    let nginx = Real::nginx_with(&authority).await;
    let both = Both::start(&authority, &home).await;
    for module in ["tcp_connect", "tcp_http", "tcp_wrong"] {
        both.compare(module, &nginx.address()).await;
    }
    both.compare("tcp_tls", &nginx.address_of(1)).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for module in ["tcp_connect", "http_2xx", "https"] {
        both.compare(module, &nobody).await;
    }
}

#[tokio::test]
async fn a_name_server_is_seen_alike() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().unwrap());
    let named = Real::named(2_026_112_101, &authority).await;
    let both = Both::start(&authority, &home).await;
    for module in ["dns_a", "dns_soa", "dns_strict", "dns_none", "dns_none_wanted"] {
        both.compare(module, &named.address()).await;
    }
}

#[test]
fn labels_are_told_apart() {
    let parsed = metrics("# HELP a b\na 1\nb{y=\"1,2\",x=\"\",serialnumber=\"3\"} 2e+00\n");
    assert_eq!(
        parsed.into_iter().collect::<Vec<_>>(),
        [("a{}".to_owned(), 1.0), ("b{x=\"\",y=\"1,2\"}".to_owned(), 2.0)]
    );
}
