//! EndpointSlices, Pods and Nodes to endpoints (istio-semantics "Endpoints").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use umbra_api::{EndpointSlice, Object, Objects, Pod, Selected, Service};
use umbra_ir::{Endpoint, Hostname, Kind, ObjectId, PortNumber, service_host};
use umbra_mesh::{Index, View};

use crate::names::{Means, name_of};
use crate::places::place;
use crate::pods::{first_selected_pods, pod_port, selected_pods};
use crate::services::port_of;

/// The label of an endpoint that names its Node.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The ready endpoints of a Service's port, of all its pods or of the one that `host` names: by its slices, else, in a directory, by the Pods that its selector matches.
pub fn service_endpoints(
    view: &(impl View + Objects),
    service: &Service,
    host: &Hostname,
    number: PortNumber,
) -> Vec<Endpoint> {
    let Some(port) = port_of(service, number) else { return Vec::new() };
    let meta = &service.meta;
    let own = service_host(&meta.name, &meta.namespace, &view.settings().cluster_domain);
    let own = Hostname::new(&own);
    let means = Means::new(host, &own);
    let slices = view.ids(&Index::SlicesOf(meta.namespace.clone(), meta.name.clone()));
    if !slices.is_empty() {
        let slices = slices.iter().filter_map(|id| view.object(id));
        return slices
            .flat_map(|object| match &*object {
                Object::EndpointSlice(slice) => slice_endpoints(view, slice, &port.name, &means),
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
        .filter(|pod| means.covers(name_of(pod, service)))
        .filter_map(|pod| {
            let target = pod_port(pod, port)?;
            // What is no address would cost Envoy the whole assignment.
            let ip = pod.ips.iter().find(|ip| ip.parse::<IpAddr>().is_ok())?;
            Some(pod_endpoint(view, Some(pod), Some(pod.node_name.as_str()), None, ip, target))
        })
        .collect()
}

/// The ready Pods of a namespace that carry these labels, the first of them, as endpoints of a ServiceEntry; none for no labels.
pub fn selected_endpoints(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
    labels: &BTreeMap<String, String>,
    port: u16,
    most: Selected,
) -> Vec<Endpoint> {
    let pods = first_selected_pods(view, namespace, labels, most.looked_at);
    let ready = pods.iter().filter(|pod| pod.ready);
    ready
        .filter_map(|pod| {
            let ip = pod.ips.iter().find(|ip| ip.parse::<IpAddr>().is_ok())?;
            Some(pod_endpoint(view, Some(pod), Some(pod.node_name.as_str()), None, ip, port))
        })
        .take(most.taken)
        .collect()
}

/// The ready endpoints of one slice for the Service port called `port_name`.
fn slice_endpoints(
    view: &(impl View + Objects),
    slice: &EndpointSlice,
    port_name: &str,
    means: &Means<'_>,
) -> Vec<Endpoint> {
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
        .filter(|endpoint| means.covers(endpoint.hostname.as_deref()))
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
    view: &(impl View + Objects),
    pod: Option<&Pod>,
    node: Option<&str>,
    zone: Option<&str>,
    ip: &str,
    port: u16,
) -> Endpoint {
    let mut labels = pod.map(|p| p.meta.labels.clone()).unwrap_or_default();
    let node = node.filter(|n| !n.is_empty());
    let locality = place(view, &labels, node, zone);
    // Without a place they stay those of the Pod, which it has in common with others.
    if !locality.is_unknown() {
        locality.add_labels(Arc::make_mut(&mut labels));
    }
    if let Some(node) = node {
        Arc::make_mut(&mut labels).entry(HOSTNAME.into()).or_insert_with(|| node.into());
    }
    let workload = pod.map(|pod| pod.workload.clone());
    Endpoint { address: ip.into(), port, locality, weight: 1, labels, workload }
}
