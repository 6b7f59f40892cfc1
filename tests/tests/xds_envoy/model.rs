//! What Envoy should have: clusters that share assignments, one listener, one route table; in words and as resources.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::{Message, Name};
use umbra_proto::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
};
use umbra_proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address,
    config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
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
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::google::protobuf::{Duration as ProtoDuration, UInt32Value};
use umbra_proto::pack_any;
use umbra_xds::{Change, Requirement, Resource, ResourceType, Snapshot};

/// Where Envoy's one listener is; each test has a network of its own.
pub(crate) const PORT: u16 = 10_000;
/// The load assignments there are. Each has two states, served by `S0` and `S1` and so on.
pub(crate) const ASSIGNMENTS: [char; 3] = ['S', 'T', 'U'];
const ROUTES: &str = "routes";

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Cluster to assignment, and a number that makes it another cluster.
    pub(crate) clusters: BTreeMap<char, (char, u32)>,
    /// Which of its two states an assignment is in, where it is not 0.
    states: BTreeMap<char, usize>,
    /// Assignments that Envoy refuses.
    broken: BTreeSet<char>,
    /// A further route, by its path, to a cluster.
    aliases: BTreeMap<char, char>,
}

impl Model {
    /// Takes changes: `+A=S` cluster A that reads S, `A=T` another assignment, `A~` another cluster of that name,
    /// `-A` none; `S!` other endpoints, `S?` such as Envoy refuses, until the next `S?`; `x:A` the path /x leads to A.
    pub(crate) fn change(&mut self, words: &str) {
        for word in words.split_whitespace() {
            let letters: Vec<char> = word.chars().collect();
            match letters[..] {
                ['+', name, '=', assignment] => drop(self.clusters.insert(name, (assignment, 0))),
                ['-', name] => drop(self.clusters.remove(&name)),
                [name, '=', assignment] => self.clusters.get_mut(&name).expect("a cluster").0 = assignment,
                [name, '~'] => self.clusters.get_mut(&name).expect("a cluster").1 += 1,
                [assignment, '!'] => *self.states.entry(assignment).or_default() ^= 1,
                [assignment, '?'] => {
                    if !self.broken.remove(&assignment) {
                        self.broken.insert(assignment);
                    }
                }
                [path, ':', name] => drop(self.aliases.insert(path, name)),
                _ => panic!("what is {word}?"),
            }
        }
    }

    /// Every path and the echo service that should answer.
    pub(crate) fn expected(&self) -> BTreeMap<char, String> {
        let serves = |name: &char| {
            let (assignment, _) = self.clusters[name];
            format!("{assignment}{}", self.state(assignment))
        };
        let own = self.clusters.keys().map(|name| (*name, serves(name)));
        own.chain(self.aliases.iter().map(|(path, name)| (*path, serves(name)))).collect()
    }

    fn state(&self, assignment: char) -> usize {
        self.states.get(&assignment).copied().unwrap_or_default()
    }

    /// The next snapshot.
    pub(crate) fn snapshot(&self, last: &Snapshot) -> Snapshot {
        let gone = last
            .map(ResourceType::Cluster)
            .keys()
            .filter(|name| !self.clusters.contains_key(&name.chars().next().expect("a name")));
        let gone = gone.map(|name| Change::remove(ResourceType::Cluster, name.clone()));
        let clusters =
            self.clusters.iter().map(|(name, (assignment, number))| cluster(*name, *assignment, *number));
        let assignments =
            ASSIGNMENTS.iter().map(|name| assignment(*name, self.state(*name), self.broken.contains(name)));
        let layer = Runtime { name: "umbra".to_owned(), layer: Some(Default::default()) };
        let others = [
            put(ResourceType::Listener, "listener", &listener("listener", PORT, ROUTES), &[]),
            self.routes(),
            put(ResourceType::Runtime, "umbra", &layer, &[]),
        ];
        let all = gone.chain(clusters).chain(assignments).chain(others);
        last.next(last.generation() + 1, all.collect::<Vec<_>>())
    }

    fn routes(&self) -> Change {
        let own = self.clusters.keys().map(|name| (*name, *name));
        let all: Vec<(char, char)> = own.chain(self.aliases.clone()).collect();
        let route = |(path, cluster): &(char, char)| Route {
            r#match: Some(RouteMatch {
                path_specifier: Some(PathSpecifier::Path(format!("/{path}"))),
                ..Default::default()
            }),
            action: Some(Action::Route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_string())),
                ..Default::default()
            })),
            ..Default::default()
        };
        let host = VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: all.iter().map(route).collect(),
            ..Default::default()
        };
        let message =
            RouteConfiguration { name: ROUTES.to_owned(), virtual_hosts: vec![host], ..Default::default() };
        let requires: Vec<String> = self.clusters.keys().map(char::to_string).collect();
        put(ResourceType::Route, ROUTES, &message, &requires)
    }
}

fn put(ty: ResourceType, name: &str, message: &impl Message, requires: &[String]) -> Change {
    let requires: Vec<_> =
        requires.iter().map(|name| Requirement::new(ty.requires()[0], name.as_str())).collect();
    Change::put(ty, Resource::new(ty, name, message.encode_to_vec(), requires))
}

/// Zero: Envoy waits for its first answer as long as it takes.
fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: Some(ProtoDuration::default()),
        resource_api_version: ApiVersion::V3.into(),
        ..Default::default()
    }
}

fn cluster(name: char, assignment: char, number: u32) -> Change {
    let timeout = Duration::from_millis(5000 + u64::from(number));
    let message = Cluster {
        name: name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: assignment.to_string(),
        }),
        connect_timeout: Some(ProtoDuration {
            seconds: timeout.as_secs() as i64,
            nanos: timeout.subsec_nanos() as i32,
        }),
        ..Default::default()
    };
    put(ResourceType::Cluster, &name.to_string(), &message, &[assignment.to_string()])
}

fn socket(address: &str, port: u16) -> Address {
    let port_specifier = Some(PortSpecifier::PortValue(port.into()));
    let socket = SocketAddress { address: address.to_owned(), port_specifier, ..Default::default() };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// Where an assignment's endpoint is in each of its states.
pub(crate) fn endpoint(assignment: char, state: usize) -> (String, u16) {
    (format!("127.0.1.{}", assignment as usize - 'A' as usize + 100 * state), 8080)
}

fn assignment(name: char, state: usize, broken: bool) -> Change {
    let (host, port) = endpoint(name, state);
    let endpoint = Endpoint { address: Some(socket(&host, port)), ..Default::default() };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        // The least is 1.
        load_balancing_weight: broken.then_some(UInt32Value { value: 0 }),
        ..Default::default()
    };
    let message = ClusterLoadAssignment {
        cluster_name: name.to_string(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    };
    put(ResourceType::Endpoint, &name.to_string(), &message, &[])
}

/// A listener for HTTP by the routes of a table.
pub(crate) fn listener(name: &str, port: u16, table: &str) -> Listener {
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(&Router::default()))),
        ..Default::default()
    };
    let routes = Rds { config_source: Some(ads()), route_config_name: table.to_owned() };
    let manager = HttpConnectionManager {
        stat_prefix: "test".to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(routes)),
        http_filters: vec![router],
        ..Default::default()
    };
    let filter = Filter {
        name: HttpConnectionManager::full_name(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(&manager))),
    };
    Listener {
        name: name.to_owned(),
        address: Some(socket("127.0.0.1", port)),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}
