//! Which listener accepts a connection, and which of its chains handles it.

use std::net::IpAddr;

use umbra_proto::envoy::config::core::v3::CidrRange;
use umbra_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener, filter::ConfigType};
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use umbra_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use umbra_proto::google::protobuf::Any;
use umbra_proto::unpack_any;

use crate::config::{Config, socket};
use crate::request::{Request, port_start};

/// What a chain does with what comes in.
pub(crate) enum Handler {
    /// HTTP.
    Http(Box<HttpConnectionManager>),
    /// Bytes, passed on to one of these clusters, by weight.
    Bytes(Vec<(String, u32)>),
}

/// The listener that accepts the request's connection. Captured connections go to the listener of the address that was
/// called, else to the entrance itself.
pub(crate) fn accepting<'a>(config: &'a Config, request: &Request) -> Option<&'a Listener> {
    let on_port = |listener: &&Listener| {
        socket(listener.address.as_ref()).is_some_and(|(_, port)| port == request.port)
    };
    let entrance =
        config.listeners.iter().find(|listener| listener.use_original_dst.is_some_and(|it| it.value));
    let mut found: Vec<&Listener> = config.listeners.iter().filter(on_port).collect();
    if entrance.is_none() {
        found.retain(|listener| listener.bind_to_port.is_none_or(|bind| bind.value));
    }
    let of_address = |listener: &&&Listener| match (&request.address, ip_of(listener)) {
        (Some(called), Some(own)) => *called == own,
        _ => false,
    };
    let any_address = |listener: &&&Listener| ip_of(listener).is_some_and(|ip| ip.is_unspecified());
    let chosen = found.iter().find(of_address).or_else(|| found.iter().find(any_address)).copied();
    match (chosen, entrance) {
        (Some(chosen), _) => Some(chosen),
        (None, Some(entrance)) => Some(entrance),
        // On a port of its own address, such as 127.0.0.1.
        (None, None) => found.first().copied().filter(|_| request.address.is_none()),
    }
}

fn ip_of(listener: &Listener) -> Option<IpAddr> {
    socket(listener.address.as_ref())?.0.parse().ok()
}

/// The chain that takes the connection, and its place among the listener's; `None`: the one for all others.
pub(crate) fn chain<'a>(
    listener: &'a Listener,
    request: &Request,
) -> Result<(&'a FilterChain, Option<usize>), String> {
    let chains = listener.filter_chains.iter().enumerate();
    let fitting = chains.filter_map(|(nth, chain)| Some((fit(chain, request)?, (chain, Some(nth)))));
    // Of equal ones the first.
    let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, taken)| taken);
    best.or_else(|| listener.default_filter_chain.as_ref().map(|chain| (chain, None)))
        .ok_or_else(|| "no filter chain of the listener is for such a connection".to_owned())
}

/// What a chain does with the connection, or why it ends.
pub(crate) fn handler(chain: &FilterChain, request: &Request) -> Result<Handler, String> {
    match request.tls {
        true if chain.transport_socket.is_none() && is_http(chain) => {
            Err("the listener speaks no TLS on this port".to_owned())
        }
        false if chain.transport_socket.is_some() => Err("the listener speaks TLS alone".to_owned()),
        _ if request.bytes && is_http(chain) => {
            Err("the listener speaks HTTP there, and the client does not".to_owned())
        }
        _ => read(chain),
    }
}

/// Which connections a chain is for, in words; empty: all.
pub(crate) fn words(wanted: &FilterChainMatch) -> String {
    let mut words = Vec::new();
    if let Some(port) = &wanted.destination_port {
        words.push(format!("port {}", port.value));
    }
    let block = |range: &CidrRange| {
        format!("{}/{}", range.address_prefix, range.prefix_len.map_or(0, |length| length.value))
    };
    if !wanted.prefix_ranges.is_empty() {
        let blocks: Vec<_> = wanted.prefix_ranges.iter().map(block).collect();
        words.push(format!("to {}", blocks.join(", ")));
    }
    if !wanted.server_names.is_empty() {
        words.push(format!("TLS for {}", wanted.server_names.join(", ")));
    } else if wanted.transport_protocol == "tls" {
        words.push("TLS".to_owned());
    }
    words.join(", ")
}

