//! The listeners of captured sidecars (istio `pilot/pkg/networking/core/listener.go`): what becomes of a connection by the
//! address that it wanted to go to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use umbra_ir::{
    CapturedListener, ClientTls, ClusterRef, Kind, ObjectId, Onward, OutboundPolicy, PortNumber, Protocol,
    Resolution, Role, ServiceHead, ServicePort,
};

use crate::view::View;

/// Where the kernel hands captured connections over (Istio's `proxyListenPort`).
const ENTRANCE: u16 = 15001;

/// Ports of the proxy's own, on all addresses: the entrance, that of what comes in, readiness and statistics. Envoy takes no
/// second listener for one of them.
const RESERVED: [u16; 4] = [ENTRANCE, 15006, 15021, 15090];

/// The listeners of captured sidecars of a namespace, sorted: where connections come in; one for each port that carries
/// HTTP, for every address that has none of its own; and one for each address and port of a service that may carry anything
/// else. Of two services with one address and port the older one counts.
pub fn select_captured_listeners(
    view: &dyn View,
    namespace: &Arc<str>,
    selecting: &Arc<BTreeMap<String, String>>,
    sidecar: &Option<ObjectId>,
    ipv6: bool,
) -> Vec<CapturedListener> {
    let imports = view.imports(namespace, sidecar);
    let policy = imports.outbound_policy;
    let mut builder = Builder { policy, ipv6, listeners: BTreeMap::new() };
    if let Some(port) = PortNumber::new(ENTRANCE.into()) {
        builder.add(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, None).entrance = true;
    }
    for listener in imports.listeners.iter().filter(|listener| !listener.port.called) {
        for service in listener.services.iter().filter(|service| !service.is_pod) {
            let mine = |port: &&ServicePort| imports.is_serving(listener, port.number);
            let ports = service.ports.iter().filter(mine);
            for port in ports.filter(|port| port.protocol != Protocol::Udp) {
                match &service.resolution {
                    Resolution::Alias(_) => {}
                    _ if !has_address_of_its_own(port) => builder.share(port.number),
                    Resolution::Unsupported(_) => {}
                    Resolution::Static
                    | Resolution::Dns
                    | Resolution::DnsRoundRobin
                    | Resolution::Original(_) => builder.serve(view, (namespace, selecting), service, port),
                }
            }
        }
        if let Some((number, protocol)) = listener.port.number
            && protocol.is_http()
            && imports.is_serving(listener, number)
        {
            builder.share(number);
        }
    }
    builder.listeners.into_values().collect()
}

/// Whether a port's connections are known by the address that they go to. Those of HTTP are not: its routes are for all addresses.
pub(crate) fn has_address_of_its_own(port: &ServicePort) -> bool {
    port.protocol != Protocol::Udp && (!port.protocol.is_http() || port.protocol == Protocol::Auto)
}

/// The route configurations that these listeners ask for: others would be sent to nobody. Apart from the listeners, which
/// change with the pods of headless Services.
pub fn select_captured_tables(
    view: &dyn View,
    namespace: &Arc<str>,
    selecting: &Arc<BTreeMap<String, String>>,
    sidecar: &Option<ObjectId>,
    ipv6: bool,
) -> BTreeSet<Arc<str>> {
    let listeners = view.captured_listeners(namespace, selecting, sidecar, &ipv6);
    listeners.iter().filter_map(|listener| listener.routes.clone()).collect()
}

/// Whose listeners they are: namespace, and the labels that DestinationRules there select by.
type Client<'a> = (&'a Arc<str>, &'a Arc<BTreeMap<String, String>>);

struct Builder {
    policy: OutboundPolicy,
    ipv6: bool,
    listeners: BTreeMap<(IpAddr, PortNumber), CapturedListener>,
}

impl Builder {
    /// The listener of an address and a port; when it is new, `rest` is where it sends what is no HTTP.
    fn add(&mut self, address: IpAddr, port: PortNumber, rest: Option<Onward>) -> &mut CapturedListener {
        self.listeners.entry((address, port)).or_insert_with(|| CapturedListener {
            address,
            port,
            entrance: false,
            ipv6: self.ipv6,
            routes: None,
            server_names: BTreeMap::new(),
            networks: BTreeMap::new(),
            rest: rest.unwrap_or(Onward::BuiltIn(self.policy.cluster())),
        })
    }

    /// The listener for all addresses of a port that have none of their own; `None`: the port is the proxy's.
    fn shared(&mut self, port: PortNumber) -> Option<&mut CapturedListener> {
        let free = !RESERVED.contains(&port.get());
        free.then(|| self.add(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, None))
    }

