//! What goes into and comes out of a session.

use std::sync::Arc;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::resource::ResourceType;
use crate::response::Response;

/// A message from the proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// On a state-of-the-world stream.
    Sotw(DiscoveryRequest),
    /// On a delta stream.
    Delta(DeltaDiscoveryRequest),
}

impl From<DiscoveryRequest> for Request {
    fn from(request: DiscoveryRequest) -> Self {
        Self::Sotw(request)
    }
}

impl From<DeltaDiscoveryRequest> for Request {
    fn from(request: DeltaDiscoveryRequest) -> Self {
        Self::Delta(request)
    }
}

/// What happened on the stream, for logs and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A response was made.
    Push {
        /// Its type.
        resource_type: ResourceType,
        /// How many resources it carries.
        resources: usize,
        /// How many names it tells to be gone (delta only; state-of-the-world leaves them out).
        removed: usize,
        /// Length of the encoded response.
        bytes: usize,
        /// The snapshot that it was made from.
        generation: u64,
    },
    /// The proxy took a response.
    Ack {
        /// The response's type.
        resource_type: ResourceType,
        /// The snapshot that the response was made from.
        generation: u64,
    },
    /// The proxy rejected a response. What it keeps is its last good state; the rejected content is not repeated.
    Nack {
        /// The response's type.
        resource_type: ResourceType,
        /// Envoy's own words (`error_detail.message`).
        message: String,
        /// What was new in the response; Envoy's words say which of it is at fault.
        names: Vec<Arc<str>>,
        /// The snapshot that the response was made from.
        generation: u64,
    },
    /// A wait for an ACK has reached its deadline ([`crate::ACK_DEADLINE`]) and nothing waits for it any longer.
    Lag {
        /// The type of `names`.
        resource_type: ResourceType,
        /// Clusters that were sent and not acknowledged, or routes that were sent without their clusters' ACK.
        names: Vec<Arc<str>>,
        /// For routes: the clusters and load assignments that are not acknowledged. Empty for clusters.
        waiting_for: Vec<Arc<str>>,
    },
}

/// What one input led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// To be sent in this order.
    pub responses: Vec<Response>,
    /// In the order in which it happened.
    pub events: Vec<SessionEvent>,
}

/// A request that ends the stream: each is a fault of the proxy, to be answered with `INVALID_ARGUMENT` or, for
/// the limits, `RESOURCE_EXHAUSTED`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// ADS carries all types on one stream, so each request must name its own.
    #[error("type_url is required on an ADS stream")]
    MissingTypeUrl,
    /// A message of the other variant than the stream's.
    #[error("request is of the other xDS variant than the stream")]
    WrongVariant,
    /// More names than [`crate::MAX_NAMES`] of one type, or longer than [`crate::MAX_NAME_BYTES`] together.
    #[error("{type_url}: too many resource names for one stream (at most {max_names}, {max_bytes} bytes)")]
    TooManyNames {
        /// The type asked for.
        type_url: String,
        /// The limit in names.
        max_names: usize,
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// More types that umbra does not serve than [`crate::MAX_UNSERVED_TYPES`].
    #[error("too many resource types that are not served here (at most {max})")]
    TooManyTypes {
        /// The limit.
        max: usize,
    },
}

impl SessionError {
    /// A limit was exceeded (`RESOURCE_EXHAUSTED`), rather than the protocol broken (`INVALID_ARGUMENT`).
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooManyNames { .. } | Self::TooManyTypes { .. })
    }
}
