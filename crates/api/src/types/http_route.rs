//! VirtualService HTTP rules: what they match, where they send, what they mirror.
//! Source: Istio's `networking/v1alpha3/virtual_service.proto`, `HTTPRoute`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_action::{
    CorsPolicy, Delegate, HttpDirectResponse, HttpFaultInjection, HttpRedirect, HttpRetry, HttpRewrite,
};
use super::scalar::{Duration, Percent, int32};

/// One HTTP rule (`HTTPRoute`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// A name for logs; also part of the runtime keys of its mirrors.
    pub name: String,
    /// Alternatives; empty matches everything.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Weighted destinations.
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect.
    pub redirect: Option<HttpRedirect>,
    /// Answer with fixed content.
    pub direct_response: Option<HttpDirectResponse>,
    /// Take the rules of another VirtualService.
    pub delegate: Option<Delegate>,
    /// Change path or authority before sending.
    pub rewrite: Option<HttpRewrite>,
    /// Time limit for the whole request; absent or 0: none.
    pub timeout: Option<Duration>,
    /// Retry policy; absent: Istio's default policy.
    pub retries: Option<HttpRetry>,
    /// Delays and aborts for tests.
    pub fault: Option<HttpFaultInjection>,
    /// Copy requests here too.
    pub mirror: Option<Destination>,
    /// Copy requests to each of these.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Old integer share of `mirror`, in percent; [`HttpRoute::mirror_percentage`] beats it.
    // Wider than proto's uint32: a share below 0 costs its mirror, not the object.
    #[schemars(with = "Option<u32>")]
    pub mirror_percent: Option<i64>,
    /// Share of `mirror`; absent: all.
    pub mirror_percentage: Option<Percent>,
    /// Cross-origin rules.
    pub cors_policy: Option<CorsPolicy>,
    /// Header operations on everything this rule sends and answers.
    pub headers: Option<Headers>,
}

/// Conditions on a request; all must hold (`HTTPMatchRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// A name for logs.
    pub name: String,
    /// Path.
    pub uri: Option<StringMatch>,
    /// Scheme.
    pub scheme: Option<StringMatch>,
    /// Method.
    pub method: Option<StringMatch>,
    /// Authority (Host), as the client sent it, port included.
    pub authority: Option<StringMatch>,
    /// Headers; [`StringMatch::Present`] asks only for presence.
    pub headers: BTreeMap<String, StringMatch>,
    /// Port of the listener; 0: any.
    pub port: u32,
    /// Labels of the client workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways for which the condition counts; empty: those of the rule's VirtualService.
    pub gateways: Vec<String>,
    /// Query parameters.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Compare exact and prefix paths without case.
    pub ignore_uri_case: bool,
    /// Headers that must not match.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Namespace of the client workload.
    pub source_namespace: String,
    /// Prefix of Envoy's statistics for the route.
    pub stat_prefix: String,
}

/// A condition on a text (`StringMatch`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "RawStringMatch")]
pub enum StringMatch {
    /// `{}`: the header or parameter is there, whatever its value.
    #[default]
    Present,
    /// Equal.
    Exact(String),
    /// Starts with.
    Prefix(String),
    /// Matches as a whole (RE2 syntax).
    Regex(String),
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct RawStringMatch {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl TryFrom<RawStringMatch> for StringMatch {
    type Error = &'static str;

    fn try_from(raw: RawStringMatch) -> Result<Self, Self::Error> {
        match (raw.exact, raw.prefix, raw.regex) {
            (None, None, None) => Ok(StringMatch::Present),
            (Some(text), None, None) => Ok(StringMatch::Exact(text)),
            (None, Some(text), None) => Ok(StringMatch::Prefix(text)),
            (None, None, Some(text)) => Ok(StringMatch::Regex(text)),
            _ => Err("only one of exact, prefix and regex may be set"),
        }
    }
}

/// A service, one of its subsets, one of its ports (`Destination`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Destination {
    /// Host name, short or full.
    pub host: String,
    /// Subset of a DestinationRule; empty: the whole service.
    pub subset: String,
    /// Port; absent: the service's only one, or the called one.
    pub port: Option<PortSelector>,
}

/// A port by number (`PortSelector`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PortSelector {
    /// The number, as written.
    pub number: u32,
}

/// A weighted destination (`HTTPRouteDestination`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// Where to.
    pub destination: Option<Destination>,
    /// Relative share; absent is 0, but a single destination gets everything whatever its weight.
    #[serde(deserialize_with = "int32")]
    pub weight: Option<i64>,
    /// Header operations for this destination only.
    pub headers: Option<Headers>,
}

/// One entry of `mirrors` (`HTTPMirrorPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMirrorPolicy {
    /// Where the copy goes.
    pub destination: Option<Destination>,
    /// Share; absent: all.
    pub percentage: Option<Percent>,
}

/// Header operations in both directions (`Headers`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Headers {
    /// On the request, before it is sent.
    pub request: Option<HeaderOperations>,
    /// On the response, before it goes back.
    pub response: Option<HeaderOperations>,
}

/// What to do with headers (`Headers.HeaderOperations`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Overwrite or add.
    pub set: BTreeMap<String, String>,
    /// Append.
    pub add: BTreeMap<String, String>,
    /// Take away.
    pub remove: Vec<String>,
}
