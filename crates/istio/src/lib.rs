//! What the API means: api to ir.
//!
//! Owns: visibility, host lookup, merges, subsets, gateway binding, mirrors, proxy classes, and the
//! diagnostics about objects together.
//! Does not own: judging one object alone (`api`), Envoy's messages (`envoy`), when to compute (`engine`).
//! Invariants: pure functions; the world is read through [`View`] only; broken input is left out with a
//! diagnostic and never touches the rest.
//! Start reading at: [`resolve_rules`], [`bind_routes`], [`bind_sidecar_scope`].

mod abort;
mod balancers;
mod budget;
mod connection_rules;
mod delegates;
mod destination_rules;
mod filters;
mod gateways;
mod headers;
mod matches;
mod mirror_policies;
mod mirrors;
mod names;
mod node;
mod numbers;
mod outliers;
mod ramp;
mod report;
mod rules;
mod service_entries;
mod sidecars;
mod stop;
mod verdicts;
mod workloads;

pub use abort::{ABORT, ABORTED, record_abort};
pub use connection_rules::resolve_connection_rules;
pub use delegates::{list_delegates, select_delegates};
pub use destination_rules::{list_subsets, merge_destination_rules, select_namespace_destination_rules};
pub use gateways::resolve_gateway_head;
pub use mirror_policies::{
    list_policed_mirrors, report_mirror_policy, select_mirror_policies, select_policy_target,
};
pub use names::{resolve_gateway, resolve_host};
pub use node::{NodeError, parse_node};
pub use ramp::{RAMP, record_ramp};
pub use report::{
    list_mirrors, report_abort, report_delegation, report_destination_rule, report_stop, report_verdicts,
};
pub use rules::{resolve_rule_head, resolve_rules, resolve_shares};
pub use service_entries::{
    entry_endpoints, entry_selection, hosts_are_endpoints, list_addresses, resolve_entry_heads,
};
pub use sidecars::resolve_sidecar_head;
pub use stop::{STOP, Stop, StopsAll};
pub use verdicts::{CONTENTS, EXAMPLES, VERDICTS};
pub use workloads::{report_selected, workload_endpoints, workload_labels};
