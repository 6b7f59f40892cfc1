//! What filters do to the requests of a rule before they go anywhere: faults and cross-origin rules.

use std::time::Duration;

use serde::Serialize;

use crate::{RuntimeFraction, TextMatch};

/// What a rule says to the filters before the router. Whatever the rule does with a request, they meet it first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RouteFilters {
    /// `fault`; `None`: nothing is delayed or aborted.
    pub fault: Option<Fault>,
    /// `corsPolicy`; `None`: requests of other origins are requests like others.
    pub cors: Option<Cors>,
}

/// Delays and aborts (`envoy.extensions.filters.http.fault.v3.HTTPFault`); at least one of both is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// Wait first.
    pub delay: Option<FaultDelay>,
    /// Then answer with an error.
    pub abort: Option<FaultAbort>,
}

/// A delay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FaultDelay {
    /// Of so many requests; more than none.
    pub share: RuntimeFraction,
    /// By so much; more than none.
    pub fixed: Duration,
}

/// An abort.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FaultAbort {
    /// Of so many requests; more than none.
    pub share: RuntimeFraction,
    /// With this answer.
    pub status: AbortStatus,
}

/// The answer to an aborted request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum AbortStatus {
    /// An HTTP status from 200 to 599.
    Http(u16),
    /// A gRPC status by its number; a request that is no gRPC gets a 200 with Envoy's words `fault filter abort`.
    Grpc(u32),
}

/// Which other origins a browser lets in (`envoy.extensions.filters.http.cors.v3.CorsPolicy`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cors {
    /// Any of these; none: no other origin.
    pub origins: Vec<TextMatch>,
    /// With these methods.
    pub methods: Vec<String>,
    /// With these request headers.
    pub headers: Vec<String>,
    /// Which see these response headers.
    pub expose: Vec<String>,
    /// For how many seconds a browser may remember it.
    pub max_age: Option<u64>,
    /// Whether with credentials.
    pub credentials: Option<bool>,
    /// Whether a preflight of another origin goes on as a request like others; else the filter answers it.
    pub forward_unmatched_preflights: bool,
}
