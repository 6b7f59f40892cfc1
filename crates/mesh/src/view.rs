//! The only way the mesh is seen. The engine implements it and records every read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use umbra_ir::{
    Answerer, AskedLabels, BarePods, CapturedClient, CapturedListener, ClusterRef, ConnectionRules,
    DestinationRuleSet, DestinationRuleSetId, EndpointSet, ForeignRules, GatewayHead, GatewayRef, Hostname,
    Imports, Kind, MirrorPolicies, NamespaceDestinationRules, ObjectId, PodHead, PolicedMirror, PortNumber,
    PortOwner, ProxyClass, ProxyKind, RouteRefs, RouteSource, RuleHead, RuleTargets, Rules, RuntimeFraction,
    RuntimeKey, Scope, SecretHead, SecretParts, ServerConflict, ServiceHead, ServiceId, Settings, Shares,
    SidecarHead, TargetProblem, TargetQuery, VirtualHostSpec,
};

/// A set of objects that can be listed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Index {
    /// All objects of a kind.
    Kind(Kind),
    /// All objects of a kind in a namespace.
    InNamespace(Kind, Arc<str>),
    /// Gateways that name this Secret.
    NamesSecret(ObjectId),
    /// VirtualServices with a rule that delegates to this one.
    DelegatesTo(ObjectId),
    /// MirrorPolicies for this VirtualService.
    PoliciesOf(ObjectId),
    /// ServiceEntries that define this host.
    EntryHost(Hostname),
    /// DestinationRules that define a subset of this name for a host whose first label is this.
    SubsetOf(Arc<str>, Arc<str>),
    /// Services and ServiceEntries that write this virtual address.
    Address(IpAddr),
    /// Services by namespace and name, both in lower case: host names compare without case.
    ServiceName(Arc<str>, Arc<str>),
    /// ExternalName Services.
    ExternalNames,
    /// EndpointSlices of the Service with this namespace and name.
    SlicesOf(Arc<str>, Arc<str>),
    /// Pods of a namespace without a sidecar.
    BarePods(Arc<str>),
    /// Pods of a namespace that carry this label.
    PodsWithLabel(Arc<str>, Arc<str>, Arc<str>),
    /// WorkloadEntries of a namespace that carry this label.
    WorkloadsWithLabel(Arc<str>, Arc<str>, Arc<str>),
}

/// What is not computed: settings, and which objects there are.
pub trait Inputs {
    /// The mesh-wide settings.
    fn settings(&self) -> Arc<Settings>;
    /// Whether a Service without EndpointSlices takes the Pods that its selector matches (directories have
    /// no controllers that would write slices).
    fn pods_as_endpoints(&self) -> bool;
    /// The time, in hours since 1970; `None`: it is not known. A read of it is asked again each hour.
    fn hour(&self) -> Option<i64>;
    /// What was decided beside the objects: what part of a rule's requests is judged, or how far the share of a mirror goes that
    /// something holds down; none until somebody says.
    fn decided_share(&self, key: &RuntimeKey) -> RuntimeFraction;
    /// The objects of an index, sorted; a read of membership only.
    fn ids(&self, index: &Index) -> Vec<ObjectId>;
    /// The same virtual host, as another class has it already: what is equal stands once. This is no read.
    fn share_host(&self, host: VirtualHostSpec) -> Arc<VirtualHostSpec>;
}

