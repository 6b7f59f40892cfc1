//! What all proxies of the process know together: names, versions, and what each resource leads to.
//!
//! A proxy then holds numbers. A body is looked into once, whichever proxy is told it first.

use std::collections::HashMap;
use std::rc::Rc;

use prost::Message as _;
use umbra_proto::envoy::config::cluster::v3::Cluster;
use umbra_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use umbra_proto::envoy::config::core::v3::address::Address;
use umbra_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use umbra_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use umbra_proto::envoy::config::listener::v3::Listener;
use umbra_proto::envoy::config::listener::v3::filter::ConfigType;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use umbra_proto::unpack_any;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::kind::{KINDS, Kind};
use crate::wire::Fields;
use crate::world::marker_of;

/// What stands in umbra's versions before that which is a stream's own.
const SALT: u8 = b'.';
/// The field of a route configuration that says that its virtual hosts are resources of their own.
const VHDS: u64 = 9;

/// A name of one type; counts from 0 without gaps.
pub type NameId = u32;
/// One version of one resource.
pub type ResourceId = u32;

/// One version of a resource.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub name: NameId,
    /// Delta: as the server wrote it.
    pub version: Box<[u8]>,
    /// Adds up to what tells two sets of resources apart, whichever stream they came by.
    pub digest: u64,
    /// The version is the stream's own: it ends with what no other delivery has.
    pub own: bool,
    /// What its holder asks for because of it.
    pub leads: Rc<[(Kind, NameId)]>,
    /// The number of the change that a generated endpoint stands for; see [`marker_of`].
    pub marker: Option<u32>,
}

#[derive(Default)]
struct Names {
    ids: HashMap<Box<[u8]>, NameId>,
    list: Vec<Rc<[u8]>>,
}

/// See the module.
#[derive(Default)]
pub struct Book {
    names: [Names; KINDS],
    known: Vec<Known>,
    by_hash: HashMap<u64, ResourceId>,
    encoded: HashMap<(Kind, u64, bool), Rc<[u8]>>,
}

impl Book {
    /// The number of a name.
    pub fn name(&mut self, kind: Kind, name: &[u8]) -> NameId {
        let names = &mut self.names[kind as usize];
        if let Some(id) = names.ids.get(name) {
            return *id;
        }
        let id = names.list.len() as NameId;
        names.ids.insert(name.into(), id);
        names.list.push(name.into());
        id
    }

    /// The name of a number.
    pub fn text(&self, kind: Kind, name: NameId) -> Rc<[u8]> {
        self.names[kind as usize].list.get(name as usize).cloned().unwrap_or_default()
    }

    /// The version of a resource that a response carries; without one of its own (state of the world) its bytes are.
    pub fn learn(&mut self, kind: Kind, name: NameId, version: &[u8], body: &[u8]) -> ResourceId {
        let content = if version.is_empty() { body } else { version };
        let hash = |content: &[u8]| xxh3_64_with_seed(content, (kind as u64) << 32 | u64::from(name));
        let exact = hash(content);
        if let Some(id) = self.by_hash.get(&exact) {
            return *id;
        }
        let salt = version.iter().position(|byte| *byte == SALT);
        let digest = salt.map_or(exact, |at| hash(&version[..at]));
        let (leads, marker) = self.read(kind, name, body);
        let id = self.known.len() as ResourceId;
        self.known.push(Known { name, version: version.into(), digest, own: salt.is_some(), leads, marker });
        self.by_hash.insert(exact, id);
        id
    }

    /// A version that was learned.
    pub fn known(&self, id: ResourceId) -> Option<&Known> {
        self.known.get(id as usize)
    }

    /// Encoded fields that depend on nothing but a set of names or resources: made once for all who have the same.
    pub fn encoded(
        &mut self,
        kind: Kind,
        digest: u64,
        versions: bool,
        make: impl FnOnce(&Self) -> Vec<u8>,
    ) -> Rc<[u8]> {
        // One set after the other, as a rule; those of the past are of no use.
        const KEPT: usize = 256;
        if let Some(found) = self.encoded.get(&(kind, digest, versions)) {
            return found.clone();
        }
        let made: Rc<[u8]> = make(self).into();
        if self.encoded.len() >= KEPT {
            self.encoded.clear();
        }
        self.encoded.insert((kind, digest, versions), made.clone());
        made
    }

    fn read(&mut self, kind: Kind, name: NameId, body: &[u8]) -> (Rc<[(Kind, NameId)]>, Option<u32>) {
        match kind {
            Kind::Cds => {
                let name = assignment(body);
                (
                    name.map(|name| (Kind::Eds, self.name(Kind::Eds, name.as_bytes()))).into_iter().collect(),
                    None,
                )
            }
            Kind::Lds => {
                let tables = tables(body).unwrap_or_default();
                (tables.iter().map(|name| (Kind::Rds, self.name(Kind::Rds, name.as_bytes()))).collect(), None)
            }
            Kind::Eds => (Rc::default(), marker(body)),
            // A delivery of the table's hosts ends with its marker.
            Kind::Rds if Fields::of(body).flatten().any(|(field, _)| field == VHDS) => {
                let marker = [&*self.text(Kind::Rds, name), b"/~"].concat();
                (Rc::new([(Kind::Vhds, self.name(Kind::Vhds, &marker))]), None)
            }
            Kind::Rds | Kind::Vhds | Kind::Rtds => (Rc::default(), None),
        }
    }
}

/// What tells two sets of names apart: the sum of these.
pub fn name_digest(name: NameId) -> u64 {
    xxh3_64(&name.to_le_bytes())
}

fn assignment(body: &[u8]) -> Option<String> {
    let cluster = Cluster::decode(body).ok()?;
    let eds = cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
    let named = cluster.eds_cluster_config.map(|config| config.service_name).filter(|name| !name.is_empty());
    eds.then(|| named.unwrap_or(cluster.name))
}

fn tables(body: &[u8]) -> Option<Vec<String>> {
    let listener = Listener::decode(body).ok()?;
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let configs = chains.flat_map(|chain| &chain.filters).filter_map(|filter| match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => unpack_any::<HttpConnectionManager>(any).ok(),
        _ => None,
    });
    let names = configs.filter_map(|config| match config.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
        _ => None,
    });
    let names: std::collections::BTreeSet<String> = names.collect();
    Some(names.into_iter().collect())
}

fn marker(body: &[u8]) -> Option<u32> {
    let assignment = ClusterLoadAssignment::decode(body).ok()?;
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let addresses = endpoints.filter_map(|endpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref()?.address.as_ref(),
        _ => None,
    });
    let markers = addresses.filter_map(|address| match address {
        Address::SocketAddress(socket) => marker_of(&socket.address),
        _ => None,
    });
    markers.max()
}
