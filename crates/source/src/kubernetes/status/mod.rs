//! Statuses on their way to the API server: by the leader alone, only where they differ from what is there, at
//! a bounded rate. Server-side apply under a field manager of our own: what others write stays theirs.
//!
//! Start reading at: `text.rs` (what is written, pure), `queue.rs` (what next, pure), then `write.rs` (the task).

mod queue;
mod text;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use umbra_ir::ObjectId;

use crate::Generations;

pub use write::{Tally, write};

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    /// As the API server has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::True } else { Truth::False }
    }
}

/// The condition that an object is in force as written.
pub const ACCEPTED: &str = "Accepted";
/// The condition that every proxy which the object reaches has taken it.
pub const PROGRAMMED: &str = "Programmed";
/// The condition about the mirrors of a VirtualService; there is none without mirrors.
pub const MIRRORS_READY: &str = "MirrorsReady";
/// The reason of [`PROGRAMMED`] when a proxy has rejected it.
pub const REJECTED: &str = "Rejected";

/// The conditions that are ours, whatever others write.
const OURS: [&str; 3] = [ACCEPTED, PROGRAMMED, MIRRORS_READY];

/// A condition of an object, but for its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// [`ACCEPTED`], …
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: Truth,
    /// One word for tools.
    pub reason: String,
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
