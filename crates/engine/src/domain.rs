//! How each key is computed: one match of one-line calls.

use std::sync::Arc;

use umbra_envoy::Built;
use umbra_ir::{Diagnostic, ProxyClass};
use umbra_mesh::{Index, View};
use umbra_xds::Resource;

use crate::front;
use crate::input::{Input, InputId, indexes};
use crate::key::{Key, Manifest, Mesh, Value};
use crate::memo::{Domain, Reader};
use crate::view::EngineView;

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
            Key::Rules(id) => Value::Rules(front::rules(view, id)),
            Key::Shares(id) => Value::Shares(front::shares(view, id)),
            Key::ServiceHeads(id) => Value::ServiceHeads(Arc::new(front::service_heads(view, id))),
            Key::GatewayHead(id) => Value::GatewayHead(front::gateway_head(view, id)),
            Key::NamespaceRules(ns) => {
                Value::NamespaceRules(Arc::new(umbra_istio::select_namespace_rules(view, ns)))
            }
            Key::RuleSet(id) => Value::RuleSet(Arc::new(umbra_istio::merge_rule_set(view, id))),
            Key::RuleHead(id) => Value::RuleHead(front::rule_head(view, id)),
            Key::Endpoints(service, port) => {
                Value::Endpoints(Arc::new(front::endpoints(view, service, *port)))
            }
            Key::BoundRules(ns, gateway) => {
                Value::BoundRules(Arc::new(umbra_mesh::select_bound_rules(view, ns, gateway)))
            }
            Key::VisibleServices(ns) => {
                Value::VisibleServices(Arc::new(umbra_mesh::select_visible_services(view, ns)))
            }
            Key::Resolve(ns, prefer, host) => {
                Value::Resolve(umbra_mesh::resolve_service(view, ns, prefer, host))
            }
            Key::PodLabels(id) => Value::PodLabels(umbra_core::pod_labels(view, id)),
            Key::SelectedLabels(ns) => {
                Value::SelectedLabels(Arc::new(umbra_core::select_selected_labels(view, ns)))
            }
            Key::ListenerPort(ns, labels, number) => {
                Value::ListenerPort(umbra_core::resolve_listener_port(view, ns, labels, *number))
            }
            Key::Mentioned(kind, ns) => {
                Value::Mentioned(Arc::new(umbra_mesh::select_mentioned_labels(view, *kind, ns)))
            }
            Key::Policy(ns, service) => Value::Policy(umbra_mesh::resolve_policy(view, ns, service)),
            Key::Target(query) => Value::Target(umbra_mesh::resolve_target(view, query)),
            Key::Members(cluster) => Value::Members(Arc::new(umbra_mesh::select_members(view, cluster))),
            Key::ServiceClusters(ns, service) => {
                Value::ServiceClusters(Arc::new(umbra_mesh::select_service_clusters(view, ns, service)))
            }
            Key::Class(node, rtds) => Value::Class(umbra_mesh::resolve_class(view, node, *rtds)),
            Key::Scope(class) => Value::Scope(Arc::new(umbra_mesh::bind_scope(view, class))),
            Key::Routes(source) => {
                let (routes, found) = umbra_mesh::bind_routes(view, source);
                notes = found;
                Value::Routes(Arc::new(routes))
            }
            Key::Refs(source) => Value::Refs(Arc::new(view.routes(source).refs())),
            Key::VirtualHost(spec) => Value::VirtualHost(Arc::new(umbra_envoy::build_virtual_host(
                &umbra_mesh::bind_virtual_host(view, spec),
            ))),
            Key::Cluster(cluster, kind) => resource(
                umbra_mesh::bind_cluster(view, cluster, *kind).map(|c| umbra_envoy::build_cluster(&c)),
            ),
            Key::LoadAssignment(cluster) => resource(Some(umbra_envoy::build_load_assignment(
                &umbra_mesh::bind_load_assignment(view, cluster),
            ))),
            Key::Listener(listener) => {
                let settings = view.settings();
                resource(Some(umbra_envoy::build_listener(listener, settings.access_log.as_ref())))
            }
            Key::RouteTable(class, name) => resource(route_table(view, class, name)),
            Key::Runtime(class) => {
                resource(Some(umbra_envoy::build_runtime(&umbra_mesh::bind_runtime(view, class))))
            }
            Key::Manifest(class) => {
                Value::Manifest(Arc::new(Manifest::new(class, &umbra_mesh::bind_manifest(view, class))))
            }
            Key::Report(id) => {
                let report = front::report(view, id);
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

fn route_table(view: &EngineView<'_, '_>, class: &ProxyClass, name: &Arc<str>) -> Option<Built> {
    let scope = view.scope(class);
    let table = scope.tables.get(name)?;
    let hosts: Vec<_> = table.hosts.iter().map(|spec| view.virtual_host(spec)).collect();
    Some(umbra_envoy::build_route_configuration(name, &hosts))
}
