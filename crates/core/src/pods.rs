//! Pods: their labels, who selects them, and what a Service's port means there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{IntOrString, Object, Objects, Pod};
use umbra_inject::pod::{namespace_asks, wants_sidecar};
use umbra_inject::words;
use umbra_ir::{BarePods, Kind, ObjectId, PodHead};
use umbra_mesh::{Index, View};

use crate::places::place;

/// What of a Pod changes what the proxy in it gets; `None`: it is not known.
pub fn resolve_pod_head(objects: &impl Objects, id: &ObjectId) -> Option<Arc<PodHead>> {
    match &*objects.object(id)? {
        Object::Pod(pod) => Some(Arc::new(PodHead {
            labels: pod.meta.labels.clone(),
            locality: place(objects, &pod.meta.labels, Some(pod.node_name.as_str()), None),
            trusted_proxies: pod.trusted_proxies,
        })),
        _ => None,
    }
}

/// The Pods of a namespace that should have a sidecar and have none; `None`: there are no such. Where Namespaces are not
/// read nobody can tell.
pub fn select_bare_pods(view: &(impl View + Objects), namespace: &Arc<str>) -> Option<BarePods> {
    if words::SYSTEM_NAMESPACES.contains(&&**namespace) {
        return None;
    }
    let object = view.object(&ObjectId::new(Kind::Namespace, "", namespace.clone()))?;
    let asks = namespace_asks(&object.meta().labels);
    let index = match asks {
        Some(true) => Index::BarePods(namespace.clone()),
        Some(false) => return None,
        None => Index::PodsWithLabel(namespace.clone(), words::INJECT.into(), "true".into()),
    };
    let mut bare = view.ids(&index).into_iter().filter(|id| match view.object(id).as_deref() {
        Some(Object::Pod(pod)) => {
            let lives = !pod.meta.deleting && pod.phase != "Succeeded" && pod.phase != "Failed";
            let label = pod.meta.labels.get(words::INJECT).map(String::as_str);
            lives && !pod.has_sidecar && !pod.host_network && wants_sidecar(asks, label, &pod.inject)
        }
        _ => false,
    });
    let first = bare.next()?.name;
    Some(BarePods { first, count: 1 + bare.count() })
}

/// All namespaces with such Pods.
pub fn select_bare_namespaces(view: &(impl View + Objects)) -> BTreeMap<Arc<str>, Arc<BarePods>> {
    let namespaces = view.ids(&Index::Kind(Kind::Namespace)).into_iter();
    namespaces.filter_map(|id| Some((id.name.clone(), view.bare_pods(&id.name)?))).collect()
}

/// The label keys that the selectors of a namespace's Services mention.
pub fn select_selected_labels(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
) -> BTreeSet<(String, String)> {
    let services = view.ids(&Index::InNamespace(Kind::Service, namespace.clone())).into_iter();
    let selectors = services.filter_map(|id| match &*view.object(&id)? {
        Object::Service(service) => Some(service.spec.selector.clone()),
        _ => None,
    });
    selectors.flatten().collect()
}

/// The pods of a namespace that a selector matches; none for an empty selector.
pub(crate) fn selected_pods(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
    selector: &BTreeMap<String, String>,
) -> Vec<Pod> {
    first_selected_pods(view, namespace, selector, usize::MAX)
}

/// The same of so many that have the first of its labels.
pub(crate) fn first_selected_pods(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
    selector: &BTreeMap<String, String>,
    looked_at: usize,
) -> Vec<Pod> {
    // One label narrows the search; the rest are compared.
    let Some((key, value)) = selector.iter().next() else { return Vec::new() };
    let index = Index::PodsWithLabel(namespace.clone(), key.as_str().into(), value.as_str().into());
    let pods = view.ids(&index).into_iter().take(looked_at).filter_map(|id| view.object(&id));
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
