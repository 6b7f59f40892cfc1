//! The clusters of connections that no service takes.

use std::time::Duration;

use umbra_ir::{Breakers, BuiltInCluster};
use umbra_proto::envoy::config::cluster::v3::{
    self as api,
    cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
};

use crate::Built;
use crate::cluster::circuit_breakers;
use crate::convert::duration;
use crate::http_options::as_client;

/// One of them (`envoy.config.cluster.v3.Cluster`): to where the connection wanted to go, or without any endpoint.
pub fn build_built_in_cluster(cluster: BuiltInCluster) -> Built {
    let mut message = api::Cluster {
        name: cluster.name().to_owned(),
        connect_timeout: Some(duration(Duration::from_secs(10))),
        ..Default::default()
    };
    let discovery = match cluster {
        BuiltInCluster::BlackHole => DiscoveryType::Static,
        BuiltInCluster::Passthrough => {
            message.lb_policy = LbPolicy::ClusterProvided.into();
            message.circuit_breakers = Some(circuit_breakers(Breakers::UNLIMITED, None));
            message.typed_extension_protocol_options = as_client();
            DiscoveryType::OriginalDst
        }
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery.into()));
    Built::new(cluster.name().into(), &message, Vec::new())
}
