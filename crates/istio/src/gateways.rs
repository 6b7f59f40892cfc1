//! Gateway tables: what a class of gateway proxies serves (istio-semantics "Gateway").

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use umbra_api::{Gateway, Object};
use umbra_ir::{
    GatewayHead, GatewayRef, Hostname, Kind, Listener, ObjectId, PortNumber, Protocol, ProxyClass, ProxyKind,
    RouteClient, RouteSource, RuleHead, Scope, Server, ServerHost, Table, VirtualHostSpec,
};

use crate::endpoints::{pod_port, selected_pods};
use crate::services::port_of;
use umbra_mesh::{Index, filter_passes, mentioned, virtual_host_name};

use crate::world::World;

/// A Service with this label does not translate gateway ports.
const NO_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";

/// Where a Gateway applies and what it serves; servers that we cannot serve are left out.
pub fn resolve_gateway_head(id: &ObjectId, gateway: &Gateway) -> GatewayHead {
    let servers = gateway.spec.servers.iter().enumerate().filter_map(|(index, server)| {
        let port = server.port.as_ref()?;
        let protocol = Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto);
        // Terminating TLS is not acted on yet; a server that only redirects to https is plain HTTP.
        let redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        if !protocol.is_http() || (server.tls.is_some() && !redirect) {
            return None;
        }
        let bind = match server.bind.as_str() {
            "" => None,
            // All addresses is what no `bind` means: one listener and one table, not two of the same address.
            text => Some(text.parse::<IpAddr>().ok()?).filter(|ip| *ip != Ipv4Addr::UNSPECIFIED),
        };
        Some(Server {
            field: format!("spec.servers[{index}]"),
            port: PortNumber::new(port.number.into())?,
            protocol,
            bind,
            hosts: resolve_hosts(&server.hosts, &gateway.meta.namespace),
            https_redirect: redirect,
        })
    });
    GatewayHead {
        id: id.clone(),
        created: crate::services::created(&gateway.meta),
        selector: gateway.spec.selector.clone(),
        servers: servers.collect(),
    }
}

/// `./h` is the Gateway's namespace, `*/h` and `h` any; `*/*` admits everything.
///
/// DIVERGES: a server that admits `h` also admits `h-shadow`, so that copies from another mesh find the rule
/// that names them.
fn resolve_hosts(written: &[String], namespace: &Arc<str>) -> Vec<ServerHost> {
    let mut hosts: Vec<ServerHost> = Vec::new();
    for text in written {
        let (namespace, host) = match text.split_once('/') {
            None | Some(("*", _)) => (None, text.rsplit('/').next().unwrap_or_default()),
            Some((".", host)) => (Some(namespace.clone()), host),
            Some((other, host)) => (Some(other.into()), host),
        };
        if umbra_api::check_host(host).is_err() {
            continue;
        }
        let mut push = |host: String| {
            let host = ServerHost { namespace: namespace.clone(), host: Hostname::new(&host) };
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        };
        push(host.to_owned());
        if host != "*" {
            push(format!("{host}-shadow"));
        }
    }
    hosts
}

