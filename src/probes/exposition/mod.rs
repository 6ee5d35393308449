//! One round in the names of Prometheus' `blackbox_exporter`: pure.
//!
//! Dashboards and alerts that were written for it find the same metrics with the same labels. The
//! names are those of its version 0.28. Beyond it there is `probe_failure_info`, with the reason and the
//! phase of a failure, because a zero alone explains nothing.

mod families;
mod module;
mod tls;

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use families::Families;
pub use module::{ModuleError, at_target};

use super::result::{Line, Observation, Phase, Reason};
use super::targets::own_target;
use crate::api::ProbeSpec;

/// How an expression begins that expects these very bytes, and nothing before them.
pub const EXACT_BYTES: &str = "(?s-u)\\A";
/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What `grpc.health.v1` can say.
const SERVING: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// The codes of gRPC by their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The metrics of a round of `spec`, in the text format.
#[must_use]
pub fn metrics(spec: &ProbeSpec, seen: &Observation) -> String {
    let mut families = Families::default();
    families.gauge("probe_success", "Whether the round was as expected", flag(seen.success));
    let total = seen.durations.total().as_secs_f64();
    families.gauge("probe_duration_seconds", "How long the round took", total);
    if let Some(reason) = seen.reason.filter(|_| !seen.success) {
        let phase = seen.phase.map_or("", Phase::as_str);
        let labels = vec![("phase", phase.to_owned()), ("reason", reason.as_str().to_owned())];
        families.labelled("probe_failure_info", "Why the round failed, and in which phase", labels, 1.0);
    }
    if spec.unix.is_none() && spec.script.is_none() {
        address(&mut families, spec, seen);
    }
    if spec.http.is_some() {
        http(&mut families, spec, seen);
    } else if spec.dns.is_some() {
        dns(&mut families, spec, seen);
    } else if spec.icmp.is_some() {
        icmp(&mut families, seen);
    } else if spec.grpc.is_some() {
        grpc(&mut families, seen);
    } else {
        if spec.tcp.is_some() || spec.unix.is_some() {
            // Bytes are expected by an expression for these very bytes.
            let failed = seen.reason == Some(Reason::Expect);
            let bytes = failed && text(seen, "expected").is_some_and(|text| text.starts_with(EXACT_BYTES));
            families.gauge("probe_failed_due_to_regex", "Whether an expression did not match", flag(failed && !bytes));
            families.gauge("probe_failed_due_to_bytes", "Whether expected bytes did not come", flag(bytes));
            if let Some(Value::Object(matched)) = seen.facts.get("matched") {
                let told = matched.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
                families.labelled("probe_expect_info", "What was matched", told.collect::<Vec<_>>(), 1.0);
            }
        }
        tls::shown(&mut families, seen, tls::Detail::Chain);
    }
    families.into_text()
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn number(seen: &Observation, name: &str) -> Option<f64> {
    seen.facts.get(name).and_then(Value::as_f64)
}

fn text<'a>(seen: &'a Observation, name: &str) -> Option<&'a str> {
    seen.facts.get(name).and_then(Value::as_str)
}

fn seconds(seen: &Observation, phases: &[Phase]) -> f64 {
    let all = phases.iter().filter_map(|phase| seen.durations.get(*phase));
    all.sum::<std::time::Duration>().as_secs_f64()
}

/// Where the target was.
fn address(families: &mut Families, spec: &ProbeSpec, seen: &Observation) {
    let looked_up = seconds(seen, &[Phase::Resolve]);
    families.gauge("probe_dns_lookup_time_seconds", "How long the name took to resolve", looked_up);
    // Where nobody answered, it is the first address that was tried.
    let resolved = || {
        let resolved = |line: &Line| if let Line::Resolved(list) = line { list.first().copied() } else { None };
        seen.log.0.iter().find_map(|(_, line)| resolved(line))
    };
    let address = text(seen, "address").and_then(literal).or_else(resolved).or_else(|| literal(&own_target(spec)));
    let (family, hash) = match address {
        None => (0.0, 0.0),
        Some(IpAddr::V4(v4)) => (4.0, f64::from(fnv1a(&v4.octets()))),
        Some(IpAddr::V6(v6)) => (6.0, f64::from(fnv1a(&v6.octets()))),
    };
    families.gauge("probe_ip_protocol", "Whether the address was IPv4 or IPv6", family);
    families.gauge("probe_ip_addr_hash", "A hash of the address, which shows when it changes", hash);
}

/// The address of a URL, of host and port, or of a host that is none but itself.
fn literal(text: &str) -> Option<IpAddr> {
    let host = text.parse::<url::Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    let host = host.unwrap_or_else(|| text.to_owned());
    let socket = host.parse::<SocketAddr>().map(|socket| socket.ip());
    socket.or_else(|_| host.trim_matches(['[', ']']).parse()).ok()
}

