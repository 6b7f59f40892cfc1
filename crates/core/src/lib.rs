//! What Kubernetes' own objects mean: api to ir.
//!
//! Owns: Service, EndpointSlice, Pod and Node to service heads and endpoints, the ports of gateways behind Services, and
//! what of a Secret can be served.
//! Does not own: judging one object alone (`api`), which service a host means (`mesh`), Istio's objects (`istio`).
//! Invariants: pure functions; objects are read through `Objects`, indexes through the mesh's `View`; an endpoint whose
//! Pod is not known is held back.
//! Start reading at: [`resolve_service_heads`], [`service_endpoints`].

mod endpoints;
mod names;
mod places;
mod pods;
mod ports;
mod report;
mod secrets;
mod selections;
mod services;

pub use endpoints::{selected_endpoints, service_endpoints};
pub use pods::{resolve_pod_head, select_bare_namespaces, select_bare_pods, select_selected_labels};
pub use ports::resolve_listener_port;
pub use report::report_service;
pub use secrets::{resolve_secret_head, succeed_secret};
pub use selections::{report_gateway_pods, report_selector, resolve_has_pods};
pub use services::{list_addresses, resolve_service_heads};
