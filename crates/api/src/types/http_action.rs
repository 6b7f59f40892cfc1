//! VirtualService HTTP rules: what is done to a request other than sending it somewhere.
//! Source: Istio's `networking/v1alpha3/virtual_service.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_route::StringMatch;
use super::scalar::{Base64, Duration, Percent, proto_enum};

/// A redirect (`HTTPRedirect`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRedirect {
    /// New path.
    pub uri: String,
    /// New path prefix, in place of the one matched.
    pub prefix_rewrite: String,
    /// New authority.
    pub authority: String,
    /// New port.
    pub port: Option<u32>,
    /// Where the port comes from when it is not written.
    pub derive_port: Option<RedirectPort>,
    /// New scheme.
    pub scheme: String,
    /// Status; 0 means 301.
    pub redirect_code: u32,
}

proto_enum! {
    /// `HTTPRedirect.RedirectPortSelection`.
    RedirectPort {
        /// 80 for http, 443 for https.
        FromProtocolDefault = 0 "FROM_PROTOCOL_DEFAULT",
        /// The port that was called.
        FromRequestPort = 1 "FROM_REQUEST_PORT",
    }
}

/// A fixed answer (`HTTPDirectResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpDirectResponse {
    /// Status.
    pub status: u32,
    /// Content; absent: none.
    pub body: Option<HttpBody>,
}

/// Content (`HTTPBody`): one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpBody {
    /// As text.
    pub string: Option<String>,
    /// As base64 in JSON.
    pub bytes: Option<Base64>,
}

/// A reference to another VirtualService (`Delegate`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; empty: the root's.
    pub namespace: String,
}

/// Changes to the request before it is sent (`HTTPRewrite`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// New path or, for a prefix match, new prefix.
    pub uri: String,
    /// New authority.
    pub authority: String,
    /// New path by regular expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A substitution on the path (`RegexRewrite`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RegexRewrite {
    /// Pattern (RE2 syntax).
    #[serde(rename = "match")]
    pub pattern: String,
    /// Replacement, with `\1` for groups.
    pub rewrite: String,
}

/// A retry policy (`HTTPRetry`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// How many retries; 0: no retry policy at all.
    pub attempts: i32,
    /// Time limit of each attempt.
    pub per_try_timeout: Option<Duration>,
    /// Conditions and status codes, separated by commas.
    pub retry_on: String,
    /// Whether other localities are tried.
    pub retry_remote_localities: Option<bool>,
    /// Whether hosts that failed are avoided; absent: yes.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Shortest pause between attempts.
    pub backoff: Option<Duration>,
}

/// Faults to inject (`HTTPFaultInjection`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpFaultInjection {
    /// Wait before sending.
    pub delay: Option<FaultDelay>,
    /// Answer with an error.
    pub abort: Option<FaultAbort>,
}

/// A delay (`HTTPFaultInjection.Delay`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FaultDelay {
    /// Old integer share.
    pub percent: i32,
    /// Length.
    pub fixed_delay: Option<Duration>,
    /// Mean length (never implemented by Istio).
    pub exponential_delay: Option<Duration>,
    /// Share.
    pub percentage: Option<Percent>,
}

/// An abort (`HTTPFaultInjection.Abort`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FaultAbort {
    /// HTTP status.
    pub http_status: Option<i32>,
    /// gRPC status by name.
    pub grpc_status: Option<String>,
    /// HTTP/2 error (never implemented by Istio).
    pub http2_error: Option<String>,
    /// Share.
    pub percentage: Option<Percent>,
}

/// Cross-origin rules (`CorsPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Old list of exact origins.
    pub allow_origin: Vec<String>,
    /// Origins.
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Request headers.
    pub allow_headers: Vec<String>,
    /// Response headers.
    pub expose_headers: Vec<String>,
    /// How long a preflight counts.
    pub max_age: Option<Duration>,
    /// Whether credentials may be sent.
    pub allow_credentials: Option<bool>,
    /// What happens to preflights that don't match.
    pub unmatched_preflights: UnmatchedPreflights,
}

proto_enum! {
    /// `CorsPolicy.UnmatchedPreflights`.
    UnmatchedPreflights {
        /// Forward.
        Unspecified = 0 "UNSPECIFIED",
        /// Forward.
        Forward = 1 "FORWARD",
        /// Answer here.
        Ignore = 2 "IGNORE",
    }
}

/// Labels of workloads, used by several kinds (`WorkloadSelector`).
///
/// ServiceEntry's has `labels`, DestinationRule's has `matchLabels`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchLabels {
    /// All must be there.
    pub match_labels: BTreeMap<String, String>,
}
