//! A resource as the protocol sees it: a name, a version and bytes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use umbra_proto::type_url;

use crate::tree::Tree;
use crate::variant::Variant;
use crate::version::version;
use crate::wire;

/// The resource types that umbra serves. The order is the order of pushes on one stream
/// (xDS protocol, "Eventual consistency considerations").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS, `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// EDS, `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoint,
    /// LDS, `envoy.config.listener.v3.Listener`.
    Listener,
    /// RDS, `envoy.config.route.v3.RouteConfiguration`.
    Route,
    /// VHDS, `envoy.config.route.v3.VirtualHost`: virtual hosts of route configurations that say that theirs come so.
    VirtualHost,
    /// RTDS, `envoy.service.runtime.v3.Runtime`.
    Runtime,
    /// SDS, `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
}

impl ResourceType {
    /// Every type, in push order.
    pub const ALL: [ResourceType; 7] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
        Self::Runtime,
        Self::Secret,
    ];

    /// The type URL in requests, responses and `Any`s.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
            Self::VirtualHost => type_url::VIRTUAL_HOST,
            Self::Runtime => type_url::RUNTIME,
            Self::Secret => type_url::SECRET,
        }
    }

    /// The type of a type URL; `None` when umbra does not serve it.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.type_url() == url)
    }

    /// The name of its discovery service, as in `dump --type`: `cds`, `eds`, `lds`, `rds`, `vhds`, `rtds`, `sds`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoint => "eds",
            Self::Listener => "lds",
            Self::Route => "rds",
            Self::VirtualHost => "vhds",
            Self::Runtime => "rtds",
            Self::Secret => "sds",
        }
    }

    /// The types that may stand in [`Resource::requires`] of one of this type.
    pub const fn requires(self) -> &'static [Self] {
        match self {
            Self::Cluster => &[Self::Endpoint],
            Self::Listener => &[Self::Cluster, Self::Secret],
            Self::VirtualHost => &[Self::Cluster],
            Self::Route => &[Self::Cluster, Self::VirtualHost],
            Self::Endpoint | Self::Runtime | Self::Secret => &[],
        }
    }

    /// A state-of-the-world response of this type carries every resource subscribed, and what it leaves out is
    /// gone; the other types are grouped at will (xDS protocol, "Grouping Resources into Responses").
    /// The same two types know the subscription to everything by an empty first request.
    pub(crate) const fn is_complete(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// What is new of it waits for nothing: an addition goes as soon as it is there.
    pub(crate) const fn goes_at_once(self) -> bool {
        matches!(self, Self::Endpoint | Self::Runtime)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// A resource that another one names and is of no use without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Its type. One of an earlier type in push order is waited for; one of a later type follows by itself.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: Arc<str>,
}

impl Requirement {
    /// The resource of this type and name.
    pub fn new(resource_type: ResourceType, name: impl Into<Arc<str>>) -> Self {
        Requirement { resource_type, name: name.into() }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource_type, self.name)
    }
}

/// One resource, encoded once and shared by every stream that gets it.
///
/// The three encoded forms are one allocation: an entry of a delta response ends with what an entry of a
/// state-of-the-world response is, and that ends with the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// The name that proxies subscribe to.
    pub name: Arc<str>,
    /// A hash of the body (and of its time to live, where it has one): equal on every replica and after every restart.
    pub version: Arc<str>,
    /// The encoded message.
    pub body: Bytes,
    /// What must be there before this is of use: for a cluster the load assignment that it reads, for a route
    /// configuration (or a listener with routes of its own) the clusters that it names, for a listener also its secrets. A route configuration whose
    /// virtual hosts are resources of their own requires one: the marker, which the session makes.
    pub requires: Arc<[Requirement]>,
    /// A print of what no two of a kind may have (a virtual host's domains in its table), 0 for none. Resources with which it
    /// changes go together.
    pub exclusive: u64,
    /// For how long a proxy with a delta stream has it when nobody repeats it; `None`: for ever.
    pub ttl: Option<Duration>,
    entry: Bytes,
    /// Where in `entry` the one of state-of-the-world begins.
    any_at: usize,
}

