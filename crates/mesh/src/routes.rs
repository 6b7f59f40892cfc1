//! Rules bound for a client: every target resolved, every broken mirror left out
//! (istio-semantics "From list of http rules to list of envoy routes"; design "Mirroring").

use std::sync::Arc;

use umbra_ir::{
    ClientTls, ClusterRef, Code, Diagnostic, DirectResponse, Forward, ForwardOptions, ForwardRule,
    HeaderMatch, HeaderOps, HostOf, Mirror, MirrorHost, MirrorPlace, MirrorRule, MirrorShare, MirrorTerms,
    ObjectId, OutboundPolicy, Protocol, ProxyKind, Redirect, RedirectPort, RequestMatch, RetryPolicy, Role,
    Route, RouteAction, RouteClient, RouteFilters, RouteList, RouteSource, Rule, RuleAction, RuleMatch,
    RuntimeFraction, RuntimeKey, ServiceHead, Shares, Target, TargetCluster, TargetProblem, TargetQuery,
    TextMatch, WeightedDestination,
};

use crate::clusters::{goes_as_asked, goes_where_called, protocol_of, speaks_as_client};
use crate::copies::{copy_headers, not_edited, split_by_request, unmark};
use crate::filter::filter_passes;
use crate::hashing::{hash_keys, stay_with_hashed};
use crate::judged::judged_routes;
use crate::ownership::takes_copies;
use crate::target::unknown_cluster;
use crate::view::View;

/// Binds a source of routes.
pub fn bind_routes(view: &dyn View, source: &RouteSource) -> (RouteList, Vec<Diagnostic>) {
    match source {
        RouteSource::Rules(vs, client) => bind_rules(view, vs, client),
        RouteSource::Service(service, client) => {
            let heads = view.service_heads(&service.object);
            let head = heads.iter().find(|h| h.id == *service);
            let routes = head.map(|head| default_route(view, head, client)).into_iter().collect();
            (RouteList { routes }, Vec::new())
        }
        RouteSource::Unknown(policy) => (RouteList { routes: vec![unknown_route(*policy)] }, Vec::new()),
    }
}

/// Where a request goes whose host nobody defines (istio `buildCatchAllVirtualHost`).
fn unknown_route(policy: OutboundPolicy) -> Route {
    let (name, action) = match policy {
        OutboundPolicy::AllowAny => {
            let cluster = TargetCluster::Unknown(policy.cluster().name().into());
            let target = Target { cluster, weight: 1, headers: HeaderOps::default(), host_rewrite: None };
            let forward = Forward {
                targets: vec![target],
                weighted: false,
                mirrors: Vec::new(),
                hash: Vec::new(),
                options: ForwardOptions::default(),
            };
            ("allow_any", RouteAction::Forward(forward))
        }
        OutboundPolicy::RegistryOnly => {
            ("block_all", RouteAction::Direct(DirectResponse { status: 502, body: None }))
        }
    };
    Route {
        name: name.into(),
        origin: None,
        rule: 0,
        request: RequestMatch::everything(),
        catch_all: true,
        judged: None,
        action,
        headers: HeaderOps::default(),
        filters: RouteFilters::default(),
        stat_prefix: "".into(),
    }
}

/// The route of a service that no rule mentions.
fn default_route(view: &dyn View, head: &ServiceHead, client: &RouteClient) -> Route {
    let query = TargetQuery {
        namespace: client.namespace.clone(),
        selecting: client.selecting.clone(),
        prefer: client.chosen.get(&head.id.host).unwrap_or(&client.namespace).clone(),
        destination: umbra_ir::Destination {
            host: head.id.host.clone(),
            port: Some(client.port),
            subset: None,
        },
        called: client.port,
    };
    let cluster = target_cluster(view, &query);
    let forward = with_hash(
        view,
        Forward {
            targets: vec![Target { cluster, weight: 1, headers: HeaderOps::default(), host_rewrite: None }],
            weighted: false,
            mirrors: Vec::new(),
            hash: Vec::new(),
            options: ForwardOptions { retry: Some(RetryPolicy::default()), ..ForwardOptions::default() },
        },
    );
    Route {
        name: "default".into(),
        origin: None,
        rule: 0,
        request: RequestMatch::everything(),
        catch_all: true,
        judged: None,
        action: RouteAction::Forward(forward),
        headers: HeaderOps::default(),
        filters: RouteFilters::default(),
        stat_prefix: "".into(),
    }
}

