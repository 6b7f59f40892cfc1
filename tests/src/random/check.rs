//! What holds for everything that umbra sends, whatever it was given.

#![allow(clippy::panic, reason = "only tests call this, and to fail is its way to speak")]

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use umbra_ir::{BuiltInCluster, MirrorSettings};
use umbra_proto::envoy::config::cluster::v3::Cluster;
use umbra_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use umbra_proto::envoy::config::core::v3::{Address, address, socket_address};
use umbra_proto::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
use umbra_proto::envoy::config::listener::v3::{Listener, filter::ConfigType};
use umbra_proto::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost,
    route::Action,
    route_action::{ClusterSpecifier, RequestMirrorPolicy},
};
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use umbra_proto::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use umbra_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::unpack_any;
use umbra_xds::{Requirement, Resource, ResourceType, Snapshot};

use super::mirror_policies::LIMIT;

/// The total of weights beside a mirror: a prime, so that the two choices do not depend on each other.
const INDEPENDENT_TOTAL: u64 = 999_983;

/// Checks one proxy's snapshot.
///
/// # Panics
/// When something does not hold; the message names the resource.
pub fn check_output(snapshot: &Snapshot, rtds: bool, mirror: &MirrorSettings) {
    for ty in ResourceType::ALL {
        for (name, resource) in snapshot.map(ty) {
            assert!(!name.is_empty(), "{ty}: a resource without a name");
            assert_eq!(*name, resource.name, "{ty}: the name of the entry and of the resource");
            // What ends by itself has its time in the version, too.
            if resource.ttl.is_none() {
                let version = umbra_xds::version(&resource.body);
                assert_eq!(version, resource.version, "{ty} {name}: the version is the hash of the body");
            }
            let ends = mirror.dead_man.is_some() && ty == ResourceType::Runtime;
            assert_eq!(resource.ttl, mirror.dead_man.filter(|_| ends), "{ty} {name}: it ends by itself");
            assert!(resource.requires.is_sorted(), "{ty} {name}: {:?}", resource.requires);
        }
    }
    check_clusters(snapshot, mirror);
    check_load_assignments(snapshot);
    check_listeners(snapshot);
    let keys = check_routes(snapshot, rtds);
    check_runtime(snapshot, rtds, &keys);
}

fn decoded<M: Message + Default>(snapshot: &Snapshot, ty: ResourceType) -> Vec<(String, M, Vec<String>)> {
    let decode = |name: &str, body: &Bytes| {
        M::decode(body.clone()).unwrap_or_else(|error| panic!("{ty} {name} does not decode: {error}"))
    };
    let one = |(name, resource): (&std::sync::Arc<str>, &std::sync::Arc<Resource>)| {
        let may = |it: &Requirement| ty.requires().contains(&it.resource_type);
        assert!(resource.requires.iter().all(may), "{ty} {name}: {:?}", resource.requires);
        let requires = resource.requires.iter().map(|it| it.name.to_string()).collect();
        (name.to_string(), decode(name, &resource.body), requires)
    };
    snapshot.map(ty).iter().map(one).collect()
}

fn is_original(cluster: &Cluster) -> bool {
    let original = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    cluster.cluster_discovery_type == Some(original)
}

/// Its endpoints are what requests ask for (`DYNAMIC_DNS`).
fn is_looked_up(cluster: &Cluster) -> bool {
    matches!(cluster.cluster_discovery_type, Some(ClusterDiscoveryType::ClusterType(_)))
}

