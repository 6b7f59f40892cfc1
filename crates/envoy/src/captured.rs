//! Listeners of captured sidecars: what came in at the entrance goes to the listener of the address that it wanted to go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use prost::Name;
use umbra_ir::{BuiltInCluster, CapturedListener, Listener, Network, Onward, ProxyKind, Settings};
use umbra_proto::envoy::config::core::v3::{CidrRange, TrafficDirection};
use umbra_proto::envoy::config::listener::v3::{
    self as api, AdditionalAddress, Filter, FilterChain, FilterChainMatch, ListenerFilter, filter,
    listener_filter,
};
use umbra_proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use umbra_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use umbra_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use umbra_proto::pack_any;

use crate::access_log::{Traffic, access_logs, log_requirement};
use crate::convert::{boolean, duration, positive_duration, socket_address, uint32};
use crate::listener::connection_manager;
use crate::names::{captured_listener_name, cluster_name};
use crate::{Built, Requirement};

/// What Envoy's inspector calls the plaintext HTTP that we serve.
const HTTP: [&str; 2] = ["http/1.1", "h2c"];

/// The same of what passes as bytes, unless the settings accept it, as in Istio.
const HTTP_10: &str = "http/1.0";

/// Where connections to the entrance itself go.
const NOWHERE: Onward = Onward::BuiltIn(BuiltInCluster::BlackHole);

/// One listener of a captured sidecar (`envoy.config.listener.v3.Listener`). It requires the clusters that it names.
pub fn build_captured_listener(listener: &CapturedListener, settings: &Settings) -> Built {
    let name = captured_listener_name(listener);
    let mut message = api::Listener {
        name: name.to_string(),
        address: Some(socket_address(&listener.address.to_string(), listener.port.get())),
        additional_addresses: additional(listener),
        traffic_direction: TrafficDirection::Outbound.into(),
        filter_chains: chains(listener, &name, settings),
        default_filter_chain: Some(chain(None, bytes(&listener.rest, settings))),
        listener_filters: inspectors(listener),
        // However long a client takes to say something; a server that speaks first must be on a port that says that it is TCP.
        listener_filters_timeout: Some(duration(Duration::ZERO)),
        continue_on_listener_filters_timeout: true,
        ..Default::default()
    };
    if listener.entrance {
        message.use_original_dst = Some(boolean(true));
    } else {
        message.bind_to_port = Some(boolean(false));
    }
    let mut requires: Vec<_> =
        listener.onward().map(|onward| Requirement::Cluster(onward_name(onward))).collect();
    requires.extend(log_requirement(settings));
    requires.extend(listener.entrance.then(|| Requirement::Cluster(onward_name(&NOWHERE))));
    requires.sort();
    requires.dedup();
    Built::new(name, &message, requires)
}

/// The same in IPv6 of an unspecified address.
fn additional(listener: &CapturedListener) -> Vec<AdditionalAddress> {
    let both = listener.ipv6 && listener.address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let unspecified = socket_address(&Ipv6Addr::UNSPECIFIED.to_string(), listener.port.get());
    let address = AdditionalAddress { address: Some(unspecified), ..Default::default() };
    both.then_some(address).into_iter().collect()
}

fn chains(listener: &CapturedListener, name: &str, settings: &Settings) -> Vec<FilterChain> {
    let mut chains = Vec::new();
    if listener.entrance {
        // Who calls the entrance itself would be passed on to the entrance, for ever.
        let itself = FilterChainMatch {
            destination_port: Some(uint32(listener.port.get().into())),
            ..Default::default()
        };
        chains.push(chain(Some(itself), bytes(&NOWHERE, settings)));
    }
    for (network, onward) in &listener.networks {
        let inside = FilterChainMatch { prefix_ranges: vec![range(network)], ..Default::default() };
        chains.push(chain(Some(inside), bytes(onward, settings)));
    }
    for (host, onward) in &listener.server_names {
        let named = FilterChainMatch {
            server_names: vec![host.to_string()],
            transport_protocol: "tls".to_owned(),
            ..Default::default()
        };
        chains.push(chain(Some(named), bytes(onward, settings)));
    }
    if let Some(routes) = &listener.routes {
        let old = settings.http10.as_ref().map(|_| HTTP_10);
        let http = FilterChainMatch {
            application_protocols: HTTP.into_iter().chain(old).map(str::to_owned).collect(),
            transport_protocol: "raw_buffer".to_owned(),
            ..Default::default()
        };
        let manager = Listener {
            kind: ProxyKind::Sidecar,
            address: listener.address,
            port: listener.port,
            route_config: routes.clone(),
            trusted_proxies: 0,
        };
        let manager = connection_manager(&manager, name, settings);
        chains.push(chain(Some(http), filter("envoy.filters.network.http_connection_manager", &manager)));
    }
    chains
}

pub(crate) fn range(network: &Network) -> CidrRange {
    CidrRange { address_prefix: network.address.to_string(), prefix_len: Some(uint32(network.prefix.into())) }
}

fn chain(matches: Option<FilterChainMatch>, filter: Filter) -> FilterChain {
    FilterChain { filter_chain_match: matches, filters: vec![filter], ..Default::default() }
}

/// Bytes as they are, both ways.
fn bytes(onward: &Onward, settings: &Settings) -> Filter {
    let name = onward_name(onward);
    let idle_timeout = match onward {
        Onward::Service { idle_timeout, .. } => *idle_timeout,
        Onward::BuiltIn(_) => None,
    };
    let proxy = TcpProxy {
        stat_prefix: name.to_string(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(name.to_string())),
        idle_timeout: idle_timeout.map(positive_duration),
        access_log: access_logs(settings, Traffic::Bytes),
        ..Default::default()
    };
    filter("envoy.filters.network.tcp_proxy", &proxy)
}

pub(crate) fn filter(name: &str, message: &impl Name) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(pack_any(message))) }
}

/// What has to be known of a connection before its chain can be chosen. Without a reason nothing is waited for: a server
/// that speaks first must not wait for its client.
fn inspectors(listener: &CapturedListener) -> Vec<ListenerFilter> {
    let one = |name: &str, config| ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let tls = (!listener.server_names.is_empty())
        .then(|| one("envoy.filters.listener.tls_inspector", pack_any(&TlsInspector::default())));
    let http = listener
        .routes
        .is_some()
        .then(|| one("envoy.filters.listener.http_inspector", pack_any(&HttpInspector::default())));
    tls.into_iter().chain(http).collect()
}

pub(crate) fn onward_name(onward: &Onward) -> Arc<str> {
    match onward {
        Onward::BuiltIn(cluster) => cluster.name().into(),
        Onward::Service { cluster, .. } => cluster_name(cluster),
    }
}
