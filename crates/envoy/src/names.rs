//! Names of resources: Istio's, so that people find what they know.

use std::sync::Arc;

use umbra_ir::{ClusterRef, Listener, PortNumber, Role, SubsetName};

/// `outbound|8000|v1|httpbin.default.svc.cluster.local`, or `mirror|…` for copies.
pub fn cluster_name(reference: &ClusterRef) -> Arc<str> {
    let direction = match reference.role {
        Role::Primary => "outbound",
        Role::Mirror => "mirror",
    };
    compose(direction, &reference.spelling, reference.port, reference.subset.as_ref())
}

/// The primary cluster's name, whatever the role: a mirror cluster shares its endpoints.
pub fn load_assignment_name(reference: &ClusterRef) -> Arc<str> {
    compose("outbound", &reference.spelling, reference.port, reference.subset.as_ref())
}

/// The name that the cluster of a destination would have if it existed: Envoy answers 503 for it, and its logs
/// and statistics say which destination was meant.
pub fn unknown_cluster_name(host: &str, port: PortNumber, subset: Option<&SubsetName>) -> Arc<str> {
    compose("outbound", host, port, subset)
}

/// `0.0.0.0_8080`: the address as it is bound, and the port.
pub fn listener_name(listener: &Listener) -> Arc<str> {
    format!("{}_{}", listener.address, listener.port).into()
}

fn compose(direction: &str, host: &str, port: PortNumber, subset: Option<&SubsetName>) -> Arc<str> {
    let subset = subset.map_or("", SubsetName::as_str);
    format!("{direction}|{port}|{subset}|{host}").into()
}
