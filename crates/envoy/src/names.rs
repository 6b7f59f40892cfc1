//! Names of resources: Istio's, so that people find what they know.

use std::sync::Arc;

use umbra_ir::{CapturedListener, ClusterRef, GatewayListener, Listener, Role};

/// `outbound|8000|v1|httpbin.default.svc.cluster.local`, or `mirror|…` for copies; with the limits of a MirrorPolicy
/// `mirror|…|NAMESPACE/POLICY`; where a judge sees what is answered, `mirror|…|judge`.
pub fn cluster_name(reference: &ClusterRef) -> Arc<str> {
    let name = reference.role.cluster_name(&reference.spelling, reference.port, reference.subset.as_ref());
    let end = if reference.contents { "|judge" } else { "" };
    match &reference.limits {
        Some(limits) => format!("{name}{end}|{}/{}", limits.policy.namespace, limits.policy.name).into(),
        None if reference.contents => format!("{name}{end}").into(),
        None => name,
    }
}

/// The primary cluster's name, whatever the role: a mirror cluster shares its endpoints.
pub fn load_assignment_name(reference: &ClusterRef) -> Arc<str> {
    Role::Primary.cluster_name(&reference.spelling, reference.port, reference.subset.as_ref())
}

/// `0.0.0.0_8080`: the address as it is bound, and the port.
pub fn listener_name(listener: &Listener) -> Arc<str> {
    format!("{}_{}", listener.address, listener.port).into()
}

/// The same of a listener that tells connections apart.
pub fn gateway_listener_name(listener: &GatewayListener) -> Arc<str> {
    format!("{}_{}", listener.address, listener.port).into()
}

/// `hosts/8000/httpbin.default.svc.cluster.local:8000`: Envoy takes what stands before the last `/` for the table.
pub fn host_name(table: &str, short: &str) -> Arc<str> {
    format!("{table}/{short}").into()
}

/// `virtualOutbound` where captured connections come in, else as of any listener.
pub fn captured_listener_name(listener: &CapturedListener) -> Arc<str> {
    match listener.entrance {
        true => "virtualOutbound".into(),
        false => format!("{}_{}", listener.address, listener.port).into(),
    }
}
