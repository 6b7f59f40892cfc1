//! What every object has: its identity and metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_ir::{Kind, ObjectId};

use super::core::{EndpointSlice, Namespace, Node, Pod, Service};
use super::destination_rule::DestinationRuleSpec;
use super::gateway::GatewaySpec;
use super::mirror_policy::MirrorPolicySpec;
use super::secret::Secret;
use super::service_entry::{ServiceEntrySpec, WorkloadEntry};
use super::sidecar::SidecarSpec;
use super::virtual_service::VirtualServiceSpec;

/// The part of Kubernetes' ObjectMeta that changes what an object means.
///
/// `managedFields`, `resourceVersion` and the like never enter it, so an update that touches only those
/// compares equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.namespace`; `default` when a namespaced object has none, empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`, as written: its syntax is not judged.
    pub name: Arc<str>,
    /// `metadata.labels`; objects that have the same share them.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Those of `metadata.annotations` that are `networking.istio.io/…` or `umbra.io/…`: others mean nothing to us.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`: decides which of two competing objects is older.
    pub created: Option<jiff::Timestamp>,
    /// Who moves the shares of a VirtualService beside its author: its owner, an annotation and `managedFields` tell.
    pub manager: Option<CanaryTool>,
    /// Whether `metadata.deletionTimestamp` is set: the object is on its way out.
    pub deleting: bool,
}

/// A tool that writes shares and weights of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryTool {
    /// Flagger.
    Flagger,
    /// Argo Rollouts.
    ArgoRollouts,
}

impl CanaryTool {
    /// By the name that it writes with, as `managedFields` has it.
    pub fn of_manager(manager: &str) -> Option<Self> {
        match manager {
            "flagger" => Some(CanaryTool::Flagger),
            "rollouts-controller" => Some(CanaryTool::ArgoRollouts),
            _ => None,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            CanaryTool::Flagger => "Flagger",
            CanaryTool::ArgoRollouts => "Argo Rollouts",
        }
    }
}

impl Meta {
    /// Creation time in whole seconds, 0 when unknown.
    pub fn created_seconds(&self) -> i64 {
        self.created.map_or(0, |t| t.as_second())
    }
}

/// An object that a CRD defines: its metadata and its spec.
macro_rules! defined_object {
    ($(#[$doc:meta])* $name:ident { $spec:ty }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            /// Identity, labels, annotations, age.
            pub meta: Meta,
            /// What the author asked for.
            pub spec: $spec,
        }
    };
}

defined_object! {
    /// `networking.istio.io` VirtualService: routing rules for hosts.
    VirtualService { VirtualServiceSpec }
}
defined_object! {
    /// `networking.istio.io` DestinationRule: subsets of, and policy towards, a host.
    DestinationRule { DestinationRuleSpec }
}
defined_object! {
    /// `networking.istio.io` ServiceEntry: a service that Kubernetes doesn't know.
    ServiceEntry { ServiceEntrySpec }
}
defined_object! {
    /// `networking.istio.io` Gateway: ports and hosts that a router listens for.
    Gateway { GatewaySpec }
}

defined_object! {
    /// `networking.istio.io` WorkloadEntry: one endpoint that ServiceEntries select by labels.
    Workload { WorkloadEntry }
}
defined_object! {
    /// `networking.istio.io` Sidecar: what the proxies of some workloads can call.
    Sidecar { SidecarSpec }
}
defined_object! {
    /// `umbra.io` MirrorPolicy: what becomes of the copies of a VirtualService's mirrors.
    MirrorPolicy { MirrorPolicySpec }
}

/// Any object that umbra reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `networking.istio.io` VirtualService.
    VirtualService(VirtualService),
    /// `networking.istio.io` DestinationRule.
    /// Boxed: by far the largest.
    DestinationRule(Box<DestinationRule>),
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry(ServiceEntry),
    /// `networking.istio.io` Gateway.
    Gateway(Gateway),
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry(Workload),
    /// `networking.istio.io` Sidecar.
    Sidecar(Box<Sidecar>),
    /// `umbra.io` MirrorPolicy.
    MirrorPolicy(Box<MirrorPolicy>),
    /// core Service.
    Service(Service),
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// core Pod.
    Pod(Pod),
    /// core Secret.
    Secret(Box<Secret>),
    /// core Namespace.
    Namespace(Namespace),
    /// core Node.
    Node(Node),
}

impl Object {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Object::VirtualService(_) => Kind::VirtualService,
            Object::DestinationRule(_) => Kind::DestinationRule,
            Object::ServiceEntry(_) => Kind::ServiceEntry,
            Object::Gateway(_) => Kind::Gateway,
            Object::WorkloadEntry(_) => Kind::WorkloadEntry,
            Object::Sidecar(_) => Kind::Sidecar,
            Object::MirrorPolicy(_) => Kind::MirrorPolicy,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::Pod(_) => Kind::Pod,
            Object::Secret(_) => Kind::Secret,
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Object::VirtualService(o) => &o.meta,
            Object::DestinationRule(o) => &o.meta,
            Object::ServiceEntry(o) => &o.meta,
            Object::Gateway(o) => &o.meta,
            Object::WorkloadEntry(o) => &o.meta,
            Object::Sidecar(o) => &o.meta,
            Object::MirrorPolicy(o) => &o.meta,
            Object::Service(o) => &o.meta,
            Object::EndpointSlice(o) => &o.meta,
            Object::Pod(o) => &o.meta,
            Object::Secret(o) => &o.meta,
            Object::Namespace(o) => &o.meta,
            Object::Node(o) => &o.meta,
        }
    }

    /// Kind, namespace and name.
    pub fn id(&self) -> ObjectId {
        let meta = self.meta();
        ObjectId { kind: self.kind(), namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}
