//! Listeners of captured sidecars: what came in at the entrance goes to the listener of the address that it wanted to go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use umbra_ir::{BuiltInCluster, CapturedListener, ChainContent, Listener, Onward, ProxyKind, Settings};
use umbra_proto::envoy::config::core::v3::TrafficDirection;
use umbra_proto::envoy::config::listener::v3::{
    self as api, AdditionalAddress, Filter, FilterChain, FilterChainMatch, ListenerFilter, listener_filter,
};
use umbra_proto::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use umbra_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use umbra_proto::pack_any;

use crate::access_log::log_requirement;
use crate::chain::{bytes, chain_match, looks, onward_name};
use crate::convert::{boolean, duration, filter, socket_address, uint32};
use crate::listener::connection_manager;
use crate::names::captured_listener_name;
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
        default_filter_chain: Some(chain(None, bytes(&listener.rest, &name, settings))),
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
        chains.push(chain(Some(itself), bytes(&NOWHERE.into(), name, settings)));
    }
    for told in &listener.chains {
        if let ChainContent::Bytes(shared) = &told.content {
            chains.push(chain(chain_match(told), bytes(shared, name, settings)));
        }
    }
    if let Some(routes) = &listener.routes {
        let old = (settings.http10.is_some() || listener.http10).then_some(HTTP_10);
        let http = FilterChainMatch {
            application_protocols: HTTP.into_iter().chain(old).map(str::to_owned).collect(),
            transport_protocol: "raw_buffer".to_owned(),
            ..Default::default()
        };
        let manager = Listener {
            kind: ProxyKind::Sidecar,
            address: listener.address.into(),
            port: listener.port,
            route_config: routes.clone(),
            trusted_proxies: 0,
            http10: listener.http10,
            judges: listener.judges,
        };
        let manager = connection_manager(&manager, name, settings);
        let manager = filter("envoy.filters.network.http_connection_manager", &manager);
        chains.push(chain(Some(http), vec![manager]));
    }
    chains
}

fn chain(matches: Option<FilterChainMatch>, filters: Vec<Filter>) -> FilterChain {
    FilterChain { filter_chain_match: matches, filters, ..Default::default() }
}

/// What has to be known of a connection before its chain can be chosen. Without a reason nothing is waited for: a server
/// that speaks first must not wait for its client.
fn inspectors(listener: &CapturedListener) -> Vec<ListenerFilter> {
    let one = |name: &str, config| ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let tls = listener
        .chains
        .iter()
        .any(looks)
        .then(|| one("envoy.filters.listener.tls_inspector", pack_any(&TlsInspector::default())));
    let http = listener
        .routes
        .is_some()
        .then(|| one("envoy.filters.listener.http_inspector", pack_any(&HttpInspector::default())));
    tls.into_iter().chain(http).collect()
}
