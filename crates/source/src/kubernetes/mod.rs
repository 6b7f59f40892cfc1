//! Changes from an API server: list and watch of every kind that umbra reads.
//!
//! A watch never takes objects away because something failed; only the API server's word does that: a deletion,
//! or a complete list in which an object is missing. Nothing is told before every watch has been in step once.
//! Start reading at: [`watch_cluster`], then `cache.rs` (one watch, pure), `merge.rs` (files beside it, pure),
//! then `hold.rs` (what waits after an outage, pure) and `listwatch.rs` (one watch as a task).

mod annotate;
mod authority;
mod cache;
mod collect;
mod connect;
mod events;
#[cfg(test)]
mod fake;
mod health;
mod hold;
mod kept;
mod lease;
mod listwatch;
mod merge;
mod problem;
mod resource;
mod review;
mod rights;
mod secrets;
mod status;
mod told;

pub use annotate::{AnnotateError, Annotations};
pub use authority::{Kept, Made, Make, Pair, Told, keep_certificate};
pub use collect::{Cluster, Scope, watch_cluster};
pub use connect::{Access, ApiServer, ConnectError};
pub use health::{Health, WatchHealth, WatchId, WatchState};
pub use kept::Keep;
pub use lease::{Leadership, identity, take_part};
pub use review::{Account, Review, Reviewer};
pub use rights::{Right, RightsReviewer, Verb, Wish};
pub use status::{
    AllObserved, Condition, ConditionType, Observed, Reason, Said, Status, Statuses, Tally, Truth, write,
};
