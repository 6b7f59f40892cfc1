//! Whose word counts about calls to a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::{Hostname, ObjectId};

/// Whose routing rules count for calls to a service, and whose copies it takes (`hostOwnership`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub enum HostOwnership {
    /// Anybody's, as with Istio: a rule counts wherever it is exported to.
    #[default]
    Open,
    /// Those of the service's own namespace, of the root namespace, and of the caller's.
    Own,
    /// As [`HostOwnership::Own`], and those of the namespaces that the service admits.
    Consent,
}

/// The annotation by which a Service or ServiceEntry admits rules and copies of other namespaces: `a,b`, or `*`.
pub const RULES_FROM: &str = "umbra.io/rules-from";

/// Rules about services of other namespaces, by those namespaces; under the empty name those about every namespace.
pub type ForeignRules = BTreeMap<Arc<str>, Vec<(ObjectId, Hostname)>>;