fn target_cluster(view: &dyn View, query: &TargetQuery) -> TargetCluster {
    match view.target(query) {
        Ok(cluster) => TargetCluster::Known(cluster),
        Err(_) => TargetCluster::Unknown(unknown_cluster(query)),
    }
}

/// One route for each rule and match that can apply; nothing after the first that takes every request.
fn bind_rules(view: &dyn View, vs: &ObjectId, client: &RouteClient) -> (RouteList, Vec<Diagnostic>) {
    let mut routes = Vec::new();
    let mut diagnostics = Vec::new();
    let Some(rules) = view.rules(vs) else { return (RouteList::default(), diagnostics) };
    'rules: for (nth, rule) in rules.rules.iter().enumerate() {
        let matches: Vec<Option<&RuleMatch>> =
            if rule.matches.is_empty() { vec![None] } else { rule.matches.iter().map(Some).collect() };
        let mut action = None;
        for m in matches {
            let passes = m.is_none_or(|m| {
                filter_passes(&m.filter, &client.gateway, client.port, &client.namespace, &client.labels)
            });
            if !passes {
                continue;
            }
            let action =
                action.get_or_insert_with(|| bind_action(view, vs, rule, client, &mut diagnostics)).clone();
            let route = Route { rule: nth, ..assemble(view, vs, rule, m, action) };
            let last = route.catch_all;
            for part in split_by_request(route) {
                let stat_prefix = stat_prefix(view, rule, m, &part.action);
                let part = Route { stat_prefix, ..part };
                for route in for_grpc_copies(view, &part, client.kind).into_iter().chain([part]) {
                    routes.extend(judged_routes(view, vs, (rule, &route), client, &mut diagnostics));
                    routes.push(route);
                }
            }
            if last {
                break 'rules;
            }
        }
    }
    (RouteList { routes }, diagnostics)
}

fn assemble(
    view: &dyn View,
    vs: &ObjectId,
    rule: &Rule,
    m: Option<&RuleMatch>,
    action: RouteAction,
) -> Route {
    let name = match m.map(|m| &*m.name).filter(|n| !n.is_empty()) {
        Some(match_name) => format!("{}.{match_name}", rule.name),
        None => rule.name.to_string(),
    };
    let request = m.map_or_else(RequestMatch::everything, |m| m.request.clone());
    let mut headers = rule.headers.clone();
    if let (RuleAction::Forward(written), RouteAction::Forward(_)) = (&rule.action, &action)
        && !written.weighted
        && let [only] = written.destinations.as_slice()
    {
        append(&mut headers, &only.headers);
    }
    unmark(&view.settings(), rule, &mut headers);
    Route {
        name,
        origin: Some(vs.clone()),
        rule: 0,
        stat_prefix: stat_prefix(view, rule, m, &action),
        catch_all: request.is_catch_all(),
        request,
        judged: None,
        action,
        headers,
        filters: rule.filters.clone(),
    }
}

/// What its author says; else, where requests are copied, the rule's name, so that what was copied can be told from what
/// could have been.
fn stat_prefix(view: &dyn View, rule: &Rule, m: Option<&RuleMatch>, action: &RouteAction) -> Arc<str> {
    let written = m.map(|m| m.stat_prefix.clone()).unwrap_or_default();
    match (&rule.action, action) {
        (RuleAction::Forward(rule), RouteAction::Forward(bound))
            if written.is_empty()
                && !bound.mirrors.is_empty()
                && view.settings().mirror.observe
                && !rule.mirrors.iter().all(MirrorRule::is_unobserved) =>
        {
            rule.mirrors.first().map(|mirror| mirror.key.rule().into()).unwrap_or_default()
        }
        _ => written,
    }
}

