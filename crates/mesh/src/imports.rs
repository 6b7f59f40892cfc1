//! What the proxies of a namespace can call, by the Sidecar that is for them (istio `pilot/pkg/model/sidecar.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    AskedLabels, EgressHost, EgressNamespace, EgressPort, GatewayRef, Hostname, Imported, Imports, Kind,
    ObjectId, Placed, RuleHead, ServiceHead, SidecarHead,
};

use crate::scope::order_of_rules;
use crate::services::{candidates, precedence, seniority};
use crate::target::unalias;
use crate::view::{Index, View};

/// The Sidecars from which the proxies of a namespace have theirs, with the labels that each asks for; the first that fits
/// counts: those of the namespace with a selector, then those without, each oldest first, then the root namespace's oldest
/// without one.
pub fn select_sidecars(view: &dyn View, namespace: &Arc<str>) -> Vec<AskedLabels> {
    let of = |namespace: &Arc<str>| -> Vec<Arc<SidecarHead>> {
        let ids = view.ids(&Index::InNamespace(Kind::Sidecar, namespace.clone()));
        let mut heads: Vec<_> = ids.iter().filter_map(|id| view.sidecar_head(id)).collect();
        heads.sort_by(|a, b| {
            (a.selector.is_none(), a.created, &a.id.name).cmp(&(b.selector.is_none(), b.created, &b.id.name))
        });
        heads
    };
    let root = view.settings().root_namespace.clone();
    let own = of(namespace);
    let fallback = of(&root).into_iter().find(|head| head.selector.is_none());
    own.into_iter().chain(fallback).map(|head| (head.id.clone(), head.selector.clone())).collect()
}

/// What proxies of a namespace with this Sidecar can call.
///
/// Of objects of namespaces that it names only those are read that are there, so that others cost nothing.
pub fn select_imports(view: &dyn View, namespace: &Arc<str>, sidecar: Option<&ObjectId>) -> Imports {
    let settings = view.settings();
    let Some(head) = sidecar.and_then(|id| view.sidecar_head(id)) else {
        let all = Imported {
            port: EgressPort::default(),
            services: view.visible_services(namespace),
            rules: view.bound_rules(namespace, &GatewayRef::Mesh),
        };
        return Imports {
            listeners: vec![all],
            outbound_policy: settings.outbound_policy,
            chosen: Arc::default(),
        };
    };
    let mut chosen = BTreeMap::new();
    let listeners = head.egress.iter().map(|egress| {
        let services = import_services(view, namespace, &egress.hosts);
        for service in services.iter() {
            let otherwise = view.resolve(namespace, namespace, &service.id.host);
            if otherwise.is_none_or(|other| other.id != service.id) {
                chosen.insert(service.id.host.clone(), service.id.object.namespace.clone());
            }
        }
        Imported { port: egress.port.clone(), services, rules: import_rules(view, namespace, &egress.hosts) }
    });
    Imports {
        listeners: listeners.collect(),
        outbound_policy: head.outbound_policy.unwrap_or(settings.outbound_policy),
        chosen: Arc::new(chosen),
    }
}

/// The namespace that a host is of, for a proxy of `own`; `None`: any.
fn namespace_of<'a>(host: &'a EgressHost, own: &'a Arc<str>) -> Option<&'a Arc<str>> {
    match &host.namespace {
        EgressNamespace::Any => None,
        EgressNamespace::Own => Some(own),
        EgressNamespace::Named(name) => Some(name),
    }
}

fn is_everything(hosts: &[Placed<EgressHost>]) -> bool {
    hosts.iter().any(|it| it.value.namespace == EgressNamespace::Any && it.value.host.as_str() == "*")
}

/// The services that hosts of a Sidecar cover, one for each host; a pod of a headless Service goes with that.
fn import_services(
    view: &dyn View,
    namespace: &Arc<str>,
    hosts: &[Placed<EgressHost>],
) -> Arc<Vec<Arc<ServiceHead>>> {
    // Beside it, entries for less still decide about aliases.
    if is_everything(hosts) && hosts.iter().all(|it| it.value.host.as_str() == "*") {
        return view.visible_services(namespace);
    }
    let mut by_host: BTreeMap<Hostname, Arc<ServiceHead>> = BTreeMap::new();
    for host in hosts {
        let heads = heads_of(view, namespace, &host.value).into_iter();
        for head in heads.filter(|head| unalias(view, namespace, head).is_none()) {
            // DIVERGES: Istio looks first which have the entry's port.
            import(namespace, head, &mut by_host);
        }
    }
    import_aliases(view, namespace, hosts, &mut by_host);
    let mut services: Vec<_> = by_host.into_values().collect();
    services.sort_by(|a, b| seniority(a).cmp(&seniority(b)));
    Arc::new(services)
}

