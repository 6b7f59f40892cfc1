//! The names of a class's resources and the keys of their contents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_envoy::RuntimeLayer;
use umbra_ir::{ObjectId, ProxyClass, RouteTables, RuntimeKey, Table};
use umbra_xds::{ResourceType, Tree};

use super::{Key, Shelves};

/// The names of a class's resources and the keys of their contents; never the contents themselves. What it has in common with the
/// manifest of another class stands once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manifest([Tree<Arc<Key>>; ResourceType::ALL.len()]);

impl Manifest {
    /// The key of a resource.
    pub(crate) fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<Key>> {
        self.0[resource_type as usize].get(name)
    }

    /// All of it, by type and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ResourceType, &Arc<str>, &Arc<Key>)> {
        let of = |ty: ResourceType| self.0[ty as usize].iter().map(move |(name, key)| (ty, name, key));
        ResourceType::ALL.into_iter().flat_map(of)
    }

    /// Tells of each name that has another key here than there, or none, with both.
    pub(crate) fn differences(
        &self,
        other: &Self,
        mut found: impl FnMut(ResourceType, &Arc<str>, Option<&Arc<Key>>, Option<&Arc<Key>>),
    ) {
        for ty in ResourceType::ALL {
            let (here, there) = (&self.0[ty as usize], &other.0[ty as usize]);
            here.differences(there, |name, before, after| found(ty, name, before, after));
        }
    }

    /// Names what a class is served.
    pub(crate) fn new(class: &ProxyClass, served: &umbra_mesh::Manifest, shelves: &mut Shelves) -> Self {
        let clusters = served.clusters.iter();
        let clusters =
            clusters.map(|(cluster, place)| Key::Cluster(cluster.clone(), class.kind, place.clone()));
        let assignments = served.load_assignments.iter();
        let assignments =
            assignments.map(|(cluster, place)| Key::LoadAssignment(cluster.clone(), place.clone()));
        let own = served.scope.tables.values().filter_map(|table| table.listener.clone());
        let listeners =
            own.map(Key::Listener).chain(served.captured.iter().cloned().map(Key::CapturedListener));
        let ports = served.scope.ports.iter().map(|port| Key::GatewayListener(port.listener.clone()));
        let listeners = listeners.chain(ports);
        let credentials = served.credentials.iter().cloned().map(Key::Credential);
        let built_in = served.built_in.iter().copied().map(Key::BuiltInCluster);
        let logs = served.logs.then(Key::LogCluster);
        let tables = served.scope.tables.iter().flat_map(|(name, table)| table_keys(class, name, table));
        let runtime = class.rtds.digits().flat_map(|digits| layers(digits, &served.runtime));
        let mut names: [BTreeMap<Arc<str>, Key>; ResourceType::ALL.len()] = Default::default();
        for key in clusters
            .chain(assignments)
            .chain(built_in)
            .chain(logs)
            .chain(listeners)
            .chain(tables)
            .chain(runtime)
            .chain(credentials)
        {
            if let Some((ty, name)) = key.resource_name() {
                // Of two clusters of one name the first counts.
                names[ty as usize].entry(name).or_insert(key);
            }
        }
        Manifest(names.map(|names| {
            let keys = names.into_iter().map(|(name, key)| (name, Some(shelves.keys.share(key))));
            Tree::default().with(keys.collect::<Vec<_>>(), &mut shelves.nodes)
        }))
    }
}

/// A table, and its virtual hosts where they are resources of their own.
fn table_keys(class: &ProxyClass, name: &Arc<str>, table: &Table) -> Vec<Key> {
    match class.route_tables {
        RouteTables::Plain => vec![Key::RouteTable(class.clone(), name.clone())],
        RouteTables::Hosts => {
            let hosts = table.hosts.iter().map(|spec| Key::Host(name.clone(), spec.clone()));
            hosts.chain([Key::HostsTable(name.clone())]).collect()
        }
    }
}

/// All layers of so many digits, those without a mirror too: Envoy waits for each that its bootstrap declares.
fn layers(digits: u32, members: &BTreeSet<(RuntimeKey, ObjectId)>) -> impl Iterator<Item = Key> {
    let mut all: Vec<(RuntimeLayer, Vec<_>)> = RuntimeLayer::all(digits).map(|it| (it, Vec::new())).collect();
    for member in members {
        if let Some((_, layer)) = all.get_mut(RuntimeLayer::of(&member.0, digits).index()) {
            layer.push(member.clone());
        }
    }
    all.into_iter().map(|(layer, members)| Key::Runtime(layer, members.into()))
}
