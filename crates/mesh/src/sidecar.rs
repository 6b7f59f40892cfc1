//! Sidecar tables: one for each HTTP port of any visible service (istio-semantics "Sidecar virtual hosts").

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use umbra_ir::{
    Bind, GatewayRef, Hostname, Imported, Imports, Interception, Listener, ObjectId, OutboundPolicy,
    PortNumber, ProxyClass, ProxyKind, Resolution, RouteClient, RouteOrder, RouteSource, RuleHead, Scope,
    ServiceHead, Settings, Table, VirtualHostSpec,
};

use crate::called::bind_called_ports;
use crate::classes::{captured_client, selecting};
use crate::connections::{Caller, Room, Rules as ConnectionRules};
use crate::filter::{filter_passes, mentioned};
use crate::ownership::rule_counts;
use crate::seen::Seen;
use crate::view::View;
use crate::virtual_host::virtual_host_name;

/// The port on which rules count that name no service at all.
pub(crate) const LITERAL_PORT: u16 = 80;

/// What every sidecar of a class gets.
pub(crate) fn bind_sidecar_scope(view: &dyn View, class: &ProxyClass) -> Scope {
    let imports = view.imports(&class.namespace, &class.sidecar);
    let selecting = selecting(view, class);
    let captured = match class.interception {
        Interception::None => None,
        Interception::Redirect { ipv6 } => Some(view.captured_tables(&captured_client(view, class, ipv6))),
    };
    // In how many more virtual hosts of all tables each rule may stand.
    let all = imports.listeners.iter().flat_map(|listener| listener.rules.iter());
    let room: HashMap<&ObjectId, Cell<usize>> =
        all.map(|rule| (&rule.id, Cell::new(rule.virtual_hosts))).collect();
    let seen = Seen::new(view, class, &selecting);
    let caller = Caller { view, namespace: &class.namespace, labels: &class.labels, selecting: &selecting };
    let connection_room = Room::new(&imports);
    let mut scope = Scope::default();
    for listener in &imports.listeners {
        let mesh = Mesh::new(view, class, &seen, &selecting, &imports, listener, &room);
        if let Some(bind) = listener.port.bind.as_ref().filter(|bind| bind.is_socket()) {
            scope.tables.insert(bind.to_string().into(), Arc::new(socket_table(&mesh, listener, bind)));
            continue;
        }
        let captured = captured.as_ref().filter(|_| !listener.port.called);
        for (port, services) in services_by_port(&imports, listener) {
            let name: Arc<str> = port.to_string().into();
            if captured.is_some_and(|asked| !asked.contains(&name)) {
                continue;
            }
            let own = captured.is_none().then(|| Listener {
                http10: false,
                kind: ProxyKind::Sidecar,
                address: listener.port.bind.clone().unwrap_or(Bind::LOCALHOST),
                port,
                route_config: name.clone(),
                trusted_proxies: 0,
                judges: Default::default(),
            });
            let mut hosts = mesh.virtual_hosts(port, &services);
            if own.is_none() {
                hosts.push(unknown_hosts(imports.outbound_policy));
            }
            scope.tables.insert(name, Arc::new(Table { listener: own, gateways: BTreeSet::new(), hosts }));
        }
        if captured.is_none() {
            let rules = ConnectionRules::new(&caller, &imports, listener, &connection_room);
            let ports = bind_called_ports(&caller, &imports, listener, &rules, &mut scope.tables);
            scope.ports.extend(ports);
        }
    }
    scope
}

/// What is called at a socket: all that is called on any port. The Host says which, by its port; without one it is the lowest that the
/// service has.
///
/// DIVERGES: Istio passes over the port in a Host there, so that each service is called on one of its ports alone.
fn socket_table(mesh: &Mesh<'_>, listener: &Imported, bind: &Bind) -> Table {
    let mut domains = BTreeSet::new();
    let mut hosts: Vec<Arc<VirtualHostSpec>> = Vec::new();
    for (port, services) in http_services(listener) {
        for host in mesh.virtual_hosts(port, &services) {
            let with_port = host.domains.iter().map(|domain| format!("{domain}:{port}"));
            let all = host.domains.iter().cloned().chain(with_port.filter(|it| !it.starts_with("*:")));
            let domains = all.filter(|domain| domains.insert(domain.clone())).collect();
            hosts.push(Arc::new(VirtualHostSpec { domains, ..VirtualHostSpec::clone(&host) }));
        }
    }
    hosts.retain(|host| !host.domains.is_empty());
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    let listener = Listener {
        http10: false,
        kind: ProxyKind::Sidecar,
        address: bind.clone(),
        port: PortNumber::NONE,
        route_config: bind.to_string().into(),
        trusted_proxies: 0,
        judges: Default::default(),
    };
    Table { listener: Some(listener), gateways: BTreeSet::new(), hosts }
}

