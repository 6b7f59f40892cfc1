//! A cluster and a load assignment, ready to be built.

use std::time::Duration;

use crate::{
    Arrangement, ClusterRef, ConnectionPool, Endpoint, HashKey, LoadBalancer, OutlierDetection, PortNumber,
    ProxyProtocol, RetryBudget, TlsOrigination, Warmup,
};

/// Circuit breaker thresholds (`envoy.config.cluster.v3.CircuitBreakers.Thresholds`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Breakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests waiting for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
}

impl Breakers {
    /// Istio's default for production: no limit.
    pub const UNLIMITED: Breakers = Breakers {
        max_connections: u32::MAX,
        max_pending_requests: u32::MAX,
        max_requests: u32::MAX,
        max_retries: u32::MAX,
    };

    /// The smaller of each pair.
    pub fn min(self, other: Breakers) -> Breakers {
        Breakers {
            max_connections: self.max_connections.min(other.max_connections),
            max_pending_requests: self.max_pending_requests.min(other.max_pending_requests),
            max_requests: self.max_requests.min(other.max_requests),
            max_retries: self.max_retries.min(other.max_retries),
        }
    }
}

/// Where a cluster's endpoints come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Discovery {
    /// A load assignment named after the primary cluster, which mirror clusters share.
    Eds,
    /// STRICT_DNS with these endpoints inline (`address` is a name or an IP).
    StrictDns(Vec<Endpoint>, Arrangement),
    /// LOGICAL_DNS with this endpoint inline: one address of its answers at a time.
    LogicalDns(Box<Endpoint>),
    /// A dynamic forward proxy: each request's Host is looked up, or the name that a client asks for in TLS.
    AsAsked,
    /// ORIGINAL_DST: each connection goes to the address that it wanted to go to, maybe to another port there.
    OriginalDst(Option<PortNumber>),
}

/// Which HTTP version upstream connections speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The same as downstream.
    Downstream,
}

/// One cluster (`envoy.config.cluster.v3.Cluster`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// What it is; its name is made of this.
    pub reference: ClusterRef,
    /// Where endpoints come from.
    pub discovery: Discovery,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// The weights of localities count, not those of their endpoints.
    pub locality_weighted: bool,
    /// How new endpoints begin.
    pub warmup: Option<Warmup>,
    /// What decides for requests of this cluster, whatever their route says: for copies, whose route is not asked.
    pub hash: Option<HashKey>,
    /// When an endpoint is taken out for a while; never for copies.
    pub outlier_detection: Option<OutlierDetection>,
    /// Limits.
    pub breakers: Breakers,
    /// Upstream protocol.
    pub protocol: UpstreamProtocol,
    /// Retries as a share of requests; `None`: as many as the limits allow.
    pub retry_budget: Option<RetryBudget>,
    /// How each connection begins, before TLS.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS; `None` is plaintext.
    pub tls: Option<TlsOrigination>,
    /// The remaining connection settings (limits in it are already in `breakers`).
    pub connection_pool: ConnectionPool,
    /// How long one request may take at all; finite for mirrors, so that a target that hangs cannot
    /// hold shadows for ever.
    pub max_stream_duration: Option<Duration>,
}

/// The endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadAssignment {
    /// Named after the primary cluster.
    pub reference: ClusterRef,
    /// Ready endpoints, sorted.
    pub endpoints: Vec<Endpoint>,
    /// For a client in some place.
    pub arrangement: Arrangement,
}
