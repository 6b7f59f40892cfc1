//! What is said about rules for connections that carry no HTTP that we see.

use std::collections::BTreeSet;
use std::sync::Arc;

use umbra_ir::{
    Code, ConnectionRule, ConnectionRules, Diagnostic, GatewayRef, ObjectId, PortNumber, Protocol, ProxyKind,
    Resolution, RouteClient, RuleHead, Rules, ServerKind, ServiceHead,
};

use super::hosts::client;
use crate::connections::is_tls;
use crate::filter::filter_may_pass;
use crate::gateway_heads::intersection;
use crate::routes::{destination_target, problem_code};
use crate::services::select_services_named;
use crate::{Report, View};

/// Says what is to be said of the `tls` and `tcp` rules of a VirtualService.
pub fn report_connections(view: &dyn View, id: &ObjectId, report: &mut Report) {
    let (Some(head), Some(rules)) = (view.rule_head(id), view.connection_rules(id)) else { return };
    for gateway in &head.gateways {
        match &gateway.value {
            GatewayRef::Mesh => report_mesh(view, &head, &rules, report),
            GatewayRef::Named(named) => {
                for (kinds, word, rules) in [
                    (&[ServerKind::Passthrough][..], "tls", &rules.tls),
                    (&[ServerKind::Bytes, ServerKind::SecureBytes][..], "tcp", &rules.tcp),
                ] {
                    report_at(view, &head, (named, &gateway.field), (kinds, word), rules, report);
                }
            }
        }
    }
}

/// Says it of the rules in the mesh, where a connection is known by the service whose port it is for.
fn report_mesh(view: &dyn View, head: &RuleHead, rules: &ConnectionRules, report: &mut Report) {
    let services = services_of(view, head);
    let ports = |of: fn(Protocol) -> bool| -> BTreeSet<PortNumber> {
        let ports = services.iter().flat_map(|service| &service.ports);
        ports.filter(|port| of(port.protocol)).map(|port| port.number).collect()
    };
    let (tls, tcp) = (ports(is_tls), ports(carries_tcp));
    let listeners = services.iter().flat_map(|service| &service.ports);
    let listeners = listeners.filter(|port| is_tls(port.protocol) || carries_tcp(port.protocol)).count();
    if listeners > head.connection_listeners {
        let message = format!(
            "its hosts come to {listeners} ports of services, more than the {} that so large tls and tcp rules may count on: beyond them connections go as if these rules did not name them",
            head.connection_listeners
        );
        report.insert(Diagnostic::new(Code::OverBudget, &head.id, "spec.hosts", message));
    }
    for (rules, ports, sort) in [
        (&rules.tls, &tls, "for TLS (HTTPS, TLS)"),
        (&rules.tcp, &tcp, "for bytes (TCP, a database's protocol, or none that it says)"),
    ] {
        for rule in rules {
            let mesh = |filter: &umbra_ir::StaticFilter| {
                filter.gateways.is_empty() || filter.gateways.contains(&GatewayRef::Mesh)
            };
            if !rule.matches.is_empty() && !rule.matches.iter().any(|it| mesh(&it.filter)) {
                continue;
            }
            let passes = |port: &PortNumber| {
                let mut filters = rule.matches.iter().map(|it| &it.filter);
                rule.matches.is_empty() || filters.any(|it| filter_may_pass(it, &GatewayRef::Mesh, *port))
            };
            let meant: Vec<PortNumber> = ports.iter().copied().filter(passes).collect();
            if meant.is_empty() {
                let message = format!(
                    "in the mesh no connection follows this rule: no service of these hosts has a port {sort} that one of its matches is for"
                );
                report.insert(Diagnostic::new(Code::UnboundRule, &head.id, &rule.field, message));
            }
            for port in meant {
                let client = client(ProxyKind::Sidecar, &head.id.namespace, GatewayRef::Mesh, port);
                report_targets(view, &head.id, rule, &client, report);
            }
        }
    }
}

/// Says of rules for HTTP that the services which their hosts mean carry none: nothing follows them, and nothing is copied.
pub(super) fn report_bytes_only(view: &dyn View, head: &RuleHead, rules: &Rules, report: &mut Report) {
    let services = services_of(view, head);
    let Some(first) = services.iter().find(|service| !service.ports.is_empty()) else { return };
    let ports: Vec<String> =
        first.ports.iter().map(|port| format!("{} {}", port.number, port.protocol.as_str())).collect();
    let message = format!(
        "no service of these hosts has a port with HTTP ({}: {}): connections are passed on as bytes, and no request follows this rule",
        first.spelling,
        ports.join(", ")
    );
    for rule in &rules.rules {
        report.insert(Diagnostic::new(Code::BytesOnly, &head.id, &rule.field, &*message));
        let umbra_ir::RuleAction::Forward(forward) = &rule.action else { continue };
        for mirror in &forward.mirrors {
            let message = format!("{message}; nothing is copied");
            let note = Diagnostic::new(Code::BytesOnly, &head.id, mirror.place.field(), message);
            report.insert(note.about_mirror(mirror.place));
        }
    }
}

/// The services that the hosts of a rule mean.
fn services_of(view: &dyn View, head: &RuleHead) -> Vec<Arc<ServiceHead>> {
    let all = head.hosts().flat_map(|host| select_services_named(view, &head.id.namespace, host).to_vec());
    all.filter(|service| !service.is_pod && !matches!(service.resolution, Resolution::Alias(_))).collect()
}

/// Whether `tcp` rules count on a port: what says nothing of itself may carry bytes.
fn carries_tcp(protocol: Protocol) -> bool {
    !is_tls(protocol) && protocol != Protocol::Udp && (!protocol.is_http() || protocol == Protocol::Auto)
}

fn report_at(
    view: &dyn View,
    head: &RuleHead,
    (gateway, field): (&ObjectId, &str),
    (kinds, word): (&[ServerKind], &str),
    rules: &[ConnectionRule],
    report: &mut Report,
) {
    let Some(found) = view.gateway_head(gateway).filter(|_| !rules.is_empty()) else { return };
    let admits = found.servers.iter().filter(|server| kinds.contains(&server.kind()));
    let admits = admits.filter(|server| !intersection(server, head).is_empty());
    let ports: BTreeSet<PortNumber> = admits.map(|server| server.port).collect();
    if ports.is_empty() {
        let sort =
            if word == "tls" { "that passes TLS through" } else { "for TCP, or for TLS that it ends," };
        let message = format!(
            "{gateway} has no server {sort} that admits any of these hosts: the {word} rules are not served there"
        );
        report.insert(Diagnostic::new(Code::HostNotAdmitted, &head.id, field, message));
    }
    for port in ports {
        let reference = GatewayRef::Named(gateway.clone());
        let client = client(ProxyKind::Router, &gateway.namespace, reference, port);
        for rule in rules {
            report_targets(view, &head.id, rule, &client, report);
        }
    }
}

fn report_targets(
    view: &dyn View,
    id: &ObjectId,
    rule: &ConnectionRule,
    client: &RouteClient,
    report: &mut Report,
) {
    for destination in rule.destinations.iter().filter(|it| !it.destination.host.as_str().is_empty()) {
        if let Err(problem) = destination_target(view, id, &destination.destination, client) {
            let message = format!("{problem}: connections for this destination end");
            report.insert(Diagnostic::new(problem_code(&problem), id, &destination.field, message));
        }
    }
}
