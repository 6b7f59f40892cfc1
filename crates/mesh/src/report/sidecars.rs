//! What is said about Sidecars beside other objects.

use std::slice::from_ref;

use umbra_ir::{Code, Diagnostic, EgressHost, EgressNamespace, ObjectId, Placed};

use crate::Report;
use crate::imports::{heads_of, import_rules, select_sidecars};
use crate::view::View;

/// Says which hosts of a Sidecar mean nothing, and which other Sidecar is for the same proxies before it.
pub fn report_sidecar(view: &dyn View, id: &ObjectId, report: &mut Report) {
    let Some(head) = view.sidecar_head(id) else { return };
    for host in head.egress.iter().flat_map(|egress| &egress.hosts) {
        if !means_something(view, id, host) {
            let message = format!(
                "no visible service and no rule has such a host: proxies of {} can call nothing by it",
                id.namespace
            );
            report.insert(Diagnostic::new(Code::HostNotFound, id, &host.field, message));
        }
    }
    let sidecars = select_sidecars(view, &id.namespace);
    let first = sidecars.iter().find(|(_, selector)| *selector == head.selector);
    if let Some((first, _)) = first.filter(|(first, _)| first != id) {
        let message = format!("{first} is for the same proxies and older: this one has no effect");
        report.insert(Diagnostic::new(Code::SidecarConflict, id, "spec.workloadSelector", message));
    }
}

fn means_something(view: &dyn View, id: &ObjectId, host: &Placed<EgressHost>) -> bool {
    let EgressHost { namespace, host: name } = &host.value;
    let anything = *namespace == EgressNamespace::Any && name.as_str() == "*";
    // In the root namespace it means another one for each namespace that has no Sidecar of its own.
    let everywhere = *namespace == EgressNamespace::Own && id.namespace == view.settings().root_namespace;
    anything
        || everywhere
        || !heads_of(view, &id.namespace, &host.value).is_empty()
        || !import_rules(view, &id.namespace, from_ref(host)).is_empty()
}
