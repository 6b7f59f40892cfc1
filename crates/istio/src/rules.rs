//! VirtualService to rules with names resolved (istio-semantics "VirtualService.http -> envoy Route").
//!
//! What cannot be served is left out here and nowhere later; `umbra_api::validate` says so to the author.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use umbra_api::{
    HttpDirectResponse, HttpRedirect, HttpRoute, HttpRouteDestination, Objects, RedirectPort as WrittenPort,
    RuleFate, VirtualService,
};
use umbra_ir::budget::{ROUTES_ON_HOSTS, fits, virtual_hosts};
use umbra_ir::{
    ConnectionRules, Destination, DirectResponse, ForwardOptions, ForwardRule, GatewayRef, Hostname,
    MirrorRule, ObjectId, PathRewrite, Placed, PortNumber, Redirect, RedirectPath, RedirectPort,
    RouteFilters, RouteOrder, Rule, RuleAction, RuleHead, Rules, Shares, StaticFilter, Verdicts, Visibility,
    WeightedDestination,
};

use umbra_mesh::View;

use crate::budget::keep_routes;
use crate::delegates::served_rules;
use crate::filters::resolve_filters;
use crate::headers::{host_rewrite, resolve_headers, resolve_retry};
use crate::matches::usable_matches;
use crate::mirror_policies::{policies_of, verdicts_of};
use crate::mirrors::{WrittenMirror, written_mirrors};
use crate::names::{resolve_destination, resolve_gateway, resolve_host};
use crate::verdicts::verdicts;

/// Where the VirtualService applies.
pub fn resolve_rule_head(
    id: &ObjectId,
    vs: &VirtualService,
    rules: &Rules,
    connections: Option<&ConnectionRules>,
    domain: &str,
) -> RuleHead {
    let namespace = &vs.meta.namespace;
    let mut gateways: Vec<Placed<GatewayRef>> = Vec::new();
    for (index, written) in vs.spec.gateways.iter().enumerate() {
        let value = resolve_gateway(written, namespace);
        if gateways.iter().all(|known| known.value != value) {
            gateways.push(Placed { value, field: format!("spec.gateways[{index}]") });
        }
    }
    if gateways.is_empty() {
        gateways.push(Placed { value: GatewayRef::Mesh, field: "spec.gateways".into() });
    }
    let mut seen: HashSet<Hostname> = HashSet::new();
    let mut hosts: Vec<Placed<Hostname>> = Vec::new();
    for (index, written) in vs.spec.hosts.iter().enumerate() {
        if umbra_api::check_host(written).is_err() {
            continue;
        }
        let value = resolve_host(written, namespace, domain);
        if seen.insert(value.clone()) {
            hosts.push(Placed { value, field: format!("spec.hosts[{index}]") });
        }
    }
    let hosts_left_out = hosts.len().saturating_sub(fits(ROUTES_ON_HOSTS, rules.size));
    hosts.truncate(hosts.len() - hosts_left_out);
    let mut filters = BTreeSet::new();
    for rule in &rules.rules {
        if rule.matches.is_empty() {
            filters.insert(StaticFilter::default());
        }
        filters.extend(rule.matches.iter().map(|m| m.filter.clone()));
    }
    let mut connection_filters = BTreeSet::new();
    for rule in connections.into_iter().flat_map(ConnectionRules::all) {
        if rule.matches.is_empty() {
            connection_filters.insert(StaticFilter::default());
        }
        connection_filters.extend(rule.matches.iter().map(|it| it.filter.clone()));
    }
    let mentioned_labels = filters.iter().flat_map(|f| f.source_labels.keys().cloned()).collect();
    RuleHead {
        id: id.clone(),
        created: vs.meta.created_seconds(),
        hosts,
        gateways,
        visibility: Visibility::resolve(vs.spec.export_to.iter().map(String::as_str), namespace),
        filters,
        connection_filters,
        mentioned_labels,
        delegates: rules.rules.iter().flat_map(sayers).collect(),
        order: RouteOrder::CatchAllsLast,
        hosts_left_out,
        virtual_hosts: virtual_hosts(rules.size),
        connection_listeners: virtual_hosts(connections.map_or(0, ConnectionRules::size)),
    }
}

