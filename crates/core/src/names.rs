//! The names of single pods below the host of a headless Service.

use std::collections::BTreeSet;

use umbra_api::{Object, Objects, Pod, Service};
use umbra_ir::Hostname;
use umbra_mesh::{Index, View};

use crate::pods::selected_pods;

/// The names that pods of a headless Service have of their own, ready or not: a flip of readiness must not touch routes.
pub(crate) fn named_pods(view: &(impl View + Objects), service: &Service) -> BTreeSet<String> {
    let meta = &service.meta;
    let slices = view.ids(&Index::SlicesOf(meta.namespace.clone(), meta.name.clone()));
    let mut names = BTreeSet::new();
    for slice in slices.iter().filter_map(|id| view.object(id)) {
        if let Object::EndpointSlice(slice) = &*slice {
            names.extend(slice.endpoints.iter().filter_map(|endpoint| endpoint.hostname.clone()));
        }
    }
    if slices.is_empty() && view.pods_as_endpoints() {
        let pods = selected_pods(view, &meta.namespace, &service.spec.selector);
        names.extend(pods.iter().filter_map(|pod| name_of(pod, service)).map(str::to_owned));
    }
    // What is no label of a host would be no host.
    names.retain(|name| !name.contains('.') && umbra_api::check_host(name).is_ok());
    names
}

/// The name that a pod has below a Service's host.
pub(crate) fn name_of<'p>(pod: &'p Pod, service: &Service) -> Option<&'p str> {
    (pod.subdomain == *service.meta.name && !pod.hostname.is_empty()).then_some(pod.hostname.as_str())
}

/// Which endpoints of a Service a host means: all of them for its own, those of one name below it for a pod's.
pub(crate) struct Means<'h>(Option<&'h str>);

impl<'h> Means<'h> {
    pub(crate) fn new(host: &'h Hostname, of_service: &Hostname) -> Self {
        let below = host.as_str().strip_suffix(of_service.as_str()).and_then(|rest| rest.strip_suffix('.'));
        Means(below)
    }

    /// Whether it means an endpoint of this name.
    pub(crate) fn covers(&self, name: Option<&str>) -> bool {
        self.0.is_none_or(|wanted| name.is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
    }
}
