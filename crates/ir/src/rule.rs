//! The http rules of one VirtualService with names resolved, before anything is known about targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{
    CopiedRequests, Hostname, MirrorPlace, MirrorTerms, ObjectId, Placed, PortNumber, RouteFilters,
    RuntimeFraction, RuntimeKey, SubsetName, Verdicts, Visibility,
};

/// A VirtualService's gateway: all sidecars, or one Gateway object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum GatewayRef {
    /// The reserved word `mesh`.
    Mesh,
    /// A Gateway by namespace and name.
    Named(ObjectId),
}

/// Conditions that the control plane itself decides per proxy (istio `sourceMatchHTTP`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub struct StaticFilter {
    /// `match.port`.
    pub port: Option<PortNumber>,
    /// `match.gateways`; when non-empty, the source conditions are not looked at.
    pub gateways: BTreeSet<GatewayRef>,
    /// `match.sourceLabels`.
    pub source_labels: BTreeMap<String, String>,
    /// `match.sourceNamespace`.
    pub source_namespace: Option<Arc<str>>,
}

/// What of a VirtualService decides where it applies; edits of routes don't change it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleHead {
    /// The VirtualService.
    pub id: ObjectId,
    /// Creation time in seconds (0 when unknown): oldest first, then name, then namespace.
    pub created: i64,
    /// Hosts with short names resolved.
    pub hosts: Vec<Placed<Hostname>>,
    /// Where it is bound.
    pub gateways: Vec<Placed<GatewayRef>>,
    /// Who sees it.
    pub visibility: Visibility,
    /// The distinct static filters of its matches; `None` in the list is a match without any. A proxy
    /// that passes none of them gets no route of it. Empty: it has no rule that can be served.
    pub filters: BTreeSet<StaticFilter>,
    /// The distinct static filters of the matches of its `tls` and `tcp` rules. Empty: it has none that can be served.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub connection_filters: BTreeSet<StaticFilter>,
    /// The label keys that `sourceLabels` of `filters` mention.
    pub mentioned_labels: BTreeSet<String>,
    /// The objects that have a word in its rules: VirtualServices whose rules it has taken in, MirrorPolicies that count for
    /// its mirrors.
    pub delegates: BTreeSet<ObjectId>,
    /// How its routes stand beside those of other rules for one host.
    pub order: RouteOrder,
    /// How many of the hosts written are not among `hosts`, since its routes would not fit on them (see [`crate::budget`]).
    #[serde(skip_serializing_if = "is_zero")]
    pub hosts_left_out: usize,
    /// In how many virtual hosts of a class its routes may stand.
    #[serde(skip)]
    pub virtual_hosts: usize,
    /// At how many listeners of a class its `tls` and `tcp` rules may count.
    #[serde(skip)]
    pub connection_listeners: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What of a VirtualService's rules decides for whom their routes are the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleTargets {
    /// The hosts that requests or copies are sent to.
    pub hosts: BTreeSet<Hostname>,
    /// The namespaces of callers that matches ask for.
    pub asked: BTreeSet<Arc<str>>,
}

/// How the routes of several rules that share a host are put together. Each kind of object that routes has its own way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub enum RouteOrder {
    /// As they are written, rule after rule, those that take every request last (istio `SortVHostRoutes`).
    #[default]
    CatchAllsLast,
}

impl RuleHead {
    /// Its hosts, in the order in which they are written.
    pub fn hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.hosts.iter().map(|host| &host.value)
    }

    /// Whether it is bound to a gateway, or to the mesh.
    pub fn is_bound_to(&self, gateway: &GatewayRef) -> bool {
        self.gateways.iter().any(|bound| bound.value == *gateway)
    }
}

/// The rules of one VirtualService that can be served, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rules {
    /// The VirtualService.
    pub id: ObjectId,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// How much of a host's configuration they are, in bytes as they are kept.
    #[serde(skip)]
    pub size: usize,
    /// What was left out, since all of it together is too much for a host (see [`crate::budget`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surplus: Option<Surplus>,
}

/// Routes that are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Surplus {
    /// Where the first one is written.
    pub field: String,
    /// How many there are.
    pub routes: usize,
}

/// One `http[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rule {
    /// Its path in the object, such as `spec.http[0]`, for diagnostics; `spec.http[0].delegate.http[1]` for one that a
    /// delegate says.
    pub field: String,
    /// That delegate. Its destinations are the delegate's own.
    pub delegate: Option<ObjectId>,
    /// `name`; empty when absent.
    pub name: Arc<str>,
    /// Alternatives; empty: every request.
    pub matches: Vec<RuleMatch>,
    /// What happens.
    pub action: RuleAction,
    /// Changes of request and response headers.
    pub headers: HeaderOps,
    /// What happens before.
    pub filters: RouteFilters,
}

