//! Endpoints of a service port and of the subsets of it (istio-semantics "Endpoints").

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use umbra_api::{EndpointSlice, IntOrString, Object, Pod, Service, ServiceEntry, WorkloadEntry};
use umbra_ir::{
    ClientTls, ClusterRef, Endpoint, EndpointSet, Kind, Locality, ObjectId, PortNumber, ServiceId,
};

use crate::services::port_of;
use umbra_mesh::Index;

use crate::world::World;

/// Labels that an endpoint has besides its pod's, so that subsets may select by place.
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What the first two were called on Nodes of old.
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";

/// The ready endpoints of a service port, sorted. Endpoints that are not ready are left out.
pub fn resolve_endpoints(view: &impl World, service: &ServiceId, port: PortNumber) -> EndpointSet {
    let objects = service.objects().filter_map(|id| view.object(id));
    let mut endpoints: Vec<Endpoint> = objects
        .flat_map(|object| match &*object {
            Object::Service(service) => service_endpoints(view, service, port),
            Object::ServiceEntry(entry) => entry_endpoints(entry, &service.host, port),
            _ => Vec::new(),
        })
        .collect();
    // Slices may overlap while they are rearranged, and Envoy takes no address twice: the first counts.
    let mut seen = HashSet::new();
    endpoints.retain(|e| seen.insert((e.address.to_ascii_lowercase(), e.port)));
    endpoints.sort();
    EndpointSet(endpoints)
}

/// The endpoints of a cluster: those of its port that its subset selects. A cluster whose TLS we cannot give
/// has none: never silently plaintext.
pub fn select_members(view: &impl World, cluster: &ClusterRef) -> EndpointSet {
    let rules = cluster.policy.as_ref().map(|id| view.rule_set(id));
    let policy = rules.as_ref().map(|r| r.effective(cluster.port, cluster.subset.as_ref()));
    if policy.is_some_and(|p| matches!(p.tls, Some(ClientTls::Unsupported(_)))) {
        return EndpointSet::default();
    }
    let all = view.endpoints(&cluster.service, cluster.port);
    let Some(subset) = &cluster.subset else { return EndpointSet::clone(&all) };
    let none = BTreeMap::new();
    let labels = rules.as_ref().and_then(|r| r.subsets.get(subset)).map_or(&none, |s| &s.labels);
    EndpointSet(all.0.iter().filter(|e| e.has_labels(labels)).cloned().collect())
}

fn service_endpoints(view: &impl World, service: &Service, number: PortNumber) -> Vec<Endpoint> {
    let Some(port) = port_of(service, number) else { return Vec::new() };
    let meta = &service.meta;
    let slices = view.ids(&Index::SlicesOf(meta.namespace.clone(), meta.name.clone()));
    if !slices.is_empty() {
        let slices = slices.iter().filter_map(|id| view.object(id));
        return slices
            .flat_map(|object| match &*object {
                Object::EndpointSlice(slice) => slice_endpoints(view, slice, &port.name),
                _ => Vec::new(),
            })
            .collect();
    }
    if !view.pods_as_endpoints() {
        return Vec::new();
    }
    let pods = selected_pods(view, &meta.namespace, &service.spec.selector);
    pods.iter()
        .filter(|pod| pod.ready || service.spec.publish_not_ready_addresses)
        .filter_map(|pod| {
            let target = pod_port(pod, port)?;
            // What is no address would cost Envoy the whole assignment.
            let ip = pod.ips.iter().find(|ip| ip.parse::<IpAddr>().is_ok())?;
            Some(pod_endpoint(view, Some(pod), Some(pod.node_name.as_str()), None, ip, target))
        })
        .collect()
}

