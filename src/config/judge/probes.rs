//! Probes.

use super::spot::Spot;
use super::{Judge, syntax};
use crate::api::{HttpProbe, Probe, TcpProbe};
use crate::config::diagnostic::shorten;
use crate::model::Period;

/// The time between two rounds where the spec gives none.
const DEFAULT_INTERVAL: Period = Period::from_secs(10);
/// The shortest time between two rounds that a probe may ask for.
const MIN_INTERVAL: Period = Period::from_millis(100);
/// The longest.
const MAX_INTERVAL: Period = Period::from_secs(24 * 60 * 60);

impl Judge<'_> {
    pub(super) fn probe(&mut self, spec: &Spot<'_>, probe: &Probe) {
        let interval = probe.spec.interval.unwrap_or(DEFAULT_INTERVAL);
        if interval.exact() < MIN_INTERVAL.exact() || interval.exact() > MAX_INTERVAL.exact() {
            let message = format!("the interval is {interval}: it goes from {MIN_INTERVAL} to 24h");
            self.report(spec.field("interval").error("time", message));
        }
        if let Some(timeout) = probe.spec.timeout {
            let spot = spec.field("timeout");
            if timeout.is_zero() {
                self.report(spot.error("time", "the timeout must be longer than 0s"));
            } else if timeout.exact() >= interval.exact() {
                let default = if probe.spec.interval.is_none() { " (the default)" } else { "" };
                let message = format!(
                    "the timeout {timeout} is not shorter than the interval {interval}{default}: rounds would overlap"
                );
                self.report(spot.error("time", message));
            }
        }
        if let Some(http) = &probe.spec.http {
            self.http(&spec.field("http"), http, probe.spec.timeout);
        }
        if let Some(tcp) = &probe.spec.tcp {
            self.tcp(&spec.field("tcp"), tcp);
        }
    }

    fn http(&mut self, spot: &Spot<'_>, http: &HttpProbe, timeout: Option<Period>) {
        self.found.extend(syntax::url(&spot.field("url"), &http.url));
        self.found.extend(syntax::headers(&spot.field("headers"), &http.headers));
        let Some(expect) = &http.expect else { return };
        let spot = spot.field("expect");
        if let Some(body) = &expect.body {
            let spot = spot.field("body");
            if let Some(matches) = &body.matches {
                self.found.extend(syntax::regular_expression(&spot.field("matches"), matches));
            }
            if body.contains.is_some() && body.contains == body.excludes {
                self.report(
                    spot.error("unreachable", "`contains` and `excludes` are the same text: no answer can meet both"),
                );
            }
            if http.method.as_deref() == Some("HEAD") {
                self.report(spot.error("unreachable", "the answer to a HEAD has no body: no answer can meet this"));
            }
        }
        if let Some(latency) = expect.latency {
            let spot = spot.field("latency").field("max");
            if latency.max.is_zero() {
                self.report(spot.error("time", "no answer takes 0s: the latency must be longer"));
            } else if let Some(timeout) = timeout.filter(|timeout| latency.max.exact() >= timeout.exact()) {
                let message = format!(
                    "the round ends at its timeout of {timeout}, before {} are over: it is never degraded",
                    latency.max
                );
                self.report(spot.warning("unreachable", message));
            }
        }
    }

    fn tcp(&mut self, spot: &Spot<'_>, tcp: &TcpProbe) {
        let port = tcp.address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
        let good = matches!(port, Some((host, Ok(port))) if port > 0 && is_host(host));
        if !good {
            let message =
                format!("`{}` is no host and port such as `redis.shop:6379` or `[::1]:22`", shorten(&tcp.address));
            self.report(spot.field("address").error("address", message).with_found(&tcp.address));
        }
        if let Some(expect) = &tcp.expect {
            self.found.extend(syntax::regular_expression(&spot.field("expect"), expect));
        }
        if let Some(escape) = tcp.send.as_deref().and_then(unknown_escape) {
            let message = format!("`{escape}` is no escape: \\r, \\n, \\t, \\\\ and \\xNN are understood");
            self.report(spot.field("send").error("escape", message));
        }
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.contains(':') && url::Host::parse(host).is_ok(),
    }
}

/// The first escape in a text to send that is none.
fn unknown_escape(text: &str) -> Option<String> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('r' | 'n' | 't' | '\\') => {}
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                if digits.len() != 2 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                    return Some(format!("\\x{digits}"));
                }
            }
            other => return Some(format!("\\{}", other.map(String::from).unwrap_or_default())),
        }
    }
    None
}
