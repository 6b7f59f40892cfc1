//! What is said about the hosts and ports that an object defines.

use umbra_ir::{
    Code, Diagnostic, Kind, ObjectId, OutboundPolicy, PortNumber, Protocol, Resolution, ServiceHead,
};

use super::Report;
use crate::view::View;

/// Hosts that another object defines first, and ports that carry no HTTP: those get no listener.
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
        for port in head.ports.iter().filter(|p| !p.protocol.is_http() && own(p.number)) {
            let message = format!(
                "port {} speaks {}: captured sidecars {}; others have no listener for it",
                port.number,
                port.protocol.as_str(),
                captured(view, head, port.protocol)
            );
            report.insert(Diagnostic::new(Code::NotHttp, id, "spec.ports", message));
        }
    }
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
            "let its connections go where they wanted to go, since it has no `addresses` to know them by"
        }
        _ => {
            "pass connections to unknown addresses of the port on to the oldest such host, since it has no `addresses`"
        }
    }
}
