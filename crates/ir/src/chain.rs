//! The connections of a listener, told apart before anything in them is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Hostname, Network, ObjectId, Onward, Placed, TlsEnd};

/// Some of a listener's connections, and what becomes of them (`envoy.config.listener.v3.FilterChain`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Chain {
    /// The server names by which TLS clients ask for it; empty: whatever they ask for.
    pub server_names: BTreeSet<Hostname>,
    /// The addresses that clients call; empty: any.
    pub networks: BTreeSet<Network>,
    /// What connections begin with.
    pub opening: Opening,
    /// TLS is ended so; `None`: it is not ended.
    pub tls: Option<Arc<TlsEnd>>,
    /// What is inside.
    pub content: ChainContent,
    /// The rule that they follow, of a VirtualService; `None`: no single one. It is for people, and not part of what
    /// Envoy is told.
    pub rule: Option<Placed<ObjectId>>,
}

/// What a connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Opening {
    /// Anything: nobody looks.
    Any,
    /// A TLS handshake.
    Tls,
    /// Something else.
    Plain,
}

/// What a chain carries.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ChainContent {
    /// HTTP, by this route configuration.
    Http(Arc<str>),
    /// Bytes.
    Bytes(Shared),
}

/// Where connections go, each to one of several by weight. Never empty, and no weight is 0.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shared(pub Vec<(Onward, u32)>);

impl Shared {
    /// All of them.
    pub fn onward(&self) -> impl Iterator<Item = &Onward> {
        self.0.iter().map(|(onward, _)| onward)
    }
}

impl From<Onward> for Shared {
    fn from(onward: Onward) -> Self {
        Shared(vec![(onward, 1)])
    }
}

impl Chain {
    /// Where it may send bytes as they are.
    pub fn onward(&self) -> impl Iterator<Item = &Onward> {
        let shared = match &self.content {
            ChainContent::Bytes(shared) => Some(shared),
            ChainContent::Http(_) => None,
        };
        shared.into_iter().flat_map(Shared::onward)
    }
}
