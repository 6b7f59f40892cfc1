//! What is said about where rules apply, and who calls them there.

use std::collections::BTreeSet;
use std::sync::Arc;

use umbra_ir::{
    Code, Diagnostic, GatewayRef, Hostname, ObjectId, Placed, PortNumber, ProxyKind, Resolution, RouteClient,
    RuleHead, Rules, ServiceHead,
};

use super::budget::{report_surplus, report_virtual_hosts};
use super::connections::report_bytes_only;
use super::ownership::report_foreign_host;
use super::targets::{Caller, Callers, report_rule};
use crate::{Report, View};

use crate::gateway_heads::intersection;
use crate::ownership::counts_beside;
use crate::services::select_services_named;
use crate::sidecar::LITERAL_PORT;

/// Says what is to be said of routing rules: of their hosts, their gateways, and every target as each caller means it.
pub fn report_rules(view: &dyn View, id: &ObjectId, report: &mut Report) {
    let (Some(head), Some(rules)) = (view.rule_head(id), view.rules(id)) else { return };
    report_surplus(&head, &rules, report);
    let mut callers = Vec::new();
    for gateway in &head.gateways {
        match &gateway.value {
            GatewayRef::Mesh => {
                callers.extend(report_mesh(view, &head, &rules, report));
                report_bare_pods(view, &head, report);
            }
            GatewayRef::Named(id) => {
                callers.extend(report_at_gateway(view, &head, &rules, id, &gateway.field, report))
            }
        }
    }
    if callers.is_empty() {
        report_bytes_only(view, &head, &rules, report);
    }
    let callers = Callers::new(callers, &rules);
    for rule in &rules.rules {
        report_rule(view, id, rule, &callers, report);
    }
}

/// Says what is to be said of a VirtualService's hosts in the mesh, and returns those who call them there.
fn report_mesh(view: &dyn View, head: &RuleHead, rules: &Rules, report: &mut Report) -> Vec<Caller> {
    let namespace = &head.id.namespace;
    let mut called: BTreeSet<PortNumber> = BTreeSet::new();
    let named = |host: &Hostname| select_services_named(view, namespace, host);
    let mut virtual_hosts = 0;
    let literal = PortNumber::new(LITERAL_PORT.into());
    for host in head.hosts() {
        for service in named(host).iter() {
            let ports = called_ports(view, namespace, service);
            // Where it does not listen itself, port 80 is for its host all the same.
            let beside = !host.is_wildcard() && !service.ports.iter().any(|it| Some(it.number) == literal);
            virtual_hosts += ports.len() + usize::from(beside);
            called.extend(ports);
        }
    }
    let names_none = head.hosts().all(|host| named(host).is_empty());
    for Placed { value: host, field } in &head.hosts {
        if named(host).is_empty() {
            let message = match names_none {
                _ if rules.rules.is_empty() => format!(
                    "no visible service is called {host}: in the mesh connections are known by services, and none follows these rules"
                ),
                true => literal_host(view, namespace, host),
                false => format!(
                    "no visible service is called {host}: in the mesh the rules apply to it on the ports of their other hosts' services, and on port 80"
                ),
            };
            report.insert(Diagnostic::new(Code::HostNotFound, &head.id, field, message));
        }
        report.extend(report_foreign_host(view, head, field, &named(host)));
        report.extend(more_specific(view, head, (host, field), namespace, &GatewayRef::Mesh));
        if let Some(winner) = earlier_owner(view, head, host) {
            let message = format!("{winner} already has rules for {host}: sidecars follow those, not these");
            report.insert(Diagnostic::new(Code::HostConflict, &head.id, field, message));
        }
    }
    if names_none {
        called.extend(literal);
    }
    let everywhere = called.len() + usize::from(!called.iter().any(|it| Some(*it) == literal));
    virtual_hosts += head.hosts().filter(|host| named(host).is_empty()).count() * everywhere;
    report_virtual_hosts(head, rules, "spec.hosts", virtual_hosts, report);
    let client = |port| client(ProxyKind::Sidecar, namespace, GatewayRef::Mesh, port);
    called.into_iter().map(|port| Caller { client: client(port), served: true }).collect()
}

/// Says who calls past the rules, for want of a sidecar.
fn report_bare_pods(view: &dyn View, head: &RuleHead, report: &mut Report) {
    for (namespace, bare) in view.bare_namespaces().iter() {
        if !head.visibility.covers(namespace) {
            continue;
        }
        let first = format!("Pod {namespace}/{}", bare.first);
        let (who, have, calls) = match bare.count {
            1 => (first, "has none", "its calls go"),
            2 => (format!("{first} and another of its namespace"), "have none", "their calls go"),
            more => {
                (format!("{first} and {} others of its namespace", more - 1), "have none", "their calls go")
            }
        };
        let message =
            format!("{who} should have a sidecar and {have}: {calls} past these rules; start them anew");
        report.insert(Diagnostic::new(Code::NoSidecar, &head.id, "", message));
    }
}

/// What becomes of a host that is no service, in a rule that names none.
fn literal_host(view: &dyn View, namespace: &Arc<str>, host: &Hostname) -> String {
    if view.listened_ports(namespace).iter().any(|port| port.get() == LITERAL_PORT) {
        format!("no visible service is called {host}: in the mesh the rules apply on port 80 only")
    } else {
        format!(
            "no visible service is called {host}, and none has HTTP on port 80, where sidecars would take rules for other hosts: in the mesh they are not served"
        )
    }
}

