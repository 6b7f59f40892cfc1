//! The state-of-the-world variant: what a response carries and its version.

use std::sync::Arc;

use umbra_proto::envoy::service::discovery::v3::DiscoveryResponse;
use xxhash_rust::xxh3::Xxh3;

use crate::held::Held;
use crate::order::Plan;
use crate::resource::{Resource, ResourceType, hex};
use crate::snapshot::Snapshot;

/// What a response carries: of a complete type everything watched, of the others what the plan sends.
///
/// In a complete response a resource that must still wait is there in the version that the proxy has, and one
/// that may not leave yet is there as it was (make before break).
pub(crate) fn resources(
    resource_type: ResourceType,
    held: &Held,
    plan: &Plan,
    snapshot: &Snapshot,
) -> Vec<Arc<Resource>> {
    if !resource_type.is_complete() {
        return plan.send.values().flatten().cloned().collect();
    }
    let present = |resource: &Arc<Resource>| {
        if plan.wait.contains_key(&resource.name) {
            held.body(&resource.name).cloned()
        } else {
            Some(resource.clone())
        }
    };
    let map = snapshot.map(resource_type);
    let mut all: Vec<_> = if held.subscription.wildcard() {
        map.values().filter_map(present).collect()
    } else {
        held.subscription.names().iter().filter_map(|name| map.get(name)).filter_map(present).collect()
    };
    all.extend(plan.leaving.iter().filter_map(|name| held.body(name).cloned()));
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

/// A hash of names and versions: equal for equal content, on every stream and replica.
pub(crate) fn version(resources: &[Arc<Resource>]) -> Arc<str> {
    let mut hash = Xxh3::new();
    for resource in resources {
        hash.update(resource.name.as_bytes());
        hash.update(b"\0");
        hash.update(resource.version.as_bytes());
    }
    hex(hash.digest128())
}

/// The message.
pub(crate) fn response(
    resource_type: ResourceType,
    resources: &[Arc<Resource>],
    version: &str,
    nonce: u64,
) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: resources.iter().map(|resource| resource.to_any(resource_type)).collect(),
        type_url: resource_type.type_url().to_owned(),
        nonce: nonce.to_string(),
        ..Default::default()
    }
}
