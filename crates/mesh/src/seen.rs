//! Which services a namespace sees just as those do that nothing tells apart: what is derived for calls to such a service is
//! the same for all of them, and derived once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use umbra_ir::{
    GatewayRef, Hostname, Kind, ObjectId, ProxyClass, Resolution, RuleAction, RuleTargets, ServiceHead,
    ServiceId, Visibility,
};

use crate::namespaces::OTHERS;
use crate::view::{Index, View};

/// By namespace the hosts of DestinationRules that are exported to it by name.
pub fn select_exported_policies(view: &dyn View) -> BTreeMap<Arc<str>, BTreeSet<Hostname>> {
    let mut exported: BTreeMap<Arc<str>, BTreeSet<Hostname>> = BTreeMap::new();
    let rules = view.ids(&Index::Kind(Kind::DestinationRule));
    for namespace in rules.into_iter().map(|id| id.namespace).collect::<BTreeSet<_>>() {
        for (host, entries) in &view.namespace_destination_rules(&namespace).0 {
            for entry in entries {
                let Visibility::Namespaces(some) = &entry.visibility else { continue };
                for to in some.iter().filter(|to| **to != namespace) {
                    exported.entry(to.clone()).or_default().insert(host.clone());
                }
            }
        }
    }
    exported
}

/// The hosts of DestinationRules that count for clients of a namespace and not for all others: its own, and those that
/// are exported to it by name.
pub fn select_own_policies(view: &dyn View, namespace: &Arc<str>) -> BTreeSet<Hostname> {
    let own = view.namespace_destination_rules(namespace);
    let exported = view.exported_policies();
    own.0.keys().chain(exported.get(namespace).into_iter().flatten()).cloned().collect()
}

/// What of a rule decides for whom its routes are the same; `None`: it says nothing.
pub fn select_rule_targets(view: &dyn View, rule: &ObjectId) -> Option<RuleTargets> {
    let rules = view.rules(rule)?;
    let mut found = RuleTargets::default();
    for rule in &rules.rules {
        found.asked.extend(rule.matches.iter().filter_map(|it| it.filter.source_namespace.clone()));
        if let RuleAction::Forward(forward) = &rule.action {
            let targets = forward.destinations.iter().map(|it| &it.destination.host);
            let mirrors = forward.mirrors.iter().map(|it| &it.destination.host);
            found.hosts.extend(targets.chain(mirrors).cloned());
        }
    }
    Some(found)
}

/// Those rules whose routes are bound for sidecars of a namespace alone: not every host that they send to is the same for all
/// others.
pub fn select_rules_apart(view: &dyn View, namespace: &Arc<str>) -> BTreeSet<ObjectId> {
    let policies = view.own_policies(namespace);
    let (own, others) = (view.visible_services(namespace), view.visible_services(&OTHERS.into()));
    let [own, others] = [&own, &others].map(|services| -> HashMap<&Hostname, &Arc<ServiceHead>> {
        services.iter().map(|head| (&head.id.host, head)).collect()
    });
    let same = |host: &Hostname| {
        own.get(host).is_some_and(|service| {
            others.get(host).is_some_and(|theirs| theirs.id == service.id)
                && !matches!(service.resolution, Resolution::Alias(_))
                && !told_apart(namespace, &policies, service)
        })
    };
    let rules = view.bound_rules(namespace, &GatewayRef::Mesh);
    let apart = rules.iter().filter(|rule| {
        let targets = view.rule_targets(&rule.id);
        targets.is_none_or(|it| it.asked.contains(namespace) || !it.hosts.iter().all(same))
    });
    apart.map(|rule| rule.id.clone()).collect()
}

/// Whether calls from a namespace to a service that the others see too go otherwise than theirs: it is the namespace's own,
/// or has a policy for its clients alone.
fn told_apart(own: &Arc<str>, policies: &BTreeSet<Hostname>, service: &ServiceHead) -> bool {
    let host = &service.id.host;
    service.id.object.namespace == *own
        || policies.contains(host)
        || policies.iter().any(|wildcard| wildcard.is_wildcard() && host.subset_of(wildcard))
        // For one pod of a headless Service that Service's policies count too.
        || (service.is_pod && !policies.is_empty())
}

/// What a class's namespace sees otherwise than the others.
pub(crate) struct Seen {
    own: Arc<str>,
    others: Arc<str>,
    /// What services the others see by host; `None`: nothing is the same.
    visible: Option<HashMap<Hostname, ServiceId>>,
    policies: Arc<BTreeSet<Hostname>>,
    /// The rules whose routes are bound for the class's namespace all the same.
    apart: Arc<BTreeSet<ObjectId>>,
}

impl Seen {
    /// `selecting`: what DestinationRules of the namespace select the class's proxies by.
    pub(crate) fn new(view: &dyn View, class: &ProxyClass, selecting: &BTreeMap<String, String>) -> Self {
        let (own, others): (_, Arc<str>) = (class.namespace.clone(), OTHERS.into());
        let settings = view.settings();
        let shares = own != others
            && own != settings.root_namespace
            && selecting.is_empty()
            // What the others see is nothing to those to whom a Sidecar hides it, and it says which of several services is meant.
            && class.sidecar.is_none()
            && !settings.istio_compatible;
        let (policies, apart) = match shares {
            true => (view.own_policies(&own), view.rules_apart(&own)),
            false => Default::default(),
        };
        let visible = shares.then(|| {
            let services = view.visible_services(&others);
            services.iter().map(|head| (head.id.host.clone(), head.id.clone())).collect()
        });
        Self { own, others, visible, policies, apart }
    }

    /// The namespace for which calls to a service that the class sees are bound: that of all others where they see the same
    /// service and the same policies of it.
    pub(crate) fn namespace(&self, service: &ServiceHead) -> &Arc<str> {
        let theirs = self.visible.as_ref().and_then(|visible| visible.get(&service.id.host));
        let same = theirs == Some(&service.id) && !told_apart(&self.own, &self.policies, service);
        if same { &self.others } else { &self.own }
    }

    /// The namespace for which the routes of a rule are bound.
    pub(crate) fn rule_namespace(&self, rule: &ObjectId) -> Arc<str> {
        let own = self.visible.is_none() || self.apart.contains(rule);
        if own { self.own.clone() } else { self.others.clone() }
    }
}
