//! What is computed, in the order of stages: a key reads keys of earlier stages only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_envoy::EncodedVirtualHost;
use umbra_ir::{
    ClusterRef, EndpointSet, GatewayHead, GatewayRef, Hostname, Listener, MirrorState, NamespaceRules,
    ObjectId, PortNumber, ProxyClass, ProxyKind, ProxyNode, RouteList, RouteRefs, RouteSource, RuleHead,
    RuleSet, RuleSetId, Rules, Scope, ServiceHead, ServiceId, Shares, TargetProblem, TargetQuery,
    VirtualHostSpec,
};
use umbra_xds::{Resource, ResourceType};

/// The mesh as a domain of keyed recompute.
pub(crate) struct Mesh;

/// One thing to compute.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    /// A VirtualService's rules, without percentages.
    Rules(ObjectId),
    /// A VirtualService's percentages.
    Shares(ObjectId),
    /// The services that an object defines.
    ServiceHeads(ObjectId),
    /// Where a Gateway applies.
    GatewayHead(ObjectId),
    /// The DestinationRules of a namespace.
    NamespaceRules(Arc<str>),
    /// DestinationRules, merged.
    RuleSet(RuleSetId),
    /// Where a VirtualService applies.
    RuleHead(ObjectId),
    /// The ready endpoints of a service port.
    Endpoints(ServiceId, PortNumber),
    /// The VirtualServices at a gateway that a namespace sees.
    BoundRules(Arc<str>, GatewayRef),
    /// The services that a namespace sees.
    VisibleServices(Arc<str>),
    /// The service that a host means: client namespace, preferred namespace, host.
    Resolve(Arc<str>, Arc<str>, Hostname),
    /// A Pod's labels.
    PodLabels(ObjectId),
    /// The label keys that the selectors of a namespace's Services mention.
    SelectedLabels(Arc<str>),
    /// The port that a gateway binds: its namespace, its labels, the server's number.
    ListenerPort(Arc<str>, Arc<BTreeMap<String, String>>, PortNumber),
    /// The label keys that selectors mention.
    Mentioned(ProxyKind, Arc<str>),
    /// The DestinationRules that apply to a service for a client's namespace.
    Policy(Arc<str>, ServiceId),
    /// The cluster that a destination means.
    Target(TargetQuery),
    /// The ready endpoints of a cluster.
    Members(ClusterRef),
    /// All clusters of a service for sidecars of a namespace.
    ServiceClusters(Arc<str>, ServiceId),
    /// The class of a proxy, with or without RTDS.
    Class(ProxyNode, bool),
    /// The tables of a class.
    Scope(ProxyClass),
    /// Routes bound for a client.
    Routes(RouteSource),
    /// What those routes refer to.
    Refs(RouteSource),
    /// An encoded virtual host.
    VirtualHost(Arc<VirtualHostSpec>),
    /// A resource: a cluster.
    Cluster(ClusterRef, ProxyKind),
    /// A resource: a load assignment.
    LoadAssignment(ClusterRef),
    /// A resource: a listener.
    Listener(Listener),
    /// A resource: a route configuration.
    RouteTable(ProxyClass, Arc<str>),
    /// A resource: the runtime layer.
    Runtime(ProxyClass),
    /// The names of a class's resources.
    Manifest(ProxyClass),
    /// The diagnostics of an object, and what becomes of its mirrors.
    Report(ObjectId),
}

impl Key {
    /// The stage, for the order of computation.
    pub(crate) fn stage(&self) -> u8 {
        match self {
            Key::Rules(_)
            | Key::Shares(_)
            | Key::ServiceHeads(_)
            | Key::GatewayHead(_)
            | Key::NamespaceRules(_)
            | Key::PodLabels(_)
            | Key::SelectedLabels(_)
            | Key::ListenerPort(..)
            | Key::RuleSet(_) => 1,
            Key::RuleHead(_) | Key::Endpoints(..) => 2,
            Key::BoundRules(..)
            | Key::VisibleServices(_)
            | Key::Resolve(..)
            | Key::Mentioned(..)
            | Key::Policy(..) => 3,
            Key::Target(_) | Key::Members(_) | Key::ServiceClusters(..) => 4,
            Key::Class(..) => 5,
            Key::Scope(_) => 6,
            Key::Routes(_) => 7,
            Key::Refs(_) | Key::VirtualHost(_) => 8,
            Key::Cluster(..)
            | Key::LoadAssignment(_)
            | Key::Listener(_)
            | Key::RouteTable(..)
            | Key::Runtime(_) => 9,
            Key::Manifest(_) => 10,
            Key::Report(_) => 11,
        }
    }

