//! The listeners of captured sidecars (istio `pilot/pkg/networking/core/listener.go`): what becomes of a connection by the
//! address that it wanted to go to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use umbra_ir::{
    CapturedClient, CapturedListener, Chain, ChainContent, Kind, Network, Onward, Opening, OutboundPolicy,
    PortNumber, Protocol, Resolution, Role, ServiceHead, ServicePort,
};

use crate::chains::{Chains, any, is_server_name};
use crate::connections::{Caller, Followed, Rest, Room, Rules, is_tls, onward};
use crate::view::View;

/// Where the kernel hands captured connections over (Istio's `proxyListenPort`).
const ENTRANCE: u16 = 15001;

/// Ports of the proxy's own, on all addresses: the entrance, that of what comes in, readiness and statistics. Envoy takes no
/// second listener for one of them.
pub(crate) const RESERVED: [u16; 4] = [ENTRANCE, 15006, 15021, 15090];

/// The listeners of captured sidecars of a namespace, sorted: where connections come in; one for each port that carries
/// HTTP, for every address that has none of its own; and one for each address and port of a service that may carry anything
/// else. Of two services with one address and port the older one counts.
pub fn select_captured_listeners(view: &dyn View, client: &CapturedClient) -> Vec<CapturedListener> {
    let imports = view.imports(&client.namespace, &client.sidecar);
    let policy = imports.outbound_policy;
    let caller =
        Caller { view, namespace: &client.namespace, labels: &client.labels, selecting: &client.selecting };
    let room = Room::new(&imports);
    let mut builder = Builder { policy, ipv6: client.ipv6, listeners: BTreeMap::new() };
    if let Some(port) = PortNumber::new(ENTRANCE.into()) {
        builder.add(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, None).listener.entrance = true;
    }
    for listener in imports.listeners.iter().filter(|listener| !listener.port.called) {
        let rules = Rules::new(&caller, &imports, listener, &room);
        for service in listener.services.iter().filter(|service| !service.is_pod) {
            let mine = |port: &&ServicePort| imports.is_serving(listener, port.number);
            let ports = service.ports.iter().filter(mine);
            for port in ports.filter(|port| port.protocol != Protocol::Udp) {
                match &service.resolution {
                    Resolution::Alias(_) => {}
                    _ if !has_address_of_its_own(port) => builder.share(port.number),
                    // Nothing but a name can be looked up, and only TLS says one.
                    Resolution::AsAsked if !is_tls(port.protocol) => {}
                    Resolution::Static
                    | Resolution::AsAsked
                    | Resolution::Dns
                    | Resolution::DnsRoundRobin
                    | Resolution::Original(_) => builder.serve(&caller, &rules, service, port),
                }
            }
        }
        if let Some((number, protocol)) = listener.port.number
            && protocol.is_http()
            && imports.is_serving(listener, number)
            && imports.has_http(number)
        {
            builder.share(number);
        }
    }
    builder.finish()
}

/// Whether a port's connections are known by the address that they go to. Those of HTTP are not: its routes are for all addresses.
pub(crate) fn has_address_of_its_own(port: &ServicePort) -> bool {
    port.protocol != Protocol::Udp && (!port.protocol.is_http() || port.protocol == Protocol::Auto)
}

/// The route configurations that these listeners ask for: others would be sent to nobody. Apart from the listeners, which
/// change with the pods of headless Services.
pub fn select_captured_tables(view: &dyn View, client: &CapturedClient) -> BTreeSet<Arc<str>> {
    view.captured_listeners(client).iter().filter_map(|listener| listener.routes.clone()).collect()
}

struct Builder {
    policy: OutboundPolicy,
    ipv6: bool,
    listeners: BTreeMap<(IpAddr, PortNumber), Open>,
}

/// A listener while its connections are shared out.
struct Open {
    listener: CapturedListener,
    chains: Chains,
}

impl Open {
    /// Connections that are told from others go where rules say.
    fn tell(&mut self, told: &[Chain]) {
        told.iter().for_each(|chain| self.chains.add(chain.clone()));
    }
}

impl Builder {
    fn finish(self) -> Vec<CapturedListener> {
        let sorted = |open: Open| {
            let mut chains = open.chains.finish();
            chains.sort_by(|a, b| (&a.server_names, &a.networks).cmp(&(&b.server_names, &b.networks)));
            CapturedListener { chains, ..open.listener }
        };
        self.listeners.into_values().map(sorted).collect()
    }

    /// The listener of an address and a port; when it is new, `rest` is where it sends what is no HTTP.
    fn add(&mut self, address: IpAddr, port: PortNumber, rest: Option<Rest>) -> &mut Open {
        let policy = self.policy;
        self.listeners.entry((address, port)).or_insert_with(|| {
            let rest = rest.unwrap_or_else(|| Onward::BuiltIn(policy.cluster()).into());
            let listener = CapturedListener {
                address,
                port,
                entrance: false,
                ipv6: self.ipv6,
                http10: false,
                routes: None,
                chains: Vec::new(),
                rest: rest.shared,
                rest_rule: rest.rule,
                judges: Default::default(),
            };
            Open { listener, chains: Chains::default() }
        })
    }

    /// The listener for all addresses of a port that have none of their own; `None`: the port is the proxy's.
    fn shared(&mut self, port: PortNumber) -> Option<&mut Open> {
        let free = !RESERVED.contains(&port.get());
        free.then(|| self.add(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port, None))
    }