/// FNV-1a of 32 bits (<https://www.rfc-editor.org/rfc/rfc9923>).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn http(families: &mut Families, spec: &ProbeSpec, seen: &Observation) {
    let phases: [(&str, &[Phase]); 5] = [
        ("resolve", &[Phase::Resolve]),
        ("connect", &[Phase::Connect]),
        ("tls", &[Phase::Tls]),
        // There the clock of processing starts with the connection.
        ("processing", &[Phase::Request, Phase::Processing]),
        ("transfer", &[Phase::Transfer]),
    ];
    for (phase, parts) in phases {
        let labels = vec![("phase", phase.to_owned())];
        let help = "How long each phase took, over all redirects";
        families.labelled("probe_http_duration_seconds", help, labels, seconds(seen, parts));
    }
    let status = number(seen, "status");
    families.gauge("probe_http_status_code", "The status of the answer", status.unwrap_or(0.0));
    // There a length that the answer does not tell is -1, and 0 where there is no answer.
    let unknown = if status.is_some() { -1.0 } else { 0.0 };
    let length = number(seen, "contentLength").unwrap_or(unknown);
    families.gauge("probe_http_content_length", "The length that the answer tells of its body", length);
    let body = number(seen, "uncompressedBytes").or_else(|| number(seen, "bodyBytes")).unwrap_or(0.0);
    families.gauge("probe_http_uncompressed_body_length", "The length of the body without compression", body);
    let redirects = number(seen, "redirects").unwrap_or(0.0);
    families.gauge("probe_http_redirects", "How many redirects were followed", redirects);
    let version = seen.facts.get("httpVersion").and_then(|version| match version {
        Value::String(text) => text.trim_start_matches("HTTP/").parse().ok(),
        other => other.as_f64(),
    });
    families.gauge("probe_http_version", "The version of HTTP of the answer", version.unwrap_or(0.0));
    let failed = |reasons: &[Reason]| flag(seen.reason.is_some_and(|reason| reasons.contains(&reason)));
    let regex = failed(&[Reason::Body, Reason::Header]);
    families.gauge("probe_failed_due_to_regex", "Whether an expression for body or headers was not met", regex);
    let expect = spec.http.as_ref().and_then(|http| http.expect.as_ref());
    if expect.is_some_and(|expect| expect.rule.is_some() || !expect.json.is_empty()) {
        let rule = failed(&[Reason::Rule, Reason::Json]);
        families.gauge("probe_failed_due_to_cel", "Whether a rule for the body's JSON was not met", rule);
    }
    let modified = text(seen, "lastModified").and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if let Some(modified) = modified {
        let help = "When the content was modified last";
        families.gauge("probe_http_last_modified_timestamp_seconds", help, modified.as_second() as f64);
    }
    let url = text(seen, "finalUrl").or(spec.http.as_ref().map(|http| http.url.as_str()));
    let secure = status.is_some() && url.is_some_and(|url| url.starts_with("https:"));
    families.gauge("probe_http_ssl", "Whether the answer came over TLS, after all redirects", flag(secure));
    if secure {
        tls::shown(families, seen, tls::Detail::Cipher);
    }
}

fn dns(families: &mut Families, spec: &ProbeSpec, seen: &Observation) {
    let phases: [(&str, &[Phase]); 3] = [
        ("resolve", &[Phase::Resolve]),
        ("connect", &[Phase::Connect, Phase::Tls]),
        ("request", &[Phase::Request, Phase::Processing, Phase::Transfer]),
    ];
    for (phase, parts) in phases {
        let labels = vec![("phase", phase.to_owned())];
        families.labelled("probe_dns_duration_seconds", "How long each phase took", labels, seconds(seen, parts));
    }
    let sections = [
        ("probe_dns_answer_rrs", "answers", "How many records the answer has"),
        ("probe_dns_authority_rrs", "authorities", "How many records the authority section has"),
        ("probe_dns_additional_rrs", "additionals", "How many additional records there are"),
    ];
    for (name, fact, help) in sections {
        families.gauge(name, help, number(seen, fact).unwrap_or(0.0));
    }
    let answered = flag(seen.facts.get("rcode").is_some());
    families.gauge("probe_dns_query_succeeded", "Whether the query was answered at all", answered);
    let soa = spec.dns.as_ref().and_then(|dns| dns.record_type.as_deref());
    if soa.is_some_and(|kind| kind.eq_ignore_ascii_case("SOA")) && answered > 0.0 {
        families.gauge("probe_dns_serial", "The serial of the zone", number(seen, "serial").unwrap_or(0.0));
    }
}

fn icmp(families: &mut Families, seen: &Observation) {
    let phases = [
        ("resolve", seconds(seen, &[Phase::Resolve])),
        ("setup", seconds(seen, &[Phase::Connect, Phase::Request])),
        ("rtt", number(seen, "rttAvg").unwrap_or(0.0)),
    ];
    for (phase, took) in phases {
        let labels = vec![("phase", phase.to_owned())];
        families.labelled("probe_icmp_duration_seconds", "How long each phase took", labels, took);
    }
    if let Some(ttl) = number(seen, "ttl") {
        families.gauge("probe_icmp_reply_hop_limit", "The hops that were left of the answer", ttl);
    }
}

fn grpc(families: &mut Families, seen: &Observation) {
    let resolve = seconds(seen, &[Phase::Resolve]);
    let check = (seen.durations.total().as_secs_f64() - resolve).max(0.0);
    for (phase, took) in [("resolve", resolve), ("check", check)] {
        let labels = vec![("phase", phase.to_owned())];
        families.labelled("probe_grpc_duration_seconds", "How long each phase took", labels, took);
    }
    // Where the call itself failed, there the code is that of trouble that has no name.
    let code = text(seen, "grpcStatus").and_then(|name| GRPC_CODES.iter().position(|code| *code == name)).unwrap_or(2);
    families.gauge("probe_grpc_status_code", "The code of gRPC's answer", code as f64);
    let serving = text(seen, "servingStatus");
    for word in SERVING {
        let labels = vec![("serving_status", word.to_owned())];
        let help = "What the health service says";
        families.labelled("probe_grpc_healthcheck_response", help, labels, flag(serving == Some(word)));
    }
    let secure = seen.facts.get("tlsVersion").is_some();
    families.gauge("probe_grpc_ssl", "Whether the connection was under TLS", flag(secure));
    tls::shown(families, seen, tls::Detail::Leaf);
}

#[cfg(test)]
mod tests;
