//! Virtual hosts and routes with every target resolved, ready to be built.

use std::sync::Arc;

use crate::{
    ClusterRef, CopiedRequests, DirectResponse, ForwardOptions, HashKey, HeaderChanges, HeaderOps, ObjectId,
    Redirect, RequestMatch, RouteFilters, RuntimeFraction, RuntimeKey,
};

/// One route (`envoy.config.route.v3.Route`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Rule and match name, or `default`.
    pub name: String,
    /// The VirtualService it comes from; `None` for a service's default route.
    pub origin: Option<ObjectId>,
    /// Which of its [`crate::Rules`] it is made of, counted from 0; of no meaning without an origin.
    pub rule: usize,
    /// Which requests.
    pub request: RequestMatch,
    /// Whether it stands with those that take every request: it takes every request, or it is a part of what does.
    pub catch_all: bool,
    /// Of those only the part that the runtime says under this key: they are judged.
    pub judged: Option<RuntimeKey>,
    /// What happens.
    pub action: RouteAction,
    /// Header changes; a lone destination's are already appended.
    pub headers: HeaderOps,
    /// What happens before the action.
    pub filters: RouteFilters,
    /// `stat_prefix`; empty when absent.
    pub stat_prefix: Arc<str>,
}

impl Route {
    /// Whether a judge sees what its requests and their copies are answered.
    pub fn compares_contents(&self) -> bool {
        match &self.action {
            RouteAction::Forward(forward) => forward.mirrors.iter().any(|mirror| mirror.cluster.contents),
            RouteAction::Redirect(_) | RouteAction::Direct(_) => false,
        }
    }
}

/// What a route does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteAction {
    /// Forward.
    Forward(Forward),
    /// Redirect; ports are decided.
    Redirect(Redirect),
    /// Answer.
    Direct(DirectResponse),
}

/// Forwarding with clusters known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Where requests go. Never empty.
    pub targets: Vec<Target>,
    /// Emit `weighted_clusters` although there may be one target only.
    pub weighted: bool,
    /// Where copies go. Broken mirrors are already left out.
    pub mirrors: Vec<Mirror>,
    /// What of a request decides to which endpoint of its target it goes.
    pub hash: Vec<HashKey>,
    /// The rest.
    pub options: ForwardOptions,
}

/// One weighted target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The cluster.
    pub cluster: TargetCluster,
    /// Its weight, at least 1 where there are several.
    pub weight: u32,
    /// Header changes when weighted.
    pub headers: HeaderOps,
    /// Host when weighted.
    pub host_rewrite: Option<String>,
}

/// A cluster that exists, or only its name: a broken primary destination answers 503 as in Istio.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TargetCluster {
    /// It exists.
    Known(ClusterRef),
    /// It does not; this is the name Istio would give it.
    Unknown(Arc<str>),
}

/// One mirror (`envoy.config.route.v3.RouteAction.RequestMirrorPolicy`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// The `mirror|…` cluster.
    pub cluster: ClusterRef,
    /// How much.
    pub share: MirrorShare,
    /// The copy's Host.
    pub host: MirrorHost,
    /// Which of the route's requests it copies: where not all, the route is several.
    pub requests: CopiedRequests,
    /// What the copy's headers are changed by: first what is removed, then the values.
    pub headers: HeaderChanges,
    /// What the copy of a judged request says of its mirror.
    pub mark: Option<Arc<str>>,
}

/// How Envoy learns a mirror's fraction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MirrorShare {
    /// From the runtime layer, 0 until it is told.
    Runtime(RuntimeKey),
    /// In the route, for proxies without RTDS; never 0.
    Fixed(RuntimeFraction),
}

/// The Host header of a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MirrorHost {
    /// The original with `-shadow` appended by Envoy.
    Suffix,
    /// The original.
    Keep,
    /// This, as it is.
    Literal(String),
}
