//! Everything that is wrong with a probe, as far as it can be told without making a round.

use super::kinds::{SpecError, Tools, compile};
use super::plan::plan;
use super::targets::{bind, own_target, read_lines};
use crate::api::ProbeSpec;

/// So many targets are named that are wrong: whoever has more has made one mistake for all.
const MAX_NAMED: usize = 5;
/// An address that documents may use for anything (RFC 5737): stands for one that is not known yet.
const ANY_HOST: &str = "192.0.2.1";

/// Holds a spec against the very kind that will be run, with each of its targets. `file` is the text
/// of its file of targets, where that can be read.
///
/// A suspended probe may be without any address: it serves `/probe`, whose callers name one.
#[must_use]
pub fn check(spec: &ProbeSpec, tools: &Tools, file: Option<&str>) -> Vec<SpecError> {
    let mut found = Vec::new();
    let timeout = match plan(spec) {
        Ok(plan) => plan.timeout,
        Err(error) => {
            found.push(error);
            std::time::Duration::from_secs(1)
        }
    };
    let listed = match targets(spec, file) {
        Ok(listed) => listed,
        Err(error) => {
            found.push(error);
            Vec::new()
        }
    };
    let own = address_field(spec);
    if spec.targets.is_none() && !spec.suspend {
        match own {
            Some(field) if own_target(spec).is_empty() && spec.script.is_none() => {
                found.push(SpecError::new(field, "it is missing, and there are no `targets` in its place"));
            }
            _ => found.extend(compile(spec, timeout, tools).err()),
        }
    }
    for (field, target) in listed {
        let error = match bind(spec, &target) {
            Ok(bound) => compile(&bound, timeout, tools).err(),
            Err(error) => Some(error),
        };
        let Some(error) = error else { continue };
        // What is wrong with the address is wrong with the target that has taken its place.
        let field = if error.field == "targets" || Some(error.field.as_str()) == own { field } else { error.field };
        let error = SpecError { field, why: error.why };
        if !found.contains(&error) && found.len() < MAX_NAMED {
            found.push(error);
        }
    }
    found
}

/// Every target that is known beforehand, with its field; one in the place of those that are not.
fn targets(spec: &ProbeSpec, file: Option<&str>) -> Result<Vec<(String, String)>, SpecError> {
    let Some(targets) = &spec.targets else {
        // A module of `/probe`: with the address of its own, or with any.
        let own = own_target(spec);
        let any = if own.is_empty() { any_target(spec) } else { Some(own) };
        let any = any.filter(|_| spec.suspend);
        let field = address_field(spec).unwrap_or("targets");
        return Ok(any.into_iter().map(|any| (field.to_owned(), any)).collect());
    };
    let list = targets.list.iter().enumerate();
    let mut all: Vec<(String, String)> =
        list.map(|(index, target)| (format!("targets.static[{index}]"), target.clone())).collect();
    if let Some(text) = file {
        let lines = read_lines(text)?;
        all.extend(lines.into_iter().map(|line| ("targets.file".to_owned(), line)));
    }
    if let Some(name) = &targets.dns {
        // Every address has the name's port.
        let port = name.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        let host = port.map_or(name.as_str(), |_| name.rsplit_once(':').map_or("", |(host, _)| host));
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#')) {
            return Err(SpecError::new("targets.dns", format!("`{name}` is no name, with or without a port")));
        }
        let target = port.map_or_else(|| ANY_HOST.to_owned(), |port| format!("{ANY_HOST}:{port}"));
        all.push(("targets.dns".to_owned(), target));
    }
    if all.is_empty() {
        all.extend(any_target(spec).map(|any| ("targets".to_owned(), any)));
    }
    Ok(all)
}

/// The field of the kind's own address.
#[must_use]
pub fn address_field(spec: &ProbeSpec) -> Option<&'static str> {
    let fields = [
        (spec.http.is_some(), "http.url"),
        (spec.websocket.is_some(), "websocket.url"),
        (spec.tcp.is_some(), "tcp.address"),
        (spec.tls.is_some(), "tls.address"),
        (spec.dns.is_some(), "dns.server"),
        (spec.grpc.is_some(), "grpc.address"),
        (spec.icmp.is_some(), "icmp.host"),
        (spec.udp.is_some(), "udp.address"),
        (spec.unix.is_some(), "unix.path"),
        (spec.script.is_some(), "script.target"),
    ];
    fields.into_iter().find(|(is_some, _)| *is_some).map(|(_, field)| field)
}

/// Some target of the kind.
fn any_target(spec: &ProbeSpec) -> Option<String> {
    Some(match address_field(spec)? {
        // Whatever is said of certificates has a meaning there.
        "http.url" => format!("https://{ANY_HOST}/"),
        "websocket.url" => format!("wss://{ANY_HOST}/"),
        "unix.path" => "/any".to_owned(),
        "dns.server" | "icmp.host" => ANY_HOST.to_owned(),
        _ => format!("{ANY_HOST}:1"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn wrong(spec: Value, file: Option<&str>) -> Vec<String> {
        let spec: ProbeSpec = serde_json::from_value(spec).unwrap();
        check(&spec, &Tools::idle(None), file).into_iter().map(|error| error.field).collect()
    }

    #[rstest]
    #[case(json!({"tcp": {"address": "redis:6379"}}), &[])]
    #[case(json!({"tcp": {"address": "redis"}}), &["tcp.address"])]
    #[case(json!({"tcp": {}}), &["tcp.address"])]
    #[case(json!({"tcp": {}, "suspend": true}), &[])]
    #[case(json!({"tcp": {"expect": "("}, "suspend": true}), &["tcp.expect"])]
    #[case(json!({"http": {"url": "http://shop/"}, "timeout": "20s"}), &["timeout"])]
    #[case(json!({"http": {}, "targets": {"static": ["http://a/", "10.0.0.1"]}}), &["targets.static[1]"])]
    #[case(json!({"http": {"url": "http://shop/"}, "targets": {"dns": "shop:8080"}}), &[])]
    #[case(json!({"tcp": {}, "targets": {"dns": "shop"}}), &["targets.dns"])]
    #[case(json!({"tcp": {"address": "shop:1"}, "targets": {"dns": "http://shop"}}), &["targets.dns"])]
    #[case(json!({"tcp": {"address": "shop:1", "expect": "("}, "targets": {"static": ["a", "b"]}}), &["tcp.expect"])]
    fn what_is_wrong_is_named_by_its_field(#[case] spec: Value, #[case] fields: &[&str]) {
        assert_eq!(wrong(spec, None), fields);
    }

    #[test]
    fn a_line_of_a_file_is_a_target_too() {
        let spec = json!({"tcp": {}, "targets": {"file": "shops"}});
        assert_eq!(wrong(spec.clone(), Some("10.0.0.1:80\n")), Vec::<String>::new());
        assert_eq!(wrong(spec.clone(), Some("10.0.0.1\n")), ["targets.file"]);
        assert_eq!(wrong(spec, None), Vec::<String>::new(), "what cannot be read is judged elsewhere");
    }
}
