//! Endpoints of a service port, whoever told of them, and of the subsets of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use umbra_ir::{ClientTls, ClusterRef, Endpoint, EndpointSet, UNIX_SOCKET};

use crate::view::View;

/// The ready endpoints of a service port, sorted, of all objects that the service is made of.
pub fn merge_endpoints(mut endpoints: Vec<Endpoint>) -> EndpointSet {
    // Slices may overlap while they are rearranged, and Envoy takes no address twice: the first counts.
    let mut seen = HashSet::new();
    endpoints.retain(|e| match e.address.starts_with(UNIX_SOCKET) {
        true => seen.insert((e.address.to_string(), 0)),
        false => seen.insert((e.address.to_ascii_lowercase(), e.port)),
    });
    endpoints.sort();
    EndpointSet(endpoints)
}

/// The endpoints of a cluster: those of its port that its subset selects. A cluster whose TLS we cannot give
/// has none: never silently plaintext.
pub fn select_members(view: &dyn View, cluster: &ClusterRef) -> Arc<EndpointSet> {
    let rules = cluster.policy.as_ref().map(|id| view.destination_rule_set(id));
    let policy = rules.as_ref().map(|r| r.effective(cluster.port, cluster.subset.as_ref()));
    if policy.is_some_and(|p| matches!(p.tls, Some(ClientTls::Unsupported(_)))) {
        return Arc::default();
    }
    let all = view.endpoints(&cluster.service, &cluster.port);
    let Some(subset) = &cluster.subset else { return all };
    let none = BTreeMap::new();
    let labels = rules.as_ref().and_then(|r| r.subsets.get(subset)).map_or(&none, |s| &s.labels);
    Arc::new(EndpointSet(all.0.iter().filter(|e| e.has_labels(labels)).cloned().collect()))
}