/// Of services for one host the one that comes first.
fn import(namespace: &Arc<str>, head: Arc<ServiceHead>, by_host: &mut BTreeMap<Hostname, Arc<ServiceHead>>) {
    let known = by_host.get(&head.id.host);
    if known
        .is_none_or(|known| precedence(&head, namespace, namespace) < precedence(known, namespace, namespace))
    {
        by_host.insert(head.id.host.clone(), head);
    }
}

/// ExternalName Services among what hosts of a Sidecar cover. Each is a further name of the service that it means, and comes with
/// that: the entries that bring the service in, those of its namespace or else those of any, must cover the name too (istio
/// `matchingAliasService`). One that means no service is an entry's own.
fn import_aliases(
    view: &dyn View,
    namespace: &Arc<str>,
    hosts: &[Placed<EgressHost>],
    by_host: &mut BTreeMap<Hostname, Arc<ServiceHead>>,
) {
    for id in view.ids(&Index::ExternalNames) {
        for alias in view.service_heads(&id).iter().filter(|head| head.visibility.covers(namespace)) {
            let Some(host) = unalias(view, namespace, alias) else { continue };
            // Of several namespaces that of which the Sidecar has it.
            let Some(meant) = by_host.get(&host) else { continue };
            let those = |owner: Option<&Arc<str>>| {
                let those = hosts.iter().map(|it| &it.value);
                those.filter(|it| namespace_of(it, namespace) == owner).collect::<Vec<_>>()
            };
            let covers = |entries: &[&EgressHost], name: &Hostname| {
                entries.iter().any(|entry| name.subset_of(&entry.host))
            };
            let own = those(Some(&meant.id.object.namespace));
            let entries = if covers(&own, &host) { own } else { those(None) };
            if covers(&entries, &alias.id.host) {
                import(namespace, alias.clone(), by_host);
            }
        }
    }
}

/// The visible services that a host of a Sidecar covers.
pub(crate) fn heads_of(view: &dyn View, namespace: &Arc<str>, host: &EgressHost) -> Vec<Arc<ServiceHead>> {
    let owner = namespace_of(host, namespace);
    let objects: Vec<ObjectId> = match owner {
        None if host.host.is_wildcard() => {
            return view.services_under(namespace, &host.host).iter().cloned().collect();
        }
        Some(owner) if host.host.is_wildcard() => {
            let kinds = [Kind::Service, Kind::ServiceEntry];
            kinds.iter().flat_map(|kind| view.ids(&Index::InNamespace(*kind, owner.clone()))).collect()
        }
        _ => candidates(view, &host.host),
    };
    let mine = objects.into_iter().filter(|id| owner.is_none_or(|owner| id.namespace == *owner));
    let covered = mine.flat_map(|id| {
        let heads = view.service_heads(&id);
        let whole = heads.iter().any(|head| !head.is_pod && head.id.host.subset_of(&host.host));
        let mine = |head: &&Arc<ServiceHead>| {
            (head.id.host.subset_of(&host.host) || head.is_pod && whole) && head.visibility.covers(namespace)
        };
        heads.iter().filter(mine).cloned().collect::<Vec<_>>()
    });
    covered.collect()
}

/// The rules of which a host overlaps one of these, of their namespace.
pub(crate) fn import_rules(
    view: &dyn View,
    namespace: &Arc<str>,
    hosts: &[Placed<EgressHost>],
) -> Arc<Vec<Arc<RuleHead>>> {
    let all = || view.bound_rules(namespace, &GatewayRef::Mesh);
    if is_everything(hosts) {
        return all();
    }
    let hosts: Vec<_> = hosts.iter().map(|it| (namespace_of(&it.value, namespace), &it.value.host)).collect();
    let counts = |head: &RuleHead| {
        let mut mine = hosts.iter().filter(|(owner, _)| owner.is_none_or(|it| *it == head.id.namespace));
        mine.any(|(_, host)| head.hosts().any(|own| own.matches(host)))
    };
    if hosts.iter().any(|(owner, _)| owner.is_none()) {
        return Arc::new(all().iter().filter(|head| counts(head)).cloned().collect());
    }
    let owners: BTreeSet<&Arc<str>> = hosts.iter().filter_map(|(owner, _)| *owner).collect();
    let ids = owners
        .into_iter()
        .flat_map(|owner| view.ids(&Index::InNamespace(Kind::VirtualService, owner.clone())));
    let heads = ids.filter_map(|id| view.rule_head(&id));
    let bound = |head: &Arc<RuleHead>| {
        head.is_bound_to(&GatewayRef::Mesh) && head.visibility.covers(namespace) && counts(head)
    };
    let mut heads: Vec<_> = heads.filter(bound).collect();
    heads.sort_by(|a, b| order_of_rules(a, namespace).cmp(&order_of_rules(b, namespace)));
    Arc::new(heads)
}
