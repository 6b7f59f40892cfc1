//! DestinationRule's `trafficPolicy` and everything in it.
//! Source: Istio's `networking/v1alpha3/destination_rule.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_route::PortSelector;
use super::scalar::{Double, Duration, proto_enum};

/// Policy towards a destination (`TrafficPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// Client TLS.
    pub tls: Option<ClientTlsSettings>,
    /// Replacements for single ports; a matching entry replaces the four fields above as a whole.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// HTTP CONNECT tunnels.
    pub tunnel: Option<TunnelSettings>,
    /// PROXY protocol towards the destination.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit of retries relative to requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policy for one port (`TrafficPolicy.PortTrafficPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The service port.
    pub port: Option<PortSelector>,
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// Client TLS.
    pub tls: Option<ClientTlsSettings>,
}

/// `TrafficPolicy.TunnelSettings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TunnelSettings {
    /// CONNECT or POST.
    pub protocol: String,
    /// Host inside the tunnel.
    pub target_host: String,
    /// Port inside the tunnel.
    pub target_port: u32,
}

/// `TrafficPolicy.ProxyProtocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Version.
    pub version: ProxyProtocolVersion,
}

proto_enum! {
    /// `TrafficPolicy.ProxyProtocol.VERSION`.
    ProxyProtocolVersion {
        /// Version 1, text.
        V1 = 0 "V1",
        /// Version 2, binary.
        V2 = 1 "V2",
    }
}

/// `TrafficPolicy.RetryBudget`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryBudget {
    /// Retries as a share of active requests, in percent; absent: 20.
    pub percent: Option<Double>,
    /// Retries that are always allowed; absent: 3.
    pub min_retry_concurrency: u32,
    /// Window over which requests are counted.
    pub budget_interval: Option<Duration>,
}

/// How an endpoint is chosen (`LoadBalancerSettings`); `simple` and `consistent_hash` exclude each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerSettings {
    /// Without memory of the client.
    pub simple: Option<SimpleLb>,
    /// The same client to the same endpoint.
    pub consistent_hash: Option<ConsistentHashLb>,
    /// By distance.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// By zone, in proportion to the endpoints there.
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// Old spelling of `warmup.duration`.
    pub warmup_duration_secs: Option<Duration>,
    /// Slow start of new endpoints.
    pub warmup: Option<WarmupConfiguration>,
}

proto_enum! {
    /// `LoadBalancerSettings.SimpleLB`.
    SimpleLb {
        /// Istio's choice: least request.
        Unspecified = 0 "UNSPECIFIED",
        /// Old name of least request.
        LeastConn = 1 "LEAST_CONN",
        /// Any.
        Random = 2 "RANDOM",
        /// The address that the client called.
        Passthrough = 3 "PASSTHROUGH",
        /// In turn.
        RoundRobin = 4 "ROUND_ROBIN",
        /// The one with fewer outstanding requests of two.
        LeastRequest = 5 "LEAST_REQUEST",
    }
}

/// `LoadBalancerSettings.ConsistentHashLB`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsistentHashLb {
    /// Hash this header.
    pub http_header_name: Option<String>,
    /// Hash this cookie.
    pub http_cookie: Option<HttpCookie>,
    /// Hash the client's address.
    pub use_source_ip: Option<bool>,
    /// Hash this query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Ring hash.
    pub ring_hash: Option<RingHash>,
    /// Maglev.
    pub maglev: Option<MagLev>,
    /// Old spelling of `ringHash.minimumRingSize`.
    pub minimum_ring_size: u64,
}

/// A cookie to hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpCookie {
    /// Name.
    pub name: String,
    /// Path.
    pub path: String,
    /// Lifetime; present: the cookie is made when it is missing.
    pub ttl: Option<Duration>,
    /// Further attributes.
    pub attributes: Vec<CookieAttribute>,
}

/// A cookie attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CookieAttribute {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// Parameters of ring hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RingHash {
    /// Fewest nodes on the ring.
    pub minimum_ring_size: u64,
}

/// Parameters of Maglev.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MagLev {
    /// Size of the table, a prime.
    pub table_size: u64,
}

/// Slow start (`WarmupConfiguration`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WarmupConfiguration {
    /// How long an endpoint counts as new.
    pub duration: Option<Duration>,
    /// Share at the start, in percent.
    pub minimum_percent: Option<Double>,
    /// Shape of the ramp.
    pub aggression: Option<Double>,
}

