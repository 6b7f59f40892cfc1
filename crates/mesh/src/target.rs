//! A destination to the cluster it means, or why it means none. Existence only, never endpoints: a
//! readiness flip must not touch routes.

use std::sync::Arc;

use umbra_ir::{
    ClusterRef, DestinationRuleSetId, Hidden, Hostname, ObjectId, Protocol, Resolution, Role, ServiceHead,
    SubsetName, TargetProblem, TargetQuery,
};

use crate::services::resolve_hidden_service;
use crate::view::{Index, View};

/// How many ExternalName Services may point at each other.
const MAX_ALIASES: usize = 4;

/// Follows a destination to its service, port and subset.
///
/// Without a port: the service's only port; of several the called one, if the service has it (design,
/// "Istio semantics"; DIVERGES: the same on sidecars and gateways, unless the setting `istioCompatible` made the called
/// port of it before).
pub fn resolve_target(view: &dyn View, query: &TargetQuery) -> Result<ClusterRef, TargetProblem> {
    let mut host = query.destination.host.clone();
    let mut service = lookup(view, query, &host)?;
    for _ in 0..MAX_ALIASES {
        let Resolution::Alias(other) = &service.resolution else { break };
        host = other.clone();
        service = lookup(view, query, &host)?;
    }
    match &service.resolution {
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin | Resolution::Original(_) => {}
        Resolution::AsAsked if query.destination.subset.is_some() => {
            return Err(TargetProblem::NoSubsets(host));
        }
        Resolution::AsAsked => {}
        Resolution::Alias(_) => return Err(TargetProblem::TooManyAliases(host)),
    }
    let number = match query.destination.port {
        Some(number) => number,
        None => match service.only_port() {
            Some(only) => only.number,
            None if service.port(query.called).is_some() => query.called,
            None => return Err(TargetProblem::PortAmbiguous(host, query.called)),
        },
    };
    let port = service.port(number).ok_or_else(|| TargetProblem::PortNotFound(host.clone(), number))?;
    if port.protocol == Protocol::Udp {
        return Err(TargetProblem::NotTcp(host, number));
    }
    let policy = view.policy(&query.namespace, &query.selecting, &service.id);
    if let Some(subset) = &query.destination.subset {
        let known =
            policy.as_ref().is_some_and(|id| view.destination_rule_set(id).subsets.contains_key(subset));
        if !known {
            let hidden = hidden_subset(view, query, &service, policy.as_ref(), subset);
            return Err(TargetProblem::SubsetNotFound(host, subset.clone(), hidden));
        }
    }
    Ok(ClusterRef {
        service: service.id.clone(),
        spelling: service.spelling.clone(),
        port: number,
        subset: query.destination.subset.clone(),
        policy,
        role: Role::Primary,
        limits: None,
        contents: false,
    })
}

/// The host of the service that an ExternalName Service means for callers of a namespace, through others like it; `None`: it means none,
/// or is no such Service.
pub(crate) fn unalias(view: &dyn View, namespace: &Arc<str>, alias: &ServiceHead) -> Option<Hostname> {
    let Resolution::Alias(host) = &alias.resolution else { return None };
    let mut host = host.clone();
    for _ in 0..MAX_ALIASES {
        match &view.resolve(namespace, namespace, &host)?.resolution {
            Resolution::Alias(other) => host = other.clone(),
            _ => return Some(host),
        }
    }
    None
}

/// Looks for the subset in the rules of the service's own namespace, which the applied ones may hide: the
/// first namespace with any match wins completely. Then anywhere: its author may have put it there by mistake.
fn hidden_subset(
    view: &dyn View,
    query: &TargetQuery,
    service: &ServiceHead,
    applied: Option<&DestinationRuleSetId>,
    subset: &SubsetName,
) -> Hidden {
    let rules = view.namespace_destination_rules(&service.id.object.namespace);
    let hider = applied.and_then(|set| set.0.first());
    let owner = rules.0.get(&service.id.host).into_iter().flatten().find(|entry| {
        entry.visibility.covers(&query.namespace)
            && entry.selector.is_empty()
            && view
                .destination_rule_set(&DestinationRuleSetId(Arc::from([entry.id.clone()])))
                .subsets
                .contains_key(subset)
    });
    if let (Some(hider), Some(owner)) = (hider, owner) {
        return Hidden::Behind(hider.clone(), owner.id.clone());
    }
    elsewhere(view, query, service, hider, subset).unwrap_or(Hidden::Nowhere)
}

/// A rule of any namespace that defines the subset for the service's host, and why it does not count.
fn elsewhere(
    view: &dyn View,
    query: &TargetQuery,
    service: &ServiceHead,
    hider: Option<&ObjectId>,
    subset: &SubsetName,
) -> Option<Hidden> {
    let host = &service.id.host;
    let label: Arc<str> = host.as_str().split('.').next().unwrap_or_default().into();
    let named = view.ids(&Index::SubsetOf(label, subset.as_str().into()));
    let root = view.settings().root_namespace.clone();
    let counting = [&query.namespace, &service.id.object.namespace, &root];
    let reason = |id: &ObjectId| {
        let rules = view.namespace_destination_rules(&id.namespace);
        let entry = rules.0.get(host)?.iter().find(|entry| entry.id == *id)?;
        let alone = DestinationRuleSetId(Arc::from([id.clone()]));
        if !view.destination_rule_set(&alone).subsets.contains_key(subset) {
            return None;
        }
        if !counting.contains(&&id.namespace) {
            Some(Hidden::Elsewhere(id.clone()))
        } else if !entry.visibility.covers(&query.namespace) {
            Some(Hidden::NotExported(id.clone()))
        } else if !entry.selector.is_empty() {
            Some(Hidden::OtherClients(id.clone()))
        } else {
            hider.map(|hider| Hidden::Behind(hider.clone(), id.clone()))
        }
    };
    named.iter().find_map(reason)
}

fn lookup(view: &dyn View, query: &TargetQuery, host: &Hostname) -> Result<Arc<ServiceHead>, TargetProblem> {
    view.resolve(&query.namespace, &query.prefer, host)
        .or_else(|| resolve_hidden_service(view, &query.prefer, host))
        .ok_or_else(|| TargetProblem::HostNotFound(host.clone()))
}

/// The name that Istio would give a destination that means no cluster: Envoy answers 503 for it.
pub(crate) fn unknown_cluster(query: &TargetQuery) -> Arc<str> {
    let destination = &query.destination;
    if destination.host.as_str().is_empty() {
        return "UnknownService".into();
    }
    let port = destination.port.unwrap_or(query.called);
    Role::Primary.cluster_name(destination.host.as_str(), port, destination.subset.as_ref())
}
