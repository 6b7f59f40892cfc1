//! What proxies are waited for, and what they counted meanwhile.

use std::time::Instant;

use crate::book::Book;
use crate::kind::{KINDS, Kind};
use crate::proxy::Taken;

/// Something that every proxy must take for a change to have arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Anything of one of these types: new, changed or gone.
    Any(&'static [Kind]),
    /// This resource, new or changed.
    New(Kind, String),
    /// The end of this resource.
    Gone(Kind, String),
}

impl Part {
    /// Whether this is it.
    pub fn is(&self, taken: &Taken, book: &Book) -> bool {
        let named = |name: &str| *book.text(taken.kind, taken.name) == *name.as_bytes();
        match self {
            Part::Any(kinds) => kinds.contains(&taken.kind),
            Part::New(kind, name) => taken.kind == *kind && taken.now.is_some() && named(name),
            Part::Gone(kind, name) => taken.kind == *kind && taken.now.is_none() && named(name),
        }
    }
}

/// A change that is under way.
#[derive(Clone, Default, Debug)]
pub enum Expect {
    /// Nothing in particular.
    #[default]
    Nothing,
    /// That a proxy has been told everything that it asks for, on a stream newer than this (see [`crate::fleet`]).
    InStep(u64),
    /// Each of these.
    Parts(Vec<Part>),
    /// Whatever it takes of these types: the last of it counts (see [`crate::fleet::Fleet::last`]).
    Last(&'static [Kind]),
    /// Endpoints with a number each, and when each was written; each proxy tells how late it took them.
    Markers,
}

/// What was counted over all proxies since it was last taken.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Responses by type.
    pub messages: [u64; KINDS],
    /// Their bytes, without gRPC's and HTTP/2's.
    pub bytes: [u64; KINDS],
    /// Requests sent.
    pub requests: u64,
    /// Their bytes.
    pub request_bytes: u64,
    /// Streams that ended, with the last reason.
    pub ended: u64,
    /// See `ended`.
    pub reason: String,
}

impl Counts {
    /// All bytes received.
    pub fn all_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// All responses received.
    pub fn all_messages(&self) -> u64 {
        self.messages.iter().sum()
    }
}

/// A generated endpoint change: the service, its number and when it was written.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// Which service.
    pub service: usize,
    /// When its file was renamed.
    pub written: Instant,
}