/// Where a chain passes bytes on to, each cluster with its odds; `None`: it carries HTTP.
pub(crate) fn passed(chain: &FilterChain) -> Option<Vec<(String, f64)>> {
    let Ok(Handler::Bytes(clusters)) = read(chain) else { return None };
    Some(odds(clusters))
}

/// Weights as odds, from 0 to 1.
pub(crate) fn odds(clusters: Vec<(String, u32)>) -> Vec<(String, f64)> {
    let total: f64 = clusters.iter().map(|(_, weight)| f64::from(*weight)).sum();
    clusters.into_iter().map(|(cluster, weight)| (cluster, f64::from(weight) / total)).collect()
}

fn is_http(chain: &FilterChain) -> bool {
    matches!(read(chain), Ok(Handler::Http(_)))
}

fn read(chain: &FilterChain) -> Result<Handler, String> {
    let configs = chain.filters.iter().filter_map(|filter| match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    });
    configs
        .filter_map(known)
        .next()
        .ok_or_else(|| "its filter chain holds no filter that is known here".to_owned())
}

fn known(config: &Any) -> Option<Handler> {
    if let Ok(manager) = unpack_any::<HttpConnectionManager>(config) {
        return Some(Handler::Http(Box::new(manager)));
    }
    match unpack_any::<TcpProxy>(config).ok()?.cluster_specifier? {
        ClusterSpecifier::Cluster(cluster) => Some(Handler::Bytes(vec![(cluster, 1)])),
        ClusterSpecifier::WeightedClusters(all) => {
            Some(Handler::Bytes(all.clusters.into_iter().map(|it| (it.name, it.weight)).collect()))
        }
    }
}

/// How closely a chain fits, in the order in which Envoy compares: port, address, server name, transport, protocol.
type Fit = (bool, u32, usize, bool, bool);

fn fit(chain: &FilterChain, request: &Request) -> Option<Fit> {
    let Some(wanted) = &chain.filter_chain_match else { return Some(Fit::default()) };
    let port = match &wanted.destination_port {
        Some(port) if port.value != u32::from(request.port) => return None,
        port => port.is_some(),
    };
    let address = fit_address(&wanted.prefix_ranges, request.address)?;
    let name = fit_name(wanted, request)?;
    let transport = if request.tls { "tls" } else { "raw_buffer" };
    if !wanted.transport_protocol.is_empty() && wanted.transport_protocol != transport {
        return None;
    }
    let protocols = &wanted.application_protocols;
    let spoken = |protocol: &String| !request.bytes && ["http/1.1", "h2c", "h2"].contains(&protocol.as_str());
    if !protocols.is_empty() && !protocols.iter().any(spoken) {
        return None;
    }
    Some((port, address, name, !wanted.transport_protocol.is_empty(), !protocols.is_empty()))
}

fn fit_address(ranges: &[CidrRange], called: Option<IpAddr>) -> Option<u32> {
    if ranges.is_empty() {
        return Some(0);
    }
    let length = |range: &CidrRange| range.prefix_len.map_or(0, |length| length.value);
    ranges.iter().filter(|range| holds(range, length(range), called)).map(|range| length(range) + 1).max()
}

fn holds(range: &CidrRange, length: u32, called: Option<IpAddr>) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let (Some(called), Ok(network)) = (called, range.address_prefix.parse::<IpAddr>()) else { return false };
    let ((called, size), (network, of)) = (bits(called), bits(network));
    let mask = u128::MAX.checked_shl(128 - length.min(size)).unwrap_or(0);
    size == of && called & mask == network & mask
}

fn fit_name(wanted: &FilterChainMatch, request: &Request) -> Option<usize> {
    if wanted.server_names.is_empty() {
        return Some(0);
    }
    if !request.tls {
        return None;
    }
    let authority = &request.authority;
    let host = authority[..port_start(authority).unwrap_or(authority.len())].to_ascii_lowercase();
    let fits = |name: &&String| match name.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => **name == host,
    };
    // An exact name before a longer pattern before a shorter one.
    let weight = |name: &String| if name.starts_with('*') { name.len() } else { usize::MAX };
    wanted.server_names.iter().filter(fits).map(weight).max()
}
