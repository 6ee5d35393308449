//! From objects of the cluster to targets. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::Arm;
use crate::model::Labels;

/// The port of the kubelet.
const KUBELET: u16 = 10_250;
/// The labels that tell the revision of a pod, by the kind of its owner.
const REVISIONS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// Why something of the cluster gives no targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    /// It is not there.
    #[error("there is no {kind} {namespace}/{name}")]
    Absent { kind: &'static str, namespace: String, name: String },
    /// It has no such port.
    #[error("{what} has no port {wanted}; it has {found}")]
    Port { what: String, wanted: String, found: String },
    /// It has no address of its own.
    #[error("service {0} has no address of its own: say `endpoints` instead of `service`")]
    Headless(String),
}

/// A Service at its own address.
pub(super) fn of_service(service: &Service, port: Option<&str>) -> Result<Vec<String>, Missing> {
    let spec = service.spec.clone().unwrap_or_default();
    let ports: Vec<(Option<String>, i32)> =
        spec.ports.unwrap_or_default().into_iter().map(|port| (port.name, port.port)).collect();
    let what = || format!("service {}", title(&service.metadata));
    let port = choose(&ports, port, what)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let name = spec.external_name.unwrap_or_default();
        return Ok(vec![port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))]);
    }
    let address = spec.cluster_ip.as_deref().and_then(|address| address.parse::<IpAddr>().ok());
    let address = address.ok_or_else(|| Missing::Headless(title(&service.metadata)))?;
    Ok(vec![shown(address, port)])
}

/// Every ready address of the slices of one Service.
pub(super) fn of_slices(slices: &[&EndpointSlice], service: &str, port: Option<&str>) -> Result<Vec<String>, Missing> {
    let mut found = Vec::new();
    for slice in slices {
        let ports: Vec<(Option<String>, i32)> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| Some((port.name.clone().filter(|name| !name.is_empty()), port.port?)))
            .collect();
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
            // What does not say is ready, as the API's own words have it.
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
        });
        let addresses: Vec<IpAddr> =
            ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse().ok()).collect();
        if addresses.is_empty() {
            continue;
        }
        let port = choose(&ports, port, || format!("service {service}"))?;
        found.extend(addresses.into_iter().map(|address| shown(address, port)));
    }
    Ok(found)
}

/// Running pods with these labels, of one arm.
pub(super) fn of_pods(
    pods: &[&Pod],
    labels: &Labels,
    arm: Option<Arm>,
    port: Option<&str>,
) -> Result<Vec<String>, Missing> {
    let runs = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let selected: Vec<&Pod> =
        pods.iter().copied().filter(|pod| runs(pod) && has(pod.metadata.labels.as_ref(), labels)).collect();
    let canary = canary_of(&selected);
    let of_arm = |pod: &&&Pod| match arm {
        None => true,
        Some(arm) => (canary.is_some() && revision(pod) == canary.as_deref()) == (arm == Arm::Canary),
    };
    let mut found = Vec::new();
    for pod in selected.iter().filter(of_arm) {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let Some(address) = ip.and_then(|address| address.parse::<IpAddr>().ok()) else { continue };
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let ports: Vec<(Option<String>, i32)> = containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .map(|port| (port.name.clone(), port.container_port))
            .collect();
        // A container need not say which ports it has: a number is taken as it is.
        let number = port.and_then(|port| port.parse().ok());
        let port = match number {
            Some(number) => Some(number),
            None => choose(&ports, port, || format!("pod {}", title(&pod.metadata)))?,
        };
        found.push(shown(address, port));
    }
    Ok(found)
}

/// The revision whose first pod began last, where there are several.
fn canary_of(pods: &[&Pod]) -> Option<String> {
    let mut began = BTreeMap::new();
    for pod in pods {
        let (Some(revision), Some(created)) = (revision(pod), pod.metadata.creation_timestamp.as_ref()) else {
            continue;
        };
        let first = began.entry(revision).or_insert(created.0);
        *first = (*first).min(created.0);
    }
    if began.len() < 2 {
        return None;
    }
    began.into_iter().max_by_key(|(_, first)| *first).map(|(revision, _)| revision.to_owned())
}

fn revision(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    REVISIONS.iter().find_map(|label| labels.get(*label)).map(String::as_str)
}