    /// HTTP on a port goes by the port's table, whatever the address.
    fn share(&mut self, port: PortNumber) {
        if let Some(listener) = self.shared(port) {
            listener.routes = Some(table(port));
        }
    }

    /// A port that may carry something else than HTTP.
    fn serve(&mut self, view: &dyn View, client: Client<'_>, service: &ServiceHead, port: &ServicePort) {
        let Some(onward) = onward(view, client, service, port.number) else { return };
        for address in &service.addresses {
            self.serve_address(*address, port, onward.clone());
        }
        for network in &service.networks {
            if let Some(listener) = self.shared(port.number) {
                listener.networks.entry(*network).or_insert_with(|| onward.clone());
            }
        }
        if !service.addresses.is_empty() || !service.networks.is_empty() {
            return;
        }
        if service.id.object.kind == Kind::Service {
            // Headless: whoever calls one pod means that pod, so each has a listener, and none of them a choice.
            let direct = direct(onward);
            for endpoint in &view.endpoints(&service.id, &port.number).0 {
                if let Ok(address) = endpoint.address.parse() {
                    self.serve_address(address, port, direct.clone());
                }
            }
        } else if matches!(port.protocol, Protocol::Tls | Protocol::Https) {
            // Any address may be the host's: what the client says in its TLS handshake counts. Envoy knows whole labels only.
            let host = service.id.host.as_str();
            let known = !service.id.host.is_wildcard() || host.starts_with("*.");
            if let Some(listener) = self.shared(port.number).filter(|_| known) {
                listener.server_names.entry(service.id.host.clone()).or_insert(onward);
            }
        } else if self.policy == OutboundPolicy::RegistryOnly {
            // Any address may be the host's. Where unknown ones end, this is the only way to reach it; elsewhere the
            // connection goes where it wanted to go. DIVERGES: Istio sends it to the oldest of such services always, whatever
            // else its caller meant.
            let unknown = Onward::BuiltIn(self.policy.cluster());
            if let Some(listener) = self.shared(port.number).filter(|listener| listener.rest == unknown) {
                listener.rest = onward;
            }
        }
        if port.protocol == Protocol::Auto {
            self.share(port.number);
        }
    }

    fn serve_address(&mut self, address: IpAddr, port: &ServicePort, onward: Onward) {
        // Where there is no IPv6, Envoy takes no listener for it.
        if address.is_unspecified() || address.is_ipv6() && !self.ipv6 {
            return;
        }
        if self.listeners.contains_key(&(address, port.number)) {
            return;
        }
        let listener = self.add(address, port.number, Some(onward));
        if port.protocol == Protocol::Auto {
            listener.routes = Some(table(port.number));
        }
    }
}

/// The route configuration of a port, whose virtual hosts are told apart by Host.
///
/// DIVERGES: Istio has one more for each auto-detected port of each service, with that service alone for every Host.
fn table(port: PortNumber) -> Arc<str> {
    port.to_string().into()
}

/// Where the bytes of a service's port go. Nowhere when it takes TLS that we cannot give: never silently in plaintext.
fn onward(
    view: &dyn View,
    (namespace, selecting): Client<'_>,
    service: &ServiceHead,
    port: PortNumber,
) -> Option<Onward> {
    let clusters = view.service_clusters(namespace, selecting, &service.id);
    let cluster = clusters.iter().find(|c| c.port == port && c.subset.is_none())?;
    Some(onward_to(view, cluster.clone()))
}

/// Where the bytes for a cluster go, by its policy.
pub(crate) fn onward_to(view: &dyn View, cluster: ClusterRef) -> Onward {
    let (port, subset) = (cluster.port, cluster.subset.as_ref());
    let policy = cluster.policy.as_ref().map(|id| view.destination_rule_set(id).effective(port, subset));
    let policy = policy.unwrap_or_default();
    if matches!(policy.tls, Some(ClientTls::Unsupported(_))) {
        return Onward::BuiltIn(OutboundPolicy::RegistryOnly.cluster());
    }
    let idle_timeout = policy.connection_pool.and_then(|pool| pool.tcp_idle_timeout);
    Onward::Service { cluster, idle_timeout }
}

fn direct(onward: Onward) -> Onward {
    match onward {
        Onward::Service { cluster, idle_timeout } => {
            Onward::Service { cluster: cluster.with_role(Role::Direct), idle_timeout }
        }
        built_in => built_in,
    }
}
