//! Which service a host means, and which of them a namespace sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{Hostname, Kind, ObjectId, PortNumber, Resolution, ServiceHead, Visibility};

use crate::view::{Index, View};

/// Which of two services for one host a client in `namespace` means, who prefers those of `prefer`: its own namespace's,
/// Kubernetes' over a ServiceEntry's, then that of the preferred namespace, then one that is exported to some namespaces
/// before one for all, then the older, then by namespace and name (istio `selectServices`, `servicesExportedToNamespace`, whose
/// services of one host are equal but for their namespace).
pub(crate) fn precedence<'a>(
    head: &'a ServiceHead,
    namespace: &str,
    prefer: &str,
) -> (bool, bool, bool, bool, i64, &'a str, &'a str) {
    let object = &head.id.object;
    (
        namespace != prefer || *object.namespace != *namespace,
        object.kind != Kind::Service,
        *object.namespace != *prefer,
        head.visibility == Visibility::All,
        head.created,
        &object.namespace,
        &object.name,
    )
}

/// A service of the namespace that a destination prefers, though it is not exported there: whoever writes a rule about
/// what is beside it means that. One that is for nobody stays so.
pub(crate) fn resolve_hidden_service(
    view: &dyn View,
    namespace: &Arc<str>,
    host: &Hostname,
) -> Option<Arc<ServiceHead>> {
    let nobody = Visibility::Namespaces(Arc::default());
    candidates(view, host)
        .into_iter()
        .filter(|id| id.namespace == *namespace)
        .flat_map(|id| view.service_heads(&id).iter().cloned().collect::<Vec<_>>())
        .filter(|head| head.id.host == *host && head.visibility != nobody)
        .min_by(|a, b| precedence(a, namespace, namespace).cmp(&precedence(b, namespace, namespace)))
}

/// The service that `host` means to a client in `namespace`; objects in `prefer` win. DIVERGES: with its endpoints, which Istio
/// takes of the one that the gateway's namespace would call.
pub fn resolve_service(
    view: &dyn View,
    namespace: &Arc<str>,
    prefer: &Arc<str>,
    host: &Hostname,
) -> Option<Arc<ServiceHead>> {
    candidates(view, host)
        .into_iter()
        .flat_map(|id| view.service_heads(&id).iter().cloned().collect::<Vec<_>>())
        .filter(|head| head.id.host == *host && head.visibility.covers(namespace))
        .min_by(|a, b| precedence(a, namespace, prefer).cmp(&precedence(b, namespace, prefer)))
}

/// Every object that defines `host`.
pub(crate) fn candidates(view: &dyn View, host: &Hostname) -> Vec<ObjectId> {
    let mut ids = view.ids(&Index::EntryHost(host.clone()));
    let domain = view.settings().cluster_domain.to_ascii_lowercase();
    let suffix = if domain.is_empty() { domain } else { format!(".svc.{domain}") };
    // Names in files are not judged, so a dot may belong to the Service's name or to the namespace's.
    if let Some(rest) = host.as_str().strip_suffix(&suffix) {
        for (dot, _) in rest.match_indices('.') {
            ids.extend(view.ids(&Index::ServiceName(rest[dot + 1..].into(), rest[..dot].into())));
        }
        // One pod of a headless Service: `pod.service.namespace`.
        if let Some((service, namespace)) = rest.split_once('.').and_then(|(_, rest)| rest.rsplit_once('.')) {
            ids.extend(view.ids(&Index::ServiceName(namespace.into(), service.into())));
        }
    }
    ids
}

/// Every service that a namespace sees, one for each host, in the order of [`seniority`].
pub fn select_visible_services(view: &dyn View, namespace: &Arc<str>) -> Vec<Arc<ServiceHead>> {
    let mut by_host: BTreeMap<Hostname, Arc<ServiceHead>> = BTreeMap::new();
    for kind in [Kind::Service, Kind::ServiceEntry] {
        for id in view.ids(&Index::Kind(kind)) {
            for head in view.service_heads(&id).iter().filter(|h| h.visibility.covers(namespace)) {
                let wins = by_host.get(&head.id.host).is_none_or(|current| {
                    precedence(head, namespace, namespace) < precedence(current, namespace, namespace)
                });
                if wins {
                    by_host.insert(head.id.host.clone(), head.clone());
                }
            }
        }
    }
    let mut services: Vec<Arc<ServiceHead>> = by_host.into_values().collect();
    services.sort_by(|a, b| seniority(a).cmp(&seniority(b)));
    services
}

/// The order of services where something can belong to one of them only: those that are for some namespaces first, then the older
/// (istio `servicesExportedToNamespace`).
pub(crate) fn seniority(head: &ServiceHead) -> (bool, i64, &Hostname, &str) {
    (head.visibility == Visibility::All, head.created, &head.id.host, &head.id.object.namespace)
}

/// Of the services that a namespace sees those whose host a wildcard covers.
pub fn select_services_under(
    view: &dyn View,
    namespace: &Arc<str>,
    wildcard: &Hostname,
) -> Vec<Arc<ServiceHead>> {
    let services = view.visible_services(namespace);
    services.iter().filter(|service| service.id.host.subset_of(wildcard)).cloned().collect()
}

/// The services that a host means in a namespace, a wildcard all that it covers. Only they are read: what else there is
/// changes nothing for who asks.
pub fn select_services_named(
    view: &dyn View,
    namespace: &Arc<str>,
    host: &Hostname,
) -> Arc<Vec<Arc<ServiceHead>>> {
    if host.is_wildcard() {
        return view.services_under(namespace, host);
    }
    Arc::new(view.resolve(namespace, namespace, host).into_iter().collect())
}

/// The ports on which sidecars of a namespace listen for HTTP.
pub fn select_listened_ports(view: &dyn View, namespace: &Arc<str>) -> BTreeSet<PortNumber> {
    let services = view.visible_services(namespace);
    let listening = services.iter().filter(|service| !matches!(service.resolution, Resolution::Alias(_)));
    let ports = listening.flat_map(|service| &service.ports).filter(|port| port.protocol.is_http());
    ports.map(|port| port.number).collect()
}
