//! What is said about the hosts and ports that an object defines.

use umbra_ir::{Code, Diagnostic, ObjectId, PortNumber, Resolution};

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
                "port {} speaks {}: accepted, not acted on yet: only HTTP ports get listeners and routes",
                port.number,
                port.protocol.as_str()
            );
            report.insert(Diagnostic::new(Code::NotHttp, id, "spec.ports", message));
        }
    }
}