/// What any function of the mesh may read: inputs, and values derived at earlier stages. The engine's list of keys
/// declares each of these once more, with how it is computed.
pub trait View: Inputs {
    /// Where a VirtualService applies.
    fn rule_head(&self, vs: &ObjectId) -> Option<Arc<RuleHead>>;
    /// The rules of a VirtualService.
    fn rules(&self, vs: &ObjectId) -> Option<Arc<Rules>>;
    /// What a VirtualService says about connections that carry no HTTP that we see.
    fn connection_rules(&self, vs: &ObjectId) -> Option<Arc<ConnectionRules>>;
    /// The mirror fractions of a VirtualService.
    fn shares(&self, vs: &ObjectId) -> Option<Arc<Shares>>;
    /// The MirrorPolicies of a VirtualService, with ramps or without.
    fn mirror_policies(&self, vs: &ObjectId, ramps: &bool) -> Arc<MirrorPolicies>;
    /// The mirrors of a VirtualService that has policies.
    fn policed_mirrors(&self, vs: &ObjectId) -> Arc<Vec<PolicedMirror>>;
    /// The services that a Service or ServiceEntry defines.
    fn service_heads(&self, object: &ObjectId) -> Arc<Vec<Arc<ServiceHead>>>;
    /// Where a Gateway applies.
    fn gateway_head(&self, gateway: &ObjectId) -> Option<Arc<GatewayHead>>;
    /// What a Sidecar says of the proxies that it is for.
    fn sidecar_head(&self, sidecar: &ObjectId) -> Option<Arc<SidecarHead>>;
    /// The Sidecars from which the proxies of a namespace have theirs, with the labels that each asks for; the first that
    /// fits counts.
    fn sidecars(&self, namespace: &Arc<str>) -> Arc<Vec<AskedLabels>>;
    /// What proxies of a namespace with this Sidecar can call.
    fn imports(&self, namespace: &Arc<str>, sidecar: &Option<ObjectId>) -> Arc<Imports>;
    /// What of a Secret is served; `None`: there is no such Secret.
    fn secret(&self, secret: &ObjectId) -> Option<Arc<SecretHead>>;
    /// Which parts of a Secret can be served, whatever they are.
    fn secret_parts(&self, secret: &ObjectId) -> SecretParts;
    /// The servers that others keep from being opened.
    fn server_conflicts(&self) -> Arc<BTreeMap<ObjectId, Vec<ServerConflict>>>;
    /// The DestinationRules of a namespace by host pattern.
    fn namespace_destination_rules(&self, namespace: &Arc<str>) -> Arc<NamespaceDestinationRules>;
    /// Merged DestinationRules.
    fn destination_rule_set(&self, id: &DestinationRuleSetId) -> Arc<DestinationRuleSet>;
    /// How many of their subsets are clusters at sidecars whether rules name them or not.
    fn subsets_kept(&self, id: &DestinationRuleSetId) -> usize;
    /// Every service a namespace sees, one for each host, in order of age.
    fn visible_services(&self, namespace: &Arc<str>) -> Arc<Vec<Arc<ServiceHead>>>;
    /// Those of them whose host a wildcard covers.
    fn services_under(&self, namespace: &Arc<str>, wildcard: &Hostname) -> Arc<Vec<Arc<ServiceHead>>>;
    /// The ports on which sidecars of a namespace listen for HTTP.
    fn listened_ports(&self, namespace: &Arc<str>) -> Arc<BTreeSet<PortNumber>>;
    /// The VirtualServices that a namespace sees at a gateway or in the mesh, in order of precedence.
    fn bound_rules(&self, namespace: &Arc<str>, gateway: &GatewayRef) -> Arc<Vec<Arc<RuleHead>>>;
    /// The rules about services of other namespaces that count without being asked for, by those namespaces.
    fn foreign_rules(&self) -> Arc<ForeignRules>;
    /// Those of them about services of this namespace.
    fn foreign_rules_of(&self, namespace: &Arc<str>) -> Arc<Vec<(ObjectId, Hostname)>>;
    /// The service that a host means to a client in `namespace`; objects in `prefer` win.
    fn resolve(&self, namespace: &Arc<str>, prefer: &Arc<str>, host: &Hostname) -> Option<Arc<ServiceHead>>;
    /// The DestinationRules that apply to a service for a client in `namespace`, of whose labels `selecting` are those
    /// that rules of the namespace select by.
    fn policy(
        &self,
        namespace: &Arc<str>,
        selecting: &Arc<BTreeMap<String, String>>,
        service: &ServiceId,
    ) -> Option<DestinationRuleSetId>;
    /// The cluster that a destination means.
    fn target(&self, query: &TargetQuery) -> Result<ClusterRef, TargetProblem>;
    /// The ready endpoints of a service port.
    fn endpoints(&self, service: &ServiceId, port: &PortNumber) -> Arc<EndpointSet>;
    /// Those of all hosts of a ServiceEntry, if they have the same.
    fn entry_endpoints(&self, entry: &ObjectId, port: &PortNumber) -> Option<Arc<EndpointSet>>;
    /// The ready endpoints of a cluster: those of the port that the subset selects.
    fn members(&self, cluster: &ClusterRef) -> Arc<EndpointSet>;
    /// Who answers the requests of a cluster.
    fn answerer(&self, cluster: &ClusterRef) -> Answerer;
    /// The tables of a class.
    fn scope(&self, class: &ProxyClass) -> Arc<Scope>;
    /// What bound routes refer to.
    fn refs(&self, source: &RouteSource) -> Arc<RouteRefs>;
    /// The clusters of a service for such sidecars of a namespace.
    fn service_clusters(
        &self,
        namespace: &Arc<str>,
        selecting: &Arc<BTreeMap<String, String>>,
        service: &ServiceId,
    ) -> Arc<Vec<ClusterRef>>;
    /// The listeners of such captured sidecars.
    fn captured_listeners(&self, client: &CapturedClient) -> Arc<Vec<CapturedListener>>;
    /// The names of the route configurations that those ask for.
    fn captured_tables(&self, client: &CapturedClient) -> Arc<BTreeSet<Arc<str>>>;
    /// Whose the connections to a port are at sidecars of a namespace that the application calls, where nothing but the port
    /// tells.
    fn port_owner(&self, namespace: &Arc<str>, port: &PortNumber) -> Option<PortOwner>;
    /// What of a Pod changes what its proxy gets; `None`: it is not known.
    fn pod_head(&self, pod: &ObjectId) -> Option<Arc<PodHead>>;
    /// Whether Pods of a namespace are known.
    fn has_pods(&self, namespace: &Arc<str>) -> bool;
    /// The Pods of a namespace that should have a sidecar and have none.
    fn bare_pods(&self, namespace: &Arc<str>) -> Option<Arc<BarePods>>;
    /// The namespaces with such Pods.
    fn bare_namespaces(&self) -> Arc<BTreeMap<Arc<str>, Arc<BarePods>>>;
    /// The labels that the selectors of a namespace's Services ask for.
    fn selected_labels(&self, namespace: &Arc<str>) -> Arc<BTreeSet<(String, String)>>;
    /// The port that a gateway of a namespace with these labels binds for a server's number.
    fn listener_port(
        &self,
        namespace: &Arc<str>,
        labels: &Arc<BTreeMap<String, String>>,
        number: &PortNumber,
    ) -> PortNumber;
    /// The label keys that failover compares clients and endpoints by; `None`: no rule asks where a client is.
    fn place_labels(&self) -> Option<Arc<BTreeSet<String>>>;
    /// The namespaces that are named by what others export to them or ask of them.
    fn named_namespaces(&self) -> Arc<BTreeSet<Arc<str>>>;
    /// By namespace the hosts of DestinationRules that are exported to it by name.
    fn exported_policies(&self) -> Arc<BTreeMap<Arc<str>, BTreeSet<Hostname>>>;
    /// The hosts of DestinationRules that count for clients of a namespace and not for all others.
    fn own_policies(&self, namespace: &Arc<str>) -> Arc<BTreeSet<Hostname>>;
    /// Where a rule sends to, and whom it asks for.
    fn rule_targets(&self, rule: &ObjectId) -> Option<Arc<RuleTargets>>;
    /// The rules whose routes are bound for sidecars of a namespace alone; all other routes are the same for all.
    fn rules_apart(&self, namespace: &Arc<str>) -> Arc<BTreeSet<ObjectId>>;
    /// The namespace that stands for a proxy's own in its class.
    fn class_namespace(&self, namespace: &Arc<str>) -> Arc<str>;
    /// The labels that selectors for this kind of proxy, with this Sidecar, ask for.
    fn mentioned_labels(
        &self,
        kind: &ProxyKind,
        namespace: &Arc<str>,
        sidecar: &Option<ObjectId>,
    ) -> Arc<BTreeSet<(String, String)>>;
}