/// The other objects that have a word in a rule.
fn sayers(rule: &Rule) -> impl Iterator<Item = ObjectId> {
    let mirrors = match &rule.action {
        RuleAction::Forward(forward) => &forward.mirrors[..],
        RuleAction::Redirect(_) | RuleAction::Direct(_) => &[],
    };
    let policies =
        mirrors.iter().filter_map(|mirror| mirror.terms.as_ref()).map(|terms| terms.policy.clone());
    rule.delegate.iter().cloned().chain(policies)
}

/// The answer of a rule that must let nothing pass.
///
/// DIVERGES: istiod leaves out what it cannot build of a fault, and requests pass.
const CLOSED: DirectResponse = DirectResponse { status: 503, body: None };

/// The rules that can be served, in order.
pub fn resolve_rules(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
) -> Rules {
    let served = served_rules(view, vs, domain);
    let policies = policies_of(view, id, vs);
    let mut mirrors: BTreeMap<_, Vec<WrittenMirror>> = BTreeMap::new();
    for mirror in written_mirrors(vs, &served, domain).into_iter().filter(|m| m.share.is_some()) {
        mirrors.entry((mirror.place.rule, mirror.place.delegated)).or_default().push(mirror);
    }
    let rules = served.iter().filter_map(|served| {
        let written = &*served.rule;
        let fate = umbra_api::judge_rule(written);
        let matches = usable_matches(written, &vs.meta.namespace)?;
        let field = served.field();
        let place = (served.index, served.part.as_ref().map(|part| part.index));
        let mirrors = mirrors.remove(&place).unwrap_or_default().into_iter().map(|m| MirrorRule {
            place: m.place,
            terms: policies.select(&written.name, &m.destination).cloned(),
            destination: m.destination,
            key: m.key,
            by_delegate: m.by_delegate,
        });
        let (action, filters) = match fate {
            RuleFate::LeftOut => return None,
            RuleFate::Closed => (RuleAction::Direct(CLOSED), RouteFilters::default()),
            RuleFate::Served => {
                let mirrors: Vec<MirrorRule> = mirrors.collect();
                let said = verdicts(vs).ok().flatten();
                // Judged is a rule, by whoever of its mirrors asks for most.
                let each = mirrors.iter().filter_map(|mirror| verdicts_of(said, mirror.terms.as_deref()));
                let verdicts = each.reduce(Verdicts::most);
                let action =
                    resolve_action(written, (mirrors, verdicts), &field, &vs.meta.namespace, domain)?;
                (action, resolve_filters(written))
            }
        };
        Some(Rule {
            field,
            delegate: served.part.as_ref().map(|part| part.id.clone()),
            name: written.name.as_str().into(),
            matches,
            action,
            headers: resolve_headers(written.headers.as_ref()),
            filters,
        })
    });
    let (rules, size, surplus) = keep_routes(rules.collect());
    Rules { id: id.clone(), rules, size, surplus }
}

/// The fractions of all valid mirrors.
pub fn resolve_shares(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
) -> Shares {
    let served = served_rules(view, vs, domain);
    let policies = policies_of(view, id, vs);
    let mut shares = Shares::default();
    for mirror in written_mirrors(vs, &served, domain) {
        let Some(share) = mirror.share else { continue };
        if policies.select(&mirror.route, &mirror.destination).is_some_and(|terms| terms.pacing.is_some()) {
            shares.paced.insert(mirror.key.clone());
        }
        shares.written.insert(mirror.key, share);
    }
    shares
}

