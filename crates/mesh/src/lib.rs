//! What any mesh means: ir to ir.
//!
//! Owns: what a client may see, where its rules apply, what a destination comes to, tables of virtual hosts, and the
//! diagnostics about these.
//! Does not own: what an API's objects say (`istio`, `core`), Envoy's messages (`envoy`), when to compute (`engine`).
//! Invariants: pure functions; no object of `api` is seen; the world is read through [`View`] only; what is broken is
//! left out with a diagnostic and never touches the rest.
//! Start reading at: [`View`], [`bind_scope`], [`bind_routes`], [`resolve_target`].

mod called;
mod captured;
mod chains;
mod classes;
mod clusters;
mod connections;
mod copies;
mod endpoints;
mod filter;
mod gateway_heads;
mod gateway_ports;
mod gateway_servers;
mod gateways;
mod hashing;
mod imports;
mod istio_policy;
mod judged;
mod localities;
mod manifest;
mod namespaces;
mod ownership;
mod policy;
mod report;
mod routes;
mod runtime;
mod scope;
mod seen;
mod services;
mod sidecar;
mod target;
mod view;
mod virtual_host;

pub use called::select_port_owner;
pub use captured::{select_captured_listeners, select_captured_tables};
pub use classes::{resolve_class, select_mentioned_labels};
pub use clusters::{bind_cluster, bind_load_assignment, select_service_clusters, select_subsets_kept};
pub use endpoints::{merge_endpoints, select_members};
pub use gateway_servers::select_server_conflicts;
pub use imports::{select_imports, select_sidecars};
pub use localities::select_place_labels;
pub use manifest::{Manifest, bind_manifest};
pub use namespaces::{resolve_class_namespace, select_named_namespaces};
pub use ownership::{select_foreign_rules, select_foreign_rules_of};
pub use policy::resolve_policy;
pub use report::{
    Report, report_connections, report_foreign_rules, report_gateway, report_ports, report_rules,
    report_sidecar,
};
pub use routes::bind_routes;
pub use runtime::bind_runtime;
pub use scope::{bind_scope, select_bound_rules};
pub use seen::{select_exported_policies, select_own_policies, select_rule_targets, select_rules_apart};
pub use services::{
    resolve_service, select_listened_ports, select_services_named, select_services_under,
    select_visible_services,
};
pub use target::resolve_target;
pub use view::{Index, Inputs, View};
