//! Gateway tables: what a class of gateway proxies serves (istio-semantics "Gateway").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use umbra_ir::{
    Bind, GatewayHead, GatewayRef, Hostname, Listener, ObjectId, PortNumber, ProxyClass, ProxyKind,
    RouteClient, RouteOrder, RouteSource, RuleHead, Scope, Server, ServerKind, Table, VirtualHostSpec,
};

use crate::classes::selecting;
use crate::filter::{filter_passes, mentioned};
use crate::gateway_heads::{intersection, select_gateways};
use crate::gateway_ports::GatewayClient;
use crate::gateway_servers::{Opened, merge_servers, secure_table};
use crate::view::View;
use crate::virtual_host::virtual_host_name;

/// What every gateway proxy of a class gets.
pub(crate) fn bind_gateway_scope(view: &dyn View, class: &ProxyClass) -> Scope {
    let mut builders: BTreeMap<Arc<str>, TableBuilder> = BTreeMap::new();
    let selecting = selecting(view, class);
    // In how many more virtual hosts of all tables each rule may stand.
    let mut room: HashMap<ObjectId, usize> = HashMap::new();
    let gateways = select_gateways(view, &class.labels);
    let bound = |gateway: &GatewayHead, server: &Server| {
        if server.bind.as_ref().is_some_and(Bind::is_socket) {
            // DIVERGES: in Istio any Gateway that selects a gateway may have it listen at any path, and Envoy deletes what is there.
            return (gateway.id.namespace == class.namespace).then_some(PortNumber::NONE);
        }
        let port = view.listener_port(&class.namespace, &class.labels, &server.port);
        (!class.unprivileged || port.get() >= 1024).then_some(port)
    };
    let client = GatewayClient { view, class, selecting: &selecting };
    let mut ports = Vec::new();
    for ((port, bind), opened) in merge_servers(&gateways, bound).0 {
        let plain = plain_table(port, bind.as_ref());
        let address = bind.unwrap_or(Bind::ANY);
        let only_http = opened.iter().all(|it| it.server.kind() == ServerKind::Http);
        if !only_http {
            ports.extend(client.port(port, &address, &opened, &plain));
        }
        let listener = only_http.then(|| Listener {
            http10: false,
            kind: ProxyKind::Router,
            address: address.clone(),
            port,
            route_config: plain.clone(),
            trusted_proxies: class.trusted_proxies,
            judges: Default::default(),
        });
        for Opened { gateway, server } in
            opened.iter().filter(|it| it.server.kind().is_http() && client.opens(it.server))
        {
            let name = match server.kind() {
                ServerKind::SecureHttp => secure_table(&gateway.id, server),
                _ => plain.clone(),
            };
            let builder = builders.entry(name).or_insert_with(|| TableBuilder {
                port,
                listener: listener.clone(),
                selecting: selecting.clone(),
                gateways: BTreeSet::new(),
                hosts: BTreeMap::new(),
            });
            builder.gateways.insert(gateway.id.clone());
            let reference = GatewayRef::Named(gateway.id.clone());
            for rule in view.bound_rules(&class.namespace, &reference).iter() {
                let room = room.entry(rule.id.clone()).or_insert(rule.virtual_hosts);
                builder.add(rule, server, class, &reference, room);
            }
            // DIVERGES: Istio keeps the namespace in such a host, so that a redirect of `ns/a.com` is for nobody.
            if server.https_redirect {
                for host in server.hosts.iter().filter(|h| !h.host.as_str().ends_with("-shadow")) {
                    builder.host(&host.host, server.port).require_tls = true;
                }
            }
        }
    }
    let tables = builders.into_iter().map(|(name, builder)| (name, Arc::new(builder.finish())));
    Scope { tables: tables.collect(), ports, ..Scope::default() }
}

/// The route configuration of all plain HTTP on a port.
fn plain_table(port: PortNumber, bind: Option<&Bind>) -> Arc<str> {
    match bind {
        Some(bind) => format!("http.{port}.{bind}").into(),
        None => format!("http.{port}").into(),
    }
}

/// One table while it grows.
struct TableBuilder {
    /// The port that is bound.
    port: PortNumber,
    /// `None`: a listener of more than plain HTTP uses it.
    listener: Option<Listener>,
    /// What DestinationRules select this class's proxies by.
    selecting: Arc<BTreeMap<String, String>>,
    gateways: BTreeSet<ObjectId>,
    hosts: BTreeMap<Hostname, VirtualHostSpec>,
}

impl TableBuilder {
    fn host(&mut self, host: &Hostname, number: PortNumber) -> &mut VirtualHostSpec {
        self.hosts.entry(host.clone()).or_insert_with(|| VirtualHostSpec {
            name: virtual_host_name(host, number),
            domains: vec![host.to_string()],
            sources: Vec::new(),
            order: RouteOrder::default(),
            require_tls: false,
        })
    }

    /// Adds a rule's routes to every host that both it and the server name. Rules that share a host are
    /// concatenated; a rule that comes twice (two servers or two Gateways on one port) counts once.
    ///
    /// DIVERGES: Istio appends its routes twice. The second ones are never reached, unless the rule says
    /// which gateways or ports they are for.
    fn add(
        &mut self,
        rule: &RuleHead,
        server: &Server,
        class: &ProxyClass,
        gateway: &GatewayRef,
        room: &mut usize,
    ) {
        let client = RouteClient {
            kind: ProxyKind::Router,
            namespace: class.namespace.clone(),
            gateway: gateway.clone(),
            port: server.port,
            secure: server.kind().is_tls(),
            labels: mentioned(rule, &class.labels),
            selecting: self.selecting.clone(),
            chosen: Arc::default(),
            rtds: class.rtds.any(),
            edits_copies: class.edits_copies,
            judges: class.judges,
        };
        let applies = rule
            .filters
            .iter()
            .any(|f| filter_passes(f, gateway, server.port, &client.namespace, &client.labels));
        if !applies || *room == 0 {
            return;
        }
        // A port left out is the called one, so another server's number can mean another cluster.
        let by_gateway = rule.filters.iter().any(|f| !f.gateways.is_empty());
        let is_same = |other: &RouteSource| match other {
            RouteSource::Rules(id, c) => {
                *id == rule.id && c.port == client.port && (!by_gateway || c.gateway == client.gateway)
            }
            RouteSource::Service(..) | RouteSource::Unknown(_) => false,
        };
        for host in intersection(server, rule) {
            if *room == 0 {
                return;
            }
            *room -= 1;
            let spec = self.host(&host, server.port);
            spec.require_tls |= server.https_redirect;
            spec.order = rule.order;
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
                name: format!("blackhole:{}", self.port),
                domains: vec!["*".into()],
                sources: Vec::new(),
                order: RouteOrder::default(),
                require_tls: false,
            }));
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Table { listener: self.listener, gateways: self.gateways, hosts }
    }
}