    /// HTTP on a port goes by the port's table, whatever the address.
    fn share(&mut self, port: PortNumber) {
        if let Some(open) = self.shared(port) {
            open.listener.routes = Some(table(port));
        }
    }

    /// A port that may carry something else than HTTP.
    fn serve(&mut self, caller: &Caller<'_>, rules: &Rules<'_>, service: &ServiceHead, port: &ServicePort) {
        let Some(onward) = onward(caller, service, port.number) else { return };
        let followed = rules.follow(service, port, self.policy);
        let rest = followed.rest.clone().unwrap_or_else(|| onward.clone().into());
        for address in &service.addresses {
            self.serve_address(*address, port, &followed.told, rest.clone());
        }
        for network in &service.networks {
            self.serve_network(*network, port, &followed, rest.clone());
        }
        if !service.addresses.is_empty() || !service.networks.is_empty() {
            return;
        }
        if service.id.object.kind == Kind::Service {
            // Headless: whoever calls one pod means that pod, so each has a listener, and none of them a choice unless rules
            // give it.
            let rest = followed.rest.clone().unwrap_or_else(|| direct(onward).into());
            for endpoint in &caller.view.endpoints(&service.id, &port.number).0 {
                if let Ok(address) = endpoint.address.parse() {
                    self.serve_address(address, port, &followed.told, rest.clone());
                }
            }
        } else if is_tls(port.protocol) {
            self.serve_names(service, port, followed, onward);
        } else {
            self.serve_anywhere(port, followed, onward);
        }
        if port.protocol == Protocol::Auto {
            self.share(port.number);
        }
    }

    fn serve_address(&mut self, address: IpAddr, port: &ServicePort, told: &[Chain], rest: Rest) {
        // Where there is no IPv6, Envoy takes no listener for it.
        if address.is_unspecified() || address.is_ipv6() && !self.ipv6 {
            return;
        }
        if self.listeners.contains_key(&(address, port.number)) {
            return;
        }
        let open = self.add(address, port.number, Some(rest));
        open.tell(told);
        if port.protocol == Protocol::Auto {
            open.listener.routes = Some(table(port.number));
        }
    }

    /// Connections into a block of addresses. Those that rules tell by other blocks are told by these.
    fn serve_network(&mut self, network: Network, port: &ServicePort, followed: &Followed, rest: Rest) {
        let Some(open) = self.shared(port.number) else { return };
        for chain in &followed.told {
            let mut chain = chain.clone();
            if chain.networks.is_empty() {
                chain.networks.insert(network);
            }
            open.chains.add(chain);
        }
        open.chains.add(Chain {
            server_names: BTreeSet::from([any()]),
            networks: BTreeSet::from([network]),
            opening: Opening::Any,
            tls: None,
            content: ChainContent::Bytes(rest.shared),
            rule: rest.rule,
        });
    }

    /// TLS to any address: what the client says in its handshake counts, by the rules or by the service's own host.
    fn serve_names(&mut self, service: &ServiceHead, port: &ServicePort, followed: Followed, onward: Onward) {
        let policy = Rest::from(Onward::BuiltIn(self.policy.cluster()));
        let host = &service.id.host;
        let known = is_server_name(host);
        if followed.told.is_empty() && followed.rest.is_none() && !known {
            return;
        }
        let Some(open) = self.shared(port.number) else { return };
        open.tell(&followed.told);
        match followed.rest {
            Some(rest) if rest.rule.is_some() => take_rest(open, &policy, rest),
            Some(_) => {}
            None => open.chains.add(Chain {
                server_names: BTreeSet::from([host.clone()]),
                networks: BTreeSet::new(),
                opening: Opening::Tls,
                tls: None,
                content: ChainContent::Bytes(onward.into()),
                rule: None,
            }),
        }
    }

    /// Bytes to any address. Where unknown ones end, or a rule says so, they go to the service; elsewhere the connection goes
    /// where it wanted to go. DIVERGES: Istio sends it to the oldest of such services always, whatever else its caller
    /// meant.
    fn serve_anywhere(&mut self, port: &ServicePort, followed: Followed, onward: Onward) {
        let policy = self.policy.cluster();
        let registry_only = self.policy == OutboundPolicy::RegistryOnly;
        let rest = followed.rest.or_else(|| registry_only.then(|| onward.into()));
        if followed.told.is_empty() && rest.is_none() {
            return;
        }
        let Some(open) = self.shared(port.number) else { return };
        open.tell(&followed.told);
        if let Some(rest) = rest {
            take_rest(open, &Onward::BuiltIn(policy).into(), rest);
        }
    }
}

/// What nothing tells from other connections goes to the first who may have it.
fn take_rest(open: &mut Open, unknown: &Rest, rest: Rest) {
    if open.listener.rest == unknown.shared && open.listener.rest_rule.is_none() {
        open.listener.rest = rest.shared;
        open.listener.rest_rule = rest.rule;
    }
}

/// The route configuration of a port, whose virtual hosts are told apart by Host.
///
/// DIVERGES: Istio has one more for each auto-detected port of each service, with that service alone for every Host.
fn table(port: PortNumber) -> Arc<str> {
    port.to_string().into()
}

/// The same, each connection to the pod that it wanted to go to.
fn direct(onward: Onward) -> Onward {
    match onward {
        Onward::Service { cluster, idle_timeout, as_asked } => {
            Onward::Service { cluster: cluster.with_role(Role::Direct), idle_timeout, as_asked }
        }
        built_in => built_in,
    }
}
