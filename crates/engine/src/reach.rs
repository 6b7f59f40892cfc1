//! Which resources of a class of proxies come from which object: what "live on n of m proxies" counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{Chain, ChainContent, Kind, ObjectId, ProxyClass, RouteTables, Scope, VirtualHostSpec};
use umbra_xds::{ResourceType, Shelf, Snapshot};

use crate::ProxyId;
use crate::domain::{Key, Manifest};

/// Resources by type and name.
pub type Resources = BTreeSet<(ResourceType, Arc<str>)>;

/// One class of proxies, and what of its resources comes from where.
#[derive(Clone, Debug)]
pub struct ClassReach {
    /// What its proxies have in common.
    pub class: ProxyClass,
    /// The proxies in it; never empty.
    pub proxies: Vec<ProxyId>,
    /// What they should have.
    pub snapshot: Arc<Snapshot>,
    /// By object that a CRD defines: the route tables of a VirtualService, also of such as it took rules from and of the
    /// MirrorPolicies of its mirrors (or its virtual hosts, where those are resources of their own), and the listeners whose
    /// connections follow it; the listeners and route tables of a Gateway, the clusters of a DestinationRule or ServiceEntry.
    /// An object that is not here does not reach the class.
    pub objects: Arc<BTreeMap<ObjectId, Arc<Resources>>>,
    pub(crate) scope: Arc<Scope>,
}

impl ClassReach {
    /// The listener of a route table: a proxy that could not open it never asks for the table. `None` for a captured
    /// sidecar's: its listeners open nothing.
    pub fn listener_of(&self, table: &str) -> Option<Arc<str>> {
        let of_port = || {
            let uses = |chain: &Chain| matches!(&chain.content, ChainContent::Http(it) if **it == *table);
            let port = self.scope.ports.iter().find(|port| port.listener.chains.iter().any(uses));
            port.map(|port| umbra_envoy::gateway_listener_name(&port.listener))
        };
        let own = self.scope.tables.get(table)?.listener.as_ref().map(umbra_envoy::listener_name);
        own.or_else(of_port)
    }
}

/// What was worked out for a class, and from what.
struct Known {
    scope: Arc<Scope>,
    manifest: Arc<Manifest>,
    objects: Arc<BTreeMap<ObjectId, Arc<Resources>>>,
}

/// Keeps what was worked out until the class's scope or manifest is another one: neither is when endpoints,
/// percentages or the contents of rules change. What an object comes to is mostly the same for all classes, and stands once.
#[derive(Default)]
pub(crate) struct Reaches {
    known: BTreeMap<ProxyClass, Known>,
    shelf: Shelf<Resources>,
}

impl Reaches {
    /// Forgets classes that are no longer served.
    pub(crate) fn retain(&mut self, served: impl Fn(&ProxyClass) -> bool) {
        self.known.retain(|class, _| served(class));
    }

    pub(crate) fn of(
        &mut self,
        class: &ProxyClass,
        scope: Arc<Scope>,
        manifest: &Arc<Manifest>,
    ) -> Arc<BTreeMap<ObjectId, Arc<Resources>>> {
        if let Some(known) = self.known.get(class)
            && Arc::ptr_eq(&known.scope, &scope)
            && Arc::ptr_eq(&known.manifest, manifest)
        {
            return known.objects.clone();
        }
        let each = reach(class, &scope, manifest).into_iter();
        let objects = Arc::new(each.map(|(id, resources)| (id, self.shelf.share(resources))).collect());
        let known = Known { scope, manifest: manifest.clone(), objects: Arc::clone(&objects) };
        self.known.insert(class.clone(), known);
        objects
    }
}

fn reach(class: &ProxyClass, scope: &Scope, manifest: &Manifest) -> BTreeMap<ObjectId, Resources> {
    let mut objects: BTreeMap<ObjectId, Resources> = BTreeMap::new();
    let mut add = |id: &ObjectId, resource: (ResourceType, Arc<str>)| {
        objects.entry(id.clone()).or_default().insert(resource);
    };
    for (name, table) in &scope.tables {
        let route = (ResourceType::Route, name.clone());
        let own = class.route_tables == RouteTables::Hosts;
        let resource = |host: &VirtualHostSpec| match own {
            true => (ResourceType::VirtualHost, umbra_envoy::host_name(name, &host.name)),
            false => route.clone(),
        };
        for gateway in &table.gateways {
            let listener = table.listener.iter().map(umbra_envoy::listener_name);
            listener.for_each(|name| add(gateway, (ResourceType::Listener, name)));
            add(gateway, route.clone());
            // What else a Gateway says of a host.
            table.hosts.iter().filter(|host| host.require_tls).for_each(|host| add(gateway, resource(host)));
        }
        for host in &table.hosts {
            for source in &host.sources {
                let Some(rule) = source.rules() else { continue };
                add(rule, resource(host));
                let delegates = scope.delegates.get(rule).into_iter().flatten();
                delegates.for_each(|delegate| add(delegate, resource(host)));
            }
        }
    }
    for port in &scope.ports {
        let listener = (ResourceType::Listener, umbra_envoy::gateway_listener_name(&port.listener));
        port.gateways.iter().chain(&port.rules).for_each(|object| add(object, listener.clone()));
    }
    for (ty, name, key) in manifest.iter() {
        let resource = || (ty, name.clone());
        if let Key::CapturedListener(listener) = &**key {
            listener.rules().into_iter().for_each(|rule| add(rule, resource()));
        }
        let Key::Cluster(cluster, ..) = &**key else { continue };
        for entry in cluster.service.objects().filter(|object| object.kind == Kind::ServiceEntry) {
            add(entry, resource());
        }
        for rule in cluster.policy.iter().flat_map(|set| set.0.iter()) {
            add(rule, resource());
        }
    }
    objects
}