/// The route for gRPC requests before one whose copies go to a port that does not say what it speaks: the same, but that
/// copies speak HTTP/2. `None`: the route's copies speak what their ports say.
///
/// DIVERGES: from istiod such copies leave as HTTP/1.1, and a gRPC server loses each of them.
fn for_grpc_copies(view: &dyn View, route: &Route, kind: ProxyKind) -> Option<Route> {
    let RouteAction::Forward(forward) = &route.action else { return None };
    let mut forward = forward.clone();
    let detected = forward.mirrors.iter_mut().filter(|m| speaks_as_client(view, &m.cluster, kind));
    let changed = detected.map(|mirror| mirror.cluster = mirror.cluster.with_role(Role::GrpcMirror)).count();
    (changed > 0).then(|| {
        let mut request = route.request.clone();
        let grpc = HeaderMatch {
            name: "content-type".to_owned(),
            value: TextMatch::Prefix("application/grpc".to_owned()),
            invert: false,
        };
        request.headers.insert(0, grpc);
        Route { request, action: RouteAction::Forward(forward), ..route.clone() }
    })
}

/// A lone destination's operations come after the route's.
fn append(headers: &mut HeaderOps, more: &HeaderOps) {
    for (to, from) in [(&mut headers.request, &more.request), (&mut headers.response, &more.response)] {
        to.values.extend(from.values.iter().cloned());
        to.remove.extend(from.remove.iter().cloned());
    }
}

fn bind_action(
    view: &dyn View,
    vs: &ObjectId,
    rule: &Rule,
    client: &RouteClient,
    diagnostics: &mut Vec<Diagnostic>,
) -> RouteAction {
    match &rule.action {
        RuleAction::Redirect(redirect) => RouteAction::Redirect(bind_redirect(redirect, client)),
        RuleAction::Direct(direct) => RouteAction::Direct(direct.clone()),
        RuleAction::Forward(forward) => {
            RouteAction::Forward(bind_forward(view, vs, forward, client, diagnostics))
        }
    }
}

/// Decides the port: the listener's where asked; a scheme's own port is not written.
fn bind_redirect(redirect: &Redirect, client: &RouteClient) -> Redirect {
    let port = match redirect.port {
        RedirectPort::Listener => RedirectPort::Number(client.port),
        other => other,
    };
    let https = redirect.scheme == "https" || redirect.scheme.is_empty() && client.secure;
    let port = match port {
        RedirectPort::Number(n) if n.get() == if https { 443 } else { 80 } => RedirectPort::Default,
        other => other,
    };
    Redirect { port, ..redirect.clone() }
}

fn bind_forward(
    view: &dyn View,
    vs: &ObjectId,
    rule: &ForwardRule,
    client: &RouteClient,
    diagnostics: &mut Vec<Diagnostic>,
) -> Forward {
    let targets: Vec<Target> = rule
        .destinations
        .iter()
        .map(|d| bind_target(view, vs, d, rule.weighted, client, diagnostics))
        .collect();
    // Read only for proxies without RTDS: for the others a percentage must not touch routes.
    let shares = if client.rtds { None } else { view.shares(vs) };
    let mirrors = rule
        .mirrors
        .iter()
        .filter_map(|mirror| {
            let cluster = match mirror_target(view, vs, mirror, client) {
                Ok(cluster) => cluster.for_copies(mirror),
                Err(problem) => {
                    diagnostics.push(broken_mirror(vs, mirror.place, &problem));
                    return None;
                }
            };
            let share = bind_share(view, &mirror.key, client.rtds, shares.as_deref())?;
            let terms = mirror.terms.as_deref();
            // Rather none than copies with what they must not carry.
            if let Some(terms) = terms.filter(|terms| terms.edits_copies() && !client.edits_copies) {
                diagnostics.push(not_edited(vs, mirror.place, terms));
                return None;
            }
            Some(Mirror {
                share,
                host: mirror_host(view, &cluster, terms),
                requests: mirror.requests(),
                headers: copy_headers(&view.settings(), mirror),
                cluster,
                mark: None,
            })
        })
        .collect();
    let mut options = rule.options.clone();
    if !rule.weighted && options.host_rewrite.is_none() {
        // The route's own rewrite wins over a lone destination's.
        options.host_rewrite = rule.destinations.first().and_then(|d| d.host_rewrite.clone());
    }
    with_hash(view, Forward { targets, weighted: rule.weighted, mirrors, hash: Vec::new(), options })
}

