//! What a class of proxies is given: tables of virtual hosts, before anything in them is looked up.

use std::collections::BTreeSet;
use std::sync::Arc;

use umbra_ir::{
    ChainContent, GatewayPort, GatewayRef, Kind, ObjectId, ProxyClass, ProxyKind, RouteSource, RouteTables,
    RuleHead, Scope, Table,
};

use crate::gateways::bind_gateway_scope;
use crate::sidecar::bind_sidecar_scope;
use crate::view::{Index, View};

/// The listeners and tables of a class.
pub fn bind_scope(view: &dyn View, class: &ProxyClass) -> Scope {
    let mut plain = match class.kind {
        ProxyKind::Sidecar => bind_sidecar_scope(view, class),
        ProxyKind::Router => bind_gateway_scope(view, class),
    };
    if class.http10 || class.judges.any() {
        for_class(&mut plain, class);
    }
    for table in plain.tables.values_mut() {
        let hosts = &mut Arc::make_mut(table).hosts;
        let shared = std::mem::take(hosts).into_iter().map(Arc::unwrap_or_clone);
        *hosts = shared.map(|host| view.share_host(host)).collect();
    }
    let rules: BTreeSet<&ObjectId> = plain.sources().filter_map(RouteSource::rules).collect();
    let delegates =
        rules.into_iter().filter_map(|id| Some((id.clone(), view.rule_head(id)?.delegates.clone())));
    let delegates = delegates.filter(|(_, delegates)| !delegates.is_empty()).collect();
    let tables = match class.route_tables {
        RouteTables::Plain => plain.tables,
        RouteTables::Hosts => plain.tables.into_iter().map(with_hosts).collect(),
    };
    let ports = match class.route_tables {
        RouteTables::Plain => plain.ports,
        RouteTables::Hosts => plain.ports.into_iter().map(port_with_hosts).collect(),
    };
    Scope { tables, ports, delegates }
}

/// The same listeners, with what nodes of the class ask of theirs.
fn for_class(scope: &mut Scope, class: &ProxyClass) {
    for table in scope.tables.values_mut() {
        if let Some(listener) = &mut Arc::make_mut(table).listener {
            (listener.http10, listener.judges) = (class.http10, class.judges);
        }
    }
    for port in &mut scope.ports {
        let listener = Arc::make_mut(&mut port.listener);
        (listener.http10, listener.judges) = (class.http10, class.judges);
    }
}

/// The same port, of tables whose virtual hosts are resources of their own.
fn port_with_hosts(mut port: GatewayPort) -> GatewayPort {
    let mut listener = Arc::unwrap_or_clone(port.listener);
    for chain in &mut listener.chains {
        if let ChainContent::Http(table) = &mut chain.content {
            *table = hosts_table_name(table);
        }
    }
    port.listener = Arc::new(listener);
    port
}

/// A table whose virtual hosts are resources of their own has another name: Envoy must never see one become the other.
fn with_hosts((name, table): (Arc<str>, Arc<Table>)) -> (Arc<str>, Arc<Table>) {
    let name = hosts_table_name(&name);
    let mut table = Arc::unwrap_or_clone(table);
    if let Some(listener) = &mut table.listener {
        listener.route_config = name.clone();
    }
    (name, Arc::new(table))
}

/// The name of a table whose virtual hosts are resources of their own.
pub(crate) fn hosts_table_name(plain: &str) -> Arc<str> {
    format!("hosts/{plain}").into()
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
    heads.sort_by(|a, b| order_of_rules(a, namespace).cmp(&order_of_rules(b, namespace)));
    heads
}

/// The precedence of rules for clients in `namespace`.
pub(crate) fn order_of_rules<'a>(head: &'a RuleHead, namespace: &Arc<str>) -> (u8, i64, &'a str, &'a str) {
    (bucket(head, namespace), head.created, &head.id.name, &head.id.namespace)
}

/// 0: restricted and of this namespace; 1: restricted and exported to it; 2: public.
fn bucket(head: &RuleHead, namespace: &Arc<str>) -> u8 {
    match head.visibility {
        umbra_ir::Visibility::All => 2,
        umbra_ir::Visibility::Namespaces(_) if head.id.namespace == *namespace => 0,
        umbra_ir::Visibility::Namespaces(_) => 1,
    }
}
