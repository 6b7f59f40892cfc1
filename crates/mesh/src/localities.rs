//! Endpoints arranged for where a client is (istio `pilot/pkg/networking/core/loadbalancer`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    Arrangement, ClientPlace, ClusterRef, DestinationRuleSetId, Distribute, Endpoint, Kind,
    LocalityBalancing, ProxyClass, TrafficPolicy,
};

use crate::view::{Index, View};

/// How a policy arranges endpoints; `None`: they are the same for every client.
///
/// Outlier detection alone is enough for failover by locality, as in Istio, whose mesh has it on.
enum Wish<'a> {
    Distribute(&'a [Distribute]),
    /// By region, zone and subzone; for clients of a region, another one comes before the rest.
    Failover(&'a [(String, String)]),
    /// By labels.
    Priority(&'a [(String, Option<String>)]),
}

fn wish(policy: &TrafficPolicy) -> Option<Wish<'_>> {
    let setting = policy.load_balancer.as_ref().and_then(|it| it.locality.as_ref());
    if setting.is_some_and(|it| it.off) {
        return None;
    }
    let empty: &[_] = &[];
    let (distribute, failover, priority) = match setting {
        Some(LocalityBalancing { distribute, failover, failover_priority, .. }) => {
            (distribute.as_slice(), failover.as_slice(), failover_priority.as_slice())
        }
        None => (&[][..], &[][..], empty),
    };
    if !distribute.is_empty() {
        return Some(Wish::Distribute(distribute));
    }
    policy.outlier_detection.as_ref()?;
    Some(if priority.is_empty() { Wish::Failover(failover) } else { Wish::Priority(priority) })
}

/// Whether the weights of localities count.
pub(crate) fn is_weighted(policy: &TrafficPolicy) -> bool {
    matches!(wish(policy), Some(Wish::Distribute(_)))
}

/// The labels of clients that some DestinationRule's failover compares; `None`: no rule asks where a client is.
pub fn select_place_labels(view: &dyn View) -> Option<BTreeSet<String>> {
    let mut asked = false;
    let mut labels = BTreeSet::new();
    for id in view.ids(&Index::Kind(Kind::DestinationRule)) {
        let rule = view.destination_rule_set(&DestinationRuleSetId(Arc::from([id])));
        for policy in rule.policies() {
            asked |= wish(&policy).is_some();
            // Whether they count may be for another rule of the host to say.
            let setting = policy.load_balancer.as_ref().and_then(|it| it.locality.as_ref());
            labels.extend(setting.iter().flat_map(|it| &it.failover_priority).map(|(key, _)| key.clone()));
        }
    }
    asked.then_some(labels)
}

/// Where a client is, as far as a cluster's endpoints depend on it.
pub(crate) fn place_for(
    view: &dyn View,
    class: &ProxyClass,
    cluster: &ClusterRef,
) -> Option<Arc<ClientPlace>> {
    let place = class.place.as_ref()?;
    wish(&effective(view, cluster)).map(|_| place.clone())
}

pub(crate) fn effective(view: &dyn View, cluster: &ClusterRef) -> TrafficPolicy {
    let rules = cluster.policy.as_ref().map(|id| view.destination_rule_set(id));
    rules.map(|rules| rules.effective(cluster.port, cluster.subset.as_ref())).unwrap_or_default()
}

/// The endpoints that a client in `place` is given, and how they are arranged.
pub(crate) fn arrange(
    policy: &TrafficPolicy,
    place: Option<&ClientPlace>,
    endpoints: &[Endpoint],
) -> (Vec<Endpoint>, Arrangement) {
    let whole = || (endpoints.to_vec(), Arrangement::default());
    let (Some(place), Some(wish)) = (place, wish(policy)) else { return whole() };
    match wish {
        Wish::Distribute(rules) => match rules.iter().find(|rule| place.locality.is_in(&rule.from)) {
            Some(rule) => distribute(rule, endpoints),
            None => whole(),
        },
        Wish::Failover(regions) => {
            let of = |endpoint: &Endpoint| distance(place, endpoint, regions);
            (endpoints.to_vec(), by_priority(endpoints.iter().map(of).collect()))
        }
        Wish::Priority(labels) => {
            let of = |endpoint: &Endpoint| unlike(place, endpoint, labels);
            (endpoints.to_vec(), by_priority(endpoints.iter().map(of).collect()))
        }
    }
}

/// How far an endpoint is: in the same subzone, zone, region, in the region that takes over, elsewhere.
fn distance(place: &ClientPlace, endpoint: &Endpoint, failover: &[(String, String)]) -> u32 {
    let (client, server) = (&place.locality, &endpoint.locality);
    if client.region != server.region {
        let next = failover.iter().find(|(from, _)| **from == *client.region);
        return if next.is_none_or(|(_, to)| **to == *server.region) { 3 } else { 4 };
    }
    if client.zone != server.zone {
        return 2;
    }
    if client.subzone == server.subzone { 0 } else { 1 }
}

/// How soon an endpoint differs from the client, by labels in order: 0 is nowhere.
fn unlike(place: &ClientPlace, endpoint: &Endpoint, labels: &[(String, Option<String>)]) -> u32 {
    let same = |(key, value): &(String, Option<String>)| {
        let wanted = value.as_ref().or_else(|| place.labels.get(key));
        wanted.map_or("", String::as_str) == endpoint.labels.get(key).map_or("", String::as_str)
    };
    let alike = labels.iter().take_while(|label| same(label)).count();
    u32::try_from(labels.len() - alike).unwrap_or(u32::MAX)
}

/// Envoy takes priorities without gaps alone.
fn by_priority(distances: Vec<u32>) -> Arrangement {
    let steps: BTreeSet<u32> = distances.iter().copied().collect();
    let step: BTreeMap<u32, u32> = steps.into_iter().zip(0..).collect();
    let priorities = distances.iter().map(|it| step.get(it).copied().unwrap_or_default()).collect();
    Arrangement { priorities, ..Arrangement::default() }
}

/// The grain of the weights of localities: a share is divided among the localities that it is for.
const GRAIN: u64 = 1000;

/// Each share goes to the localities that are in its place, by the weight of their endpoints; the most exact place comes
/// first, and whoever is in none gets nothing.
fn distribute(rule: &Distribute, endpoints: &[Endpoint]) -> (Vec<Endpoint>, Arrangement) {
    let mut own: BTreeMap<_, u64> = BTreeMap::new();
    for endpoint in endpoints {
        *own.entry(endpoint.locality.clone()).or_default() += u64::from(endpoint.weight);
    }
    let exact = |place: &str| place.split('/').filter(|part| !part.is_empty() && *part != "*").count();
    let mut shares: Vec<(&String, &u32)> = rule.to.iter().collect();
    shares.sort_by_key(|(place, _)| (std::cmp::Reverse(exact(place)), *place));
    let mut weights = BTreeMap::new();
    for (place, share) in shares {
        let (mine, rest): (BTreeMap<_, u64>, BTreeMap<_, u64>) =
            own.into_iter().partition(|(locality, _)| locality.is_in(place));
        own = rest;
        let total: u64 = mine.values().sum::<u64>().max(1);
        for (locality, weight) in mine {
            let part =
                (u128::from(weight) * u128::from(*share) * u128::from(GRAIN)).div_ceil(u128::from(total));
            weights.insert(locality, u32::try_from(part).unwrap_or(u32::MAX).max(1));
        }
    }
    let kept =
        endpoints.iter().filter(|endpoint| weights.contains_key(&endpoint.locality)).cloned().collect();
    (kept, Arrangement { weights, ..Arrangement::default() })
}

#[cfg(test)]
mod tests {
    use umbra_ir::Locality;

    use super::*;

    fn endpoint(place: &str, weight: u32) -> Endpoint {
        let locality = Locality::parse(place);
        let mut labels = BTreeMap::from([("version".to_owned(), place.len().to_string())]);
        locality.add_labels(&mut labels);
        Endpoint {
            address: place.into(),
            port: 80,
            locality,
            weight,
            labels: Arc::new(labels),
            workload: None,
        }
    }

    fn place(text: &str) -> ClientPlace {
        let locality = Locality::parse(text);
        let mut labels = BTreeMap::new();
        locality.add_labels(&mut labels);
        ClientPlace { locality, labels }
    }

    fn policy(locality: LocalityBalancing, outliers: bool) -> TrafficPolicy {
        let load_balancer = umbra_ir::LoadBalancing { locality: Some(locality), ..Default::default() };
        let outlier_detection = outliers.then(Default::default);
        TrafficPolicy { load_balancer: Some(load_balancer), outlier_detection, ..Default::default() }
    }

    #[test]
    fn failover_goes_by_distance_without_gaps() {
        let endpoints = ["r1/z1/a", "r1/z1/b", "r1/z2/a", "r2/z1/a", "r3/z1/a"].map(|it| endpoint(it, 1));
        let failover = vec![("r1".to_owned(), "r3".to_owned())];
        for (client, setting, outliers, want) in [
            ("r1/z1/a", LocalityBalancing::default(), true, vec![0, 1, 2, 3, 3]),
            ("r1/z1/a", LocalityBalancing { failover, ..Default::default() }, true, vec![0, 1, 2, 4, 3]),
            ("r2/z9", LocalityBalancing::default(), true, vec![1, 1, 1, 0, 1]),
            ("r9", LocalityBalancing::default(), true, vec![0, 0, 0, 0, 0]),
            ("r1/z1/a", LocalityBalancing::default(), false, vec![]),
            ("r1/z1/a", LocalityBalancing { off: true, ..Default::default() }, true, vec![]),
        ] {
            let (all, got) = arrange(&policy(setting, outliers), Some(&place(client)), &endpoints);
            assert_eq!((all.len(), got.priorities), (5, want), "{client}");
        }
    }

    #[test]
    fn labels_decide_in_their_order() {
        let endpoints = ["r1/z1", "r1/z2", "r2/z1", "r3/z3/x"].map(|it| endpoint(it, 1));
        let zone = (umbra_ir::ZONE.to_owned(), None);
        let region = (umbra_ir::REGION.to_owned(), None);
        let version = ("version".to_owned(), Some("7".to_owned()));
        for (labels, want) in [
            (vec![region.clone(), zone.clone()], vec![0, 1, 2, 2]),
            (vec![zone, region], vec![0, 2, 1, 2]),
            (vec![version], vec![1, 1, 1, 0]),
        ] {
            let setting = LocalityBalancing { failover_priority: labels.clone(), ..Default::default() };
            let (_, got) = arrange(&policy(setting, true), Some(&place("r1/z1")), &endpoints);
            assert_eq!(got.priorities, want, "{labels:?}");
        }
    }

    #[test]
    fn shares_are_divided_among_the_localities_that_they_are_for() {
        let endpoints =
            [endpoint("r1/z1", 1), endpoint("r1/z2", 3), endpoint("r1/z3", 1), endpoint("r2/z1", 1)];
        let to = BTreeMap::from([("r1/*".to_owned(), 20), ("r1/z1".to_owned(), 80)]);
        let rule = Distribute { from: "r1".to_owned(), to };
        let setting = LocalityBalancing { distribute: vec![rule], ..Default::default() };
        let (kept, got) = arrange(&policy(setting.clone(), false), Some(&place("r1/z1")), &endpoints);
        let weights: Vec<u32> = got.weights.values().copied().collect();
        assert_eq!((kept.len(), weights), (3, vec![80_000, 15_000, 5000]));
        let (kept, got) = arrange(&policy(setting, false), Some(&place("r2/z1")), &endpoints);
        assert_eq!((kept.len(), got), (4, Arrangement::default()));
    }
}
