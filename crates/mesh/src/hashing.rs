//! What of a request decides to which endpoint it goes (istio-semantics "Destinations and weights").

use umbra_ir::{
    ClusterRef, Code, Diagnostic, Forward, HashKey, LoadBalancer, LoadBalancing, ObjectId, RetryPolicy,
    TargetCluster,
};

use crate::view::View;

/// What the policies of a route's targets hash, each key once.
///
/// DIVERGES: the policy in force for the target's port counts, whether the destination names the port or not (istiod
/// leaves a port's own out where the destination does not name it).
pub(crate) fn hash_keys(view: &dyn View, forward: &Forward) -> Vec<HashKey> {
    let mut keys: Vec<HashKey> = Vec::new();
    for target in &forward.targets {
        let TargetCluster::Known(cluster) = &target.cluster else { continue };
        if let Some(key) = balancing(view, cluster).hash.filter(|key| !keys.contains(key)) {
            keys.push(key);
        }
    }
    keys
}

/// With a single hashed target a retry may go where the first attempt went, or it would leave the client's endpoint:
/// unless the rule says otherwise.
pub(crate) fn stay_with_hashed(forward: &Forward, retry: RetryPolicy) -> RetryPolicy {
    let hashed = !forward.hash.is_empty() && forward.targets.len() == 1;
    let avoid = retry.avoid_previous_hosts && (retry.previous_hosts_written || !hashed);
    RetryPolicy { avoid_previous_hosts: avoid, ..retry }
}

/// The balancer of copies, and what decides for them: Envoy asks the route for no copy, but the cluster for each. Where
/// nothing that is hashed is known of a copy there is no ring either.
pub(crate) fn for_copies(balancing: &LoadBalancing) -> (LoadBalancer, Option<HashKey>) {
    let hash = balancing.hash.as_ref().and_then(HashKey::for_copies);
    match (balancing.balancer.is_hashing(), hash) {
        (true, None) => (LoadBalancer::LeastRequest, None),
        (_, hash) => (balancing.balancer, hash),
    }
}

/// Said about a mirror whose copies cannot be hashed as its target asks.
pub(crate) fn not_hashed(
    view: &dyn View,
    id: &ObjectId,
    field: &str,
    cluster: &ClusterRef,
) -> Option<Diagnostic> {
    let hash = balancing(view, cluster).hash?;
    if hash.for_copies().is_some() {
        return None;
    }
    let message = format!(
        "{} is chosen by the client's address (consistentHash.useSourceIp), which is not known of a copy: copies are \
         spread over its endpoints",
        cluster.spelling
    );
    Some(Diagnostic::new(Code::CopiesNotHashed, id, field, message))
}

fn balancing(view: &dyn View, cluster: &ClusterRef) -> LoadBalancing {
    let policy = cluster.policy.as_ref().map(|id| view.destination_rule_set(id));
    let effective = policy.map(|rules| rules.effective(cluster.port, cluster.subset.as_ref()));
    effective.and_then(|policy| policy.load_balancer).unwrap_or_default()
}