/// Adds what the policies of the targets ask of the route.
fn with_hash(view: &dyn View, forward: Forward) -> Forward {
    let mut forward = Forward { hash: hash_keys(view, &forward), ..forward };
    forward.options.retry = forward.options.retry.take().map(|retry| stay_with_hashed(&forward, retry));
    forward
}

/// How a client asks for a destination of a rule.
pub(crate) fn query(
    view: &dyn View,
    vs: &ObjectId,
    destination: &umbra_ir::Destination,
    client: &RouteClient,
) -> TargetQuery {
    let prefer = match client.kind {
        ProxyKind::Sidecar => client.chosen.get(&destination.host).unwrap_or(&client.namespace).clone(),
        // A gateway serves many namespaces: the rule's own comes first.
        ProxyKind::Router => vs.namespace.clone(),
    };
    let mut destination = destination.clone();
    if client.kind == ProxyKind::Sidecar && view.settings().istio_compatible {
        destination.port.get_or_insert(client.port);
    }
    TargetQuery {
        namespace: client.namespace.clone(),
        selecting: client.selecting.clone(),
        prefer,
        destination,
        called: client.port,
    }
}

/// The cluster whose endpoints a mirror copies to, if those may be sent copies by this rule.
pub(crate) fn mirror_target(
    view: &dyn View,
    vs: &ObjectId,
    mirror: &MirrorRule,
    client: &RouteClient,
) -> Result<ClusterRef, TargetProblem> {
    let cluster = view.target(&query(view, vs, &mirror.destination, client))?;
    if goes_where_called(view, &cluster) {
        return Err(TargetProblem::NoAddressOfCopy(cluster.service.host.clone()));
    }
    // DIVERGES: Istio's copy goes to what its original's Host names.
    if goes_as_asked(view, &cluster) {
        return Err(TargetProblem::HostOfCopy(cluster.service.host.clone()));
    }
    let owner = &cluster.service.object.namespace;
    if takes_copies(view, vs, &cluster.service) {
        return Ok(cluster);
    }
    Err(TargetProblem::NotAdmitted(cluster.service.host.clone(), owner.clone(), vs.namespace.clone()))
}

/// The cluster of a destination, if such a client can reach it.
pub(crate) fn destination_target(
    view: &dyn View,
    vs: &ObjectId,
    destination: &umbra_ir::Destination,
    client: &RouteClient,
) -> Result<ClusterRef, TargetProblem> {
    let cluster = view.target(&query(view, vs, destination, client))?;
    if client.kind == ProxyKind::Router && goes_where_called(view, &cluster) {
        return Err(TargetProblem::NoAddressAtGateway(cluster.service.host.clone()));
    }
    // DIVERGES: in Istio the cluster is there, and Envoy looks up what strangers ask for.
    if client.kind == ProxyKind::Router && goes_as_asked(view, &cluster) {
        return Err(TargetProblem::HostAtGateway(cluster.service.host.clone()));
    }
    Ok(cluster)
}

fn bind_target(
    view: &dyn View,
    vs: &ObjectId,
    destination: &WeightedDestination,
    weighted: bool,
    client: &RouteClient,
    diagnostics: &mut Vec<Diagnostic>,
) -> Target {
    let cluster = match destination_target(view, vs, &destination.destination, client) {
        Ok(cluster) => TargetCluster::Known(cluster),
        Err(problem) => {
            if !destination.destination.host.as_str().is_empty() {
                diagnostics.push(broken_destination(vs, &destination.field, &problem));
            }
            TargetCluster::Unknown(unknown_cluster(&query(view, vs, &destination.destination, client)))
        }
    };
    Target {
        cluster,
        weight: destination.weight,
        headers: if weighted { destination.headers.clone() } else { HeaderOps::default() },
        host_rewrite: if weighted { destination.host_rewrite.clone() } else { None },
    }
}

/// By runtime key where the proxy has the layer; else the fraction itself, and no policy at 0.
fn bind_share(view: &dyn View, key: &RuntimeKey, rtds: bool, shares: Option<&Shares>) -> Option<MirrorShare> {
    if rtds {
        return Some(MirrorShare::Runtime(key.clone()));
    }
    let fraction = shares?.told(key, |key| view.decided_share(key))?;
    (fraction != RuntimeFraction::NONE).then_some(MirrorShare::Fixed(fraction))
}

