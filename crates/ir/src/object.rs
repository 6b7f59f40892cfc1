//! Which object: the identity of everything umbra reads.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::Kind;

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
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Placed<T> {
    /// The part.
    pub value: T,
    /// Its path, such as `spec.hosts[0]`, for diagnostics.
    pub field: String,
}
