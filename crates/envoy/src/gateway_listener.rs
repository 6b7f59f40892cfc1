//! Bound listeners that tell connections apart before HTTP is spoken.

use std::sync::Arc;

use umbra_ir::{Chain, ChainContent, ClientCertificate, GatewayListener, Listener, Settings};
use umbra_proto::envoy::config::core::v3::TrafficDirection;
use umbra_proto::envoy::config::listener::v3::{self as api, FilterChain, ListenerFilter, listener_filter};
use umbra_proto::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
};
use umbra_proto::pack_any;

use crate::access_log::log_requirement;
use crate::chain::{bytes, chain_match, looks, onward_name};
use crate::convert::{boolean, endpoint_address, filter};
use crate::listener::connection_manager;
use crate::names::gateway_listener_name;
use crate::tls::server_socket;
use crate::{Built, Requirement};

/// One of them (`envoy.config.listener.v3.Listener`). It requires the clusters and secrets that it names.
pub fn build_gateway_listener(listener: &GatewayListener, settings: &Settings) -> Built {
    let name = gateway_listener_name(listener);
    let inspector = ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack_any(&TlsInspector::default()))),
        ..Default::default()
    };
    let message = api::Listener {
        name: name.to_string(),
        address: Some(endpoint_address(&listener.address.to_string(), listener.port.get())),
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

fn chain(listener: &GatewayListener, chain: &Chain, name: &str, settings: &Settings) -> FilterChain {
    let (content, alpn) = match &chain.content {
        ChainContent::Http(table) => {
            (vec![http(listener, chain, table, name, settings)], &["h2", "http/1.1"][..])
        }
        ChainContent::Bytes(shared) => (bytes(shared, name, settings), &[][..]),
    };
    FilterChain {
        filter_chain_match: chain_match(chain),
        filters: content,
        transport_socket: chain.tls.as_ref().map(|end| server_socket(end, alpn)),
        ..Default::default()
    }
}

fn http(
    listener: &GatewayListener,
    chain: &Chain,
    table: &Arc<str>,
    name: &str,
    settings: &Settings,
) -> api::Filter {
    let as_listener = Listener {
        kind: listener.kind,
        address: listener.address.clone(),
        port: listener.port,
        route_config: table.clone(),
        trusted_proxies: listener.trusted_proxies,
        http10: listener.http10,
        judges: listener.judges,
    };
    let mut manager = connection_manager(&as_listener, name, settings);
    if chain.tls.as_ref().is_some_and(|end| end.client != ClientCertificate::None) {
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