fn check_clusters(snapshot: &Snapshot, mirror: &MirrorSettings) {
    let mut used = BTreeSet::new();
    for (name, cluster, requires) in decoded::<Cluster>(snapshot, ResourceType::Cluster) {
        assert_eq!(name, cluster.name);
        assert!(cluster.cluster_discovery_type.is_some(), "{name}: endpoints from nowhere");
        match &cluster.eds_cluster_config {
            Some(eds) => {
                let service = eds.service_name.clone();
                assert!(
                    service.starts_with("outbound|"),
                    "{name} shares no primary's assignment: {service:?}"
                );
                assert_eq!(requires, [service.as_str()], "{name} requires its assignment");
                assert!(snapshot.get(ResourceType::Endpoint, &service).is_some(), "{name} has no assignment");
                assert!(cluster.load_assignment.is_none(), "{name}: inline endpoints of an EDS cluster");
                used.insert(service);
            }
            None if BuiltInCluster::ALL.iter().any(|it| it.name() == name) => continue,
            None if is_original(&cluster) => {
                assert!(requires.is_empty() && cluster.load_assignment.is_none(), "{name}: {requires:?}");
                assert!(!name.starts_with("mirror|"), "{name} loses every copy");
            }
            None if is_looked_up(&cluster) => {
                assert!(requires.is_empty() && cluster.load_assignment.is_none(), "{name}: {requires:?}");
                assert!(!name.starts_with("mirror|"), "{name}: a copy may go anywhere");
            }
            None => {
                assert!(requires.is_empty(), "{name}: {requires:?}");
                let inline =
                    cluster.load_assignment.as_ref().unwrap_or_else(|| panic!("{name}: no endpoints"));
                check_endpoints(&name, inline, false);
            }
        }
        let thresholds = cluster.circuit_breakers.iter().flat_map(|b| &b.thresholds).next();
        let thresholds = thresholds.unwrap_or_else(|| panic!("{name}: no limits"));
        let options = cluster.typed_extension_protocol_options.values();
        let options: HttpProtocolOptions = options
            .map(|any| unpack_any(any).unwrap_or_else(|e| panic!("{name}: {e}")))
            .next()
            .unwrap_or_default();
        assert!(options.http_filters.is_empty(), "{name}: a filter that can answer crashes Envoy on a copy");
        if name.starts_with("mirror|") {
            let limits = mirror.breakers;
            // A policy may say more than the settings do.
            let most = |setting: u32| setting.max(LIMIT);
            for (written, most) in [
                (&thresholds.max_connections, most(limits.max_connections)),
                (&thresholds.max_pending_requests, most(limits.max_pending_requests)),
                (&thresholds.max_requests, most(limits.max_requests)),
                (&thresholds.max_retries, limits.max_retries),
            ] {
                assert!(written.as_ref().is_some_and(|w| w.value <= most), "{name}: {thresholds:?}");
            }
            let common = options.common_http_protocol_options.as_ref();
            let end = common.and_then(|c| c.max_stream_duration.as_ref());
            assert!(end.is_some_and(|d| d.seconds > 0 || d.nanos > 0), "{name}: a copy may take for ever");
        } else {
            assert!(name.starts_with("outbound|") || name.starts_with("direct|"), "{name}");
        }
    }
    let sent: BTreeSet<String> = snapshot.map(ResourceType::Endpoint).keys().map(|n| n.to_string()).collect();
    assert_eq!(sent, used, "every load assignment is some cluster's");
}

fn check_load_assignments(snapshot: &Snapshot) {
    for (name, assignment, requires) in decoded::<ClusterLoadAssignment>(snapshot, ResourceType::Endpoint) {
        assert_eq!(name, assignment.cluster_name);
        assert!(requires.is_empty());
        check_endpoints(&name, &assignment, true);
    }
}

fn check_endpoints(name: &str, assignment: &ClusterLoadAssignment, addresses: bool) {
    let mut seen = BTreeSet::new();
    for locality in &assignment.endpoints {
        assert!(!locality.lb_endpoints.is_empty(), "{name}: an empty locality");
        for endpoint in &locality.lb_endpoints {
            let Some(HostIdentifier::Endpoint(at)) = &endpoint.host_identifier else {
                panic!("{name}: an endpoint without an address");
            };
            let (host, port) = socket(at.address.as_ref()).unwrap_or_else(|| panic!("{name}: {at:?}"));
            assert!((1..=65535).contains(&port), "{name}: port {port}");
            assert!(!host.is_empty(), "{name}: an empty address");
            assert!(!addresses || host.parse::<std::net::IpAddr>().is_ok(), "{name}: {host:?}");
            assert!(seen.insert((host, port)), "{name}: {at:?} is there twice");
        }
    }
}

fn socket(address: Option<&Address>) -> Option<(String, u32)> {
    let Some(address::Address::SocketAddress(socket)) = &address?.address else { return None };
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => Some((socket.address.clone(), port)),
        _ => None,
    }
}