    /// The type and name of the resource that this key computes; `None` for every other key.
    pub(crate) fn resource_name(&self) -> Option<(ResourceType, Arc<str>)> {
        match self {
            Key::Cluster(cluster, _) => Some((ResourceType::Cluster, umbra_envoy::cluster_name(cluster))),
            Key::LoadAssignment(cluster) => {
                Some((ResourceType::Endpoint, umbra_envoy::load_assignment_name(cluster)))
            }
            Key::Listener(listener) => Some((ResourceType::Listener, umbra_envoy::listener_name(listener))),
            Key::RouteTable(_, name) => Some((ResourceType::Route, name.clone())),
            Key::Runtime(_) => Some((ResourceType::Runtime, umbra_envoy::RUNTIME_LAYER.into())),
            _ => None,
        }
    }

    /// The name of the kind of key, for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Key::Rules(_) => "Rules",
            Key::Shares(_) => "Shares",
            Key::ServiceHeads(_) => "ServiceHeads",
            Key::GatewayHead(_) => "GatewayHead",
            Key::NamespaceRules(_) => "NamespaceRules",
            Key::RuleSet(_) => "RuleSet",
            Key::RuleHead(_) => "RuleHead",
            Key::Endpoints(..) => "Endpoints",
            Key::BoundRules(..) => "BoundRules",
            Key::VisibleServices(_) => "VisibleServices",
            Key::Resolve(..) => "Resolve",
            Key::PodLabels(_) => "PodLabels",
            Key::SelectedLabels(_) => "SelectedLabels",
            Key::ListenerPort(..) => "ListenerPort",
            Key::Mentioned(..) => "Mentioned",
            Key::Policy(..) => "Policy",
            Key::Target(_) => "Target",
            Key::Members(_) => "Members",
            Key::ServiceClusters(..) => "ServiceClusters",
            Key::Class(..) => "Class",
            Key::Scope(_) => "Scope",
            Key::Routes(_) => "Routes",
            Key::Refs(_) => "Refs",
            Key::VirtualHost(_) => "VirtualHost",
            Key::Cluster(..) => "Cluster",
            Key::LoadAssignment(_) => "LoadAssignment",
            Key::Listener(_) => "Listener",
            Key::RouteTable(..) => "RouteTable",
            Key::Runtime(_) => "Runtime",
            Key::Manifest(_) => "Manifest",
            Key::Report(_) => "Report",
        }
    }
}

/// The names of a class's resources and the keys of their contents; never the contents themselves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manifest(pub(crate) BTreeMap<(ResourceType, Arc<str>), Key>);

/// What a key comes to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Rules(Option<Arc<Rules>>),
    Shares(Option<Arc<Shares>>),
    ServiceHeads(Arc<Vec<Arc<ServiceHead>>>),
    GatewayHead(Option<Arc<GatewayHead>>),
    NamespaceRules(Arc<NamespaceRules>),
    RuleSet(Arc<RuleSet>),
    RuleHead(Option<Arc<RuleHead>>),
    Endpoints(Arc<EndpointSet>),
    BoundRules(Arc<Vec<Arc<RuleHead>>>),
    VisibleServices(Arc<Vec<Arc<ServiceHead>>>),
    Resolve(Option<Arc<ServiceHead>>),
    PodLabels(Option<Arc<BTreeMap<String, String>>>),
    SelectedLabels(Arc<BTreeSet<String>>),
    ListenerPort(PortNumber),
    Mentioned(Arc<BTreeSet<String>>),
    Policy(Option<RuleSetId>),
    Target(Result<ClusterRef, TargetProblem>),
    Members(Arc<EndpointSet>),
    ServiceClusters(Arc<Vec<ClusterRef>>),
    Class(ProxyClass),
    Scope(Arc<Scope>),
    Routes(Arc<RouteList>),
    Refs(Arc<RouteRefs>),
    VirtualHost(Arc<EncodedVirtualHost>),
    Resource(Option<Arc<Resource>>),
    Manifest(Arc<Manifest>),
    /// What becomes of an object's mirrors; its diagnostics are the key's notes.
    Report(Arc<Vec<MirrorState>>),
}
