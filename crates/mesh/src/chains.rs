//! The connections of a listener while they are shared out: Envoy refuses a listener with two chains for the same ones.

use std::collections::BTreeSet;

use umbra_ir::{Chain, Hostname, Network, Opening};

/// Every server name.
pub(crate) fn any() -> Hostname {
    Hostname::new("*")
}

/// Whether Envoy takes a host for a name that clients of TLS may ask for: of wildcards it knows whole labels only.
pub(crate) fn is_server_name(host: &Hostname) -> bool {
    !host.is_wildcard() || host.as_str().starts_with("*.")
}

/// The chains of a listener, and which connections they take.
#[derive(Default)]
pub(crate) struct Chains {
    chains: Vec<Chain>,
    taken: BTreeSet<(Opening, Option<Hostname>, Option<Network>)>,
}

impl Chains {
    /// Gives the connections that nobody has yet to a new chain; `chain.server_names` with `*` is every name, and no name
    /// at all is none.
    pub(crate) fn add(&mut self, mut chain: Chain) {
        // Envoy knows whole labels only.
        let known =
            |name: &Hostname| !name.is_wildcard() || name.as_str() == "*" || name.as_str().starts_with("*.");
        let places: Vec<Option<Network>> = match chain.networks.is_empty() {
            true => vec![None],
            false => chain.networks.iter().copied().map(Some).collect(),
        };
        // A name is given away for all networks or not at all, so that a chain is one product of both.
        let mut free = BTreeSet::new();
        for name in std::mem::take(&mut chain.server_names).into_iter().filter(known) {
            let key = (name.as_str() != "*").then(|| name.clone());
            if places.iter().any(|place| self.taken.contains(&(chain.opening, key.clone(), *place))) {
                continue;
            }
            self.taken.extend(places.iter().map(|place| (chain.opening, key.clone(), *place)));
            free.insert(name);
        }
        if free.is_empty() {
            return;
        }
        // Beside "any name" the others say nothing.
        chain.server_names = if free.contains("*") { BTreeSet::new() } else { free };
        self.chains.push(chain);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// The chains, in the order in which they came.
    pub(crate) fn finish(self) -> Vec<Chain> {
        self.chains
    }
}
