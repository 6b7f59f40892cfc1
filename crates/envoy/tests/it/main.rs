//! The builders through their public interface: what they emit as Envoy's own JSON, and the real Envoy's word.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bootstrap;
mod clusters;
mod listeners;
mod mirrors;
mod real_envoy;
mod routes;
mod samples;
mod tables;

use std::sync::Arc;

use serde_json::Value;
use umbra_envoy::{EncodedVirtualHost, build_route_configuration, build_routes, build_virtual_host};
use umbra_ir::{Route, RouteList, RouteOrder, VirtualHostSpec};
use umbra_proto::{json::to_json, type_url};

/// A resource as Envoy's JSON.
fn json(url: &str, body: &[u8]) -> Value {
    to_json(url, body).unwrap()
}

/// One virtual host around `routes`, encoded.
fn encoded(routes: Vec<Route>) -> Arc<EncodedVirtualHost> {
    let host = VirtualHostSpec {
        name: "httpbin:8000".to_owned(),
        domains: vec!["httpbin".to_owned(), "httpbin.default".to_owned()],
        sources: Vec::new(),
        order: RouteOrder::CatchAllsLast,
        require_tls: false,
    };
    Arc::new(build_virtual_host(&host, &[Arc::new(build_routes(&RouteList { routes }))]))
}

/// One route as it stands in a table.
fn route_json(route: Route) -> Value {
    let table = build_route_configuration("8000", &[encoded(vec![route])]);
    json(type_url::ROUTE, &table.body)["virtualHosts"][0]["routes"][0].clone()
}
