//! The xDS protocol without IO.
//!
//! Owns: resources, snapshots and their log of changes, subscriptions, and the [`Session`]: one ADS stream,
//! state-of-the-world or delta, with its order, nonces, ACKs and NACKs.
//! Does not own: sockets, tasks and clocks (`server`; time comes in as an argument), what a resource means
//! (`envoy`; what the protocol must know stands in [`Resource::requires`]), what a proxy should have (`engine`).
//! Invariants: a route is sent after its clusters and their load assignments, a cluster is removed after the
//! routes that named it; content that a proxy refused is not repeated; a request never makes more responses
//! than it needs, and no request can make memory grow without bound or the process panic.
//! Start reading at: [`Session`], then `order.rs` for what waits for what, `flush.rs` for what is sent (virtual hosts that are resources of
//! their own: `hosts`, then `vhds`).

use std::time::Duration;

mod delta;
mod flight;
mod flush;
mod heartbeat;
mod held;
mod hosts;
mod lasting;
mod message;
mod names;
mod of_type;
mod open;
mod order;
mod refusal;
mod resource;
mod response;
mod session;
mod shelf;
mod snapshot;
mod sotw;
mod status;
mod step;
mod subscription;
mod tree;
mod unserved;
mod variant;
mod version;
mod vhds;
mod whole;
mod wire;

pub use held::NackInfo;
pub use message::{Output, Request, SessionError, SessionEvent};
pub use of_type::Shelves;
pub use resource::{Requirement, Resource, ResourceMap, ResourceType};
pub use response::{Decoded, Response};
pub use session::Session;
pub use shelf::Shelf;
pub use snapshot::{Change, Snapshot};
pub use status::{Standing, TypeStatus};
pub use subscription::{MAX_NAME_BYTES, MAX_NAMES};
pub use tree::{Identity, Node, Tree};
pub use unserved::MAX_UNSERVED_TYPES;
pub use variant::Variant;
pub use version::version;

/// How long anything waits for a proxy's ACK. Envoy withholds the ACK of a CDS response while a cluster warms,
/// which for a DNS name can take many seconds: that must not hold up everything else.
pub const ACK_DEADLINE: Duration = Duration::from_secs(5);
