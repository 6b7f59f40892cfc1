//! Where a virtual host's routes come from, what of a client changes them, and what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{
    ClusterRef, GatewayRef, Hostname, Judges, MirrorShare, ObjectId, OutboundPolicy, PortNumber, ProxyKind,
    Route, RouteAction, RuntimeKey, ServiceId, TargetCluster,
};

/// What of a client changes the routes it gets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteClient {
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The mesh, or the Gateway it serves.
    pub gateway: GatewayRef,
    /// The port being called: the service port, at a gateway the server's number.
    pub port: PortNumber,
    /// Its requests come inside of TLS that is ended there.
    pub secure: bool,
    /// Those of its labels that the rules mention.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Those of its labels that DestinationRules of its namespace select by.
    pub selecting: Arc<BTreeMap<String, String>>,
    /// Hosts that mean a service of this other namespace to it, by its Sidecar.
    pub chosen: Arc<BTreeMap<Hostname, Arc<str>>>,
    /// It gets fractions by RTDS.
    pub rtds: bool,
    /// It can make a copy another request than the one that it copies.
    pub edits_copies: bool,
    /// What it tells of judged requests.
    pub judges: Judges,
}

/// Where routes come from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum RouteSource {
    /// A VirtualService's rules.
    Rules(ObjectId, RouteClient),
    /// A service without rules.
    Service(ServiceId, RouteClient),
    /// Captured requests for a host of which nothing is known.
    Unknown(OutboundPolicy),
}

impl RouteSource {
    /// The VirtualService, if it is one.
    pub fn rules(&self) -> Option<&ObjectId> {
        match self {
            RouteSource::Rules(id, _) => Some(id),
            RouteSource::Service(..) | RouteSource::Unknown(_) => None,
        }
    }
}

/// Bound routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteList {
    /// In order.
    pub routes: Vec<Route>,
}

/// What routes refer to, sorted, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteRefs {
    /// Clusters that exist, primary and mirror.
    pub clusters: Box<[ClusterRef]>,
    /// Keys of the runtime layer.
    pub keys: Box<[RuntimeKey]>,
}

impl RouteList {
    /// What these routes refer to.
    pub fn refs(&self) -> RouteRefs {
        let (mut clusters, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for route in &self.routes {
            keys.extend(route.judged.clone());
            let RouteAction::Forward(forward) = &route.action else { continue };
            for target in &forward.targets {
                if let TargetCluster::Known(cluster) = &target.cluster {
                    clusters.insert(cluster.clone());
                }
            }
            for mirror in &forward.mirrors {
                clusters.insert(mirror.cluster.clone());
                if let MirrorShare::Runtime(key) = &mirror.share {
                    keys.insert(key.clone());
                }
            }
        }
        RouteRefs { clusters: clusters.into_iter().collect(), keys: keys.into_iter().collect() }
    }
}
