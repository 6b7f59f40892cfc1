//! What Envoy does with a request, by the configuration that it was given.
//!
//! Owns: reading a proxy's resources, choosing listener, virtual host and route as Envoy does, and saying what becomes of the
//! request.
//! Does not own: how resources come to be (`engine`, `envoy`), who wrote them, how an answer is printed (`server`).
//! Invariants: it reads Envoy's messages alone and shares no code with who builds them, so that it can be wrong only in how it
//! reads Envoy; pure; what cannot be judged is said, never guessed.
//! Start reading at: [`Config::explain`], then [`Explanation`].

mod answer;
mod config;
mod explain;
mod explanation;
mod filters;
mod forward;
mod host;
mod listener;
mod matching;
mod path;
mod regex;
mod request;
mod summary;
mod text;

pub use config::{Config, Unreadable};
pub use explanation::{
    Abort, Copies, Delay, Destination, Endpoints, Explanation, Filters, Forward, HostTaken, ListenerTaken,
    Outcome, PassedTo, Retries, RouteSeen, Sent, Written,
};
pub use request::Request;
pub use summary::{HostSummary, percent};
