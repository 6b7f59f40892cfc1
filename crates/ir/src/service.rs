//! Services: what can be called, whether it came from a Service or a ServiceEntry.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{
    CopyLimits, Hostname, Locality, MirrorRule, Network, ObjectId, PortNumber, Protocol, SubsetName,
    Visibility,
};

/// One callable host. A ServiceEntry with several hosts is several services.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct ServiceId {
    /// The Service or ServiceEntry that defines it.
    pub object: ObjectId,
    /// The host it defines.
    pub host: Hostname,
    /// Other ServiceEntries of the namespace that add ports and endpoints to the same host, oldest first.
    pub also: Arc<[ObjectId]>,
}

impl ServiceId {
    /// All objects that it is made of, the defining one first.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        std::iter::once(&self.object).chain(self.also.iter())
    }
}

/// How a service's endpoints are found (`ServiceEntry.resolution`, Service types).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Resolution {
    /// Addresses known to us, sent as load assignments: ClusterIP, headless, STATIC.
    Static,
    /// Envoy resolves names: STRICT_DNS, endpoints inline in the cluster.
    Dns,
    /// As [`Resolution::Dns`], but of one answer at a time: LOGICAL_DNS, one endpoint.
    DnsRoundRobin,
    /// The address that the caller called, which only sidecars with captured traffic know; on these ports another port
    /// there. Nothing that could be copied to.
    Original(BTreeMap<PortNumber, PortNumber>),
    /// Envoy looks up the Host of each request, or the name that a client asks for in TLS (`DYNAMIC_DNS`). Nothing that could be
    /// copied to: a copy has the Host of its original.
    AsAsked,
    /// An ExternalName Service: another name for this host.
    Alias(Hostname),
}

impl Resolution {
    /// Whether it has clusters.
    pub fn is_served(&self) -> bool {
        match self {
            Resolution::Static
            | Resolution::Dns
            | Resolution::DnsRoundRobin
            | Resolution::Original(_)
            | Resolution::AsAsked => true,
            Resolution::Alias(_) => false,
        }
    }
}

/// One port of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServicePort {
    /// The port that callers name.
    pub number: PortNumber,
    /// Its name; empty when unnamed.
    pub name: Arc<str>,
    /// What it speaks.
    pub protocol: Protocol,
}

impl ServicePort {
    /// The ports of a service: those with valid numbers; of two with one number the first, but for TCP and UDP, which may
    /// share a number (DNS does): the one that carries routes.
    pub fn unique<'a>(written: impl Iterator<Item = (i64, &'a str, Protocol)>) -> Vec<Self> {
        let mut ports: Vec<ServicePort> = Vec::new();
        for (number, name, protocol) in written {
            let Some(number) = PortNumber::new(number) else { continue };
            match ports.iter_mut().find(|p| p.number == number) {
                None => ports.push(ServicePort { number, name: name.into(), protocol }),
                Some(port) if port.protocol == Protocol::Udp => {
                    *port = ServicePort { number, name: name.into(), protocol };
                }
                Some(_) => {}
            }
        }
        ports
    }
}

/// What routing needs to know of a service; its endpoints are [`EndpointSet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceHead {
    /// Which service.
    pub id: ServiceId,
    /// The host as the defining object spells it; names in output use it.
    pub spelling: Arc<str>,
    /// Its order among objects of its kind: creation time in seconds (0 when unknown).
    pub created: i64,
    /// Its ports, in the object's order.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Virtual addresses; callers may use them as Host.
    pub addresses: Vec<IpAddr>,
    /// Blocks of virtual addresses, which no Host names (`ServiceEntry.addresses`).
    pub networks: Vec<Network>,
    /// The names that its certificates carry (`ServiceEntry.subjectAltNames`).
    pub subject_alt_names: Arc<[String]>,
    /// One pod of a headless Service, under a name of its own: rules for the Service, or for hosts with a wildcard, do not
    /// mean it.
    pub is_pod: bool,
    /// `MESH_EXTERNAL`: a copy sent to it leaves the mesh.
    pub external: bool,
    /// Who sees it.
    pub visibility: Visibility,
    /// The other namespaces whose rules and copies its owner admits ([`crate::RULES_FROM`]).
    pub admits: Visibility,
}

impl ServiceHead {
    /// The port with this number.
    pub fn port(&self, number: PortNumber) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// The only port, when there is exactly one.
    pub fn only_port(&self) -> Option<&ServicePort> {
        match self.ports.as_slice() {
            [port] => Some(port),
            _ => None,
        }
    }
}

/// One address that serves a service port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Endpoint {
    /// An IP address, a DNS name in DNS services, or `unix://` and where a socket of the proxy's machine is.
    pub address: Arc<str>,
    /// The port there; a socket has none, whatever stands here.
    pub port: u16,
    /// Where it is.
    pub locality: Locality,
    /// Its share of load, at least 1.
    pub weight: u32,
    /// The pod's labels and the topology labels that subsets may select by.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What its pod belongs to; `None`: it has none. Only metrics name it.
    #[serde(skip)]
    pub workload: Option<Arc<Workload>>,
}