/// The pods of a namespace that a selector matches; none for an empty selector.
pub(crate) fn selected_pods(
    view: &impl World,
    namespace: &Arc<str>,
    selector: &BTreeMap<String, String>,
) -> Vec<Pod> {
    // One label narrows the search; the rest are compared.
    let Some((key, value)) = selector.iter().next() else { return Vec::new() };
    let index = Index::PodsWithLabel(namespace.clone(), key.as_str().into(), value.as_str().into());
    let pods = view.ids(&index).into_iter().filter_map(|id| view.object(&id));
    pods.filter_map(|object| match &*object {
        Object::Pod(pod) => Some(pod.clone()),
        _ => None,
    })
    .filter(|pod| selector.iter().all(|(k, v)| pod.meta.labels.get(k) == Some(v)))
    .filter(|pod| !pod.meta.deleting && pod.phase != "Succeeded" && pod.phase != "Failed")
    .collect()
}

/// The port of a pod that a Service port means: a number, a container port's name, or the same number.
pub(crate) fn pod_port(pod: &Pod, port: &umbra_api::ServicePort) -> Option<u16> {
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(number) => number,
            Err(_) => pod.ports.iter().find(|p| p.name == *name)?.container_port,
        },
    };
    u16::try_from(number).ok().filter(|n| *n != 0)
}

/// The ready endpoints of one slice for the Service port called `port_name`.
fn slice_endpoints(view: &impl World, slice: &EndpointSlice, port_name: &str) -> Vec<Endpoint> {
    if slice.address_type == "FQDN"
        || slice.meta.labels.contains_key("multicluster.kubernetes.io/service-name")
    {
        return Vec::new();
    }
    let Some(port) = slice
        .ports
        .iter()
        .find(|p| p.name == port_name)
        .and_then(|p| u16::try_from(p.port?).ok())
        .filter(|p| *p != 0)
    else {
        return Vec::new();
    };
    let ready = slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false));
    ready
        .filter_map(|endpoint| {
            let ip = endpoint.addresses.first()?;
            ip.parse::<IpAddr>().ok()?;
            let pod = match pod_of(slice, endpoint) {
                None => None,
                // Its labels would be wrong until the pod is known: the endpoint is held back.
                Some(id) => Some(view.object(&id)?),
            };
            let pod = pod.as_deref().and_then(|object| match object {
                Object::Pod(pod) => Some(pod),
                _ => None,
            });
            let node = endpoint.node_name.as_deref().or(pod.map(|p| p.node_name.as_str()));
            Some(pod_endpoint(view, pod, node, endpoint.zone.as_deref(), ip, port))
        })
        .collect()
}

/// The Pod that an endpoint stands for.
pub(crate) fn pod_of(slice: &EndpointSlice, endpoint: &umbra_api::Endpoint) -> Option<ObjectId> {
    let target = endpoint.target_ref.as_ref().filter(|t| t.kind == "Pod")?;
    let namespace: Arc<str> = if target.namespace.is_empty() {
        slice.meta.namespace.clone()
    } else {
        target.namespace.as_str().into()
    };
    Some(ObjectId::new(Kind::Pod, namespace, target.name.as_str()))
}

fn pod_endpoint(
    view: &impl World,
    pod: Option<&Pod>,
    node: Option<&str>,
    zone: Option<&str>,
    ip: &str,
    port: u16,
) -> Endpoint {
    let mut labels = pod.map(|p| p.meta.labels.clone()).unwrap_or_default();
    let node = node.filter(|n| !n.is_empty());
    let node_object = node.and_then(|n| view.object(&ObjectId::new(Kind::Node, "", n)));
    let node_label = |key: &str, old: &str| match node_object.as_deref() {
        Some(Object::Node(node)) => {
            let labels = &node.meta.labels;
            labels.get(key).or_else(|| labels.get(old)).cloned().unwrap_or_default()
        }
        _ => String::new(),
    };
    let locality = labels
        .get("topology.istio.io/locality")
        .or_else(|| labels.get("istio-locality"))
        .map(|text| parse_locality(&text.replace('.', "/")))
        .unwrap_or_else(|| Locality {
            region: node_label(REGION, OLD_REGION).into(),
            zone: Some(node_label(ZONE, OLD_ZONE))
                .filter(|z| !z.is_empty())
                .as_deref()
                .or(zone)
                .unwrap_or_default()
                .into(),
            subzone: node_label(SUBZONE, SUBZONE).into(),
        });
    augment(&mut labels, &locality);
    if let Some(node) = node {
        labels.entry(HOSTNAME.into()).or_insert_with(|| node.into());
    }
    Endpoint { address: ip.into(), port, locality, weight: 1, labels: Arc::new(labels) }
}

