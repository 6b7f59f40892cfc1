//! What one line says: of a request that was judged, or of a copy of it.

use std::sync::Arc;
use std::time::Duration;

/// What both lines of a pair have in common. A repeated request id is another request when it began at another moment.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    /// When the primary began, in microseconds since 1970.
    pub start: u64,
    /// `x-request-id`; empty where there is none.
    pub request: Arc<str>,
}

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// Which request.
    pub key: Key,
    /// Of what.
    pub side: Side,
    /// How it ended.
    pub answer: Answer,
}

/// Of what a line is.
#[derive(Clone, PartialEq, Debug)]
pub enum Side {
    /// The request itself.
    Primary(Primary),
    /// The copy that one mirror made of it.
    Copy {
        /// The mirror's mark.
        mark: Arc<str>,
    },
}

/// What only the line of a request itself tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Primary {
    /// The rule whose requests are judged.
    pub rule: Arc<str>,
    /// `GET` and its like.
    pub method: Arc<str>,
    /// Without the query.
    pub path: Arc<str>,
    /// The query; empty: there is none, or nobody may see it.
    pub query: Arc<str>,
    /// How often it was sent on.
    pub attempts: u32,
    /// Envoy itself answered.
    pub local_reply: bool,
}

/// How a request or a copy ended.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// The status; `None`: there was no answer.
    pub code: Option<u16>,
    /// `grpc-status`, of the trailers or of headers without any.
    pub grpc: Option<u16>,
    /// What went wrong.
    pub flags: Flags,
    /// The last byte of the answer has come.
    pub whole: bool,
    /// From the last byte sent to the first one that came back: what the target took, without a wait for a connection.
    pub wait: Option<Duration>,
    /// All of it.
    pub duration: Duration,
    /// Bytes of the answer's body; `None`: compressed, so that equal contents may differ in size.
    pub size: Option<u64>,
    /// `content-type`.
    pub content_type: Option<Arc<str>>,
    /// Where it went, as requests and copies to one place have it in common; empty: nobody says.
    pub destination: Arc<str>,
}

/// Those of Envoy's response flags that say how a pair is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// `UO`: too much was under way.
    pub overflow: bool,
    /// `UF`: no connection.
    pub refused: bool,
    /// `UC`, `UR`: the target broke off.
    pub reset: bool,
    /// `UPE`: what came was no HTTP.
    pub protocol: bool,
    /// `UH`: no endpoint.
    pub no_endpoint: bool,
    /// `UT`, `UMSDR`, `DT`: it took too long.
    pub timeout: bool,
    /// `DC`: the client went away.
    pub client_gone: bool,
    /// `DPE`: what the client sent was no HTTP.
    pub client_protocol: bool,
}