/// What the address of a Unix domain socket begins with, as Istio writes it.
pub const UNIX_SOCKET: &str = "unix://";

/// What pods belong to, as Istio's metrics name it: a Deployment, as a rule.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Who answers the requests of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answerer {
    /// No endpoint is ready.
    Nobody,
    /// All endpoints belong to this workload.
    One(Arc<Workload>),
    /// They belong to several, or it is not known to which.
    Several,
}

impl Answerer {
    /// Of these endpoints.
    pub fn of(endpoints: &EndpointSet) -> Self {
        let mut workloads = endpoints.0.iter().map(|endpoint| endpoint.workload.as_ref());
        match workloads.next() {
            None => Answerer::Nobody,
            Some(Some(first)) if workloads.all(|other| other == Some(first)) => Answerer::One(first.clone()),
            Some(_) => Answerer::Several,
        }
    }
}

/// The clusters to which requests that follow rules are sent, copies among them, with who answers there.
pub type Destinations = BTreeMap<ClusterRef, Answerer>;

impl Endpoint {
    /// Whether it carries every one of `labels` (an empty set selects everything).
    pub fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(k, v)| self.labels.get(k) == Some(v))
    }
}

/// The ready endpoints of one service port, sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct EndpointSet(pub Vec<Endpoint>);

/// The DestinationRules that apply to a service for some client, oldest first. Never empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct DestinationRuleSetId(pub Arc<[ObjectId]>);

/// Whose the connections to a port are where nothing but the port tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortOwner {
    /// The service.
    pub service: ServiceId,
    /// Its host as its object spells it.
    pub spelling: Arc<str>,
    /// They are HTTP, and all services with HTTP there share them.
    pub http: bool,
}

/// Whether a cluster carries production traffic or copies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    /// `outbound|…`
    Primary,
    /// `mirror|…`: its own limits and statistics, the same endpoints.
    Mirror,
    /// `mirror|…|h2`: for copies of gRPC requests to a port that does not say what it speaks. Envoy's copies call
    /// themselves HTTP/1.1, so a cluster that speaks what its client speaks would not speak HTTP/2 to them.
    GrpcMirror,
    /// `mirror|…|control`: for copies of judged requests that go where the request itself goes, to be compared with.
    Control,
    /// `direct|…`: captured connections to single pods of a headless Service, each to the pod that it wanted to go to.
    Direct,
}

impl Role {
    /// A cluster's name, as Istio spells it: `outbound|8000|v1|httpbin.default.svc.cluster.local`, or `mirror|…`. A
    /// destination that means no cluster has such a name too: Envoy answers 503 for it, and its logs and statistics say
    /// which destination was meant.
    pub fn cluster_name(self, host: &str, port: PortNumber, subset: Option<&SubsetName>) -> Arc<str> {
        let (direction, end) = match self {
            Role::Primary => ("outbound", ""),
            Role::Mirror => ("mirror", ""),
            Role::GrpcMirror => ("mirror", "|h2"),
            Role::Control => ("mirror", "|control"),
            Role::Direct => ("direct", ""),
        };
        let subset = subset.map_or("", SubsetName::as_str);
        format!("{direction}|{port}|{subset}|{host}{end}").into()
    }

    /// Whether it carries copies.
    pub fn is_mirror(self) -> bool {
        matches!(self, Role::Mirror | Role::GrpcMirror | Role::Control)
    }
}

/// A cluster as resolved input: everything that decides what it contains, so that namespaces share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClusterRef {
    /// The service it calls.
    pub service: ServiceId,
    /// The host as the defining object spells it.
    pub spelling: Arc<str>,
    /// The service port.
    pub port: PortNumber,
    /// The subset, when one is named.
    pub subset: Option<SubsetName>,
    /// The DestinationRules that shape it.
    pub policy: Option<DestinationRuleSetId>,
    /// Production or copies.
    pub role: Role,
    /// Limits of copies that are not those of the mesh; none but for copies.
    pub limits: Option<Arc<CopyLimits>>,
    /// What is answered goes to a judge, too (`mirror|…|judge`); never but for copies of judged requests.
    pub contents: bool,
}

impl ClusterRef {
    /// The same target for another role.
    pub fn with_role(&self, role: Role) -> Self {
        let limits = self.limits.clone().filter(|_| role.is_mirror());
        ClusterRef { role, limits, contents: self.contents && role.is_mirror(), ..self.clone() }
    }

    /// The same target for the copies of a mirror.
    pub fn for_copies(&self, mirror: &MirrorRule) -> Self {
        let limits = mirror.terms.as_ref().and_then(|terms| terms.limits.clone());
        ClusterRef { limits, ..self.with_role(Role::Mirror) }
    }

    /// The same target for copies whose answers a judge sees.
    pub fn with_contents(&self) -> Self {
        ClusterRef { contents: self.role.is_mirror(), ..self.clone() }
    }
}
