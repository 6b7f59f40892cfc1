//! Listeners of gateways that tell connections apart before HTTP is spoken.

use std::sync::Arc;

use umbra_ir::{ChainContent, GatewayChain, GatewayListener, Listener, Onward, Opening, ProxyKind, Settings, Shared};
use umbra_proto::envoy::config::core::v3::TrafficDirection;
use umbra_proto::envoy::config::listener::v3::{self as api, FilterChain, FilterChainMatch, ListenerFilter, listener_filter};
use umbra_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
};
use umbra_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
};
use umbra_proto::pack_any;

use crate::access_log::{Traffic, access_logs, log_requirement};
use crate::captured::{filter, onward_name, range};
use crate::convert::{boolean, positive_duration, socket_address};
use crate::listener::connection_manager;
use crate::names::gateway_listener_name;
use crate::tls::server_socket;
use crate::{Built, Requirement};

/// One of them (`envoy.config.listener.v3.Listener`). It requires the clusters and secrets that it names.
pub fn build_gateway_listener(listener: &GatewayListener, settings: &Settings) -> Built {
    let name = gateway_listener_name(listener);
    let looks = |chain: &GatewayChain| !chain.server_names.is_empty() || chain.opening != Opening::Any;
    let inspector = ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack_any(&TlsInspector::default()))),
        ..Default::default()
    };
    let message = api::Listener {
        name: name.to_string(),
        address: Some(socket_address(&listener.address.to_string(), listener.port.get())),
        filter_chains: listener.chains.iter().map(|it| chain(listener, it, &name, settings)).collect(),
        listener_filters: listener.chains.iter().any(looks).then_some(inspector).into_iter().collect(),
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Default::default()
    };
    let clusters = listener.onward().map(|it| Requirement::Cluster(onward_name(it)));
    let secrets = listener.credentials().map(|it| Requirement::Secret(it.name()));
    let mut requires: Vec<_> = clusters.chain(secrets).chain(log_requirement(settings)).collect();
    requires.sort();
    requires.dedup();
    Built::new(name, &message, requires)
}

fn chain(listener: &GatewayListener, chain: &GatewayChain, name: &str, settings: &Settings) -> FilterChain {
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
    let (content, alpn) = match &chain.content {
        ChainContent::Http(table) => (http(listener, chain, table, name, settings), &["h2", "http/1.1"][..]),
        ChainContent::Bytes(shared) => (bytes(shared, name, settings), &[][..]),
    };
    FilterChain {
        filter_chain_match: (matches != FilterChainMatch::default()).then_some(matches),
        filters: vec![content],
        transport_socket: chain.tls.as_ref().map(|end| server_socket(end, alpn)),
        ..Default::default()
    }
}

fn http(
    listener: &GatewayListener,
    chain: &GatewayChain,
    table: &Arc<str>,
    name: &str,
    settings: &Settings,
) -> api::Filter {
    let as_listener = Listener {
        kind: ProxyKind::Router,
        address: listener.address,
        port: listener.port,
        route_config: table.clone(),
        trusted_proxies: listener.trusted_proxies,
    };
    let mut manager = connection_manager(&as_listener, name, settings);
    if chain.tls.as_ref().is_some_and(|end| end.client != umbra_ir::ClientCertificate::None) {
        // Who the client is reaches the service, and nobody else's word for it.
        manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet.into();
        manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: Some(boolean(true)),
            cert: true,
            dns: true,
            uri: true,
            ..Default::default()
        });
    }
    filter("envoy.filters.network.http_connection_manager", &manager)
}

/// Bytes as they are, each connection to one of several by weight.
fn bytes(shared: &Shared, name: &str, settings: &Settings) -> api::Filter {
    let timeouts = shared.0.iter().filter_map(|(onward, _)| match onward {
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
    filter("envoy.filters.network.tcp_proxy", &proxy)
}