/// The ports by which sidecars call a service: an ExternalName Service those of the host that it stands for.
fn called_ports(view: &dyn View, namespace: &Arc<str>, service: &ServiceHead) -> Vec<PortNumber> {
    let http = |s: &ServiceHead| s.ports.iter().filter(|p| p.protocol.is_http()).map(|p| p.number).collect();
    match &service.resolution {
        Resolution::Alias(host) => {
            view.resolve(namespace, namespace, host).map(|s| http(&s)).unwrap_or_default()
        }
        _ => http(service),
    }
}

/// The VirtualService that owns a host on sidecars, when it is another one: there the first wins.
fn earlier_owner(view: &dyn View, head: &RuleHead, host: &Hostname) -> Option<ObjectId> {
    let bound = view.bound_rules(&head.id.namespace, &GatewayRef::Mesh);
    let services = select_services_named(view, &head.id.namespace, host);
    let first = bound.iter().find(|other| {
        other.hosts().any(|h| h == host)
            && !other.filters.is_empty()
            && counts_beside(view, other, &services, &head.id.namespace)
    })?;
    (first.id != head.id).then(|| first.id.clone())
}

/// The VirtualServices with a host beneath a wildcard: neither sidecars nor gateways put rules for hosts of different
/// length together (istio-semantics "hosts are not merged across specificity").
fn more_specific(
    view: &dyn View,
    head: &RuleHead,
    (host, field): (&Hostname, &str),
    namespace: &Arc<str>,
    gateway: &GatewayRef,
) -> Option<Diagnostic> {
    if !host.is_wildcard() {
        return None;
    }
    let bound = view.bound_rules(namespace, gateway);
    let beneath = |other: &RuleHead| {
        let mine = |it: &&Hostname| *it != host && it.subset_of(host) && !head.hosts().any(|own| own == *it);
        other.hosts().find(mine).filter(|_| other.id != head.id && !other.filters.is_empty()).cloned()
    };
    let mut all = bound.iter().filter_map(|other| Some((other, beneath(other)?)));
    let (other, first) = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        1 => "; so does another".to_owned(),
        more => format!("; so do {more} others"),
    };
    let at = match gateway {
        GatewayRef::Mesh => "in the mesh".to_owned(),
        GatewayRef::Named(id) => format!("at {id}"),
    };
    let message = format!(
        "{at} requests for {first} follow {} alone, whose host is more specific than {host}: what its rules do not take, these do not either{more}",
        other.id
    );
    Some(Diagnostic::new(Code::MoreSpecificHost, &head.id, field, message))
}

/// Says what is to be said of a VirtualService at a Gateway, and returns who follows it there.
fn report_at_gateway(
    view: &dyn View,
    head: &RuleHead,
    rules: &Rules,
    gateway: &ObjectId,
    field: &str,
    report: &mut Report,
) -> Vec<Caller> {
    let reference = GatewayRef::Named(gateway.clone());
    let unserved = |report: &mut Report, code, message| {
        report.insert(Diagnostic::new(code, &head.id, field, message));
        let port = PortNumber::new(LITERAL_PORT.into());
        let client = |port| client(ProxyKind::Router, &head.id.namespace, reference.clone(), port);
        port.map(|port| Caller { client: client(port), served: false }).into_iter().collect()
    };
    let Some(gateway_head) = view.gateway_head(gateway) else {
        let message = format!("{gateway} does not exist: the rules are not served there");
        return unserved(report, Code::GatewayNotFound, message);
    };
    let has_connections = view.connection_rules(&head.id).is_some();
    let http = gateway_head.servers.iter().filter(|server| server.kind().is_http());
    let admitted = http.map(|server| (server.port, intersection(server, head).len()));
    let admitted: Vec<_> = admitted.filter(|(_, hosts)| *hosts > 0).collect();
    let ports: BTreeSet<PortNumber> = admitted.iter().map(|(port, _)| *port).collect();
    report_virtual_hosts(head, rules, field, admitted.iter().map(|(_, hosts)| hosts).sum(), report);
    if ports.is_empty() && rules.rules.is_empty() && has_connections {
        return Vec::new();
    }
    if ports.is_empty() {
        let message = format!(
            "{gateway} has no HTTP server that admits any of these hosts: the rules are not served there"
        );
        return unserved(report, Code::HostNotAdmitted, message);
    }
    for Placed { value: host, field } in &head.hosts {
        report.extend(more_specific(view, head, (host, field), &gateway.namespace, &reference));
    }
    let client = |port| client(ProxyKind::Router, &gateway.namespace, reference.clone(), port);
    ports.into_iter().map(|port| Caller { client: client(port), served: true }).collect()
}

/// Whoever calls there, whatever its labels.
pub(super) fn client(
    kind: ProxyKind,
    namespace: &Arc<str>,
    gateway: GatewayRef,
    port: PortNumber,
) -> RouteClient {
    RouteClient {
        kind,
        namespace: namespace.clone(),
        gateway,
        port,
        secure: false,
        labels: Arc::default(),
        selecting: Arc::default(),
        chosen: Arc::default(),
        rtds: true,
        edits_copies: true,
        judges: Default::default(),
    }
}
