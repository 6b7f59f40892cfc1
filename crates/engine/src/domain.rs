//! How each key is computed: one match of one-line calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_envoy::Built;
use umbra_ir::{
    Diagnostic, ObjectId, ProxyClass, ProxyKind, Role, RouteSource, RuntimeFraction, RuntimeKey, Scope,
    VirtualHost, VirtualHostSpec,
};
use umbra_mesh::{Index, View};
use umbra_xds::{Resource, ResourceType};

use crate::input::{Input, InputId, indexes};
use crate::key::{Key, Manifest, Value};
use crate::memo::{Domain, Reader};
use crate::view::EngineView;

/// The mesh as a domain of keyed recompute.
pub(crate) struct Mesh;

impl Domain for Mesh {
    type Id = InputId;
    type Obj = Input;
    type Ix = Index;
    type Key = Key;
    type Val = Value;
    type Note = Diagnostic;

    fn index(_: &InputId, input: &Input) -> Vec<Index> {
        indexes(input)
    }

    fn stage(key: &Key) -> u8 {
        key.stage()
    }

    fn derive(key: &Key, reader: &Reader<'_, Self>) -> (Value, Vec<Diagnostic>) {
        let view = &EngineView(reader);
        let mut notes = Vec::new();
        let value = match key {
            Key::Rules(id) => Value::Rules(rules(view, id)),
            Key::Shares(id) => Value::Shares(shares(view, id)),
            Key::ServiceHeads(id) => Value::ServiceHeads(Arc::new(service_heads(view, id))),
            Key::GatewayHead(id) => Value::GatewayHead(gateway_head(view, id)),
            Key::NamespaceRules(ns) => {
                Value::NamespaceRules(Arc::new(umbra_istio::select_namespace_rules(view, ns)))
            }
            Key::RuleSet(id) => Value::RuleSet(Arc::new(umbra_istio::merge_rule_set(view, id))),
            Key::RuleHead(id) => Value::RuleHead(rule_head(view, id)),
            Key::Endpoints(service, port) => {
                Value::Endpoints(Arc::new(umbra_istio::resolve_endpoints(view, service, *port)))
            }
            Key::BoundRules(ns, gateway) => {
                Value::BoundRules(Arc::new(umbra_mesh::select_bound_rules(view, ns, gateway)))
            }
            Key::VisibleServices(ns) => {
                Value::VisibleServices(Arc::new(umbra_istio::select_visible_services(view, ns)))
            }
            Key::Resolve(ns, prefer, host) => {
                Value::Resolve(umbra_istio::resolve_service(view, ns, prefer, host))
            }
            Key::Mentioned(kind, ns) => {
                Value::Mentioned(Arc::new(umbra_istio::select_mentioned_labels(view, *kind, ns)))
            }
            Key::Policy(ns, service) => Value::Policy(umbra_istio::resolve_policy(view, ns, service)),
            Key::Target(query) => Value::Target(umbra_mesh::resolve_target(view, query)),
            Key::Members(cluster) => Value::Members(Arc::new(umbra_istio::select_members(view, cluster))),
            Key::ServiceClusters(ns, service) => {
                let heads = view.service_heads(&service.object);
                let head = heads.iter().find(|h| h.id == *service);
                let clusters = head.map(|h| umbra_istio::select_service_clusters(view, ns, h));
                Value::ServiceClusters(Arc::new(clusters.unwrap_or_default()))
            }
            Key::Class(node, rtds) => Value::Class(umbra_istio::resolve_class(view, node, *rtds)),
            Key::Scope(class) => Value::Scope(Arc::new(scope(view, class))),
            Key::Routes(source) => {
                let (routes, found) = umbra_mesh::bind_routes(view, source);
                notes = found;
                Value::Routes(Arc::new(routes))
            }
            Key::Refs(source) => Value::Refs(Arc::new(view.routes(source).refs())),
            Key::VirtualHost(spec) => {
                Value::VirtualHost(Arc::new(umbra_envoy::build_virtual_host(&virtual_host(view, spec))))
            }
            Key::Cluster(cluster, kind) => resource(
                umbra_istio::bind_cluster(view, cluster, *kind).map(|c| umbra_envoy::build_cluster(&c)),
            ),
            Key::LoadAssignment(cluster) => resource(Some(umbra_envoy::build_load_assignment(
                &umbra_istio::bind_load_assignment(view, cluster),
            ))),
            Key::Listener(listener) => {
                let settings = view.settings();
                resource(Some(umbra_envoy::build_listener(listener, settings.access_log.as_ref())))
            }
            Key::RouteTable(class, name) => resource(route_table(view, class, name)),
            Key::Runtime(class) => resource(Some(umbra_envoy::build_runtime(&runtime(view, class)))),
            Key::Manifest(class) => Value::Manifest(Arc::new(manifest(view, class))),
            Key::Report(id) => {
                let report = umbra_istio::report_object(view, id);
                notes = report.diagnostics;
                Value::Report(Arc::new(report.mirrors))
            }
        };
        (value, notes)
    }
}

fn resource(built: Option<Built>) -> Value {
    Value::Resource(built.map(|b| Arc::new(Resource::new(b.name, b.body, b.requires))))
}

/// The domain under which short names are resolved.
fn domain(view: &EngineView<'_, '_>) -> Arc<str> {
    view.settings().cluster_domain.clone()
}