/// The services of an egress with HTTP on each of their ports.
fn http_services(listener: &Imported) -> BTreeMap<PortNumber, Vec<&ServiceHead>> {
    let mut by_port: BTreeMap<PortNumber, Vec<&ServiceHead>> = BTreeMap::new();
    for service in listener.services.iter().filter(|s| !matches!(s.resolution, Resolution::Alias(_))) {
        for port in service.ports.iter().filter(|p| p.protocol.is_http()) {
            by_port.entry(port.number).or_default().push(service);
        }
    }
    by_port
}

/// The services of an egress with HTTP on each port that it serves; its own port also without any, where another has some: there
/// is a listener then (istio `buildSidecarOutboundListeners`), and calls to it are for nobody.
fn services_by_port<'a>(
    imports: &Imports,
    listener: &'a Imported,
) -> BTreeMap<PortNumber, Vec<&'a ServiceHead>> {
    let mut by_port = http_services(listener);
    let own = listener.port.number.filter(|(_, protocol)| protocol.is_http());
    if let Some((number, _)) = own.filter(|(number, _)| imports.has_http(*number)) {
        by_port.entry(number).or_default();
    }
    by_port.retain(|port, _| imports.is_serving(listener, *port));
    by_port
}

/// The virtual host for every Host that has none of its own: a captured request has somewhere that it wanted to go.
fn unknown_hosts(policy: OutboundPolicy) -> Arc<VirtualHostSpec> {
    let name = match policy {
        OutboundPolicy::AllowAny => "allow_any",
        OutboundPolicy::RegistryOnly => "block_all",
    };
    Arc::new(VirtualHostSpec {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        sources: vec![RouteSource::Unknown(policy)],
        order: RouteOrder::default(),
        require_tls: false,
    })
}

/// ExternalName Services by the host they stand for: callers may use either name.
fn aliases(services: &[Arc<ServiceHead>]) -> HashMap<Hostname, Vec<Hostname>> {
    let mut aliases: HashMap<Hostname, Vec<Hostname>> = HashMap::new();
    for service in services {
        if let Resolution::Alias(host) = &service.resolution {
            aliases.entry(host.clone()).or_default().push(service.id.host.clone());
        }
    }
    aliases
}

/// Which rule owns the hosts that a wildcard covers: an exact rule host beats any wildcard, a longer
/// wildcard a shorter one, and of equal hosts the first rule's.
struct WildcardOwners<'a> {
    exact: HashMap<&'a Hostname, Vec<usize>>,
    wildcards: Vec<(&'a Hostname, usize)>,
}

impl<'a> WildcardOwners<'a> {
    fn new(rules: &'a [Arc<RuleHead>]) -> Self {
        let mut exact: HashMap<&Hostname, Vec<usize>> = HashMap::new();
        let mut wildcards: Vec<(&Hostname, usize)> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for host in rule.hosts() {
                if host.is_wildcard() {
                    wildcards.push((host, index));
                } else {
                    exact.entry(host).or_default().push(index);
                }
            }
        }
        wildcards.sort_by(|a, b| (a.0.specificity(), a.1).cmp(&(b.0.specificity(), b.1)));
        WildcardOwners { exact, wildcards }
    }

    /// The first of the rules that count for a service.
    fn owner(&self, service: &ServiceHead, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let host = &service.id.host;
        let exact = self.exact.get(host).into_iter().flatten().copied();
        let covering = self.wildcards.iter().filter(|(wildcard, _)| host.subset_of(wildcard));
        exact.chain(covering.map(|(_, index)| *index)).find(|index| counts(*index))
    }
}

/// A host of a rule on some port.
struct Bound<'a> {
    /// Which rule of the class's.
    rule: usize,
    host: &'a Hostname,
    /// The services that it means; none: it stands for itself.
    services: Vec<&'a ServiceHead>,
    source: RouteSource,
}

/// What all tables of a class share, or those of a port of which its Sidecar says more.
struct Mesh<'a> {
    class: &'a ProxyClass,
    seen: &'a Seen,
    /// What DestinationRules select the class's proxies by.
    selecting: &'a Arc<BTreeMap<String, String>>,
    /// Which of several services its Sidecar chose.
    chosen: &'a Arc<BTreeMap<Hostname, Arc<str>>>,
    domain: String,
    aliases: HashMap<Hostname, Vec<Hostname>>,
    /// The ExternalName Services themselves.
    alias_services: Vec<Arc<ServiceHead>>,
    /// Every service, whatever its ports.
    by_host: HashMap<Hostname, &'a ServiceHead>,
    owners: WildcardOwners<'a>,
    rules: &'a [Arc<RuleHead>],
    settings: Arc<Settings>,
    /// In how many more virtual hosts of all tables each rule may stand; beyond them its hosts are as if it did not name them.
    room: &'a HashMap<&'a ObjectId, Cell<usize>>,
}