/// Every host and path of an Ingress as a URL. What holds for every host has no URL of its own.
pub(super) fn of_ingress(ingress: &Ingress) -> Vec<String> {
    let spec = ingress.spec.clone().unwrap_or_default();
    let secure: Vec<String> =
        spec.tls.unwrap_or_default().into_iter().flat_map(|tls| tls.hosts.unwrap_or_default()).collect();
    let mut found = Vec::new();
    for rule in spec.rules.unwrap_or_default() {
        let Some(host) = rule.host.filter(|host| !host.is_empty() && !host.starts_with('*')) else { continue };
        let scheme = if secure.iter().any(|name| covers(name, &host)) { "https" } else { "http" };
        for path in rule.http.map(|http| http.paths).unwrap_or_default() {
            let path = path.path.filter(|path| path.starts_with('/')).unwrap_or_else(|| "/".to_owned());
            found.push(format!("{scheme}://{host}{path}"));
        }
    }
    found
}

/// Whether a name of a certificate, perhaps with a `*` for its first label, is for a host.
fn covers(name: &str, host: &str) -> bool {
    name == host
        || name.strip_prefix("*.").is_some_and(|rest| host.split_once('.').is_some_and(|(_, domain)| domain == rest))
}

/// The internal addresses of nodes with these labels.
pub(super) fn of_nodes(nodes: &[&Node], labels: &Labels, port: Option<u16>) -> Vec<String> {
    let selected = nodes.iter().filter(|node| has(node.metadata.labels.as_ref(), labels));
    let addresses = selected.filter_map(|node| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
        internal.address.parse::<IpAddr>().ok()
    });
    addresses.map(|address| shown(address, Some(port.unwrap_or(KUBELET)))).collect()
}

