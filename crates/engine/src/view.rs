//! The world as `istio` sees it, every read recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_envoy::EncodedVirtualHost;
use umbra_ir::{
    ClusterRef, EndpointSet, GatewayHead, GatewayRef, Hostname, NamespaceRules, ObjectId, PortNumber,
    ProxyClass, ProxyKind, RouteList, RouteRefs, RouteSource, RuleHead, RuleSet, RuleSetId, Rules, Scope,
    ServiceHead, ServiceId, Settings, Shares, TargetProblem, TargetQuery, VirtualHostSpec,
};
use umbra_mesh::{Index, View};

use crate::input::{Input, InputId, World};
use crate::key::{Key, Mesh, Value};
use crate::memo::Reader;

/// A reader with names.
pub(crate) struct EngineView<'a, 'r>(pub(crate) &'a Reader<'r, Mesh>);

/// Reads a key and takes the value of its own variant: each key has exactly one.
macro_rules! read {
    ($view:expr, $variant:ident, $key:expr) => {
        match &*$view.0.derived(&$key) {
            Value::$variant(value) => value.clone(),
            other => unreachable!("{:?} came to {other:?}", $key),
        }
    };
}

impl EngineView<'_, '_> {
    fn world(&self) -> Option<World> {
        match self.0.get(&InputId::World).as_deref() {
            Some(Input::World(world)) => Some(world.clone()),
            _ => None,
        }
    }

    pub(crate) fn virtual_host(&self, spec: &Arc<VirtualHostSpec>) -> Arc<EncodedVirtualHost> {
        read!(self, VirtualHost, Key::VirtualHost(spec.clone()))
    }
}

impl Objects for EngineView<'_, '_> {
    fn object(&self, id: &ObjectId) -> Option<Arc<Object>> {
        match self.0.get(&InputId::Object(id.clone())).as_deref() {
            Some(Input::Object(object)) => Some(object.clone()),
            _ => None,
        }
    }
}

impl View for EngineView<'_, '_> {
    fn settings(&self) -> Arc<Settings> {
        self.world().map(|w| w.settings).unwrap_or_default()
    }

    fn pods_as_endpoints(&self) -> bool {
        self.world().is_some_and(|w| w.pods_as_endpoints)
    }

    fn ids(&self, index: &Index) -> Vec<ObjectId> {
        let objects = self.0.ids(index).into_iter();
        objects
            .filter_map(|id| match id {
                InputId::Object(id) => Some(id),
                InputId::World => None,
            })
            .collect()
    }

    fn rule_head(&self, vs: &ObjectId) -> Option<Arc<RuleHead>> {
        read!(self, RuleHead, Key::RuleHead(vs.clone()))
    }

    fn rules(&self, vs: &ObjectId) -> Option<Arc<Rules>> {
        read!(self, Rules, Key::Rules(vs.clone()))
    }

    fn shares(&self, vs: &ObjectId) -> Option<Arc<Shares>> {
        read!(self, Shares, Key::Shares(vs.clone()))
    }

    fn service_heads(&self, object: &ObjectId) -> Arc<Vec<Arc<ServiceHead>>> {
        read!(self, ServiceHeads, Key::ServiceHeads(object.clone()))
    }

    fn gateway_head(&self, gateway: &ObjectId) -> Option<Arc<GatewayHead>> {
        read!(self, GatewayHead, Key::GatewayHead(gateway.clone()))
    }

    fn namespace_rules(&self, namespace: &Arc<str>) -> Arc<NamespaceRules> {
        read!(self, NamespaceRules, Key::NamespaceRules(namespace.clone()))
    }

    fn rule_set(&self, id: &RuleSetId) -> Arc<RuleSet> {
        read!(self, RuleSet, Key::RuleSet(id.clone()))
    }

    fn visible_services(&self, namespace: &Arc<str>) -> Arc<Vec<Arc<ServiceHead>>> {
        read!(self, VisibleServices, Key::VisibleServices(namespace.clone()))
    }

    fn bound_rules(&self, namespace: &Arc<str>, gateway: &GatewayRef) -> Arc<Vec<Arc<RuleHead>>> {
        read!(self, BoundRules, Key::BoundRules(namespace.clone(), gateway.clone()))
    }

    fn resolve(&self, namespace: &Arc<str>, prefer: &Arc<str>, host: &Hostname) -> Option<Arc<ServiceHead>> {
        read!(self, Resolve, Key::Resolve(namespace.clone(), prefer.clone(), host.clone()))
    }

    fn policy(&self, namespace: &Arc<str>, service: &ServiceId) -> Option<RuleSetId> {
        read!(self, Policy, Key::Policy(namespace.clone(), service.clone()))
    }

    fn target(&self, query: &TargetQuery) -> Result<ClusterRef, TargetProblem> {
        read!(self, Target, Key::Target(query.clone()))
    }

    fn endpoints(&self, service: &ServiceId, port: PortNumber) -> Arc<EndpointSet> {
        read!(self, Endpoints, Key::Endpoints(service.clone(), port))
    }

    fn members(&self, cluster: &ClusterRef) -> Arc<EndpointSet> {
        read!(self, Members, Key::Members(cluster.clone()))
    }

    fn routes(&self, source: &RouteSource) -> Arc<RouteList> {
        read!(self, Routes, Key::Routes(source.clone()))
    }

    fn scope(&self, class: &ProxyClass) -> Arc<Scope> {
        read!(self, Scope, Key::Scope(class.clone()))
    }

    fn refs(&self, source: &RouteSource) -> Arc<RouteRefs> {
        read!(self, Refs, Key::Refs(source.clone()))
    }

    fn service_clusters(&self, namespace: &Arc<str>, service: &ServiceId) -> Arc<Vec<ClusterRef>> {
        read!(self, ServiceClusters, Key::ServiceClusters(namespace.clone(), service.clone()))
    }

    fn pod_labels(&self, pod: &ObjectId) -> Option<Arc<BTreeMap<String, String>>> {
        read!(self, PodLabels, Key::PodLabels(pod.clone()))
    }

    fn selected_labels(&self, namespace: &Arc<str>) -> Arc<BTreeSet<String>> {
        read!(self, SelectedLabels, Key::SelectedLabels(namespace.clone()))
    }

    fn listener_port(
        &self,
        namespace: &Arc<str>,
        labels: &Arc<BTreeMap<String, String>>,
        number: PortNumber,
    ) -> PortNumber {
        read!(self, ListenerPort, Key::ListenerPort(namespace.clone(), labels.clone(), number))
    }

    fn mentioned_labels(&self, kind: ProxyKind, namespace: &Arc<str>) -> Arc<BTreeSet<String>> {
        read!(self, Mentioned, Key::Mentioned(kind, namespace.clone()))
    }
}
