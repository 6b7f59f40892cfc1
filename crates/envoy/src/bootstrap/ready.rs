//! What the pod network may ask a proxy: whether it is ready, and its statistics. The admin interface, which could
//! end the proxy, stays on the loopback.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use umbra_proto::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};
use umbra_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use umbra_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use umbra_proto::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use umbra_proto::envoy::extensions::filters::http::router::v3::Router;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier, http_filter,
};
use umbra_proto::pack_any;

use crate::convert::{duration, socket_address};

/// Name of the listener and of the cluster that leads to the admin interface.
const NAME: &str = "umbra-ready";

/// All that is answered at the address that an operator names: what is asked for, and what the admin interface calls it.
const PATHS: [(&str, &str); 2] = [("/ready", "/ready"), ("/stats/prometheus", "/stats/prometheus")];

/// What an injected Pod answers, as Istio's do: name, port, path.
const POD: [(&str, u16, (&str, &str)); 2] = [
    ("umbra-health", 15021, ("/healthz/ready", "/ready")),
    ("umbra-stats", 15090, ("/stats/prometheus", "/stats/prometheus")),
];

/// The listener at `address`.
pub(super) fn listener(address: SocketAddr) -> Listener {
    answering(NAME, address, &PATHS)
}

/// The listeners of an injected Pod, at `address` of it.
pub(super) fn pod_listeners(address: IpAddr) -> impl Iterator<Item = Listener> {
    POD.into_iter().map(move |(name, port, path)| answering(name, SocketAddr::new(address, port), &[path]))
}

fn answering(name: &str, address: SocketAddr, paths: &[(&str, &str)]) -> Listener {
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(&Router::default()))),
        ..Default::default()
    };
    let host = VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: paths.iter().map(|(asked, meant)| route(asked, meant)).collect(),
        ..Default::default()
    };
    let routes =
        RouteConfiguration { name: name.to_owned(), virtual_hosts: vec![host], ..Default::default() };
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router],
        ..Default::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(&manager))),
    };
    Listener {
        name: name.to_owned(),
        address: Some(socket_address(&address.ip().to_string(), address.port())),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}

fn route(asked: &str, meant: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(asked.to_owned())),
            ..Default::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(NAME.to_owned())),
            // Of a whole path it replaces the whole.
            prefix_rewrite: if asked == meant { String::new() } else { meant.to_owned() },
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// The way to the admin interface at `admin`.
pub(super) fn cluster(admin: SocketAddr) -> Cluster {
    let endpoint = Endpoint {
        address: Some(socket_address(&admin.ip().to_string(), admin.port())),
        ..Default::default()
    };
    let endpoint =
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    Cluster {
        name: NAME.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        connect_timeout: Some(duration(Duration::from_secs(1))),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: NAME.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    }
}
