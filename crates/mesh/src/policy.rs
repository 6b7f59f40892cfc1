//! Which DestinationRules apply to a service for a client (istio-semantics "Selection for a proxy").

use std::sync::Arc;

use umbra_ir::{
    DestinationRuleEntry, DestinationRuleSetId, Hostname, NamespaceDestinationRules, ObjectId, ServiceId,
    Visibility,
};

use crate::view::View;

/// The DestinationRules that apply to `service` for a client in `client`: the client's namespace, then the
/// service's, then the root namespace; the first with any visible match wins, and in it the most specific
/// host.
///
/// DIVERGES: rules that the client cannot see are passed over before the most specific host is chosen, and
/// all visible rules of that host are merged, whatever else they are exported to (istiod lets an invisible
/// rule hide a visible one, and keeps rules with different `exportTo` apart).
pub fn resolve_policy(
    view: &dyn View,
    client: &Arc<str>,
    service: &ServiceId,
) -> Option<DestinationRuleSetId> {
    let root = view.settings().root_namespace.clone();
    let own = &service.object.namespace;
    let visible = |entry: &DestinationRuleEntry| entry.visibility.covers(client);
    // In the root namespace itself only its private rules come first; exported ones are everyone's last resort.
    let private = |entry: &DestinationRuleEntry| visible(entry) && entry.visibility != Visibility::All;
    let first = if *client == root {
        most_specific(&view.namespace_destination_rules(client), &service.host, private)
    } else {
        most_specific(&view.namespace_destination_rules(client), &service.host, visible)
    };
    first
        .or_else(|| {
            if own == client && *client != root {
                return None;
            }
            most_specific(&view.namespace_destination_rules(own), &service.host, visible)
        })
        .or_else(|| most_specific(&view.namespace_destination_rules(&root), &service.host, visible))
}

fn most_specific(
    rules: &NamespaceDestinationRules,
    host: &Hostname,
    visible: impl Fn(&DestinationRuleEntry) -> bool,
) -> Option<DestinationRuleSetId> {
    let members = |entries: &[DestinationRuleEntry]| -> Option<DestinationRuleSetId> {
        let ids: Vec<ObjectId> = entries.iter().filter(|e| visible(e)).map(|e| e.id.clone()).collect();
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
