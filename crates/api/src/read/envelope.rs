//! The outer shape of every object (`apiVersion`, `kind`, `metadata`, `spec`, `status`), and from there to
//! [`Object`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use umbra_ir::{Kind, ObjectId};

use super::decode::{Problem, Rules, Unknown, decode};
use super::shared;
use super::tree::Tree;
use crate::types::core::{
    ContainerPort, Endpoint, EndpointPort, EndpointSlice, Namespace, Node, Pod, Service, ServiceSpec,
};
use crate::types::object::{
    CanaryTool, DestinationRule, Gateway, Meta, MirrorPolicy, Object, ServiceEntry, Sidecar, VirtualService,
    Workload,
};
use crate::types::secret::{Secret, SecretTexts, Texts};

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Annotations that can mean something: Istio's and our own. Others change often, and some are long.
const ANNOTATIONS: [&str; 2] = ["networking.istio.io/", "umbra.io/"];

/// The annotation that Flagger gives a VirtualService that was there before its Canary (flagger `pkg/router/router.go`).
const FLAGGER_ADOPTED: &str = "flagger.kubernetes.io/original-configuration";

/// Any object whose meaning is in `spec`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound = "S: Default + DeserializeOwned")]
struct Envelope<S> {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: RawMeta,
    spec: S,
    status: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSlice {
    metadata: RawMeta,
    address_type: String,
    endpoints: Vec<Endpoint>,
    ports: Vec<EndpointPort>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSecret {
    metadata: RawMeta,
    data: Texts<true>,
    string_data: Texts<false>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawPod {
    metadata: RawMeta,
    spec: RawPodSpec,
    status: RawPodStatus,
    /// From the annotations, before those that mean nothing else are dropped.
    #[serde(skip)]
    trusted_proxies: Option<u32>,
    #[serde(skip)]
    inject: String,
    #[serde(skip)]
    controller: Option<RawOwner>,
}

/// Kubernetes' OwnerReference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawOwner {
    kind: String,
    name: String,
    controller: bool,
    api_version: IgnoredAny,
    block_owner_deletion: IgnoredAny,
    uid: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawPodSpec {
    node_name: String,
    hostname: String,
    subdomain: String,
    host_network: bool,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawContainer {
    name: String,
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawPodStatus {
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawPodIp>,
    phase: String,
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPodIp {
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawCondition {
    #[serde(rename = "type")]
    condition_type: String,
    status: String,
}

/// Who wrote fields of an object.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawManager {
    manager: String,
    api_version: IgnoredAny,
    fields_type: IgnoredAny,
    fields_v1: IgnoredAny,
    operation: IgnoredAny,
    subresource: IgnoredAny,
    time: IgnoredAny,
}

/// Kubernetes' ObjectMeta; the parts that change nothing are named so that they are not unknown.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMeta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, Option<String>>,
    annotations: BTreeMap<String, Option<String>>,
    creation_timestamp: Option<jiff::Timestamp>,
    deletion_timestamp: Option<IgnoredAny>,
    deletion_grace_period_seconds: IgnoredAny,
    finalizers: IgnoredAny,
    generate_name: IgnoredAny,
    generation: IgnoredAny,
    managed_fields: Vec<RawManager>,
    owner_references: Vec<RawOwner>,
    resource_version: IgnoredAny,
    self_link: IgnoredAny,
    uid: IgnoredAny,
}

/// What became of one object.
pub(crate) struct Read {
    /// Present when there was no problem.
    pub(crate) object: Option<Object>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) unknown: Vec<Unknown>,
}

/// Reads a tree that says it is of `kind`. `id` is what the tree calls itself.
pub(crate) fn read(tree: &mut Tree, id: &ObjectId) -> Read {
    match id.kind {
        Kind::VirtualService => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::VirtualService(VirtualService { meta, spec: raw.spec })
        }),
        Kind::DestinationRule => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::DestinationRule(Box::new(DestinationRule { meta, spec: raw.spec }))
        }),
        Kind::ServiceEntry => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::ServiceEntry(ServiceEntry { meta, spec: raw.spec })
        }),
        Kind::Gateway => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::Gateway(Gateway { meta, spec: raw.spec })
        }),
        Kind::WorkloadEntry => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::WorkloadEntry(Workload { meta, spec: raw.spec })
        }),
        Kind::Sidecar => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::Sidecar(Box::new(Sidecar { meta, spec: raw.spec }))
        }),
        Kind::MirrorPolicy => typed(tree, id, Rules::Proto, |meta, raw: Envelope<_>| {
            Object::MirrorPolicy(Box::new(MirrorPolicy { meta, spec: raw.spec }))
        }),
        Kind::Service => typed(tree, id, Rules::Core, |meta, raw: Envelope<ServiceSpec>| {
            Object::Service(Service { meta, spec: raw.spec })
        }),
        Kind::EndpointSlice => typed(tree, id, Rules::Core, slice),
        Kind::Pod => typed(tree, id, Rules::Core, pod),
        Kind::Secret => typed(tree, id, Rules::Core, secret),
        Kind::Namespace => typed(tree, id, Rules::Core, |meta, _: Envelope<IgnoredAny>| {
            Object::Namespace(Namespace { meta })
        }),
        Kind::Node => {
            typed(tree, id, Rules::Core, |meta, _: Envelope<IgnoredAny>| Object::Node(Node { meta }))
        }
    }
}

trait HasMeta {
    fn take_meta(&mut self) -> RawMeta;
}

impl<S> HasMeta for Envelope<S> {
    fn take_meta(&mut self) -> RawMeta {
        std::mem::take(&mut self.metadata)
    }
}