/// One `match[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleMatch {
    /// `match.name`; empty when absent.
    pub name: Arc<str>,
    /// What we decide.
    pub filter: StaticFilter,
    /// What Envoy decides.
    pub request: RequestMatch,
    /// `statPrefix`; empty when absent.
    pub stat_prefix: Arc<str>,
}

/// What Envoy matches a request by (`envoy.config.route.v3.RouteMatch`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RequestMatch {
    /// The path.
    pub path: PathMatch,
    /// `case_sensitive`; `None` only where there is no match object at all.
    pub case_sensitive: Option<bool>,
    /// Sorted by name, then `:method`, `:authority`, `:scheme`.
    pub headers: Vec<HeaderMatch>,
    /// Sorted by name.
    pub query: Vec<QueryMatch>,
}

impl RequestMatch {
    /// The condition of a rule without any match: every request.
    pub fn everything() -> Self {
        RequestMatch {
            path: PathMatch::Prefix("/".into()),
            case_sensitive: None,
            headers: Vec::new(),
            query: Vec::new(),
        }
    }

    /// Matches every request: path `/` or `.*`, and nothing else asked.
    pub fn is_catch_all(&self) -> bool {
        let any_path = match &self.path {
            PathMatch::Prefix(p) => p == "/",
            PathMatch::Regex(r) => r == ".*",
            PathMatch::Exact(_) => false,
        };
        any_path && self.headers.is_empty() && self.query.is_empty()
    }
}

/// `uri`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// A plain string prefix, not by segments.
    Prefix(String),
    /// RE2, the whole path.
    Regex(String),
}

/// A text condition (`envoy.type.matcher.v3.StringMatcher`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum TextMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// RE2, the whole text.
    Regex(String),
    /// There at all.
    Present,
}

/// A header condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HeaderMatch {
    /// Header or pseudo header.
    pub name: String,
    /// Condition on its value.
    pub value: TextMatch,
    /// `withoutHeaders`.
    pub invert: bool,
}

/// A query parameter condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QueryMatch {
    /// Parameter.
    pub name: String,
    /// Condition on its value.
    pub value: TextMatch,
}

/// What a rule does: exactly one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum RuleAction {
    /// Forward, maybe with copies.
    Forward(ForwardRule),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    Direct(DirectResponse),
}

/// Forwarding as written, names resolved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ForwardRule {
    /// Where requests go. Never empty; several: weighted, zero weights already dropped.
    pub destinations: Vec<WeightedDestination>,
    /// Written as several destinations, although maybe only one carries weight.
    pub weighted: bool,
    /// Where copies go, in order.
    pub mirrors: Vec<MirrorRule>,
    /// How they are judged; `None`: not at all, as where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// The rest.
    pub options: ForwardOptions,
}

impl ForwardRule {
    /// In how many routes at most each of its matches ends: requests that other mirrors copy are told apart by routes.
    pub fn most_routes(&self) -> usize {
        let terms = || self.mirrors.iter().filter_map(|mirror| mirror.terms.as_ref());
        let methods: BTreeSet<_> = terms().flat_map(|terms| terms.requests.methods()).collect();
        if terms().next().is_none() { 1 } else { methods.len() + 2 }
    }
}

/// What of forwarding needs no lookup and passes through to Envoy as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ForwardOptions {
    /// `timeout`; zero is "none" (Envoy's default of 15 s is never used).
    pub timeout: Duration,
    /// `None`: no retries.
    pub retry: Option<RetryPolicy>,
    /// `rewrite.uri` and `rewrite.uriRegexRewrite`.
    pub path_rewrite: Option<PathRewrite>,
    /// `rewrite.authority`, or the Host set by header operations.
    pub host_rewrite: Option<String>,
}

/// A service as a rule names it, short names resolved.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Destination {
    /// The host.
    pub host: Hostname,
    /// The port, when written.
    pub port: Option<PortNumber>,
    /// The subset, when written.
    pub subset: Option<SubsetName>,
}

/// One `route[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WeightedDestination {
    /// Path in the object, such as `spec.http[0].route[1].destination`.
    pub field: String,
    /// Where.
    pub destination: Destination,
    /// Share, at least 1 where there are several.
    pub weight: u32,
    /// Header changes for this destination only.
    pub headers: HeaderOps,
    /// The Host set by this destination's header operations.
    pub host_rewrite: Option<String>,
}

