//! What an operator sets for the whole mesh (`umbra.yaml`).

use std::sync::Arc;
use std::time::Duration;

use crate::{Breakers, HostOwnership, OutboundPolicy};

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
    /// Access logs of every listener; `None`: none.
    pub access_log: Option<AccessLog>,
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
    /// Routes with copies have statistics of their own, and what proxies send of them and of copies is counted.
    pub observe: bool,
}

/// Where and how Envoy logs requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    /// A path on the proxy's machine, such as `/dev/stdout`.
    pub path: Arc<str>,
    /// Its format.
    pub format: AccessLogFormat,
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
                observe: true,
            },
            trusted_proxies: 0,
            outbound_policy: OutboundPolicy::default(),
            host_ownership: HostOwnership::default(),
            route_tables: RouteTables::default(),
            istio_compatible: false,
            access_log: None,
        }
    }
}
