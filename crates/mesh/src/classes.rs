//! Proxies to classes: the few things about a proxy that change what it gets (design "ProxyClass").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    CapturedClient, ClientPlace, Judges, Kind, Locality, ObjectId, ProxyClass, ProxyKind, ProxyNode,
    RouteTables, RuleHead, RuntimeForms,
};

use crate::view::{Index, View};

/// The class of a proxy: only what changes its configuration.
pub fn resolve_class(view: &dyn View, node: &ProxyNode, rtds: RuntimeForms) -> ProxyClass {
    let namespace = view.class_namespace(&node.namespace);
    let sidecars = match node.kind {
        ProxyKind::Sidecar => view.sidecars(&node.namespace),
        ProxyKind::Router => Arc::default(),
    };
    let compared = view.place_labels();
    let pod = node.pod.as_ref().and_then(|name| {
        // Its own word counts before its Pod's.
        let asked = node.labels.is_none()
            || node.trusted_proxies.is_none() && node.kind == ProxyKind::Router
            || compared.is_some() && node.locality.is_none();
        let id = ObjectId::new(Kind::Pod, node.namespace.clone(), name.clone());
        asked.then(|| view.pod_head(&id)).flatten()
    });
    let pod = pod.unwrap_or_default();
    let own = node.labels.clone().unwrap_or_else(|| (*pod.labels).clone());
    let fits = |asked: &BTreeMap<String, String>| asked.iter().all(|(k, v)| own.get(k) == Some(v));
    let sidecar = sidecars.iter().find(|(_, asked)| asked.as_ref().is_none_or(fits));
    let sidecar = sidecar.map(|(id, _)| id.clone());
    let mentioned = view.mentioned_labels(&node.kind, &namespace, &sidecar);
    let trusted_proxies = match node.kind {
        ProxyKind::Sidecar => 0,
        ProxyKind::Router => {
            node.trusted_proxies.or(pod.trusted_proxies).unwrap_or(view.settings().trusted_proxies)
        }
    };
    let place = compared.and_then(|keys| {
        let by_labels = || Locality::from_labels(&own).unwrap_or_else(|| pod.locality.clone());
        let locality = node.locality.clone().filter(|it| !it.is_unknown()).unwrap_or_else(by_labels);
        // Who is nowhere is given what everybody gets.
        let known = !locality.is_unknown() || keys.iter().any(|key| own.contains_key(key));
        let mut labels = own.clone();
        locality.add_labels(&mut labels);
        labels.retain(|key, _| keys.contains(key));
        known.then(|| Arc::new(ClientPlace { locality, labels }))
    });
    ProxyClass {
        place,
        kind: node.kind,
        namespace,
        labels: Arc::new(own.into_iter().filter(|label| mentioned.contains(label)).collect()),
        rtds,
        // Without the runtime nothing says which requests are judged.
        judges: if rtds.any() { node.judges } else { Judges::Nothing },
        may_have_keys: node.may_have_keys && node.kind == ProxyKind::Router,
        http10: node.http10,
        unprivileged: node.unprivileged && node.kind == ProxyKind::Router,
        trusted_proxies,
        interception: node.interception,
        sidecar,
        // Where nobody asks for it, all proxies are alike.
        edits_copies: node.edits_copies || view.ids(&Index::Kind(Kind::MirrorPolicy)).is_empty(),
        route_tables: if node.takes_hosts { view.settings().route_tables } else { RouteTables::Plain },
    }
}

/// Those of a class's labels that DestinationRules of its namespace select clients by.
pub(crate) fn selecting(view: &dyn View, class: &ProxyClass) -> Arc<BTreeMap<String, String>> {
    view.namespace_destination_rules(&class.namespace).selecting(&class.labels)
}

/// Whose captured listeners a class has.
pub(crate) fn captured_client(view: &dyn View, class: &ProxyClass, ipv6: bool) -> CapturedClient {
    let imports = view.imports(&class.namespace, &class.sidecar);
    let rules = imports.listeners.iter().flat_map(|listener| listener.rules.iter());
    let filters = rules.flat_map(|rule| &rule.connection_filters);
    let asked: BTreeSet<(&String, &String)> = filters.flat_map(|filter| &filter.source_labels).collect();
    let labels = class.labels.iter().filter(|label| asked.contains(label));
    CapturedClient {
        namespace: class.namespace.clone(),
        labels: Arc::new(labels.map(|(key, value)| (key.clone(), value.clone())).collect()),
        selecting: selecting(view, class),
        sidecar: class.sidecar.clone(),
        ipv6,
    }
}

/// The labels that can change what a proxy gets: `sourceLabels` of rules that it sees; selectors of DestinationRules; at gateways also Gateway selectors and, for port
/// translation, the selectors of the namespace's Services. With their values: all other values come to the same.
pub fn select_mentioned_labels(
    view: &dyn View,
    kind: ProxyKind,
    namespace: &Arc<str>,
    sidecar: Option<&ObjectId>,
) -> BTreeSet<(String, String)> {
    let pair = |(key, value): (&String, &String)| (key.clone(), value.clone());
    let mut labels = BTreeSet::new();
    let mut add_rule = |head: &RuleHead| {
        labels.extend(head.filters.iter().flat_map(|filter| &filter.source_labels).map(pair));
        // Gateways do not ask for labels of connections.
        let connections = head.connection_filters.iter().filter(|_| kind == ProxyKind::Sidecar);
        labels.extend(connections.flat_map(|filter| &filter.source_labels).map(pair));
    };
    match sidecar {
        Some(sidecar) => {
            let imports = view.imports(namespace, &Some(sidecar.clone()));
            imports.listeners.iter().flat_map(|it| it.rules.iter()).for_each(|head| add_rule(head));
        }
        None => {
            let ids = view.ids(&Index::Kind(Kind::VirtualService));
            ids.iter().filter_map(|id| view.rule_head(id)).for_each(|head| add_rule(&head));
        }
    }
    labels.extend(view.namespace_destination_rules(namespace).selectors().map(pair));
    if kind == ProxyKind::Router {
        for id in view.ids(&Index::Kind(Kind::Gateway)) {
            if let Some(head) = view.gateway_head(&id) {
                labels.extend(head.selector.iter().map(pair));
            }
        }
        labels.extend(view.selected_labels(namespace).iter().cloned());
    }
    labels
}