/// The Host of a copy: as its policy says; else the original with the suffix, and for a service outside the mesh that
/// service's own host, or nobody there would know it. A wildcard is no host.
///
/// DIVERGES: istiod never changes the host of a copy that leaves the mesh.
pub(crate) fn mirror_host(view: &dyn View, cluster: &ClusterRef, terms: Option<&MirrorTerms>) -> MirrorHost {
    let said = terms.map(|terms| &terms.host);
    let suffix = said.and_then(|said| said.suffix).unwrap_or(view.settings().mirror.shadow_suffix);
    let external = || {
        let heads = view.service_heads(&cluster.service.object);
        heads.iter().any(|h| h.id == cluster.service && h.external)
    };
    let of_target = said.and_then(|said| said.of).map_or_else(external, |of| of == HostOf::Target);
    if !of_target || cluster.service.host.is_wildcard() {
        return if suffix { MirrorHost::Suffix } else { MirrorHost::Keep };
    }
    // The dot that ends an absolute name means nothing in a Host.
    let mut host = cluster.spelling.trim_end_matches('.').to_owned();
    if suffix {
        host.push_str("-shadow");
    }
    let own_port = if speaks_tls(view, cluster) { 443 } else { 80 };
    if cluster.port.get() != own_port {
        host.push_str(&format!(":{}", cluster.port));
    }
    MirrorHost::Literal(host)
}

/// Whether requests to a cluster travel as https.
fn speaks_tls(view: &dyn View, cluster: &ClusterRef) -> bool {
    match client_tls(view, cluster) {
        Some(tls) => !matches!(tls, ClientTls::Disabled),
        None => is_tls_port(view, cluster),
    }
}

/// Whether plain HTTP goes to a port that speaks TLS, though nobody said DISABLE: all of it will fail.
pub(crate) fn is_plaintext_to_tls(view: &dyn View, cluster: &ClusterRef) -> bool {
    is_tls_port(view, cluster) && client_tls(view, cluster).is_none()
}

fn client_tls(view: &dyn View, cluster: &ClusterRef) -> Option<ClientTls> {
    let policy = cluster.policy.as_ref().map(|id| view.destination_rule_set(id));
    policy.and_then(|rules| rules.effective(cluster.port, cluster.subset.as_ref()).tls)
}

fn is_tls_port(view: &dyn View, cluster: &ClusterRef) -> bool {
    matches!(protocol_of(view, cluster), Some(Protocol::Https | Protocol::Tls))
}

/// The code of a problem for tools.
pub(crate) fn problem_code(problem: &TargetProblem) -> Code {
    match problem {
        TargetProblem::HostNotFound(_) => Code::HostNotFound,
        TargetProblem::PortNotFound(..) => Code::PortNotFound,
        TargetProblem::PortAmbiguous(..) => Code::PortAmbiguous,
        TargetProblem::SubsetNotFound(..) => Code::SubsetNotFound,
        TargetProblem::TooManyAliases(_) | TargetProblem::NoSubsets(_) => Code::UnsupportedDestination,
        TargetProblem::NotTcp(..)
        | TargetProblem::HostOfCopy(_)
        | TargetProblem::HostAtGateway(_)
        | TargetProblem::NoAddressOfCopy(_)
        | TargetProblem::NoAddressAtGateway(_) => Code::UnsupportedDestination,
        TargetProblem::NotAdmitted(..) => Code::NotAdmitted,
    }
}

/// Other objects may still supply what is missing, so it is a warning.
pub(crate) fn broken_mirror(vs: &ObjectId, place: MirrorPlace, problem: &TargetProblem) -> Diagnostic {
    let message = format!("{problem}: this mirror is left out, the rest of the route is served");
    Diagnostic::new(problem_code(problem), vs, place.field(), message).about_mirror(place)
}

/// As [`broken_mirror`], for a primary destination.
pub(crate) fn broken_destination(vs: &ObjectId, field: &str, problem: &TargetProblem) -> Diagnostic {
    let message = format!("{problem}: requests for this destination are answered 503");
    Diagnostic::new(problem_code(problem), vs, field, message)
}