impl Resource {
    /// By which it is told from all others, and from what it was before.
    pub(crate) fn identity(&self) -> (&str, &str) {
        (&self.name, &self.version)
    }

    /// A resource of an encoded message; the version is made from the body.
    pub fn new(
        resource_type: ResourceType,
        name: impl Into<Arc<str>>,
        body: impl AsRef<[u8]>,
        requires: impl Into<Arc<[Requirement]>>,
    ) -> Self {
        let (name, body) = (name.into(), body.as_ref());
        let version = version(body);
        let (entry, any_at) = wire::entry(resource_type.type_url(), (&name, &version), None, body);
        let body = entry.slice(entry.len() - body.len()..);
        Self { name, version, body, requires: requires.into(), exclusive: 0, ttl: None, entry, any_at }
    }

    /// The same, which a proxy drops when nobody has repeated it for so long.
    #[must_use]
    pub fn with_ttl(self, resource_type: ResourceType, ttl: Duration) -> Self {
        let millis = ttl.as_millis().to_le_bytes();
        let version = version(&[&self.body[..], &millis].concat());
        Self { ttl: Some(ttl), ..self }.under_version(resource_type, &version)
    }

    /// What repeats it on a delta stream; `None`: it lives for ever.
    pub(crate) fn heartbeat(&self) -> Option<Bytes> {
        self.ttl.map(|ttl| wire::heartbeat(&self.name, &self.version, ttl))
    }

    /// The same with [`Resource::exclusive`].
    #[must_use]
    pub fn with_exclusive(mut self, print: u64) -> Self {
        self.exclusive = print;
        self
    }

    /// The same as it is sent under another version.
    pub(crate) fn under_version(&self, resource_type: ResourceType, version: &str) -> Self {
        let named = (&*self.name, version);
        let (entry, any_at) = wire::entry(resource_type.type_url(), named, self.ttl, &self.body);
        let body = entry.slice(entry.len() - self.body.len()..);
        Self { version: version.into(), body, entry, any_at, ..self.clone() }
    }

    /// Of a route configuration whose virtual hosts are resources of their own, the name of their marker.
    pub(crate) fn marker(&self) -> Option<&Arc<str>> {
        self.required(ResourceType::VirtualHost).next()
    }

    /// Its part of a response: the field `resources` with tag and length.
    pub(crate) fn entry(&self, variant: Variant) -> Bytes {
        match variant {
            Variant::Delta => self.entry.clone(),
            Variant::Sotw => self.entry.slice(self.any_at..),
        }
    }

    /// What it requires of one type.
    pub(crate) fn required(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        let of_type = move |it: &&Requirement| it.resource_type == resource_type;
        self.requires.iter().filter(of_type).map(|it| &it.name)
    }
}

/// Without the body: it may hold a private key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes, requires {:?})", self.name, self.version, self.body.len(), self.requires)
    }
}

/// Resources of one type by name. Clones share their nodes, so a derived snapshot costs what changed.
pub type ResourceMap = Tree<Arc<Resource>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_urls_go_both_ways_and_the_order_is_the_push_order() {
        for ty in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(ty.type_url()), Some(ty));
            assert_eq!(ResourceType::ALL[ty.index()], ty);
        }
        assert!(ResourceType::ALL.is_sorted());
        assert_eq!(ResourceType::from_type_url(""), None);
    }

    #[test]
    fn a_version_is_a_hash_of_the_body_alone() {
        let of = |name: &'static str, body: &'static [u8]| {
            Resource::new(ResourceType::Cluster, name, body, []).version
        };
        assert_eq!(of("a", b"x"), of("b", b"x"));
        assert_ne!(of("a", b"x"), of("a", b"y"));
    }
}
