//! Ports of gateways, translated by the Services before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_ir::{Kind, PortNumber};
use umbra_mesh::{Index, View};

use crate::pods::{pod_port, selected_pods};
use crate::services::port_of;

/// A Service with this label does not translate gateway ports.
const NO_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";

/// The port that the proxy binds for a server: the target port of the first Service that selects the proxy
/// and has a port of that number, else the number itself (istio `resolvePorts`).
pub fn resolve_listener_port(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
    labels: &BTreeMap<String, String>,
    number: PortNumber,
) -> PortNumber {
    let mut services: Vec<Arc<Object>> = view
        .ids(&Index::InNamespace(Kind::Service, namespace.clone()))
        .iter()
        .filter_map(|id| view.object(id))
        .collect();
    services.sort_by_key(|object| (object.meta().created_seconds(), object.meta().name.clone()));
    for object in services {
        let Object::Service(service) = &*object else { continue };
        let selects = !service.spec.selector.is_empty()
            && service.spec.selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        if !selects || service.meta.labels.contains_key(NO_TRANSLATION) {
            continue;
        }
        let Some(port) = port_of(service, number) else { continue };
        let target = match &port.target_port {
            Some(umbra_api::IntOrString::String(_)) => {
                // A named port is looked up in the pods; they are of one kind, any will do.
                let pods = selected_pods(view, namespace, &service.spec.selector);
                pods.iter().find_map(|pod| pod_port(pod, port))
            }
            Some(umbra_api::IntOrString::Int(n)) => u16::try_from(*n).ok(),
            None => None,
        };
        return target.and_then(|t| PortNumber::new(t.into())).unwrap_or(number);
    }
    number
}
