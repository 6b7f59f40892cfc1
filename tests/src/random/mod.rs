//! Random worlds: objects from small pools of names, so that collisions, overlaps and dangling references are
//! common, and everything that can happen to them.
//!
//! Whatever is random is read from a [`Tape`] of numbers. The numbers come from proptest, which shrinks them towards
//! zero, and zero is always the simplest choice: so what fails gets small by itself.

mod bootstrap;
mod check;
mod core;
mod mirror_policies;
mod policies;
mod probed;
mod request;
mod rules;
mod script;
mod sidecars;
mod tape;
mod text;

pub use bootstrap::bootstrap;
pub use check::check_output;
pub use core::{endpoint_slice, node, pod, service};
pub use mirror_policies::mirror_policy;
pub use policies::{destination_rule, gateway, service_entry, workload_entry};
pub use probed::{CLUSTER, Probed, ProbedListener, ROUTE};
pub use request::request;
pub use rules::virtual_service;
pub use script::{Op, Output, World, object, output, proxy, script, settings};
pub use sidecars::sidecar;
pub use tape::Tape;
pub use text::{change_percentages, mangle, manifest, turn_readiness};
