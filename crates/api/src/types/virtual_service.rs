//! VirtualService: hosts, gateways and the three lists of routes.
//! Source: Istio's `networking/v1alpha3/virtual_service.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_route::{Destination, HttpRoute};
use super::scalar::int32;

/// `spec` of a VirtualService.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Host names (short, full or wildcard). Empty: a delegate, never served by itself.
    pub hosts: Vec<String>,
    /// Gateways and the word `mesh`; empty means `mesh`.
    pub gateways: Vec<String>,
    /// HTTP rules, first match wins.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS that is passed through.
    pub tls: Vec<TlsRoute>,
    /// Rules for plain TCP.
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that may see it: names, `.`, `*`, `~`; empty means `*`.
    pub export_to: Vec<String>,
}

/// One rule for passed-through TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsRoute {
    /// Which connections.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatch>,
    /// Where to.
    pub route: Vec<RouteDestination>,
}

/// One rule for TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpRoute {
    /// Which connections.
    #[serde(rename = "match")]
    pub matches: Vec<L4Match>,
    /// Where to.
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TLS connection (`TLSMatchAttributes`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsMatch {
    /// Server names.
    pub sni_hosts: Vec<String>,
    /// Destination addresses or CIDR blocks.
    pub destination_subnets: Vec<String>,
    /// Port of the listener.
    pub port: u32,
    /// Labels of the client workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways for which the condition counts.
    pub gateways: Vec<String>,
    /// Namespace of the client workload.
    pub source_namespace: String,
}

/// Conditions on a TCP connection (`L4MatchAttributes`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct L4Match {
    /// Destination addresses or CIDR blocks.
    pub destination_subnets: Vec<String>,
    /// Port of the listener.
    pub port: u32,
    /// Client address or CIDR block (deprecated).
    pub source_subnet: String,
    /// Labels of the client workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways for which the condition counts.
    pub gateways: Vec<String>,
    /// Namespace of the client workload.
    pub source_namespace: String,
}

/// A weighted destination of a TCP or TLS rule (`RouteDestination`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteDestination {
    /// Where to.
    pub destination: Option<Destination>,
    /// Relative share.
    #[serde(deserialize_with = "int32")]
    pub weight: Option<i64>,
}
