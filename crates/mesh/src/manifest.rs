//! What a class of proxies is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    BuiltInCluster, CapturedListener, ClientPlace, ClusterRef, Credential, Interception, ObjectId, Onward,
    ProxyClass, ProxyKind, Role, RouteTables, RuntimeKey, Scope,
};

use crate::classes::{captured_client, selecting};
use crate::clusters::{has_names_inside, uses_load_assignment};
use crate::localities::place_for;
use crate::runtime::bind_runtime_members;
use crate::scope::hosts_table_name;
use crate::seen::Seen;
use crate::view::View;

/// What a class is served, by reference: names and keys are made of it, contents are not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// Its listeners and route tables.
    pub scope: Arc<Scope>,
    /// Its clusters, each with where it is, if that changes the cluster.
    pub clusters: BTreeMap<ClusterRef, Option<Arc<ClientPlace>>>,
    /// Those primary clusters whose load assignments it needs, in the same way.
    pub load_assignments: BTreeMap<ClusterRef, Option<Arc<ClientPlace>>>,
    /// The listeners of a captured sidecar.
    pub captured: Arc<Vec<CapturedListener>>,
    /// Clusters that no service is behind.
    pub built_in: &'static [BuiltInCluster],
    /// Its listeners log to a service.
    pub logs: bool,
    /// The certificates and authorities that its listeners need.
    pub credentials: BTreeSet<Credential>,
    /// The mirrors whose shares it gets by RTDS, each with the rule that says it.
    pub runtime: BTreeSet<(RuntimeKey, ObjectId)>,
}

/// The same listener for this class: its table may have virtual hosts that are resources of their own.
fn for_class(mut listener: CapturedListener, class: &ProxyClass) -> CapturedListener {
    if class.route_tables == RouteTables::Hosts {
        listener.routes = listener.routes.map(|name| hosts_table_name(&name));
    }
    listener.judges = class.judges;
    listener.http10 = class.http10;
    listener
}

/// Sidecars get every service that they can call, gateways what their routes name; both the mirror clusters of their
/// routes, and the load assignments of all of these.
pub fn bind_manifest(view: &dyn View, class: &ProxyClass) -> Manifest {
    let scope = view.scope(class);
    let selecting = selecting(view, class);
    let mut clusters: BTreeSet<ClusterRef> = BTreeSet::new();
    if class.kind == ProxyKind::Sidecar {
        let seen = Seen::new(view, class, &selecting);
        let imports = view.imports(&class.namespace, &class.sidecar);
        for listener in &imports.listeners {
            for service in listener.services.iter() {
                let own = view.service_clusters(seen.namespace(service), &selecting, &service.id);
                let served = own.iter().filter(|cluster| imports.is_serving(listener, cluster.port));
                clusters.extend(served.cloned());
            }
        }
    }
    for source in scope.sources() {
        clusters.extend(view.refs(source).clusters.iter().cloned());
    }
    let (mut captured, mut built_in): (Arc<Vec<_>>, &[_]) = Default::default();
    if let Interception::Redirect { ipv6 } = class.interception {
        captured = view.captured_listeners(&captured_client(view, class, ipv6));
        if class.route_tables == RouteTables::Hosts || class.judges.any() || class.http10 {
            captured = Arc::new(captured.iter().cloned().map(|it| for_class(it, class)).collect());
        }
        clusters.extend(captured.iter().flat_map(CapturedListener::clusters).cloned());
        built_in = &BuiltInCluster::ALL;
    }
    let mut credentials = BTreeSet::new();
    for port in &scope.ports {
        credentials.extend(port.listener.credentials().cloned());
        for onward in port.listener.onward() {
            match onward {
                Onward::Service { cluster, .. } => drop(clusters.insert(cluster.clone())),
                Onward::BuiltIn(_) if built_in.is_empty() => built_in = &[BuiltInCluster::BlackHole],
                Onward::BuiltIn(_) => {}
            }
        }
    }
    let assigned = clusters.iter().filter(|cluster| uses_load_assignment(view, cluster));
    let assigned = assigned.map(|cluster| cluster.with_role(Role::Primary));
    let load_assignments =
        assigned.map(|cluster| (cluster.clone(), place_for(view, class, &cluster))).collect();
    let placed = |cluster: ClusterRef| {
        let inside = class.place.is_some() && has_names_inside(view, &cluster);
        let place = if inside { place_for(view, class, &cluster) } else { None };
        (cluster, place)
    };
    let clusters = clusters.into_iter().map(placed).collect();
    let runtime = if class.rtds.any() { bind_runtime_members(view, &scope) } else { BTreeSet::new() };
    let logs = view.settings().access_log.as_ref().is_some_and(|log| log.service.is_some());
    Manifest { scope, clusters, load_assignments, captured, built_in, logs, credentials, runtime }
}
