//! What is said about a Service.

use std::collections::BTreeSet;

use umbra_api::{Object, Objects, Service};
use umbra_ir::{Code, Diagnostic, ObjectId};
use umbra_mesh::{Index, Report, View};

use crate::endpoints::pod_of;

/// What is said about a Service's endpoints.
pub fn report_service(view: &(impl View + Objects), id: &ObjectId, service: &Service, report: &mut Report) {
    for pod in unknown_pods(view, service) {
        let message = format!("{pod} is not known: its endpoint is left out until it is");
        report.insert(Diagnostic::new(Code::PodNotFound, id, "", message));
    }
}

/// Pods that slices of a Service stand for but nobody has seen yet: their endpoints are held back.
fn unknown_pods(view: &(impl View + Objects), service: &Service) -> BTreeSet<ObjectId> {
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
