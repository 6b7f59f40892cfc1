//! Which object: the identity of everything umbra reads.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The kinds umbra reads, in the order in which listings show them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum Kind {
    /// `networking.istio.io` VirtualService.
    VirtualService,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// `networking.istio.io` Gateway.
    Gateway,
    /// core Service.
    Service,
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice,
    /// core Pod.
    Pod,
    /// core Namespace.
    Namespace,
    /// core Node.
    Node,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Kind; 9] = [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::ServiceEntry,
        Kind::Gateway,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Namespace,
        Kind::Node,
    ];

    /// The `kind` field of its manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::VirtualService => "VirtualService",
            Kind::DestinationRule => "DestinationRule",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::Gateway => "Gateway",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Pod => "Pod",
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
        }
    }

    /// Namespaces and Nodes belong to the cluster, everything else to a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::Node)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object: kind, namespace (empty for cluster-scoped kinds) and name, as written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct ObjectId {
    /// What it is.
    pub kind: Kind,
    /// Where it lives.
    pub namespace: Arc<str>,
    /// What it is called there.
    pub name: Arc<str>,
}

impl ObjectId {
    /// Puts the three together.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        ObjectId { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    /// `VirtualService default/httpbin`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A part of an object and where it stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed<T> {
    /// The part.
    pub value: T,
    /// Its path, such as `spec.hosts[0]`, for diagnostics.
    pub field: String,
}
