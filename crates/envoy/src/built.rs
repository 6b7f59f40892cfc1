//! What every builder gives.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

/// One encoded resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The encoded message, without an `Any` around it.
    pub body: Bytes,
    /// The resources of the next type down that it names, sorted: of a cluster its load assignment, of a route
    /// configuration its clusters, whether they exist or not. So it follows from the body alone.
    pub requires: Vec<Arc<str>>,
}

impl Built {
    pub(crate) fn new(name: Arc<str>, message: &impl Message, requires: Vec<Arc<str>>) -> Self {
        Built { name, body: message.encode_to_vec().into(), requires }
    }
}
