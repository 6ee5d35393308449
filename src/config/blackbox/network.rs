//! The probers `dns`, `icmp` and `grpc`.

use super::section::Section;
use super::tls;
use crate::api::{DnsExpect, DnsProbe, DnsRecords, DnsTransport, GrpcProbe, IcmpProbe, WebhookHeader};
use crate::config::tree::Content;

/// What the exporter asks for where a module does not say.
const DEFAULT_TYPE: &str = "ANY";

/// The prober `dns`; `None` where there is nothing to ask for.
pub(super) fn dns(module: &str, section: &Section<'_>) -> Option<DnsProbe> {
    if tls::family(section).is_some() {
        let message = "a DNS probe takes whichever address the server's name has: give the server by its address";
        section.warn("ip_protocol_fallback", "no-counterpart", message);
    }
    tls::source(section);
    let over_tls = section.flag("dns_over_tls").unwrap_or(false);
    let transport = match (section.text("transport_protocol").as_deref(), over_tls) {
        (Some("tcp"), true) => DnsTransport::Tls,
        (_, true) => {
            section.error("dns_over_tls", "contradiction", "it goes with `transport_protocol: tcp` alone");
            DnsTransport::Tls
        }
        (Some("tcp"), false) => DnsTransport::Tcp,
        (None | Some("udp" | ""), false) => DnsTransport::Udp,
        (Some(other), false) => {
            let message = format!("there is no transport `{other}`");
            section.wrong("transport_protocol", "word", message, ["udp", "tcp"]);
            DnsTransport::Udp
        }
    };
    if section.text("query_class").is_some_and(|class| class != "IN" && !class.is_empty()) {
        section.warn("query_class", "no-counterpart", "a probe asks in the class IN alone");
    }
    let record_type = section.text("query_type").filter(|kind| !kind.is_empty());
    let recursion = section.flag("recursion_desired").filter(|recursion| !recursion);
    let options = tls::options(module, section);
    let expect = DnsExpect {
        rcode: section.texts("valid_rcodes"),
        // An answer without records is one: a probe would ask for at least one.
        answer: Some(records(section, "validate_answer_rrs", Some(0))),
        authority: Some(records(section, "validate_authority_rrs", None)).filter(|records| !is_empty(records)),
        additional: Some(records(section, "validate_additional_rrs", None)).filter(|records| !is_empty(records)),
        ..DnsExpect::default()
    };
    let Some(name) = section.text("query_name").filter(|name| !name.is_empty()) else {
        section.error_here("missing-field", "`query_name` is missing: what to ask for");
        return None;
    };
    Some(DnsProbe {
        name,
        record_type: Some(record_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned())),
        transport: (transport != DnsTransport::Udp).then_some(transport),
        recursion,
        tls: options,
        expect: Some(expect),
        ..DnsProbe::default()
    })
}

fn is_empty(records: &DnsRecords) -> bool {
    *records == DnsRecords::default()
}

/// What the records of a section must be.
fn records(section: &Section<'_>, key: &str, min: Option<u32>) -> DnsRecords {
    let mut records = DnsRecords { min, ..DnsRecords::default() };
    let Some(inner) = section.section(key) else { return records };
    let lines = |key: &str| -> Vec<String> { inner.texts(key).iter().map(|regex| spaced(regex)).collect() };
    records.none = lines("fail_if_matches_regexp");
    // Whatever its name says: every record must match each of them.
    let not_all = lines("fail_if_all_match_regexp");
    let not = lines("fail_if_not_matches_regexp");
    if !not.is_empty() {
        records.min = Some(1);
    }
    let mut all: Vec<String> = not.into_iter().chain(not_all).collect();
    all.dedup();
    if all.len() > 1 {
        for key in ["fail_if_not_matches_regexp", "fail_if_all_match_regexp"] {
            if inner.get(key).is_some() {
                let message = "here every record must match each expression; a probe takes a record that matches one \
                               of `all`, so that only the first is carried over";
                inner.warn(key, "no-counterpart", message);
            }
        }
        all.truncate(1);
    }
    records.all = all;
    let some = lines("fail_if_none_matches_regexp");
    records.some = match some.as_slice() {
        [] | [_] => some,
        many => vec![many.iter().map(|regex| format!("(?:{regex})")).collect::<Vec<_>>().join("|")],
    };
    inner.end();
    records
}

/// A probe writes a record with single spaces, where the exporter has tabs.
fn spaced(regex: &str) -> String {
    regex.replace('\t', " ").replace("\\t", " ")
}

/// The prober `icmp`.
pub(super) fn icmp(section: &Section<'_>) -> IcmpProbe {
    tls::source(section);
    let number = |key: &str| section.number(key).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let within = |key: &str, range: std::ops::RangeInclusive<u32>| {
        let number = number(key)?;
        if range.contains(&number) {
            return Some(number);
        }
        let message = format!("{number} is out of range: it goes from {} to {}", range.start(), range.end());
        section.error(key, "range", message);
        None
    };
    IcmpProbe {
        family: tls::family(section),
        size: within("payload_size", 0..=65_000).filter(|size| *size > 0),
        ttl: within("ttl", 0..=255).filter(|ttl| *ttl > 0),
        dont_fragment: section.flag("dont_fragment").unwrap_or(false),
        ..IcmpProbe::default()
    }
}

/// The prober `grpc`.
pub(super) fn grpc(module: &str, section: &Section<'_>) -> GrpcProbe {
    let options = tls::options(module, section);
    let secure = section.flag("tls").unwrap_or(false);
    if options.is_some() && !secure {
        section.warn("tls_config", "no-effect", "without `tls: true` nothing reads it");
    }
    let mut metadata = Vec::new();
    for (name, node) in section.entries("metadata") {
        let Content::List(values) = &node.content else {
            section.error("metadata", "type", format!("`{name}` needs a list of texts"));
            continue;
        };
        metadata.extend(values.iter().filter_map(|value| value.text()).map(|value| WebhookHeader {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..WebhookHeader::default()
        }));
    }
    GrpcProbe {
        family: tls::family(section),
        service: section.text("service").filter(|service| !service.is_empty()),
        metadata,
        tls: secure.then(|| options.unwrap_or_default()),
        ..GrpcProbe::default()
    }
}
