//! What is computed, and how: a line per key, in the order of stages.

mod computed;
mod manifest;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_envoy::{Built, EncodedRoutes, EncodedVirtualHost, RuntimeLayer};
use umbra_ir::{
    Answerer, AskedLabels, BarePods, BuiltInCluster, CapturedClient, CapturedListener, ClientPlace,
    ClusterRef, ConnectionRules, Credential, DestinationRuleSet, DestinationRuleSetId, Destinations,
    Diagnostic, EndpointSet, ForeignRules, GatewayHead, GatewayListener, GatewayRef, Hostname, Imports,
    Listener, LogService, MirrorPolicies, MirrorState, NamespaceDestinationRules, Notes, ObjectId, PodHead,
    PolicedMirror, PortNumber, PortOwner, ProxyClass, ProxyKind, ProxyNode, Role, RouteRefs, RouteSource,
    RuleHead, RuleTargets, Rules, RuntimeForms, RuntimeKey, Scope, SecretHead, SecretParts, ServerConflict,
    ServiceHead, ServiceId, Settings, Shares, SidecarHead, TargetProblem, TargetQuery, VirtualHostSpec,
};
use umbra_mesh::{Index, Inputs, View};
use umbra_xds::{Node, Requirement, Resource, ResourceType, Shelf};

use computed::computed;
pub(crate) use manifest::Manifest;
pub(crate) use routes::Routes;

use crate::front;
use crate::input::{Input, InputId, indexes};
use crate::memo::{Domain, Reader};
use crate::view::{EngineView, Mesh};