/// Adds the labels of a place, so that subsets may select by it.
fn augment(labels: &mut BTreeMap<String, String>, locality: &Locality) {
    for (key, value) in [(REGION, &locality.region), (ZONE, &locality.zone), (SUBZONE, &locality.subzone)] {
        if !value.is_empty() {
            labels.insert(key.into(), value.to_string());
        }
    }
}

/// `region/zone/subzone`, any tail absent.
fn parse_locality(text: &str) -> Locality {
    let mut parts = text.split('/');
    let mut next = || Arc::from(parts.next().unwrap_or_default());
    Locality { region: next(), zone: next(), subzone: next() }
}

fn entry_endpoints(entry: &ServiceEntry, host: &umbra_ir::Hostname, number: PortNumber) -> Vec<Endpoint> {
    let spec = &entry.spec;
    let Some(port) = spec.ports.iter().find(|p| p.number == u32::from(number.get())) else {
        return Vec::new();
    };
    let target = if port.target_port == 0 { port.number } else { port.target_port };
    let dns = spec.resolution == umbra_api::Resolution::Dns;
    if dns && spec.endpoints.is_empty() {
        // The host itself is what is asked for; a wildcard cannot be.
        if host.is_wildcard() {
            return Vec::new();
        }
        let written = spec.hosts.iter().find(|h| umbra_ir::Hostname::new(h) == *host);
        let address = written.map_or_else(|| host.as_str(), String::as_str).trim_end_matches('.');
        let itself = WorkloadEntry { address: address.into(), ..Default::default() };
        return entry_endpoint(&itself, &port.name, target).into_iter().collect();
    }
    let usable = |e: &&WorkloadEntry| {
        !e.address.is_empty()
            && !e.address.starts_with("unix:")
            && (dns || e.address.parse::<IpAddr>().is_ok())
    };
    spec.endpoints.iter().filter(usable).filter_map(|e| entry_endpoint(e, &port.name, target)).collect()
}

fn entry_endpoint(written: &WorkloadEntry, port_name: &str, target: u32) -> Option<Endpoint> {
    let port = written.ports.get(port_name).copied().filter(|p| *p != 0).unwrap_or(target);
    let locality = if written.locality.is_empty() {
        let label =
            written.labels.get("topology.istio.io/locality").or_else(|| written.labels.get("istio-locality"));
        label.map(|l| parse_locality(&l.replace('.', "/"))).unwrap_or_default()
    } else {
        parse_locality(&written.locality)
    };
    let mut labels = written.labels.clone();
    augment(&mut labels, &locality);
    Some(Endpoint {
        address: written.address.as_str().into(),
        port: u16::try_from(port).ok().filter(|p| *p != 0)?,
        locality,
        weight: written.weight.max(1),
        labels: Arc::new(labels),
    })
}

/// Pods that slices of a Service stand for but nobody has seen yet: their endpoints are held back.
pub(crate) fn unknown_pods(view: &impl World, service: &Service) -> BTreeSet<ObjectId> {
    let meta = &service.meta;
    let slices = view.ids(&Index::SlicesOf(meta.namespace.clone(), meta.name.clone()));
    let slices = slices.iter().filter_map(|id| view.object(id));
    slices
        .flat_map(|object| match &*object {
            Object::EndpointSlice(slice) => {
                slice.endpoints.iter().filter_map(|e| pod_of(slice, e)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        })
        .filter(|pod| view.object(pod).is_none())
        .collect()
}
