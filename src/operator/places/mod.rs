//! Targets of probes that stand in the cluster: services, endpoints, pods, ingresses, nodes, the API
//! server. Each kind is watched once, from when a probe names it first; its probes are told of every
//! change at once.

mod find;
mod shelf;

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use url::Url;

use find::Missing;
use shelf::{Common, Shelf};

use crate::api::Targets;
use crate::cluster::{Connection, Scope};

/// The label that tells the Service of a slice.
const SERVICE: &str = "kubernetes.io/service-name";

/// The places of one cluster. Cheap to clone; all clones share their watches.
#[derive(Clone)]
pub struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    common: Common,
    /// The same for what stands in no namespace.
    everywhere: Common,
    server: String,
    services: Shelf<Service>,
    slices: Shelf<EndpointSlice>,
    pods: Shelf<Pod>,
    ingresses: Shelf<Ingress>,
    nodes: Shelf<Node>,
}

impl Places {
    /// Watches nothing yet. Nodes are looked for in the whole cluster, all else where `scope` says.
    #[must_use]
    pub fn new(connection: &Connection, scope: Scope) -> Self {
        let changed = watch::Sender::new(0);
        let common = |scope: Scope| Common { client: connection.client(), scope, changed: changed.clone() };
        let inner = Inner {
            common: common(scope),
            everywhere: common(Scope::everything()),
            server: connection.server().to_owned(),
            services: Shelf::new(below, |service| bare(&mut service.metadata)),
            slices: Shelf::new(below, |slice| bare(&mut slice.metadata)),
            pods: Shelf::new(below, trim_pod),
            ingresses: Shelf::new(below, |ingress| bare(&mut ingress.metadata)),
            nodes: Shelf::new(|client, _| Api::all(client.clone()), trim_node),
        };
        Self { inner: Arc::new(inner) }
    }

    fn apiserver(&self) -> Result<String, String> {
        let url: Url = self.inner.server.parse().map_err(|error| format!("the API server's address: {error}"))?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
        Ok(format!("{host}:{port}"))
    }

    fn all<K>(&self, objects: &Shelf<K>, what: &str) -> Result<Vec<Arc<K>>, String>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync,
    {
        let all = objects.all(&self.inner.common);
        all.ok_or_else(|| unread(what))
    }

    fn one<K>(&self, objects: &Shelf<K>, kind: &'static str, namespace: &str, name: &str) -> Result<Arc<K>, String>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync,
    {
        let all = self.all(objects, kind)?;
        let found = all.into_iter().find(|one| one.namespace().as_deref() == Some(namespace) && one.name_any() == name);
        let absent = Missing::Absent { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        found.ok_or_else(|| absent.to_string())
    }
}

impl crate::probes::Places for Places {
    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.common.changed.subscribe()
    }

    fn find(&self, namespace: &str, targets: &Targets) -> Result<Vec<String>, String> {
        let port = targets.port.as_deref();
        let mut found = Vec::new();
        if let Some(name) = &targets.service {
            let service = self.one(&self.inner.services, "service", namespace, name)?;
            found.extend(told(find::of_service(&service, port))?);
        }
        if let Some(name) = &targets.endpoints {
            let all = self.all(&self.inner.slices, "endpoints")?;
            let of_service = |slice: &&Arc<EndpointSlice>| {
                slice.namespace().as_deref() == Some(namespace) && slice.labels().get(SERVICE) == Some(name)
            };
            let slices: Vec<&EndpointSlice> = all.iter().filter(of_service).map(|slice| &**slice).collect();
            found.extend(told(find::of_slices(&slices, name, port))?);
        }
        if let Some(wanted) = &targets.pods {
            let all = self.all(&self.inner.pods, "pods")?;
            let here = all.iter().filter(|pod| pod.namespace().as_deref() == Some(namespace));
            let pods: Vec<&Pod> = here.map(|pod| &**pod).collect();
            found.extend(told(find::of_pods(&pods, &wanted.match_labels, wanted.arm, port))?);
        }
        if let Some(name) = &targets.ingress {
            let ingress = self.one(&self.inner.ingresses, "ingress", namespace, name)?;
            found.extend(find::of_ingress(&ingress));
        }
        if let Some(wanted) = &targets.nodes {
            let all = self.inner.nodes.all(&self.inner.everywhere);
            let all = all.ok_or_else(|| unread("nodes"))?;
            let nodes: Vec<&Node> = all.iter().map(|node| &**node).collect();
            found.extend(find::of_nodes(&nodes, &wanted.match_labels, port.and_then(|port| port.parse().ok())));
        }
        if targets.apiserver {
            found.push(self.apiserver()?);
        }
        Ok(found)
    }
}

fn unread(what: &str) -> String {
    format!("the {what} of the cluster have not been read yet")
}

fn told(found: Result<Vec<String>, Missing>) -> Result<Vec<String>, String> {
    found.map_err(|missing| missing.to_string())
}

/// The objects of a namespace, or of all.
fn below<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Ten thousand objects are in memory at once: who wrote what of them is the most of it.
fn bare(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}

fn trim_pod(pod: &mut Pod) {
    bare(&mut pod.metadata);
    if let Some(spec) = &mut pod.spec {
        let containers = std::mem::take(&mut spec.containers);
        let ports = containers
            .into_iter()
            .map(|container| k8s_openapi::api::core::v1::Container { ports: container.ports, ..Default::default() });
        *spec = k8s_openapi::api::core::v1::PodSpec { containers: ports.collect(), ..Default::default() };
    }
    if let Some(status) = &mut pod.status {
        *status = k8s_openapi::api::core::v1::PodStatus {
            phase: status.phase.take(),
            pod_ip: status.pod_ip.take(),
            ..Default::default()
        };
    }
}

fn trim_node(node: &mut Node) {
    bare(&mut node.metadata);
    node.spec = None;
    if let Some(status) = &mut node.status {
        *status = k8s_openapi::api::core::v1::NodeStatus { addresses: status.addresses.take(), ..Default::default() };
    }
}
