//! Chains of listeners: which connections, and bytes as they are.

use std::sync::Arc;

use umbra_ir::{Chain, Onward, Opening, Settings, Shared};
use umbra_proto::envoy::config::core::v3::CidrRange;
use umbra_proto::envoy::config::listener::v3::{Filter, FilterChainMatch};
use umbra_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
};

use crate::access_log::{Traffic, access_logs};
use crate::as_asked::asked_in_tls;
use crate::convert::{filter, positive_duration, uint32};
use crate::names::cluster_name;

/// Which connections a chain is for; `None`: all of them.
pub(crate) fn chain_match(chain: &Chain) -> Option<FilterChainMatch> {
    let range = |network: &umbra_ir::Network| CidrRange {
        address_prefix: network.address.to_string(),
        prefix_len: Some(uint32(network.prefix.into())),
    };
    let matches = FilterChainMatch {
        server_names: chain.server_names.iter().map(ToString::to_string).collect(),
        prefix_ranges: chain.networks.iter().map(range).collect(),
        transport_protocol: match chain.opening {
            Opening::Any => "",
            Opening::Tls => "tls",
            Opening::Plain => "raw_buffer",
        }
        .to_owned(),
        ..Default::default()
    };
    (matches != FilterChainMatch::default()).then_some(matches)
}

/// Whether a chain can be chosen only when it is known how a connection begins.
pub(crate) fn looks(chain: &Chain) -> bool {
    !chain.server_names.is_empty() || chain.opening != Opening::Any
}

/// Bytes as they are, both ways, each connection to one of several by weight. `name` is the listener's.
pub(crate) fn bytes(shared: &Shared, name: &str, settings: &Settings) -> Vec<Filter> {
    let timeouts = shared.onward().filter_map(|onward| match onward {
        Onward::Service { idle_timeout, .. } => *idle_timeout,
        Onward::BuiltIn(_) => None,
    });
    let clusters = match shared.0.as_slice() {
        [(only, _)] => ClusterSpecifier::Cluster(onward_name(only).to_string()),
        several => {
            let one = |(onward, weight): &(Onward, u32)| ClusterWeight {
                name: onward_name(onward).to_string(),
                weight: *weight,
                ..Default::default()
            };
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: several.iter().map(one).collect(),
            })
        }
    };
    let prefix = match &clusters {
        ClusterSpecifier::Cluster(cluster) => cluster.clone(),
        ClusterSpecifier::WeightedClusters(_) => format!("weighted_{name}"),
    };
    let proxy = TcpProxy {
        stat_prefix: prefix,
        cluster_specifier: Some(clusters),
        idle_timeout: timeouts.min().map(positive_duration),
        access_log: access_logs(settings, Traffic::Bytes),
        ..Default::default()
    };
    asked_in_tls(shared).into_iter().chain([filter("envoy.filters.network.tcp_proxy", &proxy)]).collect()
}

/// The name of the cluster that bytes go on to.
pub(crate) fn onward_name(onward: &Onward) -> Arc<str> {
    match onward {
        Onward::BuiltIn(cluster) => cluster.name().into(),
        Onward::Service { cluster, .. } => cluster_name(cluster),
    }
}