computed! {
    |view, notes|
    view {
        /// The MirrorPolicies of a VirtualService, with ramps or without.
        0 MirrorPolicies(vs: ObjectId, ramps: bool) -> Arc<MirrorPolicies>, as mirror_policies
            = Arc::new(umbra_istio::select_mirror_policies(view, vs, *ramps, &view.settings().cluster_domain));
        /// Its mirrors, where it has policies.
        1 PolicedMirrors(vs: ObjectId) -> Arc<Vec<PolicedMirror>>, as policed_mirrors
            = Arc::new(front::policed_mirrors(view, vs));
        /// A VirtualService's rules, without percentages.
        1 Rules(id: ObjectId) -> Option<Arc<Rules>>, as rules = front::rules(view, id);
        /// A VirtualService's percentages.
        1 Shares(id: ObjectId) -> Option<Arc<Shares>>, as shares = front::shares(view, id);
        /// What a VirtualService says about connections that carry no HTTP that we see.
        1 ConnectionRules(id: ObjectId) -> Option<Arc<ConnectionRules>>, as connection_rules
            = front::connection_rules(view, id);
        /// The services that an object defines.
        1 ServiceHeads(id: ObjectId) -> Arc<Vec<Arc<ServiceHead>>>, as service_heads
            = Arc::new(front::service_heads(view, id));
        /// The ready endpoints of a port of all hosts of a ServiceEntry, where they have the same.
        1 EntryEndpoints(entry: ObjectId, port: PortNumber) -> Option<Arc<EndpointSet>>, as entry_endpoints
            = front::entry_endpoints(view, entry, *port);
        /// Where a Gateway applies.
        1 GatewayHead(id: ObjectId) -> Option<Arc<GatewayHead>>, as gateway_head = front::gateway_head(view, id);
        /// What a Sidecar says.
        1 SidecarHead(id: ObjectId) -> Option<Arc<SidecarHead>>, as sidecar_head = front::sidecar_head(view, id);
        /// The Sidecars from which the proxies of a namespace have theirs.
        2 Sidecars(namespace: Arc<str>) -> Arc<Vec<AskedLabels>>, as sidecars
            = Arc::new(umbra_mesh::select_sidecars(view, namespace));
        /// The DestinationRules of a namespace.
        1 NamespaceDestinationRules(namespace: Arc<str>) -> Arc<NamespaceDestinationRules>, as namespace_destination_rules
            = Arc::new(umbra_istio::select_namespace_destination_rules(view, namespace));
        /// DestinationRules, merged.
        1 DestinationRuleSet(id: DestinationRuleSetId) -> Arc<DestinationRuleSet>, as destination_rule_set = Arc::new(umbra_istio::merge_destination_rules(view, id));
        /// What of a Secret is served.
        1 Secret(id: ObjectId) -> Option<Arc<SecretHead>>, as secret = umbra_core::resolve_secret_head(view, id).map(Arc::new);
        /// Which parts of it can be served.
        2 SecretParts(id: ObjectId) -> SecretParts, as secret_parts = {
                let head = view.secret(id);
                let pair = head.as_ref().is_some_and(|head| head.pair.is_some());
                SecretParts { pair, authorities: head.is_some_and(|head| head.authorities.is_some()) }
            };
        /// The servers that others keep from being opened.
        2 ServerConflicts() -> Arc<BTreeMap<ObjectId, Vec<ServerConflict>>>, as server_conflicts
            = Arc::new(umbra_mesh::select_server_conflicts(view));
        /// The label keys that failover compares clients and endpoints by.
        2 PlaceLabels() -> Option<Arc<BTreeSet<String>>>, as place_labels
            = umbra_mesh::select_place_labels(view).map(Arc::new);
        /// What of a Pod changes what its proxy gets.
        1 PodHead(pod: ObjectId) -> Option<Arc<PodHead>>, as pod_head = umbra_core::resolve_pod_head(view, pod);
        /// The labels that the selectors of a namespace's Services ask for.
        1 SelectedLabels(namespace: Arc<str>) -> Arc<BTreeSet<(String, String)>>, as selected_labels
            = Arc::new(umbra_core::select_selected_labels(view, namespace));
        /// Whether Pods of a namespace are known.
        1 HasPods(namespace: Arc<str>) -> bool, as has_pods = umbra_core::resolve_has_pods(view, namespace);
        /// The Pods of a namespace that should have a sidecar and have none.
        1 BarePods(namespace: Arc<str>) -> Option<Arc<BarePods>>, as bare_pods
            = umbra_core::select_bare_pods(view, namespace).map(Arc::new);
        /// The namespaces with such Pods.
        2 BareNamespaces() -> Arc<BTreeMap<Arc<str>, Arc<BarePods>>>, as bare_namespaces
            = Arc::new(umbra_core::select_bare_namespaces(view));
        /// The port that a gateway binds: its namespace, its labels, the server's number.
        1 ListenerPort(namespace: Arc<str>, labels: Arc<BTreeMap<String, String>>, number: PortNumber) -> PortNumber,
            as listener_port = umbra_core::resolve_listener_port(view, namespace, labels, *number);
        /// Where a VirtualService applies.
        2 RuleHead(id: ObjectId) -> Option<Arc<RuleHead>>, as rule_head = front::rule_head(view, id);
        /// How many subsets of DestinationRules are clusters whether rules name them or not.
        2 SubsetsKept(id: DestinationRuleSetId) -> usize, as subsets_kept = umbra_mesh::select_subsets_kept(view, id);
        /// The ready endpoints of a service port.
        2 Endpoints(service: ServiceId, port: PortNumber) -> Arc<EndpointSet>, as endpoints
            = front::endpoints(view, service, *port);
        /// The VirtualServices at a gateway that a namespace sees.
        3 BoundRules(namespace: Arc<str>, gateway: GatewayRef) -> Arc<Vec<Arc<RuleHead>>>, as bound_rules
            = Arc::new(umbra_mesh::select_bound_rules(view, namespace, gateway));
        /// The rules about services of other namespaces.
        3 ForeignRules() -> Arc<ForeignRules>, as foreign_rules = Arc::new(umbra_mesh::select_foreign_rules(view));
        /// Those of them about services of this namespace.
        4 ForeignRulesOf(namespace: Arc<str>) -> Arc<Vec<(ObjectId, Hostname)>>, as foreign_rules_of
            = Arc::new(umbra_mesh::select_foreign_rules_of(view, namespace));
        /// The services that a namespace sees.
        3 VisibleServices(namespace: Arc<str>) -> Arc<Vec<Arc<ServiceHead>>>, as visible_services
            = Arc::new(umbra_mesh::select_visible_services(view, namespace));
        /// The service that a host means: client namespace, preferred namespace, host.
        3 Resolve(namespace: Arc<str>, prefer: Arc<str>, host: Hostname) -> Option<Arc<ServiceHead>>, as resolve
            = umbra_mesh::resolve_service(view, namespace, prefer, host);
        /// The labels that selectors ask for.
        6 Mentioned(kind: ProxyKind, namespace: Arc<str>, sidecar: Option<ObjectId>) -> Arc<BTreeSet<(String, String)>>,
            as mentioned_labels
            = Arc::new(umbra_mesh::select_mentioned_labels(view, *kind, namespace, sidecar.as_ref()));
        /// The namespaces that others export to or ask for.
        3 NamedNamespaces() -> Arc<BTreeSet<Arc<str>>>, as named_namespaces
            = Arc::new(umbra_mesh::select_named_namespaces(view));
        /// By namespace the hosts of DestinationRules that are exported to it by name.
        2 ExportedPolicies() -> Arc<BTreeMap<Arc<str>, BTreeSet<Hostname>>>, as exported_policies
            = Arc::new(umbra_mesh::select_exported_policies(view));
        /// The hosts of DestinationRules that count for clients of a namespace and not for all others.
        3 OwnPolicies(namespace: Arc<str>) -> Arc<BTreeSet<Hostname>>, as own_policies
            = Arc::new(umbra_mesh::select_own_policies(view, namespace));
        /// Where a rule sends to, and whom it asks for.
        2 RuleTargets(rule: ObjectId) -> Option<Arc<RuleTargets>>, as rule_targets
            = umbra_mesh::select_rule_targets(view, rule).map(Arc::new);
        /// The rules whose routes are bound for sidecars of a namespace alone.
        4 RulesApart(namespace: Arc<str>) -> Arc<BTreeSet<ObjectId>>, as rules_apart
            = Arc::new(umbra_mesh::select_rules_apart(view, namespace));
        /// The namespace that stands for a proxy's own in its class.
        4 ClassNamespace(namespace: Arc<str>) -> Arc<str>, as class_namespace
            = umbra_mesh::resolve_class_namespace(view, namespace);
        /// The DestinationRules that apply to a service for a client's namespace.
        3 Policy(namespace: Arc<str>, selecting: Arc<BTreeMap<String, String>>, service: ServiceId) -> Option<DestinationRuleSetId>,
            as policy = umbra_mesh::resolve_policy(view, namespace, selecting, service);
        /// The cluster that a destination means.
        4 Target(query: TargetQuery) -> Result<ClusterRef, TargetProblem>, as target
            = umbra_mesh::resolve_target(view, query);
        /// The ready endpoints of a cluster.
        4 Members(cluster: ClusterRef) -> Arc<EndpointSet>, as members
            = umbra_mesh::select_members(view, cluster);
        /// Those of a namespace's services whose host a wildcard covers.
        4 ServicesUnder(namespace: Arc<str>, wildcard: Hostname) -> Arc<Vec<Arc<ServiceHead>>>, as services_under
            = Arc::new(umbra_mesh::select_services_under(view, namespace, wildcard));
        /// Who answers the requests of a cluster.
        5 Answerer(cluster: ClusterRef) -> Answerer, as answerer
            = Answerer::of(&view.members(&cluster.with_role(Role::Primary)));
        /// What proxies of a namespace with a Sidecar, or none, can call.
        5 Imports(namespace: Arc<str>, sidecar: Option<ObjectId>) -> Arc<Imports>, as imports
            = Arc::new(umbra_mesh::select_imports(view, namespace, sidecar.as_ref()));
        /// The ports on which sidecars of a namespace listen for HTTP.
        4 ListenedPorts(namespace: Arc<str>) -> Arc<BTreeSet<PortNumber>>, as listened_ports
            = Arc::new(umbra_mesh::select_listened_ports(view, namespace));
        /// Whose the connections to a port are where nothing but the port tells.
        4 PortOwner(namespace: Arc<str>, port: PortNumber) -> Option<PortOwner>, as port_owner
            = umbra_mesh::select_port_owner(view, namespace, *port);
        /// All clusters of a service for sidecars of a namespace.
        4 ServiceClusters(namespace: Arc<str>, selecting: Arc<BTreeMap<String, String>>, service: ServiceId) -> Arc<Vec<ClusterRef>>,
            as service_clusters
            = Arc::new(umbra_mesh::select_service_clusters(view, namespace, selecting, service));
        /// The listeners of captured sidecars.
        6 CapturedListeners(client: CapturedClient) -> Arc<Vec<CapturedListener>>, as captured_listeners
            = Arc::new(umbra_mesh::select_captured_listeners(view, client));
        /// The tables that those ask for.
        7 CapturedTables(client: CapturedClient) -> Arc<BTreeSet<Arc<str>>>, as captured_tables
            = Arc::new(umbra_mesh::select_captured_tables(view, client));
        /// The tables of a class.
        8 Scope(class: ProxyClass) -> Arc<Scope>, as scope = Arc::new(umbra_mesh::bind_scope(view, class));
        /// What routes refer to.
        10 Refs(source: RouteSource) -> Arc<RouteRefs>, as refs = view.routes(source).refs.clone();
    }
    own {
        /// Routes bound for a client, encoded.
        9 Routes(source: RouteSource) -> Routes, as routes
            = Routes::new(&noted(in_short(umbra_mesh::bind_routes(view, source)), &mut notes));
        /// The class of a proxy, with or without RTDS.
        7 Class(node: ProxyNode, rtds: RuntimeForms) -> ProxyClass, as class = umbra_mesh::resolve_class(view, node, *rtds);
        /// An encoded virtual host.
        10 VirtualHost(spec: Arc<VirtualHostSpec>) -> Arc<EncodedVirtualHost>, as virtual_host
            = Arc::new(umbra_envoy::build_virtual_host(spec, &encoded_routes(view, spec)));
        /// The names of a class's resources.
        12 Manifest(class: ProxyClass) -> Arc<Manifest>, as manifest
            = {
                let served = umbra_mesh::bind_manifest(view, class);
                Arc::new(view.0.share(|shelves| Manifest::new(class, &served, shelves)))
            };
        /// What becomes of an object's mirrors and destinations, and all that is to be said about it.
        13 Report(id: ObjectId) -> Reported, as report = {
                let report = front::report(view, id);
                let destinations = Arc::new(report.destinations(|cluster| view.answerer(cluster), &view.settings()));
                Reported { mirrors: Arc::new(noted((report.mirrors, report.diagnostics), &mut notes)), destinations }
            };
    }
    resources {
        /// A cluster.
        11 Cluster(cluster: ClusterRef, kind: ProxyKind, place: Option<Arc<ClientPlace>>)
            named Cluster umbra_envoy::cluster_name(cluster)
            => umbra_mesh::bind_cluster(view, cluster, *kind, place.as_deref())
                .map(|cluster| umbra_envoy::build_cluster(&cluster));
        /// A load assignment.
        11 LoadAssignment(cluster: ClusterRef, place: Option<Arc<ClientPlace>>)
            named Endpoint umbra_envoy::load_assignment_name(cluster)
            => Some(umbra_envoy::build_load_assignment(
                &umbra_mesh::bind_load_assignment(view, cluster, place.as_deref())
            ));
        /// A listener.
        11 Listener(listener: Listener) named Listener umbra_envoy::listener_name(listener)
            => Some(umbra_envoy::build_listener(listener, &view.settings()));
        /// A listener of a captured sidecar.
        11 CapturedListener(listener: CapturedListener) named Listener umbra_envoy::captured_listener_name(listener)
            => Some(umbra_envoy::build_captured_listener(listener, &view.settings()));
        /// A listener of a gateway that tells connections apart before HTTP is spoken.
        11 GatewayListener(listener: Arc<GatewayListener>) named Listener umbra_envoy::gateway_listener_name(listener)
            => Some(umbra_envoy::build_gateway_listener(listener, &view.settings()));
        /// A certificate or an authority.
        11 Credential(credential: Credential) named Secret credential.name()
            => umbra_envoy::build_credential(credential, &secrets(view, credential));
        /// A cluster that no service is behind.
        11 BuiltInCluster(cluster: BuiltInCluster) named Cluster cluster.name().into()
            => Some(umbra_envoy::build_built_in_cluster(*cluster));
        /// The cluster of the service that access logs are sent to.
        11 LogCluster() named Cluster umbra_envoy::LOG_CLUSTER.into()
            => log_service(&view.settings()).map(umbra_envoy::build_log_cluster);
        /// A route configuration.
        11 RouteTable(class: ProxyClass, name: Arc<str>) named Route name.clone()
            => route_table(view, class, name);
        /// A route configuration whose virtual hosts are resources of their own.
        11 HostsTable(name: Arc<str>) named Route name.clone() => Some(umbra_envoy::build_hosts_table(name));
        /// Such a virtual host.
        11 Host(table: Arc<str>, spec: Arc<VirtualHostSpec>) named VirtualHost umbra_envoy::host_name(table, &spec.name)
            => Some(umbra_envoy::build_host(table, spec, &encoded_routes(view, spec)));
        /// A layer of the runtime: the shares of these mirrors, each with the rule that says it.
        11 Runtime(layer: RuntimeLayer, members: Arc<[(RuntimeKey, ObjectId)]>) named Runtime layer.to_string().into()
            => {
                let layer = umbra_envoy::build_runtime(*layer, &umbra_mesh::bind_runtime(view, members));
                Some(Built { ttl: view.settings().mirror.dead_man, ..layer })
            };
    }
}