impl<'a> Mesh<'a> {
    fn new(
        view: &dyn View,
        class: &'a ProxyClass,
        seen: &'a Seen,
        selecting: &'a Arc<BTreeMap<String, String>>,
        imports: &'a Imports,
        listener: &'a Imported,
        room: &'a HashMap<&'a ObjectId, Cell<usize>>,
    ) -> Self {
        let Imported { services, rules, .. } = listener;
        let is_alias = |s: &&Arc<ServiceHead>| matches!(s.resolution, Resolution::Alias(_));
        Mesh {
            class,
            seen,
            selecting,
            chosen: &imports.chosen,
            domain: view.settings().cluster_domain.to_ascii_lowercase(),
            aliases: aliases(services),
            alias_services: services.iter().filter(is_alias).cloned().collect(),
            by_host: services.iter().map(|s| (s.id.host.clone(), &**s)).collect(),
            owners: WildcardOwners::new(rules),
            settings: view.settings(),
            rules,
            room,
        }
    }

    fn virtual_hosts(&self, port: PortNumber, services: &[&ServiceHead]) -> Vec<Arc<VirtualHostSpec>> {
        let listened: HashSet<&Hostname> = services.iter().map(|s| &s.id.host).collect();
        // An ExternalName Service is called on its own ports, and on those of what it stands for if it says none.
        let stands_for_one = |s: &&Arc<ServiceHead>| match &s.resolution {
            Resolution::Alias(host) if s.ports.is_empty() => listened.contains(host),
            _ => s.ports.iter().any(|it| it.number == port && it.protocol.is_http()),
        };
        let aliases = self.alias_services.iter().filter(stands_for_one).map(|s| &**s);
        let callable: Vec<&ServiceHead> = services.iter().copied().chain(aliases).collect();
        let bound = self.bind_hosts(port, &callable);
        let taken: HashSet<&Hostname> =
            bound.iter().flat_map(|b| &b.services).map(|service| &service.id.host).collect();
        let named: HashSet<usize> = bound.iter().filter(|b| !b.services.is_empty()).map(|b| b.rule).collect();
        let mut table = TableBuilder::default();
        for Bound { rule, host, services, source } in &bound {
            // A host that is no service here stands for itself, on the ports of the services that its rule names beside it,
            // and on port 80 always.
            let literal = || named.contains(rule) || port.get() == LITERAL_PORT;
            if services.is_empty() && literal() && self.takes_room(*rule) {
                table.push(host, port, vec![host.to_string()], source.clone());
            }
            for service in services {
                table.push(&service.id.host, port, self.domains(service, &taken), source.clone());
            }
        }
        for service in services.iter().filter(|s| !taken.contains(&s.id.host) && s.resolution.is_served()) {
            let client = RouteClient {
                namespace: self.seen.namespace(service).clone(),
                ..self.client(port, Arc::default())
            };
            let source = RouteSource::Service(service.id.clone(), client);
            table.push(&service.id.host, port, self.domains(service, &taken), source);
        }
        table.finish()
    }

    /// Every host of every rule that applies on a port, with the services that it means.
    fn bind_hosts<'s>(&'s self, port: PortNumber, callable: &[&'s ServiceHead]) -> Vec<Bound<'s>> {
        let by_host: HashMap<&Hostname, &ServiceHead> = callable.iter().map(|s| (&s.id.host, *s)).collect();
        let mut bound = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let client = self.client(port, mentioned(rule, &self.class.labels));
            let applies = rule
                .filters
                .iter()
                .any(|f| filter_passes(f, &client.gateway, port, &client.namespace, &client.labels));
            if !applies {
                continue;
            }
            let namespace = self.seen.rule_namespace(&rule.id);
            let source = RouteSource::Rules(rule.id.clone(), RouteClient { namespace, ..client });
            for host in rule.hosts() {
                let mut services = Vec::new();
                // A wildcard that is a service's host too is for all that it covers, not for that service alone.
                if let Some(service) = by_host.get(host).filter(|_| !host.is_wildcard()) {
                    if !self.counts(index, service) || !self.takes_room(index) {
                        continue;
                    }
                    services.push(*service);
                } else if let Some(service) = self.by_host.get(host).filter(|_| !host.is_wildcard()) {
                    // Not on this port, or not with HTTP there: then no rule for HTTP has anything to say of it.
                    let bytes = service.ports.iter().any(|it| it.number == port);
                    if bytes || !self.counts(index, service) {
                        continue;
                    }
                } else if host.is_wildcard() {
                    let covered = |s: &&&ServiceHead| !s.is_pod && s.id.host.subset_of(host);
                    services.extend(callable.iter().filter(covered).copied().filter(|s| {
                        self.owners.owner(s, |rule| self.counts(rule, s)) == Some(index)
                            && self.takes_room(index)
                    }));
                    // All that it covers is other rules', or without HTTP, or it is part of what a service covers: it stands for
                    // these services, not for itself.
                    if services.is_empty() && self.overlaps_any(host, port) {
                        continue;
                    }
                }
                bound.push(Bound { rule: index, host, services, source: source.clone() });
            }
        }
        bound
    }