/// The Gateways whose selector matches these labels, oldest first. No selector: every gateway proxy.
pub(crate) fn select_gateways(view: &impl World, labels: &BTreeMap<String, String>) -> Vec<Arc<GatewayHead>> {
    let mut heads: Vec<Arc<GatewayHead>> = view
        .ids(&Index::Kind(Kind::Gateway))
        .iter()
        .filter_map(|id| view.gateway_head(id))
        .filter(|head| head.selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
        .collect();
    heads.sort_by(|a, b| {
        (a.created, &a.id.name, &a.id.namespace).cmp(&(b.created, &b.id.name, &b.id.namespace))
    });
    heads
}

/// What every gateway proxy of a class gets.
pub fn bind_gateway_scope(view: &impl World, class: &ProxyClass) -> Scope {
    let mut builders: BTreeMap<Arc<str>, TableBuilder> = BTreeMap::new();
    for gateway in select_gateways(view, &class.labels) {
        let reference = GatewayRef::Named(gateway.id.clone());
        for server in &gateway.servers {
            let port = listener_port(view, class, server.port);
            if class.unprivileged && port.get() < 1024 {
                continue;
            }
            let mut name = format!("http.{port}");
            if let Some(bind) = server.bind {
                name.push_str(&format!(".{bind}"));
            }
            let name: Arc<str> = name.into();
            let builder = builders.entry(name.clone()).or_insert_with(|| TableBuilder {
                listener: Listener {
                    kind: ProxyKind::Router,
                    address: server.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                    port,
                    route_config: name,
                },
                gateways: BTreeSet::new(),
                hosts: BTreeMap::new(),
            });
            builder.gateways.insert(gateway.id.clone());
            for rule in view.bound_rules(&class.namespace, &reference).iter() {
                builder.add(rule, server, class, &reference);
            }
            if server.https_redirect {
                for host in server.hosts.iter().filter(|h| !h.host.as_str().ends_with("-shadow")) {
                    builder.host(&host.host, server.port).require_tls = true;
                }
            }
        }
    }
    let tables = builders.into_iter().map(|(name, builder)| (name, Arc::new(builder.finish())));
    Scope { tables: tables.collect() }
}

/// One table while it grows.
struct TableBuilder {
    listener: Listener,
    gateways: BTreeSet<ObjectId>,
    hosts: BTreeMap<Hostname, VirtualHostSpec>,
}

impl TableBuilder {
    fn host(&mut self, host: &Hostname, number: PortNumber) -> &mut VirtualHostSpec {
        self.hosts.entry(host.clone()).or_insert_with(|| VirtualHostSpec {
            name: virtual_host_name(host, number),
            domains: vec![host.to_string()],
            sources: Vec::new(),
            require_tls: false,
        })
    }

    /// Adds a rule's routes to every host that both it and the server name. Rules that share a host are
    /// concatenated; a rule that comes twice (two servers or two Gateways on one port) counts once.
    ///
    /// DIVERGES: Istio appends its routes twice. The second ones are never reached, unless the rule says
    /// which gateways or ports they are for.
    fn add(&mut self, rule: &RuleHead, server: &Server, class: &ProxyClass, gateway: &GatewayRef) {
        let client = RouteClient {
            kind: ProxyKind::Router,
            namespace: class.namespace.clone(),
            gateway: gateway.clone(),
            port: server.port,
            labels: mentioned(rule, &class.labels),
            rtds: class.rtds,
        };
        let applies = rule
            .filters
            .iter()
            .any(|f| filter_passes(f, gateway, server.port, &client.namespace, &client.labels));
        if !applies {
            return;
        }
        // A port left out is the called one, so another server's number can mean another cluster.
        let by_gateway = rule.filters.iter().any(|f| !f.gateways.is_empty());
        let is_same = |other: &RouteSource| match other {
            RouteSource::Rules(id, c) => {
                *id == rule.id && c.port == client.port && (!by_gateway || c.gateway == client.gateway)
            }
            RouteSource::Service(..) => false,
        };
        for host in intersection(server, rule) {
            let spec = self.host(&host, server.port);
            spec.require_tls |= server.https_redirect;
            if !spec.sources.iter().any(is_same) {
                let source = RouteSource::Rules(rule.id.clone(), client.clone());
                spec.sources.push(source);
            }
        }
    }

    fn finish(self) -> Table {
        let mut hosts: Vec<Arc<VirtualHostSpec>> = self.hosts.into_values().map(Arc::new).collect();
        if hosts.is_empty() {
            // Envoy answers 404, and the listener stays.
            hosts.push(Arc::new(VirtualHostSpec {
                name: format!("blackhole:{}", self.listener.port),
                domains: vec!["*".into()],
                sources: Vec::new(),
                require_tls: false,
            }));
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Table { listener: self.listener, gateways: self.gateways, hosts }
    }
}

/// For every pair of a server's and a rule's hosts that overlap, the more specific one.
pub(crate) fn intersection(server: &Server, rule: &RuleHead) -> BTreeSet<Hostname> {
    let mut hosts = BTreeSet::new();
    for admitted in
        server.hosts.iter().filter(|h| h.namespace.as_ref().is_none_or(|n| *n == rule.id.namespace))
    {
        for host in &rule.hosts {
            if host.subset_of(&admitted.host) {
                hosts.insert(host.clone());
            } else if admitted.host.subset_of(host) && !admitted.host.as_str().ends_with("-shadow") {
                // No virtual host is made up for a `-shadow` host that no rule names.
                hosts.insert(admitted.host.clone());
            }
        }
    }
    hosts
}

/// The port that the proxy binds for a server: the target port of the first Service that selects the proxy
/// and has a port of that number, else the number itself (istio `resolvePorts`).
pub(crate) fn listener_port(view: &impl World, class: &ProxyClass, number: PortNumber) -> PortNumber {
    let mut services: Vec<Arc<Object>> = view
        .ids(&Index::InNamespace(Kind::Service, class.namespace.clone()))
        .iter()
        .filter_map(|id| view.object(id))
        .collect();
    services.sort_by_key(|object| (crate::services::created(object.meta()), object.meta().name.clone()));
    for object in services {
        let Object::Service(service) = &*object else { continue };
        let selects = !service.spec.selector.is_empty()
            && service.spec.selector.iter().all(|(k, v)| class.labels.get(k) == Some(v));
        if !selects || service.meta.labels.contains_key(NO_TRANSLATION) {
            continue;
        }
        let Some(port) = port_of(service, number) else { continue };
        let target = match &port.target_port {
            Some(umbra_api::IntOrString::String(_)) => {
                // A named port is looked up in the pods; they are of one kind, any will do.
                let pods = selected_pods(view, &class.namespace, &service.spec.selector);
                pods.iter().find_map(|pod| pod_port(pod, port))
            }
            Some(umbra_api::IntOrString::Int(n)) => u16::try_from(*n).ok(),
            None => None,
        };
        return target.and_then(|t| PortNumber::new(t.into())).unwrap_or(number);
    }
    number
}
