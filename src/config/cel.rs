//! The CEL rules of the schemas, judged without an API server.
//!
//! Every rule that stands in a schema has its counterpart here, found by the rule's own text; a
//! test holds that none is missing. `has` means, as for the types, that the field is there and not
//! null.

use serde_json::Value;

use super::tree::{Content, Node};

/// Whether a value meets a rule.
type Judge = fn(&Node) -> bool;

/// A rule at one place of a schema.
#[derive(Debug)]
pub(super) struct Rule {
    /// What is said when it does not hold.
    pub(super) message: String,
    holds: Judge,
}

impl Rule {
    /// The rule of one `x-kubernetes-validations` entry; `None` where it has no counterpart.
    pub(super) fn compile(entry: &Value) -> Option<Self> {
        let text = entry.get("rule")?.as_str()?;
        let message = entry.get("message").and_then(Value::as_str).unwrap_or(text).to_owned();
        COUNTERPARTS.iter().find(|(rule, _)| *rule == text).map(|(_, holds)| Self { message, holds: *holds })
    }

    /// Whether it holds for the value at its place.
    pub(super) fn holds(&self, node: &Node) -> bool {
        (self.holds)(node)
    }
}

fn has(node: &Node, field: &str) -> bool {
    node.get(field).is_some_and(|value| !value.is_null())
}

fn count(node: &Node, fields: &[&str]) -> usize {
    fields.iter().filter(|field| has(node, field)).count()
}

fn text<'a>(node: &'a Node, field: &str) -> &'a str {
    node.get(field).and_then(Node::text).unwrap_or("")
}

/// A whole number; 1 where there is none.
fn number(node: &Node, field: &str) -> i64 {
    text(node, field).parse().unwrap_or(1)
}

/// The rules by their text. `self == oldSelf` is about two states of a resource: whoever changes
/// one judges it, a file alone has only one.
const COUNTERPARTS: &[(&str, Judge)] = &[
    ("self == oldSelf", |_| true),
    ("has(self.gate) != has(self.window)", |node| has(node, "gate") != has(node, "window")),
    ("!has(self.check) || has(self.gate)", |node| !has(node, "check") || has(node, "gate")),
    ("has(self.pre) || has(self.post)", |node| has(node, "pre") || has(node, "post")),
    ("[has(self.workloadRef), has(self.names), has(self.selector)].filter(x, x).size() == 1", |node| {
        count(node, &["workloadRef", "names", "selector"]) == 1
    }),
    (
        "[has(self.window), has(self.rule), has(self.webhook), has(self.probes), has(self.metric)].filter(x, x).size() == 1",
        |node| count(node, crate::api::Check::KINDS) == 1,
    ),
    ("!has(self.parameters) || has(self.rule)", |node| !has(node, "parameters") || has(node, "rule")),
    ("has(self.selector) || has(self.matchExpressions) || has(self.names)", |node| {
        count(node, &["selector", "matchExpressions", "names"]) > 0
    }),
    ("has(self.max) || has(self.min)", |node| has(node, "max") || has(node, "min")),
    ("has(self.value) != has(self.secretFile)", |node| has(node, "value") != has(node, "secretFile")),
    (
        "[has(self.http), has(self.tcp), has(self.tls), has(self.dns), has(self.grpc), has(self.icmp), has(self.websocket), has(self.udp), has(self.unix), has(self.script)].filter(x, x).size() == 1",
        |node| {
            let kinds = ["http", "tcp", "tls", "dns", "grpc", "icmp", "websocket", "udp", "unix", "script"];
            count(node, &kinds) == 1
        },
    ),
    ("[has(self.basic), has(self.bearer), has(self.oauth2)].filter(x, x).size() == 1", |node| {
        count(node, &["basic", "bearer", "oauth2"]) == 1
    }),
    ("!(has(self.equals) && has(self.matches))", |node| count(node, &["equals", "matches"]) < 2),
    ("!has(self.http) || (!has(self.send) && !has(self.expect))", |node| {
        !has(node, "http") || count(node, &["send", "expect"]) == 0
    }),
    (
        "has(self.static) || has(self.file) || has(self.dns) || has(self.service) || has(self.endpoints) || has(self.pods) || has(self.ingress) || has(self.nodes) || has(self.apiserver)",
        |node| {
            let in_cluster = ["service", "endpoints", "pods", "ingress", "nodes", "apiserver"];
            count(node, &["static", "file", "dns"]) + count(node, &in_cluster) > 0
        },
    ),
    ("!has(self.of) || self.of >= self.failures", |node| {
        !has(node, "of") || number(node, "of") >= number(node, "failures")
    }),
    ("!has(self.of) || self.of >= self.successes", |node| {
        !has(node, "of") || number(node, "of") >= number(node, "successes")
    }),
    ("has(self.max) || has(self.timesUsual)", |node| count(node, &["max", "timesUsual"]) > 0),
    ("has(self.names) || has(self.matchLabels)", |node| count(node, &["names", "matchLabels"]) > 0),
    ("has(self.file) != has(self.source)", |node| has(node, "file") != has(node, "source")),
    ("!has(self.batch) || self.batch.index <= self.batch.total", |node| {
        let batch = |field| node.get("batch").map_or(1, |batch| number(batch, field));
        !has(node, "batch") || batch("index") <= batch("total")
    }),
    ("self.type == 'freeze' || has(self.schedule)", |node| text(node, "type") == "freeze" || has(node, "schedule")),
    (
        "self.type == 'allow' || has(self.schedule) || (has(self.owner) && has(self.reason) && has(self.ticket) && has(self.expires))",
        |node| {
            text(node, "type") == "allow"
                || has(node, "schedule")
                || count(node, &["owner", "reason", "ticket", "expires"]) == 4
        },
    ),
    ("!has(self.maxChanges) || self.type == 'allow'", |node| !has(node, "maxChanges") || text(node, "type") == "allow"),
    ("has(self.weekly) || has(self.cron) || has(self.rrule) || has(self.dates) || has(self.calendars)", |node| {
        count(node, &["weekly", "cron", "rrule", "dates", "calendars"]) > 0
    }),
    ("self.from != self.to", |node| text(node, "from") != text(node, "to")),
    (
        "[has(self.from) && has(self.to), has(self.day), has(self.firstDay) && has(self.lastDay)].filter(x, x).size() == 1 && has(self.from) == has(self.to) && has(self.firstDay) == has(self.lastDay)",
        |node| {
            let pair = |a, b| has(node, a) && has(node, b);
            let forms = [pair("from", "to"), has(node, "day"), pair("firstDay", "lastDay")];
            forms.into_iter().filter(|form| *form).count() == 1
                && has(node, "from") == has(node, "to")
                && has(node, "firstDay") == has(node, "lastDay")
        },
    ),
    ("[has(self.file), has(self.url), has(self.inline)].filter(x, x).size() == 1", |node| {
        count(node, &["file", "url", "inline"]) == 1
    }),
    ("!has(self.refresh) || has(self.url)", |node| !has(node, "refresh") || has(node, "url")),
    ("self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0", |node| {
        let values = match node.get("values").map(|values| &values.content) {
            Some(Content::List(items)) => items.len(),
            _ => 0,
        };
        matches!(text(node, "operator"), "In" | "NotIn") == (values > 0)
    }),
];