fn rules(view: &EngineView<'_, '_>, id: &ObjectId) -> Option<Arc<umbra_ir::Rules>> {
    match &*view.object(id)? {
        Object::VirtualService(vs) => Some(Arc::new(umbra_istio::resolve_rules(id, vs, &domain(view)))),
        _ => None,
    }
}

fn shares(view: &EngineView<'_, '_>, id: &ObjectId) -> Option<Arc<umbra_ir::Shares>> {
    match &*view.object(id)? {
        Object::VirtualService(vs) => Some(Arc::new(umbra_istio::resolve_shares(vs, &domain(view)))),
        _ => None,
    }
}

fn rule_head(view: &EngineView<'_, '_>, id: &ObjectId) -> Option<Arc<umbra_ir::RuleHead>> {
    let rules = view.rules(id)?;
    match &*view.object(id)? {
        Object::VirtualService(vs) => {
            Some(Arc::new(umbra_istio::resolve_rule_head(id, vs, &rules, &domain(view))))
        }
        _ => None,
    }
}

fn service_heads(view: &EngineView<'_, '_>, id: &ObjectId) -> Vec<Arc<umbra_ir::ServiceHead>> {
    view.object(id).map(|object| umbra_istio::resolve_service_heads(view, id, &object)).unwrap_or_default()
}

fn gateway_head(view: &EngineView<'_, '_>, id: &ObjectId) -> Option<Arc<umbra_ir::GatewayHead>> {
    match &*view.object(id)? {
        Object::Gateway(gateway) => Some(Arc::new(umbra_istio::resolve_gateway_head(id, gateway))),
        _ => None,
    }
}

fn scope(view: &EngineView<'_, '_>, class: &ProxyClass) -> Scope {
    match class.kind {
        ProxyKind::Sidecar => umbra_mesh::bind_sidecar_scope(view, class),
        ProxyKind::Router => umbra_istio::bind_gateway_scope(view, class),
    }
}

/// Routes of all sources, those that take every request last: at a gateway several rules share a host.
fn virtual_host(view: &EngineView<'_, '_>, spec: &VirtualHostSpec) -> VirtualHost {
    let lists: Vec<_> = spec.sources.iter().map(|source| view.routes(source)).collect();
    let all = || lists.iter().flat_map(|list| &list.routes);
    let specific = all().filter(|r| !r.request.is_catch_all());
    let routes = specific.chain(all().filter(|r| r.request.is_catch_all())).cloned().collect();
    VirtualHost {
        name: spec.name.clone(),
        domains: spec.domains.clone(),
        routes,
        require_tls: spec.require_tls,
    }
}

fn route_table(view: &EngineView<'_, '_>, class: &ProxyClass, name: &Arc<str>) -> Option<Built> {
    let scope = view.scope(class);
    let table = scope.tables.get(name)?;
    let hosts: Vec<_> = table.hosts.iter().map(|spec| view.virtual_host(spec)).collect();
    Some(umbra_envoy::build_route_configuration(name, &hosts))
}

/// The fractions of every mirror that the class's routes hold.
fn runtime(view: &EngineView<'_, '_>, class: &ProxyClass) -> BTreeMap<RuntimeKey, RuntimeFraction> {
    let mut layer = BTreeMap::new();
    for source in sources(&view.scope(class)) {
        let RouteSource::Rules(vs, _) = source else { continue };
        let refs = view.refs(source);
        if refs.keys.is_empty() {
            continue;
        }
        let Some(shares) = view.shares(vs) else { continue };
        layer.extend(refs.keys.iter().filter_map(|key| Some((key.clone(), *shares.0.get(key)?))));
    }
    layer
}

fn sources(scope: &Scope) -> impl Iterator<Item = &RouteSource> {
    scope.tables.values().flat_map(|table| &table.hosts).flat_map(|host| &host.sources)
}

/// Sidecars get every visible service, gateways what their routes name; both the mirror clusters of their
/// routes, and the load assignments of all of these.
fn manifest(view: &EngineView<'_, '_>, class: &ProxyClass) -> Manifest {
    let scope = view.scope(class);
    let mut clusters = std::collections::BTreeSet::new();
    if class.kind == ProxyKind::Sidecar {
        for service in view.visible_services(&class.namespace).iter() {
            clusters.extend(view.service_clusters(&class.namespace, &service.id).iter().cloned());
        }
    }
    for source in sources(&scope) {
        clusters.extend(view.refs(source).clusters.iter().cloned());
    }
    let mut names = BTreeMap::new();
    for cluster in clusters {
        let name = umbra_envoy::cluster_name(&cluster);
        if umbra_istio::uses_load_assignment(view, &cluster) {
            let assignment = umbra_envoy::load_assignment_name(&cluster);
            names
                .entry((ResourceType::Endpoint, assignment))
                .or_insert_with(|| Key::LoadAssignment(cluster.with_role(Role::Primary)));
        }
        names.entry((ResourceType::Cluster, name)).or_insert(Key::Cluster(cluster, class.kind));
    }
    for (name, table) in &scope.tables {
        let listener = umbra_envoy::listener_name(&table.listener);
        names.insert((ResourceType::Listener, listener), Key::Listener(table.listener.clone()));
        names.insert((ResourceType::Route, name.clone()), Key::RouteTable(class.clone(), name.clone()));
    }
    if class.rtds {
        names.insert((ResourceType::Runtime, umbra_envoy::RUNTIME_LAYER.into()), Key::Runtime(class.clone()));
    }
    Manifest(names)
}
