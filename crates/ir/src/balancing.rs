//! How an endpoint is chosen (DestinationRule's `loadBalancer`).

use std::time::Duration;

use serde::Serialize;

use crate::LocalityBalancing;

/// `loadBalancer`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LoadBalancing {
    /// Among the endpoints.
    pub balancer: LoadBalancer,
    /// What of a request decides, with [`LoadBalancer::RingHash`] and [`LoadBalancer::Maglev`].
    pub hash: Option<HashKey>,
    /// How new endpoints begin.
    pub warmup: Option<Warmup>,
    /// By where client and endpoints are.
    pub locality: Option<LocalityBalancing>,
}

/// `loadBalancer.simple` and `consistentHash`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub enum LoadBalancer {
    /// Also what UNSPECIFIED and LEAST_CONN mean.
    #[default]
    LeastRequest,
    /// RANDOM.
    Random,
    /// ROUND_ROBIN.
    RoundRobin,
    /// PASSTHROUGH: no endpoint is chosen, a connection goes to the address that its caller called.
    Passthrough,
    /// `consistentHash` by a ring with so many entries at least.
    RingHash(u64),
    /// `consistentHash.maglev` with a table of that size; `None`: Envoy's, 65537.
    Maglev(Option<u64>),
}

impl LoadBalancer {
    /// The size of a ring when none is written (Envoy's and Istio's default).
    pub const RING: u64 = 1024;

    /// Whether what is hashed decides.
    pub fn is_hashing(self) -> bool {
        matches!(self, LoadBalancer::RingHash(_) | LoadBalancer::Maglev(_))
    }
}

/// What of a request decides to which endpoint it goes (`envoy.config.route.v3.RouteAction.HashPolicy`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum HashKey {
    /// A header.
    Header(String),
    /// A cookie.
    Cookie(HashCookie),
    /// The client's address.
    SourceAddress,
    /// A query parameter.
    Query(String),
}

/// A cookie that decides.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Its life; a request without it is answered with a new one then, for 0 until the browser ends. `None`: only those
    /// count that clients bring.
    pub ttl: Option<Duration>,
    /// The path of a new one.
    pub path: String,
    /// Further attributes of a new one.
    pub attributes: Vec<(String, String)>,
}

impl HashKey {
    /// What decides for a copy. The client of a copy is not known, and a cookie that a copy asks for would end Envoy
    /// 1.40.
    pub fn for_copies(&self) -> Option<HashKey> {
        match self {
            HashKey::Header(_) | HashKey::Query(_) => Some(self.clone()),
            HashKey::Cookie(cookie) => {
                Some(HashKey::Cookie(HashCookie { name: cookie.name.clone(), ..HashCookie::default() }))
            }
            HashKey::SourceAddress => None,
        }
    }
}

/// `warmup`: how new endpoints begin (`envoy.config.cluster.v3.Cluster.SlowStartConfig`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Warmup {
    /// How long an endpoint counts as new.
    pub duration: Duration,
    /// Its share in the beginning, in percent of its full one.
    pub minimum_percent: Number,
    /// The shape of the way up; 1: a line.
    pub aggression: Number,
}

/// A number with equality by bits: equality is what stops recomputation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Number {}
