//! Where a client is, and what that means for the endpoints it is given (DestinationRule's `localityLbSetting`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Locality;

/// Where a client is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ClientPlace {
    /// Its region, zone and subzone.
    pub locality: Locality,
    /// Those of its labels that some `failoverPriority` names, those of its place among them.
    pub labels: BTreeMap<String, String>,
}

/// `loadBalancer.localityLbSetting`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LocalityBalancing {
    /// `enabled: false`: nothing of it counts, and there is no failover by locality either.
    pub off: bool,
    /// `distribute`: for clients of a place, the share of each other place.
    pub distribute: Vec<Distribute>,
    /// `failover`: for clients of a region, the region that is next.
    pub failover: Vec<(String, String)>,
    /// `failoverPriority`: labels in which an endpoint should be like the client, the weightiest first; with a value the
    /// endpoint should have that one.
    pub failover_priority: Vec<(String, Option<String>)>,
}

/// The shares of places for clients of one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Distribute {
    /// Where the client is: `region/zone/subzone`, `*` for any.
    pub from: String,
    /// Shares by place.
    pub to: BTreeMap<String, u32>,
}

/// How the endpoints of a cluster are arranged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arrangement {
    /// Of each endpoint, in order, 0 the first to be asked; empty: all alike.
    pub priorities: Vec<u32>,
    /// The weight of each locality; empty: that of its endpoints.
    pub weights: BTreeMap<Locality, u32>,
}
