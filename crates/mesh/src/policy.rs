//! Which DestinationRules apply to a service for a client (istio-semantics "Selection for a proxy").

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_ir::{
    DestinationRuleEntry, DestinationRuleSetId, Hostname, Kind, NamespaceDestinationRules, ObjectId,
    ServiceId, Visibility, service_host,
};

use crate::istio_policy::select_as_istio;
use crate::view::View;

/// The DestinationRules that apply to `service` for a client in `client`: the client's namespace, then the
/// service's, then the root namespace; the first with any visible match wins, and in it the most specific
/// host.
///
/// DIVERGES: rules that the client cannot see are passed over before the most specific host is chosen, and
/// all visible rules of that host are merged, whatever else they are exported to (istiod lets an invisible
/// rule hide a visible one, and keeps rules with different `exportTo` apart), unless the setting `istioCompatible` asks
/// for that.
///
/// Rules with a `workloadSelector` are for those clients of their namespace that carry its labels, and where one is, it
/// stands in place of the rules for everybody. DIVERGES: one that selects other clients hides and changes nothing (in
/// istiod it may hide a rule for a wider host, or take in a rule for everybody).
pub fn resolve_policy(
    view: &dyn View,
    client: &Arc<str>,
    selecting: &BTreeMap<String, String>,
    service: &ServiceId,
) -> Option<DestinationRuleSetId> {
    let own = &service.object.namespace;
    by_host(view, client, selecting, own, &service.host).or_else(|| {
        // One pod of a headless Service: what holds for the Service holds for it.
        let whole = whole_service(view, service)?;
        by_host(view, client, selecting, own, &whole)
    })
}

/// The host of the Service of which a service is one pod.
fn whole_service(view: &dyn View, service: &ServiceId) -> Option<Hostname> {
    let ObjectId { kind, namespace, name } = &service.object;
    let host = Hostname::new(&service_host(name, namespace, &view.settings().cluster_domain));
    (*kind == Kind::Service && host != service.host).then_some(host)
}

fn by_host(
    view: &dyn View,
    client: &Arc<str>,
    selecting: &BTreeMap<String, String>,
    own: &Arc<str>,
    host: &Hostname,
) -> Option<DestinationRuleSetId> {
    if view.settings().istio_compatible {
        return select_as_istio(view, client, selecting, own, host);
    }
    let root = view.settings().root_namespace.clone();
    let visible = |entry: &DestinationRuleEntry| entry.visibility.covers(client) && entry.selects(selecting);
    // In the root namespace itself only its private rules come first; exported ones are everyone's last resort.
    let private = |entry: &DestinationRuleEntry| visible(entry) && entry.visibility != Visibility::All;
    let first = if *client == root {
        most_specific(&view.namespace_destination_rules(client), host, private)
    } else {
        most_specific(&view.namespace_destination_rules(client), host, visible)
    };
    first
        .or_else(|| {
            if own == client && *client != root {
                return None;
            }
            most_specific(&view.namespace_destination_rules(own), host, visible)
        })
        .or_else(|| most_specific(&view.namespace_destination_rules(&root), host, visible))
}

fn most_specific(
    rules: &NamespaceDestinationRules,
    host: &Hostname,
    visible: impl Fn(&DestinationRuleEntry) -> bool,
) -> Option<DestinationRuleSetId> {
    let members = |entries: &[DestinationRuleEntry]| -> Option<DestinationRuleSetId> {
        let mine = || entries.iter().filter(|e| visible(e));
        // Of those for some clients alone the oldest counts, with those for the same clients.
        let selector =
            mine().find(|e| !e.selector.is_empty()).map_or_else(Default::default, |e| e.selector.clone());
        let ids: Vec<ObjectId> = mine().filter(|e| e.selector == selector).map(|e| e.id.clone()).collect();
        if ids.is_empty() { None } else { Some(DestinationRuleSetId(ids.into())) }
    };
    if let Some(found) = rules.0.get(host).and_then(|entries| members(entries)) {
        return Some(found);
    }
    rules
        .0
        .iter()
        .filter(|(pattern, _)| pattern.is_wildcard() && host.subset_of(pattern))
        .filter_map(|(pattern, entries)| Some((pattern.specificity(), members(entries)?)))
        .min_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, found)| found)
}
