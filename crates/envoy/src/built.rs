//! What every builder gives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

/// A resource that another one names and is of no use without.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Requirement {
    /// A cluster, by name.
    Cluster(Arc<str>),
    /// A load assignment, by name.
    LoadAssignment(Arc<str>),
    /// A secret, by name.
    Secret(Arc<str>),
    /// A virtual host, by name.
    VirtualHost(Arc<str>),
}

/// One encoded resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The encoded message, without an `Any` around it.
    pub body: Bytes,
    /// The resources that it names, sorted: of a cluster its load assignment, of a route configuration its clusters,
    /// whether they exist or not. So it follows from the body alone.
    pub requires: Vec<Requirement>,
    /// Of a virtual host a print of its domains, which no other of its table may have; else 0.
    pub exclusive: u64,
    /// For how long a proxy has it when nobody repeats it; `None`: for ever.
    pub ttl: Option<Duration>,
}

impl Built {
    pub(crate) fn new(name: Arc<str>, message: &impl Message, requires: Vec<Requirement>) -> Self {
        Built { name, body: message.encode_to_vec().into(), requires, exclusive: 0, ttl: None }
    }
}
