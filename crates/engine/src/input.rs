//! What goes in: objects and the operator's settings, and the indexes by which they are found.

use std::sync::Arc;

use umbra_api::Object;
use umbra_ir::{Hostname, Kind, ObjectId, RuntimeFraction, RuntimeKey, Settings};
use umbra_mesh::Index;

/// Identity of an input.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum InputId {
    /// The one world.
    World,
    /// The time.
    Hour,
    /// What part of a rule's requests is judged, or how far the share of a mirror goes that something holds down.
    Judged(RuntimeKey),
    /// An object.
    Object(ObjectId),
}

/// An input.
#[derive(PartialEq, Debug)]
pub(crate) enum Input {
    /// What holds for everything.
    World(World),
    /// An object.
    Object(Arc<Object>),
    /// The time, in hours since 1970.
    Hour(i64),
    /// What part of a rule's requests is judged, or how far the share of a mirror goes that something holds down.
    Judged(RuntimeFraction),
}

/// What holds for everything.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct World {
    /// The operator's settings.
    pub(crate) settings: Arc<Settings>,
    /// Whether a Service without EndpointSlices takes the Pods that its selector matches.
    pub(crate) pods_as_endpoints: bool,
}

/// Every index in which an input stands.
pub(crate) fn indexes(input: &Input) -> Vec<Index> {
    let Input::Object(object) = input else { return Vec::new() };
    let meta = object.meta();
    let kind = Index::Kind(object.kind());
    match &**object {
        Object::Gateway(gateway) => {
            let secrets = umbra_api::named_secrets(gateway).into_iter().map(Index::NamesSecret);
            let own = Index::InNamespace(Kind::Gateway, meta.namespace.clone());
            [kind, own].into_iter().chain(secrets).collect()
        }
        Object::Secret(_) => vec![kind],
        Object::VirtualService(vs) => {
            let delegates = umbra_istio::select_delegates(vs).into_iter().map(Index::DelegatesTo);
            let own = Index::InNamespace(Kind::VirtualService, meta.namespace.clone());
            [kind, own].into_iter().chain(delegates).collect()
        }
        Object::DestinationRule(rule) => {
            let own = Index::InNamespace(Kind::DestinationRule, meta.namespace.clone());
            let subsets = umbra_istio::list_subsets(rule).map(|(host, name)| Index::SubsetOf(host, name));
            let mut all: Vec<Index> = [kind, own].into_iter().chain(subsets).collect();
            all.sort();
            all.dedup();
            all
        }
        Object::Sidecar(_) => vec![kind, Index::InNamespace(Kind::Sidecar, meta.namespace.clone())],
        Object::MirrorPolicy(policy) => {
            let target = umbra_istio::select_policy_target(policy).map(Index::PoliciesOf);
            [kind].into_iter().chain(target).collect()
        }
        Object::ServiceEntry(entry) => {
            let mut all = vec![kind, Index::InNamespace(Kind::ServiceEntry, meta.namespace.clone())];
            all.extend(entry.spec.hosts.iter().map(|h| Index::EntryHost(Hostname::new(h))));
            all.extend(umbra_istio::list_addresses(entry).map(Index::Address));
            all.sort();
            all.dedup();
            all
        }
        Object::Service(service) => {
            let mut all: Vec<Index> = umbra_core::list_addresses(service).map(Index::Address).collect();
            all.extend([
                kind,
                Index::InNamespace(Kind::Service, meta.namespace.clone()),
                Index::ServiceName(
                    meta.namespace.to_ascii_lowercase().into(),
                    meta.name.to_ascii_lowercase().into(),
                ),
            ]);
            all.extend(service.spec.is_external_name().then_some(Index::ExternalNames));
            all.sort();
            all.dedup();
            all
        }
        Object::WorkloadEntry(workload) => {
            let by_label = umbra_istio::workload_labels(workload).into_iter();
            by_label
                .map(|(k, v)| Index::WorkloadsWithLabel(meta.namespace.clone(), k.into(), v.into()))
                .chain([kind])
                .collect()
        }
        Object::EndpointSlice(slice) => {
            slice.service.iter().map(|s| Index::SlicesOf(meta.namespace.clone(), s.clone())).collect()
        }
        Object::Pod(pod) => {
            let labels = meta.labels.iter();
            let by_label = labels.map(|(k, v)| {
                Index::PodsWithLabel(meta.namespace.clone(), k.as_str().into(), v.as_str().into())
            });
            let bare = (!pod.has_sidecar).then(|| Index::BarePods(meta.namespace.clone()));
            let own = Index::InNamespace(Kind::Pod, meta.namespace.clone());
            by_label.chain(bare).chain([own]).collect()
        }
        Object::Namespace(_) => vec![kind],
        Object::Node(_) => Vec::new(),
    }
}
