//! What a class of proxies is given: tables of virtual hosts, before anything in them is looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{GatewayPort, Listener, ObjectId, RouteOrder, RouteSource};

/// The route tables of a proxy class by route configuration name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// `8000` for sidecars, `http.8080` for gateways; `hosts/8000` where virtual hosts are resources of their own.
    pub tables: BTreeMap<Arc<str>, Arc<Table>>,
    /// The bound listeners that tell connections apart before HTTP is spoken.
    pub ports: Vec<GatewayPort>,
    /// The objects that have a word in the rules in them, by the VirtualService that has these.
    pub delegates: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
}

impl Scope {
    /// Where the routes of all tables come from; one may come more than once.
    pub fn sources(&self) -> impl Iterator<Item = &RouteSource> {
        self.tables.values().flat_map(|table| &table.hosts).flat_map(|host| &host.sources)
    }
}

/// One route table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The listener that uses it; `None` at a captured sidecar, whose listeners are [`crate::CapturedListener`]s, and
    /// where a [`GatewayPort`] uses it.
    pub listener: Option<Listener>,
    /// The Gateways that it serves; none at a sidecar.
    pub gateways: BTreeSet<ObjectId>,
    /// Its virtual hosts, sorted by name.
    pub hosts: Vec<Arc<VirtualHostSpec>>,
}

/// A virtual host before its routes are bound. It is its own identity: classes with the same one share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VirtualHostSpec {
    /// `host:port`.
    pub name: String,
    /// In lower case.
    pub domains: Vec<String>,
    /// Where its routes come from, in order.
    pub sources: Vec<RouteSource>,
    /// How routes of several sources are put together.
    pub order: RouteOrder,
    /// Answer plaintext with a redirect to https.
    pub require_tls: bool,
}
