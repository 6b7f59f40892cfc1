//! Kubernetes' own kinds, cut down to what umbra uses. What is left out never enters the struct, so an
//! update that touches only that compares equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use umbra_ir::Workload;

use super::object::Meta;

/// core Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Identity, labels, annotations (`networking.istio.io/exportTo` among them), age.
    pub meta: Meta,
    /// What the author asked for.
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`; empty means `ClusterIP`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// Virtual address; `None` (the word) for headless services; empty when not assigned.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// Virtual addresses of every family.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// The other name of an `ExternalName` service.
    pub external_name: String,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Labels of its pods; none: endpoints are made by hand.
    pub selector: BTreeMap<String, String>,
    /// Whether unready pods count.
    pub publish_not_ready_addresses: bool,
}

impl ServiceSpec {
    /// True for a headless service: `clusterIP: None`.
    pub fn is_headless(&self) -> bool {
        self.cluster_ip == "None"
    }

    /// True for another name of what `externalName` says: `type: ExternalName`.
    pub fn is_external_name(&self) -> bool {
        self.service_type == "ExternalName"
    }
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Name; may be empty when it is the only port.
    pub name: String,
    /// Number.
    pub port: i32,
    /// Port of the pods; absent: the same number.
    pub target_port: Option<IntOrString>,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
    /// What is spoken on it; beats the name's prefix.
    pub app_protocol: Option<String>,
}

/// A port by number or by name (Kubernetes' IntOrString).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// Number.
    Int(i32),
    /// Name of a container port.
    String(String),
}

/// `discovery.k8s.io` EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Identity, labels, annotations, age.
    pub meta: Meta,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<Arc<str>>,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Ports of every endpoint.
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Addresses, interchangeable.
    pub addresses: Vec<String>,
    /// The name by which its pod is called below the Service's host; a pod of a StatefulSet has one.
    pub hostname: Option<String>,
    /// State.
    pub conditions: EndpointConditions,
    /// The pod behind it.
    pub target_ref: Option<TargetRef>,
    /// The node it runs on.
    pub node_name: Option<String>,
    /// The zone it runs in.
    pub zone: Option<String>,
}

/// State of an endpoint; absent means unknown, and unknown readiness counts as ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointConditions {
    /// Takes new requests.
    pub ready: Option<bool>,
    /// Takes requests, ending or not.
    pub serving: Option<bool>,
    /// Is ending.
    pub terminating: Option<bool>,
}

/// What an endpoint stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetRef {
    /// `Pod`, as a rule.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name of the Service port that it belongs to; empty for an unnamed one.
    pub name: String,
    /// Number on the endpoint; absent means every port.
    pub port: Option<i32>,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}

/// core Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Identity, labels, annotations, age; [`Meta::deleting`] when it is ending.
    pub meta: Meta,
    /// `status.podIP` and `status.podIPs`, without repetitions; none: it has no address yet.
    pub ips: Vec<String>,
    /// `status.phase`; empty when unknown.
    pub phase: String,
    /// The Ready condition. A pod that has an address and no conditions at all counts as ready: it comes
    /// from a file, where no kubelet writes any.
    pub ready: bool,
    /// `spec.nodeName`; empty when unknown.
    pub node_name: String,
    /// `spec.hostname`; empty: none of its own.
    pub hostname: String,
    /// `spec.subdomain`: the headless Service below whose host it is called; empty: none.
    pub subdomain: String,
    /// `gatewayTopology.numTrustedProxies` of its annotation `proxy.istio.io/config`, which a gateway's Pod may have.
    pub trusted_proxies: Option<u32>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// Its annotation `sidecar.istio.io/inject`; empty: none.
    pub inject: String,
    /// It has a container, of whichever sort, that is called as injectors call the sidecar (`istio-proxy`).
    pub has_sidecar: bool,
    /// What it belongs to.
    pub workload: Arc<Workload>,
    /// Ports of all its containers.
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name; may be empty.
    pub name: String,
    /// Number.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}

/// core Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name, labels, annotations.
    pub meta: Meta,
}

/// core Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name and labels, the topology ones among them.
    pub meta: Meta,
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a port number or the name of a container port")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(|_| E::custom("number out of range"))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(|_| E::custom("number out of range"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
