//! What a class of proxies is given: tables of virtual hosts, before anything in them is looked up.

use std::sync::Arc;

use umbra_ir::{GatewayRef, Kind, ProxyClass, ProxyKind, RuleHead, Scope};

use crate::gateways::bind_gateway_scope;
use crate::sidecar::bind_sidecar_scope;
use crate::view::{Index, View};

/// The listeners and tables of a class.
pub fn bind_scope(view: &dyn View, class: &ProxyClass) -> Scope {
    match class.kind {
        ProxyKind::Sidecar => bind_sidecar_scope(view, class),
        ProxyKind::Router => bind_gateway_scope(view, class),
    }
}

/// The VirtualServices bound to a gateway (or the mesh) that a namespace sees: its private ones, then those
/// exported to it, then public ones; each oldest first (istio `VirtualServicesForGateway`).
pub fn select_bound_rules(view: &dyn View, namespace: &Arc<str>, gateway: &GatewayRef) -> Vec<Arc<RuleHead>> {
    let mut heads: Vec<Arc<RuleHead>> = view
        .ids(&Index::Kind(Kind::VirtualService))
        .iter()
        .filter_map(|id| view.rule_head(id))
        .filter(|head| head.is_bound_to(gateway) && head.visibility.covers(namespace))
        .collect();
    heads.sort_by(|a, b| {
        (bucket(a, namespace), a.created, &a.id.name, &a.id.namespace).cmp(&(
            bucket(b, namespace),
            b.created,
            &b.id.name,
            &b.id.namespace,
        ))
    });
    heads
}

/// 0: restricted and of this namespace; 1: restricted and exported to it; 2: public.
fn bucket(head: &RuleHead, namespace: &Arc<str>) -> u8 {
    match head.visibility {
        umbra_ir::Visibility::All => 2,
        umbra_ir::Visibility::Namespaces(_) if head.id.namespace == *namespace => 0,
        umbra_ir::Visibility::Namespaces(_) => 1,
    }
}