fn has(found: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

/// The port by its name or number; without either the only one that there is.
fn choose(
    ports: &[(Option<String>, i32)],
    wanted: Option<&str>,
    what: impl Fn() -> String,
) -> Result<Option<u16>, Missing> {
    let number = |port: i32| u16::try_from(port).ok();
    let Some(wanted) = wanted else {
        return Ok(if let [(_, only)] = ports { number(*only) } else { None });
    };
    let is = |(name, port): &&(Option<String>, i32)| name.as_deref() == Some(wanted) || port.to_string() == wanted;
    if let Some((_, port)) = ports.iter().find(is) {
        return Ok(number(*port));
    }
    let shown = |(name, port): &(Option<String>, i32)| match name {
        Some(name) => format!("{port} ({name})"),
        None => port.to_string(),
    };
    let found: Vec<String> = ports.iter().map(shown).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(Missing::Port { what: what(), wanted: wanted.to_owned(), found })
}

fn shown(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

fn title(metadata: &ObjectMeta) -> String {
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn object<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn meta() -> Value {
        json!({"namespace": "shop", "name": "checkout"})
    }

    #[rstest]
    #[case::the_only_port(json!([{"port": 80}]), None, Ok(vec!["10.0.0.1:80"]))]
    #[case::by_name(json!([{"name": "http", "port": 80}, {"name": "admin", "port": 90}]), Some("admin"), Ok(vec!["10.0.0.1:90"]))]
    #[case::by_number(json!([{"name": "http", "port": 80}, {"name": "admin", "port": 90}]), Some("80"), Ok(vec!["10.0.0.1:80"]))]
    #[case::of_several_the_kinds_own(json!([{"port": 80}, {"port": 90}]), None, Ok(vec!["10.0.0.1"]))]
    #[case::no_such(json!([{"name": "http", "port": 80}]), Some("grpc"), Err("service shop/checkout has no port grpc; it has 80 (http)"))]
    fn a_service_is_probed_at_its_own_address(
        #[case] ports: Value,
        #[case] port: Option<&str>,
        #[case] expected: Result<Vec<&str>, &str>,
    ) {
        let service: Service = object(json!({"metadata": meta(), "spec": {"clusterIP": "10.0.0.1", "ports": ports}}));
        let found = of_service(&service, port).map_err(|error| error.to_string());
        let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect()).map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_service_without_an_address_says_what_to_do() {
        let service: Service =
            object(json!({"metadata": meta(), "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}));
        let error = of_service(&service, None).unwrap_err().to_string();
        assert_eq!(error, "service shop/checkout has no address of its own: say `endpoints` instead of `service`");
        let external: Service =
            object(json!({"metadata": meta(), "spec": {"type": "ExternalName", "externalName": "pay.example"}}));
        assert_eq!(of_service(&external, None).unwrap(), ["pay.example"]);
    }

    #[test]
    fn every_ready_address_is_a_target_and_no_other() {
        let four: EndpointSlice = object(json!({
            "metadata": meta(), "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.1.0.3"]},
            ],
        }));
        let six: EndpointSlice = object(json!({
            "metadata": meta(), "addressType": "IPv6", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["fd00::1"]}],
        }));
        let found = of_slices(&[&four, &six], "checkout", Some("http")).unwrap();
        assert_eq!(found, ["10.1.0.1:8080", "10.1.0.3:8080", "[fd00::1]:8080"]);
    }

    fn pod(revision: &str, created: &str, ip: &str, phase: &str) -> Pod {
        object(json!({
            "metadata": {
                "namespace": "shop", "name": ip, "creationTimestamp": created,
                "labels": {"app": "checkout", "pod-template-hash": revision},
            },
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": phase, "podIP": ip},
        }))
    }

    #[rstest]
    #[case::all(None, vec!["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"])]
    #[case::old(Some(Arm::Baseline), vec!["10.1.0.1:8080", "10.1.0.2:8080"])]
    #[case::new(Some(Arm::Canary), vec!["10.1.0.3:8080"])]
    fn the_canary_is_the_revision_that_began_last(#[case] arm: Option<Arm>, #[case] expected: Vec<&str>) {
        let pods = [
            pod("old", "2026-11-01T00:00:00Z", "10.1.0.1", "Running"),
            // Moved to another node after the canary began: its revision is still the old one.
            pod("old", "2026-11-03T00:00:00Z", "10.1.0.2", "Running"),
            pod("new", "2026-11-02T00:00:00Z", "10.1.0.3", "Running"),
            pod("new", "2026-11-02T00:00:00Z", "10.1.0.4", "Pending"),
        ];
        let labels = Labels::from([("app".to_owned(), "checkout".to_owned())]);
        let pods: Vec<&Pod> = pods.iter().collect();
        assert_eq!(of_pods(&pods, &labels, arm, Some("http")).unwrap(), expected);
    }

    #[test]
    fn one_revision_alone_is_the_baseline() {
        let only = pod("old", "2026-11-01T00:00:00Z", "10.1.0.1", "Running");
        let labels = Labels::from([("app".to_owned(), "checkout".to_owned())]);
        assert_eq!(of_pods(&[&only], &labels, Some(Arm::Canary), None).unwrap(), Vec::<String>::new());
        assert_eq!(of_pods(&[&only], &labels, Some(Arm::Baseline), Some("9")).unwrap(), ["10.1.0.1:9"]);
    }

    #[test]
    fn every_host_and_path_of_an_ingress_is_a_url() {
        let ingress: Ingress = object(json!({
            "metadata": meta(),
            "spec": {
                "tls": [{"hosts": ["*.shop.example"]}],
                "rules": [
                    {"host": "www.shop.example", "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {}},
                        {"path": "/pay", "pathType": "Prefix", "backend": {}},
                    ]}},
                    {"host": "plain.example", "http": {"paths": [{"pathType": "Prefix", "backend": {}}]}},
                    {"host": "*.any.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {}}]}},
                ],
            },
        }));
        let expected = ["https://www.shop.example/", "https://www.shop.example/pay", "http://plain.example/"];
        assert_eq!(of_ingress(&ingress), expected);
    }

    #[test]
    fn nodes_are_probed_at_their_kubelet() {
        let node: Node = object(json!({
            "metadata": {"name": "n-1", "labels": {"pool": "a"}},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n-1"}, {"type": "InternalIP", "address": "10.9.0.1"},
            ]},
        }));
        assert_eq!(of_nodes(&[&node], &Labels::new(), None), ["10.9.0.1:10250"]);
        let other = Labels::from([("pool".to_owned(), "b".to_owned())]);
        assert!(of_nodes(&[&node], &other, None).is_empty());
    }
}
