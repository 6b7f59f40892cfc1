//! WorkloadEntries: endpoints that ServiceEntries select by labels (istio-semantics "Endpoints" of a ServiceEntry).

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{EntryBudget, Object, Objects, ServiceEntry, Workload, WorkloadEntry};
use umbra_ir::{Code, Diagnostic, Endpoint, ObjectId, PortNumber};
use umbra_mesh::{Index, Report, View};

use crate::service_entries::{entry_endpoint, is_usable, port_of};

/// The labels of a WorkloadEntry: those of its spec and of its metadata, which count before.
pub fn workload_labels(workload: &Workload) -> BTreeMap<String, String> {
    let mut labels = workload.spec.labels.clone();
    labels.extend(workload.meta.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

/// The WorkloadEntries that a ServiceEntry selects in its namespace, as endpoints of one of its ports.
pub fn workload_endpoints(
    view: &(impl View + Objects),
    entry: &ServiceEntry,
    number: PortNumber,
) -> Vec<Endpoint> {
    let Some(selector) = &entry.spec.workload_selector else { return Vec::new() };
    let Some((port, target)) = port_of(entry, number) else { return Vec::new() };
    // One label narrows the search; the rest are compared. Without labels nobody is selected.
    let Some((key, value)) = selector.labels.iter().next() else { return Vec::new() };
    let namespace: &Arc<str> = &entry.meta.namespace;
    let index = Index::WorkloadsWithLabel(namespace.clone(), key.as_str().into(), value.as_str().into());
    let most = EntryBudget::of(&entry.spec).selected();
    let objects = view.ids(&index).into_iter().take(most.looked_at).filter_map(|id| view.object(&id));
    let endpoint = |object: Arc<Object>| {
        let Object::WorkloadEntry(workload) = &*object else { return None };
        let labels = workload_labels(workload);
        let selected = selector.labels.iter().all(|(k, v)| labels.get(k) == Some(v));
        let endpoint = WorkloadEntry { labels, ..workload.spec.clone() };
        (selected && is_usable(entry, &endpoint)).then(|| entry_endpoint(&endpoint, port, target)).flatten()
    };
    objects.filter_map(endpoint).take(most.taken).collect()
}

/// Says when a ServiceEntry selects more than it may come to: each port of each of its hosts has all of them.
pub fn report_selected(
    view: &(impl View + Objects),
    id: &ObjectId,
    entry: &ServiceEntry,
    report: &mut Report,
) {
    let Some(selector) = &entry.spec.workload_selector else { return };
    let Some((key, value)) = selector.labels.iter().next() else { return };
    let (namespace, key, value): (_, Arc<str>, Arc<str>) =
        (&entry.meta.namespace, key.as_str().into(), value.as_str().into());
    let budget = EntryBudget::of(&entry.spec);
    for (index, what) in [
        (Index::WorkloadsWithLabel(namespace.clone(), key.clone(), value.clone()), "WorkloadEntries"),
        (Index::PodsWithLabel(namespace.clone(), key.clone(), value.clone()), "Pods"),
    ] {
        let count = view.ids(&index).len();
        if count <= budget.each {
            continue;
        }
        let clusters = budget.hosts * budget.ports;
        let message = format!(
            "{count} {what} have the label {key}={value}, and {clusters} ports of hosts may have {} endpoints each: the first of those selected are used, the others are left out",
            budget.each
        );
        report.insert(Diagnostic::new(Code::OverBudget, id, "spec.workloadSelector", message));
    }
}