fn check_listeners(snapshot: &Snapshot) {
    let mut bound = BTreeSet::new();
    let mut tables = BTreeSet::new();
    for (name, listener, requires) in decoded::<Listener>(snapshot, ResourceType::Listener) {
        assert_eq!(name, listener.name);
        let at = socket(listener.address.as_ref()).unwrap_or_else(|| panic!("{name}: no address"));
        assert!(bound.insert(at.clone()), "{name}: {at:?} is bound twice");
        let mut clusters = BTreeSet::new();
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
        for chain in chains {
            let configs = chain.filters.iter().filter_map(|filter| match filter.config_type.as_ref()? {
                ConfigType::TypedConfig(any) => Some(any),
                ConfigType::ConfigDiscovery(_) => None,
            });
            // Before the bytes of a name that is looked up stands who looks it up.
            let mut configs = configs.filter(|any| !any.type_url.contains(".sni_dynamic_forward_proxy."));
            let any = configs.next().unwrap_or_else(|| panic!("{name}: no filter"));
            if let Ok(bytes) = unpack_any::<TcpProxy>(any) {
                let to: Vec<String> = match bytes.cluster_specifier {
                    Some(tcp_proxy::ClusterSpecifier::Cluster(cluster)) => vec![cluster],
                    Some(tcp_proxy::ClusterSpecifier::WeightedClusters(all)) => {
                        assert!(all.clusters.iter().all(|it| it.weight > 0), "{name}: a weight of 0");
                        all.clusters.into_iter().map(|it| it.name).collect()
                    }
                    None => Vec::new(),
                };
                assert!(!to.is_empty(), "{name}: bytes lead nowhere");
                for cluster in &to {
                    let known = snapshot.get(ResourceType::Cluster, cluster).is_some();
                    assert!(known, "{name}: no cluster {cluster}");
                }
                clusters.extend(to);
                continue;
            }
            let manager: HttpConnectionManager = unpack_any(any).unwrap_or_else(|e| panic!("{name}: {e}"));
            let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else { panic!("{name}: no RDS") };
            assert!(
                snapshot.get(ResourceType::Route, &rds.route_config_name).is_some(),
                "{name} asks for the table {:?}, which is not there",
                rds.route_config_name
            );
            tables.insert(rds.route_config_name);
        }
        let clusters: Vec<String> = clusters.into_iter().collect();
        assert_eq!(requires, clusters, "{name} requires the clusters that it names");
    }
    let sent: BTreeSet<String> = snapshot.map(ResourceType::Route).keys().map(|n| n.to_string()).collect();
    assert_eq!(sent, tables, "every table is some listener's");
}

/// Answers the runtime keys that the routes hold.
fn check_routes(snapshot: &Snapshot, rtds: bool) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, table, requires) in decoded::<RouteConfiguration>(snapshot, ResourceType::Route) {
        assert_eq!(name, table.name);
        let (table, requires) = with_hosts(snapshot, table, requires);
        let (mut hosts, mut domains, mut named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for host in &table.virtual_hosts {
            assert!(!host.name.is_empty() && hosts.insert(&host.name), "{name}: {:?} twice", host.name);
            assert!(!host.domains.is_empty(), "{name} {}: no domain", host.name);
            for domain in &host.domains {
                assert!(!domain.is_empty(), "{name} {}: an empty domain", host.name);
                assert_eq!(*domain, domain.to_ascii_lowercase(), "{name}: domains are in lower case");
                assert!(domains.insert(domain), "{name} {}: the domain {domain} twice", host.name);
            }
            for route in &host.routes {
                check_route(
                    &format!("{name} {} {:?}", host.name, route.name),
                    route,
                    rtds,
                    &mut named,
                    &mut keys,
                );
            }
        }
        let named: Vec<String> = named.into_iter().collect();
        assert_eq!(requires, named, "{name} requires the clusters that it names");
        for mirror in table.virtual_hosts.iter().flat_map(|h| &h.routes).flat_map(mirrors) {
            let known = snapshot.get(ResourceType::Cluster, &mirror.cluster).is_some();
            assert!(known, "{name}: a copy goes to {}, which is not there", mirror.cluster);
        }
    }
    keys
}

