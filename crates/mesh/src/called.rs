//! Ports that carry more than HTTP at a sidecar that the application calls: it listens on an address of its own, so that of
//! a connection only the port tells whose it is, and of TLS the name that its client sends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    Bind, Chain, ChainContent, GatewayListener, GatewayPort, Hostname, Imported, Imports, Onward, Opening,
    OutboundPolicy, PortNumber, PortOwner, Protocol, ProxyKind, Resolution, ServiceHead, ServicePort, Table,
};

use crate::captured::RESERVED;
use crate::chains::{Chains, any, is_server_name};
use crate::connections::{Caller, Rest, Rules, is_tls, onward};
use crate::view::View;

/// The listeners of an egress for ports that do not carry HTTP alone. Where HTTP has one of them as well, its table stays
/// and its own listener goes.
pub(crate) fn bind_called_ports(
    caller: &Caller<'_>,
    imports: &Imports,
    listener: &Imported,
    rules: &Rules<'_>,
    tables: &mut BTreeMap<Arc<str>, Arc<Table>>,
) -> Vec<GatewayPort> {
    let address = listener.port.bind.clone().unwrap_or(Bind::LOCALHOST);
    let mut ports = Vec::new();
    for (port, services) in services_by_port(imports, listener) {
        let name: Arc<str> = port.to_string().into();
        let mut table = tables.get_mut(&name).filter(|table| table.listener.is_some());
        let http = table.is_some().then(|| name.clone());
        let chains = share_out(caller, rules, &services, http);
        if chains.is_empty() || RESERVED.contains(&port.get()) {
            continue;
        }
        if let Some(table) = table.as_mut() {
            if chains.len() == 1 {
                // Nothing but its HTTP.
                continue;
            }
            Arc::make_mut(table).listener = None;
        }
        let rules: BTreeSet<_> = chains.iter().filter_map(|chain| chain.rule.clone()).collect();
        let listener = GatewayListener {
            kind: ProxyKind::Sidecar,
            address: address.clone(),
            port,
            trusted_proxies: 0,
            http10: false,
            judges: Default::default(),
            chains,
        };
        ports.push(GatewayPort {
            listener: Arc::new(listener),
            gateways: BTreeSet::new(),
            rules: rules.into_iter().map(|rule| rule.value).collect(),
        });
    }
    ports
}

type Called<'a> = (&'a ServiceHead, &'a ServicePort);

/// The services of an egress with something else than HTTP on each port that it serves, in order of age.
fn services_by_port<'a>(imports: &Imports, listener: &'a Imported) -> BTreeMap<PortNumber, Vec<Called<'a>>> {
    let mut by_port: BTreeMap<PortNumber, Vec<Called<'_>>> = BTreeMap::new();
    for service in listener.services.iter() {
        for port in service.ports.iter().filter(|port| carries_bytes(service, port)) {
            by_port.entry(port.number).or_default().push((service, port));
        }
    }
    by_port.retain(|port, _| imports.is_serving(listener, *port));
    by_port
}

/// Whether a port of a service gets a listener for what is no HTTP.
fn carries_bytes(service: &ServiceHead, port: &ServicePort) -> bool {
    let known = match service.resolution {
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => true,
        // Only TLS says a name that can be looked up.
        Resolution::AsAsked => is_tls(port.protocol),
        Resolution::Original(_) | Resolution::Alias(_) => false,
    };
    known && !service.is_pod && !port.protocol.is_http() && port.protocol != Protocol::Udp
}

/// The chains of a port: TLS by the names of the services or as rules say, plain HTTP by its table, and what nothing tells
/// to the first service that may have it.
fn share_out(
    caller: &Caller<'_>,
    rules: &Rules<'_>,
    services: &[Called<'_>],
    http: Option<Arc<str>>,
) -> Vec<Chain> {
    let mut chains = Chains::default();
    let mut untold: Vec<(bool, Rest)> = Vec::new();
    for (service, port) in services {
        let Some(onward) = onward(caller, service, port.number) else { continue };
        let tls = is_tls(port.protocol);
        let followed = rules.follow(service, port, OutboundPolicy::RegistryOnly);
        let ruled = !followed.told.is_empty() || followed.rest.is_some();
        followed.told.into_iter().for_each(|chain| chains.add(chain));
        // Another name than its own must not be looked up.
        let as_asked = service.resolution == Resolution::AsAsked;
        // DIVERGES: Istio gives all of a port's TLS to its oldest service.
        if tls && !ruled && (services.len() > 1 || as_asked) && is_server_name(&service.id.host) {
            let names = BTreeSet::from([service.id.host.clone()]);
            chains.add(chain(names, Opening::Tls, onward.clone().into()));
        }
        let rest = followed.rest.unwrap_or_else(|| onward.into());
        // Where rules name some of its TLS, the rest of it is for nobody, as in Istio.
        if rest.rule.is_some() || !as_asked && (!tls || !ruled) {
            untold.push((tls, rest));
        }
    }
    if let Some(table) = http {
        let content = ChainContent::Http(table);
        chains.add(Chain { content, ..chain(BTreeSet::from([any()]), Opening::Plain, ended()) });
        untold.retain(|(tls, _)| *tls);
        if let Some((_, rest)) = untold.into_iter().next() {
            chains.add(chain(BTreeSet::from([any()]), Opening::Tls, rest));
        }
    } else {
        // Bytes may begin like TLS.
        untold.sort_by_key(|(tls, _)| *tls);
        if let Some((_, rest)) = untold.into_iter().next() {
            chains.add(chain(BTreeSet::from([any()]), Opening::Any, rest));
        }
    }
    chains.finish()
}

fn chain(server_names: BTreeSet<Hostname>, opening: Opening, rest: Rest) -> Chain {
    Chain {
        server_names,
        networks: BTreeSet::new(),
        opening,
        tls: None,
        content: ChainContent::Bytes(rest.shared),
        rule: rest.rule,
    }
}

/// Nowhere.
fn ended() -> Rest {
    Onward::BuiltIn(OutboundPolicy::RegistryOnly.cluster()).into()
}

/// Whose the connections to a port are at such sidecars of a namespace, where nothing but the port tells.
pub fn select_port_owner(view: &dyn View, namespace: &Arc<str>, number: PortNumber) -> Option<PortOwner> {
    let services = view.visible_services(namespace);
    let all = || services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let on_it = || all().filter(|(_, port)| port.number == number);
    let http = on_it().find(|(service, port)| {
        port.protocol.is_http() && !matches!(service.resolution, Resolution::Alias(_))
    });
    let bytes = on_it().find(|(service, port)| carries_bytes(service, port) && !is_tls(port.protocol));
    let (service, port) = http.or(bytes)?;
    Some(PortOwner {
        service: service.id.clone(),
        spelling: service.spelling.clone(),
        http: port.protocol.is_http(),
    })
}
