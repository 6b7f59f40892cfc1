//! Sidecar: what the proxies of some workloads can call.
//! Source: Istio's `networking/v1alpha3/sidecar.proto`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::gateway::ServerTlsSettings;
use super::http_route::Destination;
use super::scalar::proto_enum;
use super::service_entry::WorkloadSelector;
use super::traffic_policy::ConnectionPoolSettings;

/// `spec` of a Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SidecarSpec {
    /// The workloads of the namespace that it is for; absent: those for which no other one is.
    pub workload_selector: Option<WorkloadSelector>,
    /// What the workload serves.
    pub ingress: Vec<IngressListener>,
    /// What the workload calls; none: every visible service.
    pub egress: Vec<EgressListener>,
    /// Limits of what comes in.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// What becomes of calls to what is not listed; absent: as the mesh says.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// What may be called, on one port or on all others (`IstioEgressListener`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct EgressListener {
    /// The port; absent: every port that no earlier entry names.
    pub port: Option<SidecarPort>,
    /// Address to listen on.
    pub bind: String,
    /// How calls get there.
    pub capture_mode: CaptureMode,
    /// Hosts as `namespace/host`.
    pub hosts: Vec<String>,
}

/// What comes in on one port (`IstioIngressListener`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressListener {
    /// The port.
    pub port: Option<SidecarPort>,
    /// Address to listen on.
    pub bind: String,
    /// How calls get there.
    pub capture_mode: CaptureMode,
    /// Where the application listens.
    pub default_endpoint: String,
    /// Server TLS.
    pub tls: Option<ServerTlsSettings>,
    /// Limits of what comes in.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// A port (`SidecarPort`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SidecarPort {
    /// Number; 0 for a Unix socket.
    pub number: u32,
    /// Protocol, such as HTTP; empty or unknown: auto-detected.
    pub protocol: String,
    /// Name.
    pub name: String,
    /// Deprecated.
    pub target_port: u32,
}

/// What becomes of calls to what is not known (`OutboundTrafficPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// Which; absent: `REGISTRY_ONLY`.
    pub mode: OutboundMode,
    /// The service that takes them instead.
    pub egress_proxy: Option<Destination>,
}

proto_enum! {
    /// `OutboundTrafficPolicy.Mode`.
    OutboundMode {
        /// They end.
        RegistryOnly = 0 "REGISTRY_ONLY",
        /// They go where they wanted to go.
        AllowAny = 1 "ALLOW_ANY",
        /// They go to what DNS says of their host.
        AllowAnyDynamicDns = 2 "ALLOW_ANY_DYNAMIC_DNS",
    }
}

proto_enum! {
    /// `CaptureMode`.
    CaptureMode {
        /// As the proxy says.
        Default = 0 "DEFAULT",
        /// The kernel hands connections over.
        Iptables = 1 "IPTABLES",
        /// The application calls the proxy.
        None = 2 "NONE",
    }
}
