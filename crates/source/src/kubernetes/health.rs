//! How the watches are: what `/readyz?verbose` and the metrics say.

use std::fmt;
use std::sync::Arc;

use umbra_ir::Kind;

/// One watch: a kind, in one namespace or in all of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchId {
    /// What it watches.
    pub kind: Kind,
    /// Where; `None`: everywhere.
    pub namespace: Option<Arc<str>>,
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// How far a watch is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum WatchState {
    /// Has never been in step with the API server: nothing may be served.
    #[default]
    Starting,
    /// In step.
    Synced,
    /// The API server has no such kind, and it had none when we started: no objects. Looked for again and again.
    Absent,
    /// Was in step and is not now; what it read last stays in force.
    Degraded,
}

impl WatchState {
    /// As metrics and listings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            WatchState::Starting => "starting",
            WatchState::Synced => "synced",
            WatchState::Absent => "absent",
            WatchState::Degraded => "degraded",
        }
    }

    /// Every state.
    pub const ALL: [WatchState; 4] =
        [WatchState::Starting, WatchState::Synced, WatchState::Absent, WatchState::Degraded];
}

/// How one watch is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchHealth {
    /// How far it is.
    pub state: WatchState,
    /// What went wrong last, in words for a person; empty while it is in step.
    pub reason: String,
    /// How many objects it holds.
    pub objects: usize,
    /// How often it failed since the start.
    pub failures: u64,
}

/// How all watches are, in the order of their ids.
pub type Health = std::collections::BTreeMap<WatchId, WatchHealth>;

/// What can go wrong with a watch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the API server has no such kind; its CRD may not be installed")]
    NoKind,
    #[error("forbidden: umbra's role lacks {0}")]
    Forbidden(String),
    #[error("the API server no longer has the history since the last event; listing again")]
    Gone,
    #[error("events came out of order; listing again")]
    Disorder,
    #[error(
        "the API server no longer lists {gone} of the {before} objects that were there; listing again before they count as gone"
    )]
    Fewer { gone: usize, before: usize },
    #[error("nothing heard for {0} s, neither event nor bookmark; connecting again")]
    Stalled(u64),
    #[error("the API server ended the watch early")]
    Ended,
    #[error("the API server answered {code}: {message}")]
    Refused { code: u16, message: String },
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
}

impl Failure {
    /// Whether a new list is needed: the watch cannot go on from where it was. What passes by itself (an
    /// overloaded or restarting server, a broken connection) needs none.
    pub(crate) fn needs_list(&self) -> bool {
        match self {
            Failure::NoKind | Failure::Gone | Failure::Disorder | Failure::Fewer { .. } => true,
            Failure::Refused { code, .. } => !matches!(code, 401 | 429 | 500 | 502 | 503),
            Failure::Forbidden(_) | Failure::Stalled(_) | Failure::Ended | Failure::Unreachable(_) => false,
        }
    }
}
