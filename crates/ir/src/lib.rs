//! The mesh in our own plain data.
//!
//! Owns: names, diagnostics, services, endpoints, subsets, virtual hosts, routes, mirrors, proxies.
//! Does not own: how any of it is found out (`istio`) or what Envoy makes of it (`envoy`).
//! Invariants: no Kubernetes type, no Envoy type, no IO; every value is `Eq`, because equality is what
//! stops recomputation.
//! Start reading at: [`Rule`], [`ClusterRef`], [`Route`].

mod diagnostic;
mod names;
mod object;

pub use diagnostic::{Diagnostic, Severity};
pub use names::{Hostname, PortNumber, RuntimeFraction, RuntimeKey, SubsetName};
pub use object::{Kind, ObjectId};