/// What values find here that others have already.
#[derive(Default)]
pub(crate) struct Shelves {
    pub(crate) hosts: Shelf<VirtualHostSpec>,
    pub(crate) keys: Shelf<Key>,
    pub(crate) nodes: Shelf<Node<Arc<Key>>>,
}

/// What an object comes to but for what is said about it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Reported {
    pub(crate) mirrors: Arc<Vec<MirrorState>>,
    pub(crate) destinations: Arc<Destinations>,
}

/// Of the diagnostics the first of each sort: the object's report says how many more there are.
fn in_short<T>((value, found): (T, Vec<Diagnostic>)) -> (T, Vec<Diagnostic>) {
    (value, found.into_iter().collect::<Notes>().listed().into_iter().collect())
}

/// The value, its diagnostics put aside.
fn noted<T>((value, found): (T, Vec<Diagnostic>), notes: &mut Vec<Diagnostic>) -> T {
    notes.extend(found);
    value
}

fn resource(resource_type: ResourceType, built: Option<Built>) -> Option<Arc<Resource>> {
    let required = |it| match it {
        umbra_envoy::Requirement::Cluster(name) => Requirement::new(ResourceType::Cluster, name),
        umbra_envoy::Requirement::LoadAssignment(name) => Requirement::new(ResourceType::Endpoint, name),
        umbra_envoy::Requirement::Secret(name) => Requirement::new(ResourceType::Secret, name),
        umbra_envoy::Requirement::VirtualHost(name) => Requirement::new(ResourceType::VirtualHost, name),
    };
    built.map(|Built { name, body, requires, exclusive, ttl }| {
        let requires: Vec<_> = requires.into_iter().map(required).collect();
        let resource = Resource::new(resource_type, name, body, requires).with_exclusive(exclusive);
        Arc::new(match ttl {
            Some(ttl) => resource.with_ttl(resource_type, ttl),
            None => resource,
        })
    })
}

