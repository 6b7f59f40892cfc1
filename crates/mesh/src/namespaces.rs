//! Which namespaces see the mesh as any other does: their proxies share a class.

use std::collections::BTreeSet;
use std::sync::Arc;

use umbra_ir::{Kind, Visibility};

use crate::view::{Index, View};

/// The namespace of the class of all proxies whose own has nothing in it and is named nowhere. None can have this name.
pub(crate) const OTHERS: &str = "(others)";

/// The kinds of objects by which a namespace sees the mesh in its own way.
const OWN: [Kind; 5] =
    [Kind::Service, Kind::ServiceEntry, Kind::VirtualService, Kind::DestinationRule, Kind::Gateway];

/// The namespace that stands for a proxy's own in its class.
///
/// What a client's namespace changes is whose services and rules come first, its own rules' precedence, the short names
/// of its own services, what is exported to it and what rules ask of it: nothing of that applies to a namespace
/// without objects that nobody names.
pub fn resolve_class_namespace(view: &dyn View, namespace: &Arc<str>) -> Arc<str> {
    let own = |kind: &Kind| !view.ids(&Index::InNamespace(*kind, namespace.clone())).is_empty();
    let told_apart = OWN.iter().any(own)
        || *namespace == view.settings().root_namespace
        || view.named_namespaces().contains(namespace);
    if told_apart { namespace.clone() } else { OTHERS.into() }
}

/// The namespaces that some `exportTo` or `sourceNamespace` names.
pub fn select_named_namespaces(view: &dyn View) -> BTreeSet<Arc<str>> {
    let mut named = BTreeSet::new();
    let mut seen_by = |visibility: &Visibility| {
        if let Visibility::Namespaces(some) = visibility {
            named.extend(some.iter().cloned());
        }
    };
    for kind in [Kind::Service, Kind::ServiceEntry] {
        for id in view.ids(&Index::Kind(kind)) {
            view.service_heads(&id).iter().for_each(|head| seen_by(&head.visibility));
        }
    }
    let rules = view.ids(&Index::Kind(Kind::DestinationRule));
    for namespace in rules.into_iter().map(|id| id.namespace).collect::<BTreeSet<_>>() {
        let rules = view.namespace_destination_rules(&namespace);
        rules.0.values().flatten().for_each(|entry| seen_by(&entry.visibility));
    }
    let heads: Vec<_> =
        view.ids(&Index::Kind(Kind::VirtualService)).iter().filter_map(|id| view.rule_head(id)).collect();
    heads.iter().for_each(|head| seen_by(&head.visibility));
    let filters = heads.iter().flat_map(|head| head.filters.iter().chain(&head.connection_filters));
    let sources = filters.filter_map(|f| f.source_namespace.clone());
    named.extend(sources);
    named
}
