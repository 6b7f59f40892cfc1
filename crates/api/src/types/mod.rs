//! The objects as Rust types: one module per resource kind or group of fields.

pub mod core;
pub mod destination_rule;
pub mod gateway;
pub mod http_action;
pub mod http_route;
pub mod mirror_policy;
pub mod object;
pub mod scalar;
pub mod secret;
pub mod service_entry;
pub mod sidecar;
pub mod traffic_policy;
pub mod virtual_service;
