//! Gateway tables: what a class of gateway proxies serves (istio-semantics "Gateway").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use umbra_ir::{
    GatewayHead, GatewayRef, Hostname, Kind, Listener, ObjectId, PortNumber, ProxyClass, ProxyKind,
    RouteClient, RouteOrder, RouteSource, RuleHead, Scope, Server, Table, VirtualHostSpec,
};

use crate::classes::selecting;
use crate::filter::{filter_passes, mentioned};
use crate::view::{Index, View};
use crate::virtual_host::virtual_host_name;

/// The Gateways whose selector matches these labels, oldest first. No selector: every gateway proxy.
pub(crate) fn select_gateways(view: &dyn View, labels: &BTreeMap<String, String>) -> Vec<Arc<GatewayHead>> {
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
pub(crate) fn bind_gateway_scope(view: &dyn View, class: &ProxyClass) -> Scope {
    let mut builders: BTreeMap<Arc<str>, TableBuilder> = BTreeMap::new();
    let selecting = selecting(view, class);
    // In how many more virtual hosts of all tables each rule may stand.
    let mut room: HashMap<ObjectId, usize> = HashMap::new();
    for gateway in select_gateways(view, &class.labels) {
        let reference = GatewayRef::Named(gateway.id.clone());
        for server in &gateway.servers {
            let port = view.listener_port(&class.namespace, &class.labels, &server.port);
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
                    trusted_proxies: class.trusted_proxies,
                },
                selecting: selecting.clone(),
                gateways: BTreeSet::new(),
                hosts: BTreeMap::new(),
            });
            builder.gateways.insert(gateway.id.clone());
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
    Scope { tables: tables.collect(), ..Scope::default() }
}

/// One table while it grows.
struct TableBuilder {
    listener: Listener,
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
            labels: mentioned(rule, &class.labels),
            selecting: self.selecting.clone(),
            chosen: Arc::default(),
            rtds: class.rtds.any(),
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
                name: format!("blackhole:{}", self.listener.port),
                domains: vec!["*".into()],
                sources: Vec::new(),
                order: RouteOrder::default(),
                require_tls: false,
            }));
        }
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Table { listener: Some(self.listener), gateways: self.gateways, hosts }
    }
}

/// For every pair of a server's and a rule's hosts that overlap, the more specific one.
pub(crate) fn intersection(server: &Server, rule: &RuleHead) -> BTreeSet<Hostname> {
    let mut hosts = BTreeSet::new();
    for admitted in
        server.hosts.iter().filter(|h| h.namespace.as_ref().is_none_or(|n| *n == rule.id.namespace))
    {
        for host in rule.hosts() {
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
