//! Sidecars to heads (istio `pilot/pkg/model/sidecar.go`).

use crate::gateways::resolve_bind;
use umbra_api::{CaptureMode, EgressListener, OutboundMode, Sidecar, check_egress_host, judge_egress};
use umbra_ir::{
    Bind, Egress, EgressHost, EgressNamespace, EgressPort, Hostname, ObjectId, OutboundPolicy, Placed,
    PortNumber, Protocol, SidecarHead,
};

/// Whom a Sidecar is for and what they can call; what cannot be served is left out.
pub fn resolve_sidecar_head(id: &ObjectId, sidecar: &Sidecar) -> SidecarHead {
    let spec = &sidecar.spec;
    let judged = spec.egress.iter().zip(judge_egress(spec)).enumerate();
    let mut egress: Vec<Egress> = judged
        .filter(|(_, (_, fault))| fault.is_none())
        .map(|(index, (listener, _))| resolve_egress(index, listener))
        .collect();
    if spec.egress.is_empty() {
        egress.push(everything());
    }
    SidecarHead {
        id: id.clone(),
        created: sidecar.meta.created_seconds(),
        selector: spec.workload_selector.as_ref().map(|selector| selector.labels.clone()),
        egress,
        // TRAP: a policy without a mode ends such calls.
        outbound_policy: spec.outbound_traffic_policy.as_ref().map(|policy| match policy.mode {
            OutboundMode::RegistryOnly => OutboundPolicy::RegistryOnly,
            OutboundMode::AllowAny | OutboundMode::AllowAnyDynamicDns => OutboundPolicy::AllowAny,
        }),
    }
}

/// What a Sidecar without `egress` means: `*/*`.
fn everything() -> Egress {
    let host = EgressHost { namespace: EgressNamespace::Any, host: Hostname::new("*") };
    let hosts = vec![Placed { value: host, field: "spec.egress".to_owned() }];
    Egress { port: EgressPort::default(), hosts }
}

fn resolve_egress(index: usize, listener: &EgressListener) -> Egress {
    let bind = resolve_bind(&listener.bind);
    let socket = bind.as_ref().is_some_and(Bind::is_socket);
    let number = listener.port.as_ref().and_then(|port| {
        let protocol = Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto);
        let number = if socket { PortNumber::NONE } else { PortNumber::new(port.number.into())? };
        Some((number, protocol))
    });
    let hosts = listener.hosts.iter().enumerate().filter_map(|(place, text)| {
        let (namespace, host) = check_egress_host(text).ok()?;
        let namespace = match namespace {
            // Nobody's.
            "~" => return None,
            "*" => EgressNamespace::Any,
            "." => EgressNamespace::Own,
            name => EgressNamespace::Named(name.into()),
        };
        let value = EgressHost { namespace, host: Hostname::new(host) };
        Some(Placed { value, field: format!("spec.egress[{index}].hosts[{place}]") })
    });
    Egress {
        port: EgressPort {
            number,
            // Nobody's connection to a socket can be captured.
            called: socket || listener.capture_mode == CaptureMode::None,
            bind,
        },
        hosts: hosts.collect(),
    }
}
