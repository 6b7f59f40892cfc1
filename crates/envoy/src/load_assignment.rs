//! Load assignments: the endpoints of a cluster by locality.

use std::collections::BTreeMap;

use umbra_ir::{Arrangement, Endpoint, LoadAssignment, Locality};
use umbra_proto::envoy::config::core::v3 as core;
use umbra_proto::envoy::config::endpoint::v3::{
    self as endpoint, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use crate::Built;
use crate::convert::{endpoint_address, uint32};
use crate::names::load_assignment_name;

/// The endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`), under the name of the primary
/// cluster. Without endpoints it is the bare name: an answer, not a gap.
pub fn build_load_assignment(assignment: &LoadAssignment) -> Built {
    let name = load_assignment_name(&assignment.reference);
    let message = load_assignment(&name, &assignment.endpoints, &assignment.arrangement);
    Built::new(name, &message, Vec::new())
}

/// Also what a DNS cluster carries inline.
pub(crate) fn load_assignment(
    name: &str,
    endpoints: &[Endpoint],
    arrangement: &Arrangement,
) -> ClusterLoadAssignment {
    let total: u64 = endpoints.iter().map(|e| u64::from(e.weight)).sum();
    // Envoy refuses an assignment whose weights sum up beyond 32 bits.
    let divisor = total / u64::from(u32::MAX) + 1;
    let mut groups: BTreeMap<(u32, &Locality), Vec<(&Endpoint, u32)>> = BTreeMap::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let weight = (u64::from(endpoint.weight) / divisor).max(1) as u32;
        let priority = arrangement.priorities.get(index).copied().unwrap_or_default();
        groups.entry((priority, &endpoint.locality)).or_default().push((endpoint, weight));
    }
    let group = |((priority, locality), members): ((u32, &Locality), Vec<(&Endpoint, u32)>)| {
        let own = members.iter().map(|(_, weight)| weight).sum();
        let weight = arrangement.weights.get(locality).copied().unwrap_or(own);
        group(priority, locality, weight, &members)
    };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: groups.into_iter().map(group).collect(),
        ..Default::default()
    }
}

fn group(
    priority: u32,
    locality: &Locality,
    weight: u32,
    members: &[(&Endpoint, u32)],
) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: locality.region.to_string(),
            zone: locality.zone.to_string(),
            sub_zone: locality.subzone.to_string(),
        }),
        lb_endpoints: members.iter().map(|(endpoint, weight)| lb_endpoint(endpoint, *weight)).collect(),
        load_balancing_weight: Some(uint32(weight)),
        priority,
        ..Default::default()
    }
}

fn lb_endpoint(endpoint: &Endpoint, weight: u32) -> LbEndpoint {
    let host = endpoint::Endpoint {
        address: Some(endpoint_address(&endpoint.address, endpoint.port)),
        ..Default::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(host)),
        // Nothing is 1, and nearly all are.
        load_balancing_weight: (weight != 1).then(|| uint32(weight)),
        ..Default::default()
    }
}