    /// Whether a wildcard has names in common with a service that has this port.
    fn overlaps_any(&self, wildcard: &Hostname, port: PortNumber) -> bool {
        let common = |s: &ServiceHead| s.id.host.subset_of(wildcard) || wildcard.subset_of(&s.id.host);
        let mut services = self.by_host.values().filter(|s| !s.is_pod && common(s));
        services.any(|s| s.ports.iter().any(|it| it.number == port))
    }

    /// Whether a rule may stand in one more virtual host.
    fn takes_room(&self, rule: usize) -> bool {
        let room = self.rules.get(rule).and_then(|rule| self.room.get(&rule.id));
        room.is_some_and(|room| {
            let left = room.get();
            room.set(left.saturating_sub(1));
            left > 0
        })
    }

    /// Whether a rule counts for calls of this class to a service.
    fn counts(&self, rule: usize, service: &ServiceHead) -> bool {
        let counts =
            |rule: &Arc<RuleHead>| rule_counts(&self.settings, &rule.id, service, &self.class.namespace);
        self.rules.get(rule).is_some_and(counts)
    }

    fn client(&self, port: PortNumber, labels: Arc<BTreeMap<String, String>>) -> RouteClient {
        RouteClient {
            kind: ProxyKind::Sidecar,
            namespace: self.class.namespace.clone(),
            gateway: GatewayRef::Mesh,
            port,
            secure: false,
            labels,
            selecting: self.selecting.clone(),
            chosen: self.chosen.clone(),
            rtds: self.class.rtds.any(),
            edits_copies: self.class.edits_copies,
            judges: self.class.judges,
        }
    }

    /// The names by which a service can be called (istio `generateVirtualHostDomains`), also those of ExternalName
    /// Services that stand for it, but for such as have rules of their own.
    fn domains(&self, service: &ServiceHead, taken: &HashSet<&Hostname>) -> Vec<String> {
        let mut names = Vec::new();
        self.names_of(&service.id.host, &mut names);
        let aliases = self.aliases.get(&service.id.host).into_iter().flatten();
        for alias in aliases.filter(|alias| !taken.contains(alias)) {
            self.names_of(alias, &mut names);
        }
        names.extend(service.addresses.iter().filter(|ip| !ip.is_unspecified()).map(|ip| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }));
        names
    }

    /// The host, the host with a trailing dot, and its shorter spellings seen from this namespace; none that
    /// is some other service's full host.
    fn names_of(&self, host: &Hostname, names: &mut Vec<String>) {
        names.push(host.to_string());
        let absolute = host.as_str().ends_with('.') || host.as_str() == "*";
        if host.as_str().parse::<IpAddr>().is_err() && !absolute {
            names.push(format!("{host}."));
        }
        let suffix = format!(".svc.{}", self.domain);
        let Some((name, namespace)) = host.as_str().strip_suffix(&suffix).and_then(|h| h.rsplit_once('.'))
        else {
            return;
        };
        let mut shorter = Vec::new();
        if namespace == self.class.namespace.to_ascii_lowercase() {
            shorter.push(name.to_owned());
            shorter.push(format!("{name}.{namespace}.svc"));
            shorter.push(format!("{name}.{namespace}"));
        } else {
            shorter.push(format!("{name}.{namespace}"));
            shorter.push(format!("{name}.{namespace}.svc"));
        }
        names.extend(shorter.into_iter().filter(|n| !self.by_host.contains_key(n.as_str())));
    }
}

/// Keeps names and domains unique: the first comes, the first is served.
#[derive(Default)]
struct TableBuilder {
    hosts: BTreeMap<String, Arc<VirtualHostSpec>>,
    domains: BTreeSet<String>,
}

impl TableBuilder {
    fn push(&mut self, host: &Hostname, port: PortNumber, domains: Vec<String>, source: RouteSource) {
        let name = virtual_host_name(host, port);
        if self.hosts.contains_key(&name) {
            return;
        }
        let domains: Vec<String> = domains.into_iter().filter(|d| self.domains.insert(d.clone())).collect();
        if domains.is_empty() {
            return;
        }
        let spec = VirtualHostSpec {
            name: name.clone(),
            domains,
            sources: vec![source],
            order: RouteOrder::default(),
            require_tls: false,
        };
        self.hosts.insert(name, Arc::new(spec));
    }

    fn finish(self) -> Vec<Arc<VirtualHostSpec>> {
        self.hosts.into_values().collect()
    }
}