impl HasMeta for RawSlice {
    fn take_meta(&mut self) -> RawMeta {
        std::mem::take(&mut self.metadata)
    }
}

impl HasMeta for RawSecret {
    fn take_meta(&mut self) -> RawMeta {
        std::mem::take(&mut self.metadata)
    }
}

impl HasMeta for RawPod {
    fn take_meta(&mut self) -> RawMeta {
        self.trusted_proxies = trusted_proxies(&self.metadata);
        let inject = self.metadata.annotations.get("sidecar.istio.io/inject");
        self.inject = inject.cloned().flatten().unwrap_or_default();
        let mut owners = std::mem::take(&mut self.metadata.owner_references).into_iter();
        self.controller = owners.find(|owner| owner.controller);
        std::mem::take(&mut self.metadata)
    }
}

/// The labels by which a ReplicaSet's name is that of its owner: a Deployment's, or a Rollout of Argo's.
const TEMPLATE_HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// What a Pod belongs to, as Istio's metrics call it (istio `pkg/kube/controllers`, `GetWorkloadMetaFromPod`): the owner of its
/// ReplicaSet, another controller, or the Pod itself.
fn workload(meta: &Meta, controller: Option<RawOwner>) -> Arc<umbra_ir::Workload> {
    let name: Arc<str> = match controller {
        None => meta.name.clone(),
        Some(owner) => {
            let hashes = TEMPLATE_HASHES.iter().filter_map(|label| meta.labels.get(*label));
            let stem = |hash: &String| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-');
            let mut stems = hashes.filter_map(stem);
            let stem = if owner.kind == "ReplicaSet" { stems.next() } else { None };
            stem.unwrap_or(&owner.name).into()
        }
    };
    Arc::new(umbra_ir::Workload { namespace: meta.namespace.clone(), name })
}

/// Of Istio's settings for the proxy of one Pod the one that umbra reads; what is no YAML says nothing.
fn trusted_proxies(metadata: &RawMeta) -> Option<u32> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ProxyConfig {
        gateway_topology: Topology,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Topology {
        num_trusted_proxies: u32,
    }
    let text = metadata.annotations.get("proxy.istio.io/config")?.as_deref()?;
    let config: ProxyConfig = serde_saphyr::from_str(text).ok()?;
    Some(config.gateway_topology.num_trusted_proxies)
}

fn typed<R: DeserializeOwned + HasMeta>(
    tree: &mut Tree,
    id: &ObjectId,
    rules: Rules,
    build: impl FnOnce(Meta, R) -> Object,
) -> Read {
    let (raw, problems, unknown) = decode::<R>(tree, rules);
    let object = raw.map(|mut raw| {
        let meta = meta(raw.take_meta(), id);
        build(meta, raw)
    });
    Read { object, problems, unknown }
}

fn meta(raw: RawMeta, id: &ObjectId) -> Meta {
    // Kubernetes takes a null label for an empty one.
    let texts = |map: BTreeMap<String, Option<String>>| {
        map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect::<BTreeMap<_, _>>()
    };
    let mut annotations = texts(raw.annotations);
    let adopted = annotations.contains_key(FLAGGER_ADOPTED);
    let owned = raw.owner_references.iter().any(|owner| owner.kind == "Canary");
    let flagger = (adopted || owned).then_some(CanaryTool::Flagger);
    let written = || raw.managed_fields.iter().find_map(|it| CanaryTool::of_manager(&it.manager));
    let manager = if id.kind == Kind::VirtualService { flagger.or_else(written) } else { None };
    annotations.retain(|key, _| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)));
    Meta {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        labels: shared::labels(texts(raw.labels)),
        annotations,
        created: raw.creation_timestamp,
        manager,
        deleting: raw.deletion_timestamp.is_some(),
    }
}

fn slice(meta: Meta, raw: RawSlice) -> Object {
    let service = meta.labels.get(SERVICE_NAME).map(|name| Arc::from(name.as_str()));
    Object::EndpointSlice(EndpointSlice {
        meta,
        service,
        address_type: raw.address_type,
        endpoints: raw.endpoints,
        ports: raw.ports,
    })
}

fn secret(meta: Meta, raw: RawSecret) -> Object {
    let held = SecretTexts::of(raw.data, raw.string_data);
    Object::Secret(Box::new(Secret { meta, held, before: SecretTexts::default(), gone: false }))
}

fn pod(meta: Meta, raw: RawPod) -> Object {
    let RawPodStatus { pod_ip, pod_ips, phase, conditions } = raw.status;
    // Nearly all have one.
    let mut ips: Vec<String> = Vec::with_capacity(1);
    for ip in std::iter::once(pod_ip).chain(pod_ips.into_iter().map(|p| p.ip)) {
        if !ip.is_empty() && !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    let ready = conditions.iter().find(|c| c.condition_type == "Ready").map(|c| c.status == "True");
    let ended = phase == "Succeeded" || phase == "Failed";
    let mut containers = raw.spec.init_containers.iter().chain(&raw.spec.containers);
    let has_sidecar = containers.any(|container| container.name == "istio-proxy");
    Object::Pod(Pod {
        // Without any condition there is no kubelet: the manifest is all there is to know.
        ready: !ended && !ips.is_empty() && ready.unwrap_or(conditions.is_empty()),
        workload: workload(&meta, raw.controller),
        meta,
        ips,
        phase,
        node_name: raw.spec.node_name,
        hostname: raw.spec.hostname,
        subdomain: raw.spec.subdomain,
        trusted_proxies: raw.trusted_proxies,
        host_network: raw.spec.host_network,
        inject: raw.inject,
        has_sidecar,
        ports: raw.spec.containers.into_iter().flat_map(|c| c.ports).collect(),
    })
}
