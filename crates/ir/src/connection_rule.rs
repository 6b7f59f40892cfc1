//! The `tls` and `tcp` rules of one VirtualService with names resolved.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{Hostname, Network, StaticFilter, WeightedDestination};

/// What a VirtualService says about connections that carry no HTTP that we see.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ConnectionRules {
    /// `tls`: by the server name that the client asks for, unopened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<ConnectionRule>,
    /// `tcp`: whatever they carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<ConnectionRule>,
}

impl ConnectionRules {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &ConnectionRule> {
        self.tls.iter().chain(&self.tcp)
    }

    /// How much of a listener's configuration they are at most, in bytes as they are kept: each match has all destinations
    /// of its rule.
    pub fn size(&self) -> usize {
        let of_match = |rule: &ConnectionRule, it: &ConnectionMatch| {
            let names: usize = it.server_names.iter().map(|name| name.as_str().len() + NAME).sum();
            CHAIN + names + it.networks.len() * NAME + rule.destinations.len() * DESTINATION
        };
        let of_rule = |rule: &ConnectionRule| {
            let all: usize = rule.matches.iter().map(|it| of_match(rule, it)).sum();
            all.max(CHAIN + rule.destinations.len() * DESTINATION)
        };
        self.all().map(of_rule).sum()
    }
}

/// What a chain counts for, one of its names or networks beside the text, and a destination.
const CHAIN: usize = 512;
const NAME: usize = 64;
const DESTINATION: usize = 256;

/// One `tls[]` or `tcp[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ConnectionRule {
    /// Its path in the object, such as `spec.tls[0]`.
    pub field: String,
    /// Alternatives; empty: every connection.
    pub matches: Vec<ConnectionMatch>,
    /// Where connections go. Never empty; several: weighted, zero weights already dropped.
    pub destinations: Vec<WeightedDestination>,
}

/// One `match[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ConnectionMatch {
    /// What we decide.
    pub filter: StaticFilter,
    /// `sniHosts`; of a `tcp` rule none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub server_names: BTreeSet<Hostname>,
    /// `destinationSubnets`; empty: any address.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<Network>,
}