fn log_service(settings: &Settings) -> Option<&LogService> {
    settings.access_log.as_ref()?.service.as_ref()
}

/// The Secrets of a credential, so far as they are there.
fn secrets(view: &EngineView<'_, '_>, credential: &Credential) -> Vec<Arc<SecretHead>> {
    credential.secrets().iter().filter_map(|id| view.secret(id)).collect()
}

fn encoded_routes(view: &EngineView<'_, '_>, spec: &VirtualHostSpec) -> Vec<Arc<EncodedRoutes>> {
    spec.sources.iter().map(|source| view.routes(source).encoded).collect()
}

fn route_table(view: &EngineView<'_, '_>, class: &ProxyClass, name: &Arc<str>) -> Option<Built> {
    let scope = view.scope(class);
    let table = scope.tables.get(name)?;
    let hosts: Vec<_> = table.hosts.iter().map(|spec| view.virtual_host(spec)).collect();
    Some(umbra_envoy::build_route_configuration(name, &hosts))
}

impl Domain for Mesh {
    type Id = InputId;
    type Obj = Input;
    type Ix = Index;
    type Key = Key;
    type Val = Value;
    type Note = Diagnostic;
    type Shelf = Shelves;

    fn index(_: &InputId, input: &Input) -> Vec<Index> {
        indexes(input)
    }

    fn stage(key: &Key) -> u8 {
        key.stage()
    }

    fn derive(key: &Key, reader: &Reader<'_, Self>) -> (Value, Vec<Diagnostic>) {
        derive(key, &EngineView(reader))
    }
}
