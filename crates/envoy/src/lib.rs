//! What Envoy needs: the mesh's plain data to encoded resources.
//!
//! Owns: names, order and content of clusters, load assignments, route configurations, listeners, the runtime
//! layer and the bootstrap.
//! Does not own: what the API means (`istio`), versions and the protocol (`xds`).
//! Invariants: every builder is pure, and the same input gives the same bytes; no deprecated field of Envoy's API
//! is emitted; no cluster carries an upstream HTTP filter but the one that only looks (one that replies locally to a copy ends the proxy);
//! no cluster name and no set of weights is ever empty.
//! Start reading at: [`Built`], [`build_cluster`], [`build_virtual_host`].

mod access_log;
mod as_asked;
mod balancers;
mod bootstrap;
mod built;
mod built_in;
mod captured;
mod chain;
mod cluster;
mod contents;
mod convert;
mod gateway_listener;
mod header_ops;
mod http_filters;
mod http_options;
mod judged;
mod listener;
mod load_assignment;
mod matching;
mod mirror;
mod names;
mod outliers;
mod proxy_protocol;
mod route;
mod route_action;
mod routes;
mod runtime;
mod secret;
mod tls;
mod virtual_host;
mod weights;

pub use access_log::{LOG_CLUSTER, build_log_cluster};
pub use bootstrap::{
    BootstrapOptions, BootstrapTls, BootstrapToken, CONTENTS, OBSERVE, VERDICTS, XDS_CLUSTER, bootstrap_json,
    build_bootstrap, token_secret_json,
};
pub use built::{Built, Requirement};
pub use built_in::build_built_in_cluster;
pub use captured::build_captured_listener;
pub use cluster::build_cluster;
pub use contents::{CLUSTER, CONTENTS_CLUSTER, COPY, PRIMARY, ROUTE, SIDE, START, judged_rule};
pub use gateway_listener::build_gateway_listener;
pub use judged::{JUDGE_CLUSTER, JUDGE_LOG};
pub use listener::build_listener;
pub use load_assignment::build_load_assignment;
pub use names::{
    captured_listener_name, cluster_name, gateway_listener_name, host_name, listener_name,
    load_assignment_name,
};
pub use routes::{EncodedRoutes, build_routes, order_routes};
pub use runtime::{RuntimeLayer, build_runtime, fraction_in, runtime_forms};
pub use secret::build_credential;
pub use virtual_host::{
    EncodedVirtualHost, build_host, build_hosts_table, build_route_configuration, build_virtual_host,
};
