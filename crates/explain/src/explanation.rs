//! What is said of a request.

use serde::{Deserialize, Serialize};

/// What becomes of one request at one proxy, and why.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who accepts the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerTaken>,
    /// Whose routes are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<HostTaken>,
    /// Its routes in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSeen>,
    /// The filters that the request meets before its route's action.
    #[serde(skip_serializing_if = "Filters::is_empty")]
    pub filters: Filters,
    /// What becomes of it.
    pub outcome: Outcome,
}

impl Explanation {
    /// The route that takes the request.
    pub fn won(&self) -> Option<&RouteSeen> {
        self.routes.iter().find(|route| route.lost.is_none() && !route.behind)
    }

    /// The status with which Envoy itself answers, if it certainly does.
    pub fn own_status(&self) -> Option<u16> {
        match &self.filters.abort {
            Some(abort) if abort.odds >= 1.0 => Some(abort.status),
            _ => self.outcome.own_status(),
        }
    }
}

/// The listener and how its routes are found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTaken {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// The route configuration that it asks for; `None`: it passes bytes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Which of its connections go the same way, in words; empty: all that nothing tells from others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chain: String,
    /// The place of that way among those of the listener; `None`: the one for all others.
    #[serde(skip)]
    pub nth: Option<usize>,
    /// Where the rule is written that such bytes follow, if one says and somebody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

/// The virtual host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostTaken {
    /// Its name.
    pub name: String,
    /// Which of its domains takes the request's host.
    pub domain: String,
}

/// One route of the virtual host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSeen {
    /// Its name; often empty.
    pub name: String,
    /// What it asks for, in words.
    pub asks: String,
    /// Why it does not take the request; `None`: it does, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// It stands behind the one that takes the request: nobody looks at it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
    /// Where it is written, if somebody can tell.
    #[serde(flatten)]
    pub written: Option<Written>,
}

/// Where a route is written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The object: `VirtualService default/httpbin`.
    pub object: String,
    /// The rule's path in it, such as `spec.http[0]`.
    pub rule: String,
    /// The object that has taken it in, where it stands in a delegate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The file of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The rule's line in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// What filters do to a request, in the order in which it meets them.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filters {
    /// It waits first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// It is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Whether another origin of a browser is let in; `None`: the request has none, or nobody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_allowed: Option<bool>,
}

impl Filters {
    fn is_empty(&self) -> bool {
        *self == Filters::default()
    }
}

/// A delay.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// Of so many requests, from 0 to 1.
    pub odds: f64,
    /// By so many seconds.
    pub seconds: f64,
}

/// An abort.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Of so many requests, from 0 to 1.
    pub odds: f64,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Its gRPC status, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// Nobody listens: the connection is refused.
    #[default]
    NoListener,
    /// The listener cannot speak what the client speaks.
    Mismatch {
        /// Why.
        why: String,
    },
    /// Bytes are passed on without being looked at.
    Passed {
        /// A connection goes to one of these.
        to: Vec<PassedTo>,
    },
    /// Envoy takes it for no proper request.
    Refused {
        /// Of the answer.
        status: u16,
        /// Why.
        why: String,
    },
    /// The listener's table is not there.
    NoTable {
        /// Of the answer.
        status: u16,
    },
    /// No virtual host is for the request's host.
    NoVirtualHost {
        /// Of the answer.
        status: u16,
    },
    /// No route of the virtual host takes it.
    NoRoute {
        /// Of the answer.
        status: u16,
    },
    /// A condition that cannot be judged here decides.
    Unknown {
        /// Which.
        why: String,
    },
    /// A browser's question whether it may call is answered.
    Preflight {
        /// Of the answer.
        status: u16,
    },
    /// The answer is a redirect.
    Redirect {
        /// Of the answer.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The answer is written in the rule.
    Answer {
        /// Of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
    /// It is forwarded.
    Forward(Forward),
}

impl Outcome {
    /// The status with which Envoy itself answers, if it certainly does.
    pub fn own_status(&self) -> Option<u16> {
        match self {
            Outcome::NoListener
            | Outcome::Mismatch { .. }
            | Outcome::Passed { .. }
            | Outcome::Unknown { .. } => None,
            Outcome::Refused { status, .. }
            | Outcome::NoTable { status }
            | Outcome::NoVirtualHost { status }
            | Outcome::NoRoute { status }
            | Outcome::Preflight { status }
            | Outcome::Redirect { status, .. }
            | Outcome::Answer { status, .. } => Some(*status),
            Outcome::Forward(forward) => {
                forward.destinations.iter().all(|it| !it.endpoints.any()).then_some(503)
            }
        }
    }
}

/// Where the bytes of a connection may go.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedTo {
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// How likely, from 0 to 1.
    pub odds: f64,
    /// Who can be called behind it.
    pub endpoints: Endpoints,
}

/// Forwarding.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// One of these is chosen.
    pub destinations: Vec<Destination>,
    /// Each of these gets a copy, by its own odds.
    pub mirrors: Vec<Copies>,
    /// How many seconds the answer may take; `None`: as long as it likes.
    pub timeout_seconds: Option<f64>,
    /// When it is tried again.
    pub retries: Option<Retries>,
}

/// Where a request may go.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Envoy's name of it.
    pub cluster: String,
    /// How likely, from 0 to 1.
    pub odds: f64,
    /// Who can be called.
    pub endpoints: Endpoints,
    /// What is sent.
    pub sent: Sent,
}

/// A mirror.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copies {
    /// Envoy's name of its cluster.
    pub cluster: String,
    /// How likely a copy is, from 0 to 1.
    pub odds: f64,
    /// The key in the runtime that says so; empty: the route says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime_key: String,
    /// Who can be called.
    pub endpoints: Endpoints,
    /// What is sent: mostly one; several where that depends on which destination was chosen.
    pub sent: Vec<Sent>,
}

/// A request as it leaves the proxy. Envoy adds headers of its own (`x-forwarded-*`, `x-request-id`, `x-envoy-*`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// Its `Host` (`:authority`).
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The client's headers after all changes, by names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Who can be called behind a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", content = "addresses", rename_all = "camelCase")]
pub enum Endpoints {
    /// These are ready.
    Ready(Vec<String>),
    /// Whatever these names resolve to.
    Resolved(Vec<String>),
    /// The address that was called.
    AsCalled,
    /// Whatever the Host of the request resolves to.
    AsAsked,
    /// There is no such cluster.
    NoCluster,
}

impl Endpoints {
    /// Whether somebody can be called, as far as is known.
    pub fn any(&self) -> bool {
        match self {
            Endpoints::Ready(addresses) | Endpoints::Resolved(addresses) => !addresses.is_empty(),
            Endpoints::AsCalled | Endpoints::AsAsked => true,
            Endpoints::NoCluster => false,
        }
    }
}

/// When a request is tried again.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// At most so often.
    pub attempts: u32,
    /// Envoy's conditions.
    pub on: String,
    /// Statuses that count as failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u32>,
    /// How many seconds one try may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_seconds: Option<f64>,
}
