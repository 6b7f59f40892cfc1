//! Which front end reads an object: the one place that knows them all.

use std::sync::Arc;

use umbra_api::{Object, Objects, ServiceEntry};
use umbra_ir::{
    ConnectionRules, Endpoint, EndpointSet, GatewayHead, Hostname, Kind, ObjectId, ObjectReport,
    PolicedMirror, PortNumber, RuleHead, Rules, ServiceHead, ServiceId, Shares, SidecarHead,
};
use umbra_mesh::{Report, View};

/// The rules of an object that routes, without percentages. A VirtualService without hosts only gives its own to others.
pub(crate) fn rules(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<Rules>> {
    match &*view.object(id)? {
        Object::VirtualService(vs) if !vs.spec.hosts.is_empty() => {
            Some(Arc::new(umbra_istio::resolve_rules(view, id, vs, &view.settings().cluster_domain)))
        }
        _ => None,
    }
}

/// What an object says about connections that carry no HTTP that we see; `None`: nothing.
pub(crate) fn connection_rules(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<ConnectionRules>> {
    match &*view.object(id)? {
        Object::VirtualService(vs) if !vs.spec.tls.is_empty() || !vs.spec.tcp.is_empty() => {
            Some(Arc::new(umbra_istio::resolve_connection_rules(vs, &view.settings().cluster_domain)))
        }
        _ => None,
    }
}

/// The fractions of an object's mirrors.
pub(crate) fn shares(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<Shares>> {
    match &*view.object(id)? {
        Object::VirtualService(vs) if !vs.spec.hosts.is_empty() => {
            Some(Arc::new(umbra_istio::resolve_shares(view, id, vs, &view.settings().cluster_domain)))
        }
        _ => None,
    }
}

/// The mirrors of an object that MirrorPolicies are for.
pub(crate) fn policed_mirrors(view: &(impl View + Objects), id: &ObjectId) -> Vec<PolicedMirror> {
    match view.object(id).as_deref() {
        Some(Object::VirtualService(vs)) => {
            umbra_istio::list_policed_mirrors(view, id, vs, &view.settings().cluster_domain)
        }
        _ => Vec::new(),
    }
}

/// Where an object's rules apply.
pub(crate) fn rule_head(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<RuleHead>> {
    let rules = view.rules(id)?;
    match &*view.object(id)? {
        Object::VirtualService(vs) => {
            let connections = view.connection_rules(id);
            let domain = &view.settings().cluster_domain;
            Some(Arc::new(umbra_istio::resolve_rule_head(id, vs, &rules, connections.as_deref(), domain)))
        }
        _ => None,
    }
}

/// Where a gateway applies.
pub(crate) fn gateway_head(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<GatewayHead>> {
    match &*view.object(id)? {
        Object::Gateway(gateway) => Some(Arc::new(umbra_istio::resolve_gateway_head(id, gateway))),
        _ => None,
    }
}

/// What a Sidecar says of the proxies that it is for.
pub(crate) fn sidecar_head(view: &(impl View + Objects), id: &ObjectId) -> Option<Arc<SidecarHead>> {
    match &*view.object(id)? {
        Object::Sidecar(sidecar) => Some(Arc::new(umbra_istio::resolve_sidecar_head(id, sidecar))),
        _ => None,
    }
}

/// The services that an object defines.
pub(crate) fn service_heads(view: &(impl View + Objects), id: &ObjectId) -> Vec<Arc<ServiceHead>> {
    match view.object(id).as_deref() {
        Some(Object::Service(service)) => umbra_core::resolve_service_heads(view, id, service),
        Some(Object::ServiceEntry(entry)) => umbra_istio::resolve_entry_heads(view, id, entry),
        _ => Vec::new(),
    }
}

/// The ready endpoints of a service port, of all objects that the service is made of.
pub(crate) fn endpoints(
    view: &(impl View + Objects),
    service: &ServiceId,
    port: PortNumber,
) -> Arc<EndpointSet> {
    if service.object.kind == Kind::ServiceEntry
        && service.also.is_empty()
        && let Some(shared) = view.entry_endpoints(&service.object, &port)
    {
        return shared;
    }
    let objects: Vec<_> = service.objects().filter_map(|id| view.object(id)).collect();
    let one = objects.first().is_some_and(|object| is_one_at_a_time(object));
    let endpoints = objects.iter().flat_map(|object| match &**object {
        Object::Service(object) => umbra_core::service_endpoints(view, object, &service.host, port),
        Object::ServiceEntry(entry) => endpoints_of_entry(view, entry, &service.host, port),
        _ => Vec::new(),
    });
    Arc::new(umbra_mesh::merge_endpoints(endpoints.take(if one { 1 } else { usize::MAX }).collect()))
}

/// Whether one endpoint serves each port: the first that is written, of the oldest object (istio
/// `mergeServicesInstancesByNamespaceHost`).
fn is_one_at_a_time(object: &Object) -> bool {
    matches!(object, Object::ServiceEntry(entry) if entry.spec.resolution == umbra_api::Resolution::DnsRoundRobin)
}

/// The ready endpoints of a port of all hosts of an object; `None`: each host has its own.
pub(crate) fn entry_endpoints(
    view: &(impl View + Objects),
    id: &ObjectId,
    port: PortNumber,
) -> Option<Arc<EndpointSet>> {
    match &*view.object(id)? {
        Object::ServiceEntry(entry) if !umbra_istio::hosts_are_endpoints(entry) => {
            let any = Hostname::new("*");
            let mut endpoints = endpoints_of_entry(view, entry, &any, port);
            if entry.spec.resolution == umbra_api::Resolution::DnsRoundRobin {
                endpoints.truncate(1);
            }
            Some(Arc::new(umbra_mesh::merge_endpoints(endpoints)))
        }
        _ => None,
    }
}

fn endpoints_of_entry(
    view: &(impl View + Objects),
    entry: &ServiceEntry,
    host: &Hostname,
    port: PortNumber,
) -> Vec<Endpoint> {
    if entry.spec.workload_selector.is_none() {
        return umbra_istio::entry_endpoints(entry, host, port);
    }
    let selection = umbra_istio::entry_selection(entry, port);
    let most = umbra_api::EntryBudget::of(&entry.spec).selected();
    let pods =
        |(labels, port)| umbra_core::selected_endpoints(view, &entry.meta.namespace, labels, port, most);
    let mut endpoints = selection.map(pods).unwrap_or_default();
    endpoints.extend(umbra_istio::workload_endpoints(view, entry, port));
    endpoints.truncate(most.taken);
    endpoints
}

/// All that is to be said about an object: alone, beside others of its kind, and in the mesh.
pub(crate) fn report(view: &(impl View + Objects), id: &ObjectId) -> ObjectReport {
    let Some(object) = view.object(id) else { return ObjectReport::default() };
    let mirrors = match &*object {
        Object::VirtualService(vs) if !vs.spec.hosts.is_empty() => {
            umbra_istio::list_mirrors(view, id, vs, &view.settings().cluster_domain)
        }
        _ => Vec::new(),
    };
    let mirrors = mirrors.into_iter().map(|mut mirror| {
        if mirror.pacing.is_some() {
            mirror.share = mirror.share.map(|share| share.min(view.decided_share(&mirror.key)));
        }
        mirror
    });
    let mut report = Report::new(mirrors.collect());
    report.extend(umbra_api::validate(&object));
    match &*object {
        Object::VirtualService(vs) => {
            umbra_istio::report_verdicts(id, vs, &mut report);
            umbra_istio::report_stop(view, id, vs, &view.settings().cluster_domain, &mut report);
            umbra_istio::report_abort(view, id, vs, &view.settings().cluster_domain, &mut report);
            umbra_mesh::report_rules(view, id, &mut report);
            umbra_mesh::report_connections(view, id, &mut report);
            umbra_istio::report_delegation(view, id, vs, &mut report);
        }
        Object::Gateway(_) => {
            umbra_mesh::report_gateway(view, id, &mut report);
            if let Some(head) = view.gateway_head(id) {
                umbra_core::report_gateway_pods(view, &head, &mut report);
            }
        }
        Object::DestinationRule(rule) => {
            umbra_istio::report_destination_rule(view, id, rule, &mut report);
            if let Some(selector) = &rule.spec.workload_selector {
                let field = "spec.workloadSelector.matchLabels";
                umbra_core::report_selector(view, id, field, &selector.match_labels, &mut report);
            }
        }
        Object::Service(service) => {
            umbra_mesh::report_ports(view, id, |_| true, &mut report);
            umbra_mesh::report_foreign_rules(view, id, &mut report);
            umbra_core::report_service(view, id, service, &mut report);
        }
        Object::ServiceEntry(entry) => {
            // Other entries may add ports to its hosts.
            let own =
                |number: PortNumber| entry.spec.ports.iter().any(|p| p.number == u32::from(number.get()));
            umbra_mesh::report_ports(view, id, own, &mut report);
            umbra_istio::report_selected(view, id, entry, &mut report);
            let workloads = entry.spec.ports.iter().filter_map(|p| PortNumber::new(p.number.into()));
            let other = |number| !umbra_istio::workload_endpoints(view, entry, number).is_empty();
            if let Some(selector) = &entry.spec.workload_selector
                && !workloads.into_iter().any(other)
            {
                let field = "spec.workloadSelector.labels";
                umbra_core::report_selector(view, id, field, &selector.labels, &mut report);
            }
        }
        Object::Sidecar(sidecar) => {
            umbra_mesh::report_sidecar(view, id, &mut report);
            if let Some(selector) = &sidecar.spec.workload_selector {
                let field = "spec.workloadSelector.labels";
                umbra_core::report_selector(view, id, field, &selector.labels, &mut report);
            }
        }
        Object::MirrorPolicy(policy) => {
            umbra_istio::report_mirror_policy(view, id, policy, &mut report);
        }
        _ => {}
    }
    report.finish()
}
