//! DestinationRules as Istio chooses them, where `istioCompatible` asks for it (istio-semantics "Merging several DRs for one
//! host", "Selection for a proxy").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    DestinationRuleEntry, DestinationRuleSetId, Hostname, NamespaceDestinationRules, ObjectId, Visibility,
};

use crate::view::View;

/// The rules of the first namespace with any for the host: the client's, the service's, the root namespace. The most
/// specific host is chosen before it is asked who may see its rules, and of those that are kept apart the newest counts.
pub(crate) fn select_as_istio(
    view: &dyn View,
    client: &Arc<str>,
    selecting: &BTreeMap<String, String>,
    own: &Arc<str>,
    host: &Hostname,
) -> Option<DestinationRuleSetId> {
    let root = view.settings().root_namespace.clone();
    let covers = |entry: &DestinationRuleEntry| entry.visibility.covers(client) && entry.selects(selecting);
    let private = |entry: &DestinationRuleEntry| covers(entry) && entry.visibility != Visibility::All;
    let exported = |namespace: &Arc<str>| {
        let rules = view.namespace_destination_rules(namespace);
        choose(&rules, host, client, &|entry| entry.selects(selecting) && !is_private(entry, namespace))
    };
    let rules = view.namespace_destination_rules(client);
    let first = match *client == root {
        true => choose(&rules, host, client, &private),
        false => choose(&rules, host, client, &covers),
    };
    let of_service = || if own == client && *client != root { None } else { exported(own) };
    first.or_else(of_service).or_else(|| exported(&root))
}

/// Whether a rule is for its own namespace and says so.
fn is_private(entry: &DestinationRuleEntry, namespace: &str) -> bool {
    let mut written = entry.export_to.iter();
    written.next().is_some_and(|only| only == "." || only == namespace) && written.next().is_none()
}

fn choose(
    rules: &NamespaceDestinationRules,
    host: &Hostname,
    client: &str,
    admits: &dyn Fn(&DestinationRuleEntry) -> bool,
) -> Option<DestinationRuleSetId> {
    let admitted = |entries: &[DestinationRuleEntry]| entries.iter().any(admits);
    let exact = rules.0.get(host).filter(|entries| admitted(entries));
    let wildcard = || {
        let covering = rules.0.iter().filter(|(pattern, entries)| {
            pattern.is_wildcard() && host.subset_of(pattern) && admitted(entries)
        });
        covering.min_by_key(|(pattern, _)| pattern.specificity()).map(|(_, entries)| entries)
    };
    let entries = exact.or_else(wildcard)?;
    let mine = || entries.iter().filter(|entry| admits(entry));
    // Of those for some clients alone the oldest counts, with those for the same clients.
    let selector = mine().find(|entry| !entry.selector.is_empty()).map(|entry| &entry.selector);
    let groups = keep_apart(mine().filter(|entry| selector.is_none_or(|only| entry.selector == *only)));
    let newest = groups.into_iter().rfind(|group| group.visibility.covers(client))?;
    Some(DestinationRuleSetId(newest.ids.into()))
}

/// Rules that become one.
struct Group<'a> {
    export_to: &'a BTreeSet<String>,
    visibility: &'a Visibility,
    ids: Vec<ObjectId>,
}

/// Rules with the same `exportTo`, to the letter, become one; one with more in it joins those with less, too. Whether it is
/// also kept for itself the last one decides that it is compared with.
fn keep_apart<'a>(entries: impl Iterator<Item = &'a DestinationRuleEntry>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for entry in entries {
        let mut apart = true;
        for group in &mut groups {
            let same = entry.export_to == *group.export_to;
            let wider = !group.export_to.is_empty() && entry.export_to.is_superset(group.export_to);
            if same || wider {
                group.ids.push(entry.id.clone());
            }
            apart = !(same || wider);
        }
        if apart {
            groups.push(Group {
                export_to: &entry.export_to,
                visibility: &entry.visibility,
                ids: vec![entry.id.clone()],
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;

    /// The `exportTo` of rules of the namespace `own`, oldest first; which of them become one.
    #[test]
    fn rules_with_different_export_are_kept_apart() {
        for (written, want) in [
            (&["", ""][..], "01"),
            (&["", "*"], "0 1"),
            (&[".", "own"], "0 1"),
            (&["a", "a,b"], "01"),
            (&["a,b", "a"], "0 1"),
            (&["a", "b", "a"], "02 1 2"),
        ] {
            let entry = |(index, text): (usize, &&str)| {
                let export_to: BTreeSet<String> =
                    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
                DestinationRuleEntry {
                    id: ObjectId::new(Kind::DestinationRule, "own", index.to_string()),
                    visibility: Visibility::resolve(export_to.iter().map(String::as_str), &"own".into()),
                    selector: BTreeMap::new(),
                    export_to,
                }
            };
            let entries: Vec<_> = written.iter().enumerate().map(entry).collect();
            let groups = keep_apart(entries.iter());
            let names =
                |group: &Group<'_>| group.ids.iter().map(|id| id.name.to_string()).collect::<String>();
            let got: Vec<String> = groups.iter().map(names).collect();
            assert_eq!(got.join(" "), want, "{written:?}");
        }
    }
}