/// By distance (`LocalityLoadBalancerSetting`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalityLbSetting {
    /// Shares by locality.
    pub distribute: Vec<LocalityDistribute>,
    /// Where to when a region fails.
    pub failover: Vec<LocalityFailover>,
    /// Labels in order of priority.
    pub failover_priority: Vec<String>,
    /// Whether any of it counts.
    pub enabled: Option<bool>,
}

/// By zone (`ZoneAwareLoadBalancerSetting`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ZoneAwareLbSetting {
    /// Whether any of it counts.
    pub enabled: Option<bool>,
    /// Where to when a region fails.
    pub failover: Vec<LocalityFailover>,
    /// Labels in order of priority.
    pub failover_priority: Vec<String>,
    /// Fewest endpoints for which it counts.
    pub min_cluster_size: Option<u32>,
}

/// Shares for clients in one locality.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalityDistribute {
    /// Locality of the client.
    pub from: String,
    /// Share by locality of the endpoint.
    pub to: BTreeMap<String, u32>,
}

/// Failover of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalityFailover {
    /// Region of the client.
    pub from: String,
    /// Region that takes over.
    pub to: String,
}

/// Limits and timeouts (`ConnectionPoolSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionPoolSettings {
    /// Of connections.
    pub tcp: Option<TcpSettings>,
    /// Of requests.
    pub http: Option<HttpSettings>,
}

/// `ConnectionPoolSettings.TCPSettings`; a number of 0 means "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpSettings {
    /// Most connections to the destination.
    pub max_connections: i32,
    /// Absent: 10s.
    pub connect_timeout: Option<Duration>,
    /// Keepalive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Longest life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Longest silence of a connection.
    pub idle_timeout: Option<Duration>,
}

/// TCP keepalive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection counts as dead.
    pub probes: u32,
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// `ConnectionPoolSettings.HTTPSettings`; a number of 0 means "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSettings {
    /// Most requests that wait for a connection.
    pub http1_max_pending_requests: i32,
    /// Most active requests.
    pub http2_max_requests: i32,
    /// Most requests on one connection.
    pub max_requests_per_connection: i32,
    /// Most retries at once.
    pub max_retries: i32,
    /// Longest time without a request on a connection.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 becomes HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Speak what the client speaks.
    pub use_client_protocol: bool,
    /// Most streams on one HTTP/2 connection.
    pub max_concurrent_streams: i32,
    /// HTTP/2 PING.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// HTTP/2 PING settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Http2KeepAlive {
    /// Time between pings.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
}

proto_enum! {
    /// `HTTPSettings.H2UpgradePolicy`.
    H2UpgradePolicy {
        /// The mesh's default: no upgrade.
        Default = 0 "DEFAULT",
        /// No.
        DoNotUpgrade = 1 "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = 2 "UPGRADE",
    }
}

/// Ejection of endpoints that fail (`OutlierDetection`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Deprecated; ignored by Istio too.
    pub consecutive_errors: i32,
    /// Whether failures on our side are counted apart.
    pub split_external_local_origin_errors: bool,
    /// Failures on our side in a row.
    pub consecutive_local_origin_failures: Option<u32>,
    /// 502, 503 and 504 in a row.
    pub consecutive_gateway_errors: Option<u32>,
    /// 5xx in a row.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between sweeps.
    pub interval: Option<Duration>,
    /// Shortest ejection.
    pub base_ejection_time: Option<Duration>,
    /// Most endpoints ejected, in percent.
    pub max_ejection_percent: i32,
    /// Off when fewer are healthy, in percent.
    pub min_health_percent: i32,
    /// Status codes that count as errors.
    pub outlier_detection_http_error_codes: Vec<u32>,
}

/// Client TLS (`ClientTLSSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientTlsSettings {
    /// How.
    pub mode: ClientTlsMode,
    /// File on the proxy.
    pub client_certificate: String,
    /// File on the proxy.
    pub private_key: String,
    /// File on the proxy; empty: the system's authorities.
    pub ca_certificates: String,
    /// Secret that holds them instead.
    pub credential_name: String,
    /// Names that the server's certificate may carry.
    pub subject_alt_names: Vec<String>,
    /// Server name to send; empty: the request's host.
    pub sni: String,
    /// Trust any certificate.
    pub insecure_skip_verify: Option<bool>,
    /// File with revoked certificates.
    pub ca_crl: String,
}

proto_enum! {
    /// `ClientTLSSettings.TLSmode`.
    ClientTlsMode {
        /// Plaintext.
        Disable = 0 "DISABLE",
        /// TLS.
        Simple = 1 "SIMPLE",
        /// TLS with a client certificate.
        Mutual = 2 "MUTUAL",
        /// TLS with the mesh's certificate.
        IstioMutual = 3 "ISTIO_MUTUAL",
    }
}
