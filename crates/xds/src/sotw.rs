//! The state-of-the-world variant: what a response carries and its version.

use std::sync::Arc;

use crate::held::Held;
use crate::order::Plan;
use crate::resource::{Resource, ResourceType};
use crate::response::Response;
use crate::snapshot::Snapshot;
use crate::variant::Variant;

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
        if plan.wait.contains(&resource.name) {
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

/// The message.
pub(crate) fn response(
    resource_type: ResourceType,
    resources: &[Arc<Resource>],
    version: &str,
    nonce: u64,
) -> Response {
    Response::new(Variant::Sotw, resource_type.type_url(), version, nonce, resources.iter(), &[])
}
