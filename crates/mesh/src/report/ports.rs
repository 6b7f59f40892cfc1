//! What is said about the hosts and ports that an object defines.

use umbra_ir::{
    Code, Diagnostic, Kind, ObjectId, OutboundPolicy, PortNumber, Protocol, Resolution, ServiceHead,
    ServicePort,
};

use super::Report;
use crate::captured::has_address_of_its_own;
use crate::connections::is_tls;
use crate::services::seniority;
use crate::view::{Index, View};

/// Hosts that another object defines first, and ports that carry no HTTP: what becomes of their connections.
pub fn report_ports(view: &dyn View, id: &ObjectId, own: impl Fn(PortNumber) -> bool, report: &mut Report) {
    for head in view.service_heads(id).iter().filter(|head| !head.is_pod) {
        let seen = view.resolve(&id.namespace, &id.namespace, &head.id.host);
        if let Some(winner) = seen.filter(|winner| winner.id.objects().all(|object| object != id)) {
            let message = format!(
                "{} already defines {}: in this namespace it counts, not this one",
                winner.id.object, head.spelling
            );
            report.insert(Diagnostic::new(Code::HostConflict, id, "spec.hosts", message));
        }
        if matches!(head.resolution, Resolution::Alias(_)) {
            continue;
        }
        if head.resolution.is_served() {
            report.extend(taken_addresses(view, id, head, &own));
        }
        for port in head.ports.iter().filter(|p| p.protocol == Protocol::Auto && own(p.number)) {
            let message = format!(
                "port {} does not say what it speaks: it is found out for each connection",
                port.number
            );
            report.insert(Diagnostic::new(Code::ProtocolNotNamed, id, "spec.ports", message));
        }
        for port in head.ports.iter().filter(|p| !p.protocol.is_http() && own(p.number)) {
            let message = format!(
                "port {} speaks {}: captured sidecars {}; others {}",
                port.number,
                port.protocol.as_str(),
                captured(view, head, port.protocol),
                called(view, id, head, port)
            );
            report.insert(Diagnostic::new(Code::NotHttp, id, "spec.ports", message));
        }
    }
}

/// Addresses where captured sidecars know another service by the same port: connections carry no host that could tell the two
/// apart, so the first counts ([`select_captured_listeners`](crate::select_captured_listeners)).
fn taken_addresses(
    view: &dyn View,
    id: &ObjectId,
    head: &ServiceHead,
    own: impl Fn(PortNumber) -> bool,
) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    for address in &head.addresses {
        let ids = view.ids(&Index::Address(*address)).into_iter();
        let heads: Vec<_> = ids.flat_map(|id| view.service_heads(&id).to_vec()).collect();
        for port in head.ports.iter().filter(|port| has_address_of_its_own(port) && own(port.number)) {
            let rivals = heads.iter().filter(|rival| {
                rival.id != head.id
                    && rival.resolution.is_served()
                    && rival.addresses.contains(address)
                    && rival.visibility.covers(&id.namespace)
                    && rival.ports.iter().any(|p| p.number == port.number && has_address_of_its_own(p))
                    && seniority(rival) < seniority(head)
            });
            if let Some(first) = rivals.min_by(|a, b| seniority(a).cmp(&seniority(b))) {
                let message = format!(
                    "{address} at port {} is {}'s ({}): connections of captured sidecars carry no host, and go there",
                    port.number, first.spelling, first.id.object
                );
                notes.push(Diagnostic::new(Code::AddressConflict, id, "spec.addresses", message));
            }
        }
    }
    notes
}

/// What captured sidecars do with the connections of a port that carries no HTTP.
fn captured(view: &dyn View, head: &ServiceHead, protocol: Protocol) -> &'static str {
    let anywhere = view.settings().outbound_policy == OutboundPolicy::AllowAny;
    let has_address = !head.addresses.is_empty() || !head.networks.is_empty();
    match protocol {
        Protocol::Udp => "capture no UDP",
        _ if !head.resolution.is_served() => "let its connections go as those to unknown places",
        Protocol::Tls | Protocol::Https => "pass its connections on as they are",
        _ if head.id.object.kind == Kind::Service || has_address => "pass its connections on as they are",
        // Nothing tells its connections from others: see `select_captured_listeners`.
        _ if anywhere => {
            "let its connections go where they wanted to go, since it has no `addresses` to know them by, unless a `tcp` rule takes them"
        }
        _ => {
            "pass connections to unknown addresses of the port on to the oldest such host, since it has no `addresses`"
        }
    }
}

/// What sidecars do with them that the application calls: they have one address for all services.
fn called(view: &dyn View, id: &ObjectId, head: &ServiceHead, port: &ServicePort) -> String {
    let own = view.port_owner(&id.namespace, &port.number);
    match (port.protocol, &head.resolution) {
        (Protocol::Udp, _) => "have no listener for it".to_owned(),
        (_, Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin | Resolution::AsAsked)
            if is_tls(port.protocol) =>
        {
            "pass them on by the name that the client asks for".to_owned()
        }
        (_, Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin) => match own {
            Some(owner) if owner.http => {
                format!("take the port for HTTP, which {} has there", owner.spelling)
            }
            Some(owner) if owner.service != head.id => format!(
                "pass connections to the port on to {} ({}), the first that has it",
                owner.spelling, owner.service.object
            ),
            _ => "pass on what is called at their own address".to_owned(),
        },
        _ => "have no listener for it".to_owned(),
    }
}
