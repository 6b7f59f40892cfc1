//! Which Gateways apply to a proxy, and which hosts of a rule their servers admit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{GatewayHead, Hostname, Kind, RuleHead, Server};

use crate::view::{Index, View};

/// The Gateways whose selector matches these labels, oldest first. No selector: every gateway proxy.
pub(crate) fn select_gateways(view: &dyn View, labels: &BTreeMap<String, String>) -> Vec<Arc<GatewayHead>> {
    let mut heads: Vec<Arc<GatewayHead>> = view
        .ids(&Index::Kind(Kind::Gateway))
        .iter()
        .filter_map(|id| view.gateway_head(id))
        .filter(|head| head.selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
        .collect();
    sort_by_age(&mut heads);
    heads
}

/// Oldest first, then by name and namespace.
pub(crate) fn sort_by_age(heads: &mut [Arc<GatewayHead>]) {
    heads.sort_by(|a, b| {
        (a.created, &a.id.name, &a.id.namespace).cmp(&(b.created, &b.id.name, &b.id.namespace))
    });
}

/// For every pair of a server's and a rule's hosts that overlap, the more specific one.
pub(crate) fn intersection(server: &Server, rule: &RuleHead) -> BTreeSet<Hostname> {
    let mut hosts = BTreeSet::new();
    for admitted in
        server.hosts.iter().filter(|h| h.namespace.as_ref().is_none_or(|n| *n == rule.id.namespace))
    {
        for host in rule.hosts() {
            if host.subset_of(&admitted.host) {
                hosts.insert(host.clone());
            } else if admitted.host.subset_of(host) && !admitted.host.as_str().ends_with("-shadow") {
                // No virtual host is made up for a `-shadow` host that no rule names.
                hosts.insert(admitted.host.clone());
            }
        }
    }
    hosts
}