/// One mirror whose percentage is valid; the percentage itself is in [`Shares`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MirrorRule {
    /// Which one it is.
    pub place: MirrorPlace,
    /// Where copies go.
    pub destination: Destination,
    /// Names its fraction in the runtime layer.
    pub key: RuntimeKey,
    /// Whether it stands in the delegate that its rule comes from.
    pub by_delegate: bool,
    /// What a MirrorPolicy says of it; `None`: none is for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Arc<MirrorTerms>>,
}

impl MirrorRule {
    /// Whether what becomes of its copies is not counted.
    pub fn is_unobserved(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.unobserved)
    }

    /// Which requests are copied.
    pub fn requests(&self) -> CopiedRequests {
        self.terms.as_ref().map_or_else(CopiedRequests::default, |terms| terms.requests.clone())
    }
}

/// The fractions of a VirtualService's mirrors by runtime key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Shares {
    /// As they are written; 0 where somebody has stopped it.
    pub written: BTreeMap<RuntimeKey, RuntimeFraction>,
    /// Those that something holds down ([`Pacing`]).
    #[serde(skip)]
    pub paced: BTreeSet<RuntimeKey>,
}

impl Shares {
    /// What proxies are told, where `ceiling` says how far a paced one may go.
    pub fn told(
        &self,
        key: &RuntimeKey,
        ceiling: impl FnOnce(&RuntimeKey) -> RuntimeFraction,
    ) -> Option<RuntimeFraction> {
        let written = *self.written.get(key)?;
        Some(if self.paced.contains(key) { written.min(ceiling(key)) } else { written })
    }
}

/// Header changes of a rule or destination; Host and pseudo headers are not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct HeaderOps {
    /// Requests.
    pub request: HeaderChanges,
    /// Responses.
    pub response: HeaderChanges,
}

/// Changes in the order in which they are made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct HeaderChanges {
    /// Values given: of each author first what is set, then what is added, both sorted by name.
    pub values: Vec<HeaderValue>,
    /// Remove, in the author's order.
    pub remove: Vec<String>,
}

/// One value that a header gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HeaderValue {
    /// The header.
    pub name: String,
    /// Its value; Envoy's `%...%` substitutions work.
    pub value: String,
    /// `add`: beside what is there; else `set`: instead of it.
    pub append: bool,
}

/// `retries` over the default policy (`envoy.config.route.v3.RetryPolicy`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RetryPolicy {
    /// `attempts`.
    pub attempts: u32,
    /// Envoy's conditions, comma separated.
    pub retry_on: String,
    /// `retriable_status_codes`.
    pub status_codes: Vec<u32>,
    /// `perTryTimeout`.
    pub per_try_timeout: Option<Duration>,
    /// Avoid endpoints that were tried.
    pub avoid_previous_hosts: bool,
    /// The rule says so itself (`retryIgnorePreviousHosts`).
    pub previous_hosts_written: bool,
    /// `retryRemoteLocalities`: after two attempts at a priority, prefer another one.
    pub remote_localities: bool,
    /// `backoff`.
    pub backoff: Option<Duration>,
}

impl Default for RetryPolicy {
    /// Istio's default policy, which every outbound route has (istio `retry.DefaultPolicy`).
    fn default() -> Self {
        RetryPolicy {
            attempts: 2,
            retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes".into(),
            status_codes: Vec::new(),
            per_try_timeout: None,
            avoid_previous_hosts: true,
            previous_hosts_written: false,
            remote_localities: false,
            backoff: None,
        }
    }
}

/// How the path changes on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum PathRewrite {
    /// The matched part is replaced by this text.
    Prefix(String),
    /// RE2 and substitution over the whole path.
    Regex(String, String),
}

/// `redirect`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Redirect {
    /// New host; empty: the same.
    pub host: String,
    /// New path or path prefix.
    pub path: RedirectPath,
    /// New scheme; empty: the same.
    pub scheme: String,
    /// New port.
    pub port: RedirectPort,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// The path of a redirect.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub enum RedirectPath {
    /// The same.
    #[default]
    Keep,
    /// All of it.
    Whole(String),
    /// The matched prefix.
    Prefix(String),
}

/// The port of a redirect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub enum RedirectPort {
    /// Not said: the scheme's own.
    #[default]
    Default,
    /// This one.
    Number(PortNumber),
    /// `derivePort: FROM_REQUEST_PORT`: the listener's.
    Listener,
}

/// `directResponse`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DirectResponse {
    /// HTTP status.
    pub status: u16,
    /// Body; `None`: none.
    pub body: Option<Vec<u8>>,
}