/// redirect, else directResponse, else route.
fn resolve_action(
    written: &HttpRoute,
    (mirrors, verdicts): (Vec<MirrorRule>, Option<Verdicts>),
    field: &str,
    namespace: &Arc<str>,
    domain: &str,
) -> Option<RuleAction> {
    if let Some(redirect) = &written.redirect {
        return resolve_redirect(redirect).map(RuleAction::Redirect);
    }
    if let Some(direct) = &written.direct_response {
        return resolve_direct(direct).map(RuleAction::Direct);
    }
    let weighted = written.route.len() > 1;
    let mut destinations: Vec<WeightedDestination> = written
        .route
        .iter()
        .enumerate()
        .filter_map(|(index, d)| {
            resolve_weighted(d, weighted, &format!("{field}.route[{index}]"), namespace, domain)
        })
        .collect();
    if destinations.is_empty() {
        return None;
    }
    // Mostly one, in room for four.
    destinations.shrink_to_fit();
    let rewrite = written.rewrite.as_ref();
    let path_rewrite = rewrite.and_then(|r| match &r.uri_regex_rewrite {
        Some(regex) => Some(PathRewrite::Regex(regex.pattern.clone(), regex.rewrite.clone())),
        _ if !r.uri.is_empty() => Some(PathRewrite::Prefix(r.uri.clone())),
        _ => None,
    });
    let authority = rewrite.map(|r| r.authority.clone()).filter(|a| !a.is_empty());
    Some(RuleAction::Forward(ForwardRule {
        destinations,
        weighted,
        mirrors,
        verdicts,
        options: ForwardOptions {
            timeout: written.timeout.and_then(|d| d.to_std()).unwrap_or_default(),
            retry: resolve_retry(written.retries.as_ref()),
            path_rewrite,
            host_rewrite: authority
                .filter(|a| !a.is_empty())
                .or_else(|| host_rewrite(written.headers.as_ref())),
        },
    }))
}

/// One destination. A lone one gets everything whatever its weight; of several those without weight get
/// nothing and are left out.
fn resolve_weighted(
    written: &HttpRouteDestination,
    weighted: bool,
    field: &str,
    namespace: &str,
    domain: &str,
) -> Option<WeightedDestination> {
    let weight = match u32::try_from(written.weight.unwrap_or(0)) {
        Ok(weight) if weighted => weight,
        Err(_) if weighted => 0,
        _ => 1,
    };
    if weight == 0 {
        return None;
    }
    // A destination that names nothing keeps its share of requests (they get 503): its share must not
    // silently move to the others.
    let destination = written
        .destination
        .as_ref()
        .and_then(|d| resolve_destination(d, namespace, domain))
        .unwrap_or(Destination { host: Hostname::new(""), port: None, subset: None });
    Some(WeightedDestination {
        field: format!("{field}.destination"),
        destination,
        weight,
        headers: resolve_headers(written.headers.as_ref()),
        host_rewrite: host_rewrite(written.headers.as_ref()),
    })
}

fn resolve_redirect(written: &HttpRedirect) -> Option<Redirect> {
    let code = match written.redirect_code {
        0 => 301,
        code @ (301 | 302 | 303 | 307 | 308) => code as u16,
        _ => return None,
    };
    let path = if !written.prefix_rewrite.is_empty() {
        RedirectPath::Prefix(written.prefix_rewrite.clone())
    } else if !written.uri.is_empty() {
        RedirectPath::Whole(written.uri.clone())
    } else {
        RedirectPath::Keep
    };
    let port = match (written.port, written.derive_port) {
        (Some(number), _) => RedirectPort::Number(PortNumber::new(number.into())?),
        (None, Some(WrittenPort::FromRequestPort)) => RedirectPort::Listener,
        (None, _) => RedirectPort::Default,
    };
    Some(Redirect { host: written.authority.clone(), path, scheme: written.scheme.clone(), port, code })
}

fn resolve_direct(written: &HttpDirectResponse) -> Option<DirectResponse> {
    let status = u16::try_from(written.status).ok().filter(|s| (200..=599).contains(s))?;
    let body = written.body.as_ref().and_then(|body| match (&body.string, &body.bytes) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(bytes)) => Some(bytes.0.clone()),
        (None, None) => None,
    });
    Some(DirectResponse { status, body })
}
