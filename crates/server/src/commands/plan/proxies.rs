//! The proxies that a folder of manifests may be for, where nobody says which.

use std::collections::{BTreeMap, BTreeSet};

use umbra_api::Object;
use umbra_ir::ProxyKind;

use super::super::proxy::ProxySpec;

type Labels = BTreeMap<String, String>;

/// A sidecar without labels in each namespace, one with the labels of each Pod and of each `sourceLabels` that a rule asks for, and
/// a gateway for each selector of a Gateway, in its namespace and with the labels of each Pod that it selects. Many are of
/// one class: what cannot be told apart changes in the same way.
pub(super) fn derive_proxies<'a>(objects: impl Iterator<Item = &'a Object> + Clone) -> Vec<ProxySpec> {
    let selectors: Vec<&Labels> = objects.clone().filter_map(selector).collect();
    let mut all: BTreeSet<(ProxyKind, String, Labels)> = BTreeSet::new();
    for object in objects {
        let namespace = object.meta().namespace.to_string();
        if namespace.is_empty() {
            continue;
        }
        all.insert((ProxyKind::Sidecar, namespace.clone(), Labels::new()));
        match object {
            Object::Pod(_) => {
                let labels = &object.meta().labels;
                let selects = |selector: &&&Labels| {
                    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
                };
                let kind = match selectors.iter().any(|it| selects(&it)) {
                    true => ProxyKind::Router,
                    false => ProxyKind::Sidecar,
                };
                all.insert((kind, namespace, (**labels).clone()));
            }
            Object::Gateway(gateway) => {
                all.insert((ProxyKind::Router, namespace, gateway.spec.selector.clone()));
            }
            Object::VirtualService(rules) => {
                let http = rules.spec.http.iter().flat_map(|rule| &rule.matches);
                let tls = rules.spec.tls.iter().flat_map(|rule| &rule.matches);
                let tcp = rules.spec.tcp.iter().flat_map(|rule| &rule.matches);
                let asked = http.map(|it| (&it.source_namespace, &it.source_labels));
                let asked = asked.chain(tls.map(|it| (&it.source_namespace, &it.source_labels)));
                let asked = asked.chain(tcp.map(|it| (&it.source_namespace, &it.source_labels)));
                for (from, labels) in asked {
                    let from = if from.is_empty() { namespace.clone() } else { from.clone() };
                    all.insert((ProxyKind::Sidecar, from, labels.clone()));
                }
            }
            _ => {}
        }
    }
    all.into_iter().map(|(kind, namespace, labels)| ProxySpec { kind, namespace, labels }).collect()
}

fn selector(object: &Object) -> Option<&Labels> {
    match object {
        Object::Gateway(gateway) => Some(&gateway.spec.selector),
        _ => None,
    }
}
