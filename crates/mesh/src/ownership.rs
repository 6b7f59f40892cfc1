//! Whose rules count for calls to a service, and who may send it copies (`hostOwnership`).
//!
//! With Istio a rule of any namespace takes the calls to any other's service, wherever it is exported to
//! (ISTIO-SECURITY-2026-002 calls that expected). DIVERGES: by setting the service's owner has a word in it.

use std::sync::Arc;

use umbra_ir::{
    ForeignRules, GatewayRef, HostOwnership, Hostname, Kind, ObjectId, RuleHead, ServiceHead, ServiceId,
    Settings, Visibility,
};

use crate::view::{Index, View};

/// Whether a rule counts for calls to a service by clients of the namespace `caller`.
pub(crate) fn rule_counts(settings: &Settings, rule: &ObjectId, service: &ServiceHead, caller: &str) -> bool {
    *rule.namespace == *caller || admitted(settings, rule, service)
}

/// Whether a service may be sent copies by a rule.
pub(crate) fn takes_copies(view: &dyn View, rule: &ObjectId, service: &ServiceId) -> bool {
    let settings = view.settings();
    if settings.host_ownership == HostOwnership::Open || is_own(&settings, rule, &service.object.namespace) {
        return true;
    }
    view.service_heads(&service.object)
        .iter()
        .any(|head| head.id.host == service.host && admitted(&settings, rule, head))
}

/// Whether a rule counts for whoever calls a service.
fn admitted(settings: &Settings, rule: &ObjectId, service: &ServiceHead) -> bool {
    match settings.host_ownership {
        HostOwnership::Open => true,
        HostOwnership::Own => is_own(settings, rule, &service.id.object.namespace),
        HostOwnership::Consent => is_welcome(settings, rule, service),
    }
}

/// Whether a rule is of a service's own namespace, or of the operator's.
pub(crate) fn is_own(settings: &Settings, rule: &ObjectId, owner: &str) -> bool {
    *rule.namespace == *owner || rule.namespace == settings.root_namespace
}

/// Whether the owner of a service wants the rule, or has to.
pub(crate) fn is_welcome(settings: &Settings, rule: &ObjectId, service: &ServiceHead) -> bool {
    is_own(settings, rule, &service.id.object.namespace) || service.admits.covers(&rule.namespace)
}

/// Whether others than its own namespace see a rule.
pub(crate) fn is_exported(head: &RuleHead) -> bool {
    match &head.visibility {
        Visibility::All => true,
        Visibility::Namespaces(some) => some.iter().any(|namespace| *namespace != head.id.namespace),
    }
}

/// Whether a rule that counts in a namespace counts for calls to a service there, for who judges conflicts.
pub(crate) fn counts_beside(
    view: &dyn View,
    other: &RuleHead,
    services: &[Arc<ServiceHead>],
    caller: &str,
) -> bool {
    let settings = view.settings();
    services.is_empty() || services.iter().any(|service| rule_counts(&settings, &other.id, service, caller))
}

/// The rules of the mesh about services of other namespaces than their own, where those count without being asked for.
pub fn select_foreign_rules(view: &dyn View) -> ForeignRules {
    let settings = view.settings();
    let mut found = ForeignRules::new();
    if settings.host_ownership != HostOwnership::Open {
        return found;
    }
    let suffix = format!(".svc.{}", settings.cluster_domain.to_ascii_lowercase());
    for id in view.ids(&Index::Kind(Kind::VirtualService)) {
        let head =
            view.rule_head(&id).filter(|head| head.is_bound_to(&GatewayRef::Mesh) && is_exported(head));
        let Some(head) = head.filter(|head| head.id.namespace != settings.root_namespace) else { continue };
        for host in head.hosts() {
            let owner: Arc<str> = match namespace_of(host, &suffix) {
                Some(namespace) => namespace.into(),
                None if host.is_wildcard() && suffix.ends_with(host.as_str().trim_start_matches('*')) => {
                    "".into()
                }
                None => continue,
            };
            if owner != head.id.namespace {
                found.entry(owner).or_default().push((id.clone(), host.clone()));
            }
        }
    }
    found
}

/// The namespace whose services a host means, when it means Kubernetes' Services of one: the last word before the suffix.
fn namespace_of<'a>(host: &'a Hostname, suffix: &str) -> Option<&'a str> {
    let rest = host.as_str().strip_suffix(suffix)?;
    let (name, namespace) = rest.rsplit_once('.')?;
    (!name.is_empty() && !namespace.contains('*')).then_some(namespace)
}

/// Those of them that are about services of this namespace.
pub fn select_foreign_rules_of(view: &dyn View, namespace: &Arc<str>) -> Vec<(ObjectId, Hostname)> {
    let all = view.foreign_rules();
    let of = |owner: &str| all.get(owner).into_iter().flatten();
    let everywhere = of("").filter(|(rule, _)| rule.namespace != *namespace);
    of(&namespace.to_ascii_lowercase()).chain(everywhere).cloned().collect()
}
