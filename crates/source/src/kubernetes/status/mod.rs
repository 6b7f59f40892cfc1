//! Statuses on their way to the API server: by the leader alone, only where they differ from what is there, at
//! a bounded rate. Server-side apply under a field manager of our own: what others write stays theirs.
//!
//! Start reading at: `condition.rs` (what can be said), `text.rs` (what is written, pure), `queue.rs` (what next, pure), then `write.rs` (the task).

mod condition;
mod queue;
mod text;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use umbra_ir::ObjectId;

use crate::Generations;

pub(crate) use condition::EventReason;
pub use condition::{ConditionType, Reason, Truth};
pub use write::{Tally, write};

/// A condition of an object, but for its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Which, whether it holds, and why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What the status of an object should say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The version (`metadata.generation`) of the object that this is about.
    pub generation: i64,
    /// In the order in which they are listed.
    pub conditions: Vec<Condition>,
    /// All mirrors in one line; empty: none.
    pub mirrors: String,
    /// Istio's `validationMessages`, which its tools show.
    pub messages: Vec<Value>,
}

/// What was said by a condition before, and by its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said<'a> {
    /// Why it held, or did not.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
    /// The version (`metadata.generation`) of the object that it was about.
    pub generation: i64,
    /// The line about all mirrors.
    pub mirrors: &'a str,
}

/// Every status that should be there.
pub type Statuses = BTreeMap<ObjectId, Status>;

/// What the API server says about an object beside its meaning.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Observed {
    pub(crate) api_version: String,
    pub(crate) resource_version: String,
    pub(crate) uid: String,
    pub(crate) generations: Generations,
    pub(crate) status: Value,
    /// The conditions are one value for the API server, not a list by type: so Istio's CRDs have it. Who writes
    /// one of them writes them all.
    pub(crate) atomic: bool,
}

/// Of every Istio object of the cluster.
pub type AllObserved = BTreeMap<ObjectId, Arc<Observed>>;
