//! What an operator sets for the whole mesh (`umbra.yaml`).

use std::sync::Arc;
use std::time::Duration;

use crate::{Breakers, HostOwnership, OutboundPolicy, PortNumber};

/// Mesh-wide settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where mesh-wide DestinationRules live.
    pub root_namespace: Arc<str>,
    /// The cluster's DNS domain.
    pub cluster_domain: Arc<str>,
    /// Limits and marks of copies.
    pub mirror: MirrorSettings,
    /// How many proxies stand before every gateway and are believed about `x-forwarded-proto` and `x-forwarded-for`,
    /// unless a gateway's Pod says otherwise (Istio's `gatewayTopology.numTrustedProxies`).
    pub trusted_proxies: u32,
    /// What becomes of captured connections for which nothing is known.
    pub outbound_policy: OutboundPolicy,
    /// Whose rules count for calls to a service.
    pub host_ownership: HostOwnership,
    /// How virtual hosts reach proxies that can take them as resources of their own.
    pub route_tables: RouteTables,
    /// Do as Istio does where umbra does otherwise and requests get something else: a destination without a port on a
    /// sidecar, DestinationRules with different `exportTo`.
    pub istio_compatible: bool,
    /// What becomes of a request's path before any rule looks at it.
    pub path_normalization: PathNormalization,
    /// Whether clients may speak HTTP/1.0; `None`: they are answered 426.
    pub http10: Option<Http10>,
    /// Access logs of every listener; `None`: none.
    pub access_log: Option<AccessLog>,
    /// Requests to the destinations of rules are counted, and told to Prometheus by the names of Istio's metrics.
    pub istio_metrics: bool,
}

/// What becomes of a request's path before any rule looks at it (Istio's `pathNormalization.normalization`). What a rule is compared
/// with and what the service is sent is the outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PathNormalization {
    /// Nothing.
    None,
    /// As RFC 3986 says: `.` and `..` are followed, escapes of what needs none are undone; a backslash becomes a slash.
    #[default]
    Base,
    /// Then several slashes become one.
    MergeSlashes,
    /// Before all of that `%2F` and `%5C` become what they stand for.
    DecodeAndMergeSlashes,
}

/// How clients are served that speak HTTP/1.0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http10 {
    /// The host of a request that names none; empty: such a request is answered 400.
    pub default_host: Arc<str>,
}

/// How virtual hosts reach a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum RouteTables {
    /// In their route configuration: a change of one is a push of all.
    Plain,
    /// Each as a resource of its own, in tables of other names, for proxies that take them.
    #[default]
    Hosts,
}

/// Limits and marks of copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorSettings {
    /// Append `-shadow` to the copy's Host.
    pub shadow_suffix: bool,
    /// How long one copy may take.
    pub max_stream_duration: Duration,
    /// At most so much at once, per proxy and mirror cluster.
    pub breakers: Breakers,
    /// Copies say of which mirror they are.
    pub mark: bool,
    /// Routes with copies have statistics of their own, and what proxies send of them and of copies is counted.
    pub observe: bool,
    /// For how long proxies go on copying when umbra is silent; `None`: for ever. Theirs alone that have RTDS.
    pub dead_man: Option<Duration>,
}

/// Where and how Envoy logs requests; to a file, a service, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    /// A path on the proxy's machine, such as `/dev/stdout`.
    pub path: Option<Arc<str>>,
    /// Its format, and that of a line for [`LogProtocol::OpenTelemetry`].
    pub format: AccessLogFormat,
    /// The service that every request is told, too.
    pub service: Option<LogService>,
    /// A line for each marked copy, too.
    pub copies: bool,
}

/// A service that takes access logs by gRPC, without TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogService {
    /// Its name in DNS, or an address.
    pub host: Arc<str>,
    /// Its port.
    pub port: PortNumber,
    /// What it speaks.
    pub protocol: LogProtocol,
    /// By what name it tells this log from others.
    pub log_name: Arc<str>,
}

/// What a service of access logs speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogProtocol {
    /// `envoy.service.accesslog.v3.AccessLogService`.
    Envoy,
    /// `opentelemetry.proto.collector.logs.v1.LogsService`.
    OpenTelemetry,
}

/// Istio's two formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// Istio's text line.
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            root_namespace: "istio-system".into(),
            cluster_domain: "cluster.local".into(),
            mirror: MirrorSettings {
                shadow_suffix: true,
                max_stream_duration: Duration::from_secs(60),
                breakers: Breakers {
                    max_connections: 1024,
                    max_pending_requests: 1024,
                    max_requests: 1024,
                    max_retries: 3,
                },
                mark: false,
                observe: true,
                dead_man: None,
            },
            trusted_proxies: 0,
            outbound_policy: OutboundPolicy::default(),
            host_ownership: HostOwnership::default(),
            route_tables: RouteTables::default(),
            istio_compatible: false,
            path_normalization: PathNormalization::default(),
            http10: None,
            access_log: None,
            istio_metrics: true,
        }
    }
}
