//! Captured traffic: connections that the kernel hands to the proxy, wherever they wanted to go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{Chain, ClusterRef, Judges, ObjectId, Placed, PortNumber, Shared};

/// How a sidecar comes by the application's connections (`INTERCEPTION_MODE` of its node).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Interception {
    /// `NONE`: the application calls `127.0.0.1:<service port>`.
    #[default]
    None,
    /// `REDIRECT`: what the application calls anywhere arrives at port 15001.
    Redirect {
        /// The proxy has an IPv6 address: it also listens for what is called by IPv6.
        ipv6: bool,
    },
}

/// What becomes of captured connections for which nothing is known (Istio's `outboundTrafficPolicy.mode`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub enum OutboundPolicy {
    /// `ALLOW_ANY`: they go where they wanted to go.
    #[default]
    AllowAny,
    /// `REGISTRY_ONLY`: they end, an HTTP request with a 502.
    RegistryOnly,
}

/// Where captured connections go that no service takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum BuiltInCluster {
    /// Where they wanted to go.
    Passthrough,
    /// Nowhere.
    BlackHole,
}

impl BuiltInCluster {
    /// Both.
    pub const ALL: [BuiltInCluster; 2] = [BuiltInCluster::Passthrough, BuiltInCluster::BlackHole];

    /// Istio's name.
    pub fn name(self) -> &'static str {
        match self {
            BuiltInCluster::Passthrough => "PassthroughCluster",
            BuiltInCluster::BlackHole => "BlackHoleCluster",
        }
    }
}

impl OutboundPolicy {
    /// Where connections go of which nothing is known.
    pub fn cluster(self) -> BuiltInCluster {
        match self {
            OutboundPolicy::AllowAny => BuiltInCluster::Passthrough,
            OutboundPolicy::RegistryOnly => BuiltInCluster::BlackHole,
        }
    }
}

/// Where a connection's bytes go as they are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Onward {
    /// To no service.
    BuiltIn(BuiltInCluster),
    /// To a service.
    Service {
        /// Its cluster.
        cluster: ClusterRef,
        /// End the connection after so long without a byte (`connectionPool.tcp.idleTimeout`); `None`: Envoy's hour.
        idle_timeout: Option<Duration>,
        /// The name that the client asks for in TLS is looked up ([`crate::Resolution::AsAsked`]).
        as_asked: bool,
    },
}

impl Onward {
    /// The service's cluster.
    pub fn cluster(&self) -> Option<&ClusterRef> {
        match self {
            Onward::Service { cluster, .. } => Some(cluster),
            Onward::BuiltIn(_) => None,
        }
    }
}

/// A block of addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many bits all of its addresses share.
    pub prefix: u8,
}

/// One listener of a captured sidecar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CapturedListener {
    /// The address that connections want to go to; unspecified: any that no other listener of the port has.
    pub address: IpAddr,
    /// The port that they want to go to.
    pub port: PortNumber,
    /// Where the kernel hands connections over, the only one that is bound: it passes each on to the listener of the
    /// address that it wanted to go to.
    pub entrance: bool,
    /// An unspecified address means those of IPv6 too.
    pub ipv6: bool,
    /// HTTP/1.0 counts as HTTP, whatever the settings say.
    pub http10: bool,
    /// The route configuration for what turns out to be HTTP.
    pub routes: Option<Arc<str>>,
    /// Connections that are told from all others, by the server name that their client sends or by the address that they
    /// want to go to. No two admit the same ones.
    pub chains: Vec<Chain>,
    /// Where all others go.
    pub rest: Shared,
    /// The rule that those follow; as of a [`Chain`].
    pub rest_rule: Option<Placed<ObjectId>>,
    /// What it tells of judged requests.
    pub judges: Judges,
}

/// Whose captured listeners they are: what of a class of proxies they depend on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CapturedClient {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Those of its labels that rules for its connections ask for.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Those that DestinationRules of the namespace select by.
    pub selecting: Arc<BTreeMap<String, String>>,
    /// The Sidecar that says what it can call.
    pub sidecar: Option<ObjectId>,
    /// It has an IPv6 address.
    pub ipv6: bool,
}

impl CapturedListener {
    /// Where it may send bytes as they are.
    pub fn onward(&self) -> impl Iterator<Item = &Onward> {
        self.chains.iter().flat_map(Chain::onward).chain(self.rest.onward())
    }

    /// The services' clusters among these.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterRef> {
        self.onward().filter_map(Onward::cluster)
    }

    /// The VirtualServices that its connections follow.
    pub fn rules(&self) -> BTreeSet<&ObjectId> {
        let rules = self.chains.iter().filter_map(|chain| chain.rule.as_ref()).chain(&self.rest_rule);
        rules.map(|rule| &rule.value).collect()
    }
}
