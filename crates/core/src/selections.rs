//! What is said about selectors of other objects, beside the Pods that there are and the Services before them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_ir::{Code, Diagnostic, GatewayHead, Kind, ObjectId};
use umbra_mesh::{Index, Report, View};

use crate::pods::selected_pods;

/// Says that no Pod of its namespace has the labels by which an object selects. Where there are no Pods at all, nobody can
/// tell: they may be somewhere else.
pub fn report_selector(
    view: &(impl View + Objects),
    id: &ObjectId,
    field: &str,
    labels: &BTreeMap<String, String>,
    report: &mut Report,
) {
    let known = || view.has_pods(&id.namespace);
    if !labels.is_empty() && known() && selected_pods(view, &id.namespace, labels).is_empty() {
        let message = format!("no Pod of {} has these labels: it has no effect until one has", id.namespace);
        report.insert(Diagnostic::new(Code::SelectsNoPod, id, field, message));
    }
}

/// Says that no Pod is a Gateway's, or that no Service before those that are has the port of one of its servers.
pub fn report_gateway_pods(view: &(impl View + Objects), head: &GatewayHead, report: &mut Report) {
    if head.selector.is_empty() {
        return;
    }
    // Gateways have Services: nobody calls a Pod by its address.
    let services = view.ids(&Index::Kind(Kind::Service)).into_iter().map(|id| id.namespace);
    let namespaces: BTreeSet<Arc<str>> = services.chain([head.id.namespace.clone()]).collect();
    let mut selected = false;
    let mut before: BTreeMap<ObjectId, BTreeSet<i64>> = BTreeMap::new();
    for namespace in &namespaces {
        for pod in selected_pods(view, namespace, &head.selector) {
            selected = true;
            before.extend(services_before(view, namespace, &pod.meta.labels));
        }
    }
    if !selected {
        // In a folder nobody expects the Pods of gateways.
        if !view.pods_as_endpoints() && namespaces.iter().any(|it| view.has_pods(it)) {
            let message = "no Pod has these labels: no gateway opens the servers until one has";
            report.insert(Diagnostic::new(Code::SelectsNoPod, &head.id, "spec.selector", message));
        }
        return;
    }
    let Some(first) = before.keys().next() else { return };
    let ports: BTreeSet<i64> = before.values().flatten().copied().collect();
    for server in &head.servers {
        if !ports.contains(&i64::from(server.port.get())) {
            let others = match before.len() {
                1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let message = format!(
                "no Service before its Pods ({first}{others}) has the port {}: clients reach the server at the Pods' own addresses only",
                server.port
            );
            let field = format!("{}.port.number", server.field);
            report.insert(Diagnostic::new(Code::PortNotOnService, &head.id, field, message));
        }
    }
}

/// The Services of a namespace that select a Pod with these labels, with their ports.
fn services_before(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
    labels: &BTreeMap<String, String>,
) -> Vec<(ObjectId, BTreeSet<i64>)> {
    let ids = view.ids(&Index::InNamespace(Kind::Service, namespace.clone()));
    let ports = |id: ObjectId| match view.object(&id).as_deref() {
        Some(Object::Service(service)) => {
            let selector = &service.spec.selector;
            let selects =
                !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            selects.then(|| (id, service.spec.ports.iter().map(|port| i64::from(port.port)).collect()))
        }
        _ => None,
    };
    ids.into_iter().filter_map(ports).collect()
}

/// Whether Pods of a namespace are known.
pub fn resolve_has_pods(view: &impl View, namespace: &Arc<str>) -> bool {
    !view.ids(&Index::InNamespace(Kind::Pod, namespace.clone())).is_empty()
}