/// The table with its virtual hosts and the clusters that they require, where those are resources of their own.
fn with_hosts(
    snapshot: &Snapshot,
    mut table: RouteConfiguration,
    requires: Vec<String>,
) -> (RouteConfiguration, Vec<String>) {
    let begin = format!("{}/", table.name);
    assert_eq!(table.vhds.is_some(), begin.starts_with("hosts/"), "{begin}: its name says how it comes");
    if table.vhds.is_none() {
        return (table, requires);
    }
    assert_eq!(requires, [format!("{begin}~")], "{begin} requires its marker");
    assert!(table.virtual_hosts.is_empty(), "{begin} holds no host");
    let mut clusters = BTreeSet::new();
    for (name, host, requires) in decoded::<VirtualHost>(snapshot, ResourceType::VirtualHost) {
        assert_eq!(name, host.name, "Envoy removes a host by its name");
        if name.rsplit_once('/').is_some_and(|(of, _)| of == table.name) {
            clusters.extend(requires);
            table.virtual_hosts.push(host);
        }
    }
    (table, clusters.into_iter().collect())
}

fn mirrors(route: &Route) -> &[RequestMirrorPolicy] {
    match &route.action {
        Some(Action::Route(action)) => &action.request_mirror_policies,
        _ => &[],
    }
}

fn check_route(
    at: &str,
    route: &Route,
    rtds: bool,
    named: &mut BTreeSet<String>,
    keys: &mut BTreeSet<String>,
) {
    assert!(route.r#match.is_some(), "{at}: no match");
    let action = match &route.action {
        Some(Action::Route(action)) => action,
        Some(Action::Redirect(_) | Action::DirectResponse(_)) => return,
        other => panic!("{at}: {other:?}"),
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => {
            assert!(!cluster.is_empty(), "{at}: an empty cluster name");
            named.insert(cluster.clone());
        }
        Some(ClusterSpecifier::WeightedClusters(set)) => {
            assert!(!set.clusters.is_empty(), "{at}: an empty weighted set");
            let weight = |w: &Option<_>| {
                w.as_ref().map_or(0, |w: &umbra_proto::google::protobuf::UInt32Value| w.value)
            };
            let total: u64 = set.clusters.iter().map(|c| u64::from(weight(&c.weight))).sum();
            assert!(total > 0 && total <= u64::from(u32::MAX), "{at}: a total of {total}");
            if set.clusters.len() > 1 && !action.request_mirror_policies.is_empty() {
                assert_eq!(total, INDEPENDENT_TOTAL, "{at}: weights beside a mirror");
            }
            for cluster in &set.clusters {
                assert!(!cluster.name.is_empty(), "{at}: an empty cluster name");
                assert!(weight(&cluster.weight) > 0, "{at}: {} has no weight", cluster.name);
                named.insert(cluster.name.clone());
            }
        }
        other => panic!("{at}: {other:?}"),
    }
    for mirror in &action.request_mirror_policies {
        assert!(mirror.cluster.starts_with("mirror|"), "{at}: a copy goes to {:?}", mirror.cluster);
        named.insert(mirror.cluster.clone());
        let fraction = mirror.runtime_fraction.as_ref().unwrap_or_else(|| panic!("{at}: no fraction"));
        let numerator = fraction.default_value.as_ref().map_or(0, |v| v.numerator);
        assert_eq!(fraction.runtime_key.is_empty(), !rtds, "{at}: a runtime key exactly with RTDS");
        if rtds {
            assert_eq!(numerator, 0, "{at}: nothing is copied before the runtime layer says so");
            keys.insert(fraction.runtime_key.clone());
        } else {
            assert!((1..=1_000_000).contains(&numerator), "{at}: {numerator} millionths");
        }
    }
}

fn check_runtime(snapshot: &Snapshot, rtds: bool, keys: &BTreeSet<String>) {
    let layers = decoded::<Runtime>(snapshot, ResourceType::Runtime);
    assert_eq!(layers.len(), usize::from(rtds), "one layer exactly with RTDS");
    for (name, layer, _) in layers {
        assert_eq!(name, layer.name);
        let fields = layer.layer.unwrap_or_default().fields;
        let held: BTreeSet<String> = fields.keys().cloned().collect();
        assert_eq!(held, *keys, "the layer holds the keys that the routes hold");
    }
}
