//! What the API means: api to ir.
//!
//! Owns: visibility, host lookup, merges, subsets, gateway binding, mirrors, proxy classes, and the
//! diagnostics about objects together.
//! Does not own: judging one object alone (`api`), Envoy's messages (`envoy`), when to compute (`engine`).
//! Invariants: pure functions; the world is read through [`View`] only; broken input is left out with a
//! diagnostic and never touches the rest.
//! Start reading at: [`resolve_rules`], [`bind_routes`], [`bind_sidecar_scope`].

mod clusters;
mod destination_rules;
mod endpoints;
mod gateways;
mod headers;
mod matches;
mod mirrors;
mod names;
mod proxies;
mod report;
mod rules;
mod services;
mod world;

pub use clusters::{bind_cluster, bind_load_assignment, select_service_clusters, uses_load_assignment};
pub use destination_rules::{merge_rule_set, resolve_policy, select_namespace_rules};
pub use endpoints::{resolve_endpoints, select_members};
pub use gateways::{bind_gateway_scope, resolve_gateway_head};
pub use names::{resolve_gateway, resolve_host, service_host};
pub use proxies::{NodeError, parse_node, resolve_class, select_mentioned_labels};
pub use report::{ObjectReport, report_object};
pub use rules::{resolve_rule_head, resolve_rules, resolve_shares};
pub use services::{resolve_service, resolve_service_heads, select_visible_services};
pub use world::World;
