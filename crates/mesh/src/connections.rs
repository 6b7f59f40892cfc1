//! Which `tls` and `tcp` rules the connections of a sidecar follow (istio `pilot/pkg/networking/core/tls.go`).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use umbra_ir::{
    BuiltInCluster, Chain, ChainContent, ClientTls, ClusterRef, ConnectionMatch, ConnectionRule, GatewayRef,
    Hostname, Imported, Imports, Network, ObjectId, Onward, Opening, OutboundPolicy, Placed, PortNumber,
    Protocol, ProxyKind, RouteClient, RuleHead, ServiceHead, ServicePort, Settings, Shared, StaticFilter,
    WeightedDestination,
};

use crate::chains::any;
use crate::clusters::goes_as_asked;
use crate::filter::filter_may_pass;
use crate::ownership::rule_counts;
use crate::routes::destination_target;
use crate::view::View;

/// Who opens connections: a sidecar's application.
pub(crate) struct Caller<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) namespace: &'a Arc<str>,
    /// Those labels that rules ask for, or more.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// What DestinationRules select it by.
    pub(crate) selecting: &'a Arc<BTreeMap<String, String>>,
}

/// What the rules say of the connections to one port of a service.
#[derive(Default)]
pub(crate) struct Followed {
    /// Those that are told from others.
    pub(crate) told: Vec<Chain>,
    /// All others; `None`: no rule says.
    pub(crate) rest: Option<Rest>,
}

/// Where connections go that nothing tells from others, and by which rule.
#[derive(Clone)]
pub(crate) struct Rest {
    pub(crate) shared: Shared,
    pub(crate) rule: Option<Placed<ObjectId>>,
}

impl From<Onward> for Rest {
    fn from(onward: Onward) -> Self {
        Rest { shared: onward.into(), rule: None }
    }
}

/// The rules for connections among those that count on some ports, by the hosts that they are for.
pub(crate) struct Rules<'a> {
    caller: &'a Caller<'a>,
    settings: Arc<Settings>,
    imports: &'a Imports,
    rules: Vec<&'a Arc<RuleHead>>,
    exact: HashMap<&'a Hostname, Vec<usize>>,
    wildcards: Vec<(&'a Hostname, usize)>,
    room: &'a Room<'a>,
}

/// At how many more listeners of a class each rule may count; beyond them it is as if it did not name its hosts.
pub(crate) struct Room<'a>(HashMap<&'a ObjectId, Cell<usize>>);

impl<'a> Room<'a> {
    pub(crate) fn new(imports: &'a Imports) -> Self {
        let all = imports.listeners.iter().flat_map(|listener| listener.rules.iter());
        Room(all.map(|rule| (&rule.id, Cell::new(rule.connection_listeners))).collect())
    }

    fn take(&self, rule: &ObjectId) -> bool {
        self.0.get(rule).is_some_and(|room| {
            let left = room.get();
            room.set(left.saturating_sub(1));
            left > 0
        })
    }
}

impl<'a> Rules<'a> {
    pub(crate) fn new(
        caller: &'a Caller<'a>,
        imports: &'a Imports,
        listener: &'a Imported,
        room: &'a Room<'a>,
    ) -> Self {
        let rules: Vec<_> =
            listener.rules.iter().filter(|rule| !rule.connection_filters.is_empty()).collect();
        let mut exact: HashMap<&Hostname, Vec<usize>> = HashMap::new();
        let mut wildcards = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for host in rule.hosts() {
                match host.is_wildcard() {
                    true => wildcards.push((host, index)),
                    false => exact.entry(host).or_default().push(index),
                }
            }
        }
        Rules { caller, settings: caller.view.settings(), imports, rules, exact, wildcards, room }
    }

    /// What becomes of connections to a port of a service: of all rules that have a host in common with it, in their order,
    /// the first that is for any connection ends the list. A rule counts for TLS or for other bytes, as the port says.
    ///
    /// `policy`: what becomes of TLS for which no rule is, where rules are for some.
    pub(crate) fn follow(
        &self,
        service: &ServiceHead,
        port: &ServicePort,
        policy: OutboundPolicy,
    ) -> Followed {
        let mut followed = Followed::default();
        for rule in self.rules_of(service) {
            let counts = rule_counts(&self.settings, &rule.id, service, self.caller.namespace);
            let asked = rule.connection_filters.iter().any(|filter| self.passes(filter, port.number));
            let Some(rules) = self
                .caller
                .view
                .connection_rules(&rule.id)
                .filter(|_| counts && asked && self.room.take(&rule.id))
            else {
                continue;
            };
            match is_tls(port.protocol) {
                true => self.follow_tls(rule, &rules.tls, port, &mut followed),
                false => self.follow_tcp(rule, &rules.tcp, port, &mut followed),
            }
            if followed.rest.is_some() {
                return followed;
            }
        }
        if is_tls(port.protocol) && !followed.told.is_empty() {
            followed.rest = Some(Onward::BuiltIn(policy.cluster()).into());
        }
        followed
    }

    /// The rules that have a host in common with a service, in their order.
    fn rules_of(&self, service: &ServiceHead) -> Vec<&'a Arc<RuleHead>> {
        let host = &service.id.host;
        let indexes: BTreeSet<usize> = match host.is_wildcard() {
            true => {
                let overlaps = |rule: &Arc<RuleHead>| rule.hosts().any(|own| own.matches(host));
                (0..self.rules.len()).filter(|index| overlaps(self.rules[*index])).collect()
            }
            false => {
                let exact = self.exact.get(host).into_iter().flatten().copied();
                let wide = self.wildcards.iter().filter(|(wildcard, _)| host.subset_of(wildcard));
                exact.chain(wide.map(|(_, index)| *index)).collect()
            }
        };
        indexes.into_iter().filter_map(|index| self.rules.get(index).copied()).collect()
    }

    /// Unlike HTTP's, all conditions count beside each other (istio `matchTLS`, `matchTCP`).
    fn passes(&self, filter: &StaticFilter, port: PortNumber) -> bool {
        filter_may_pass(filter, &GatewayRef::Mesh, port)
            && filter.source_labels.iter().all(|(key, value)| self.caller.labels.get(key) == Some(value))
            && filter.source_namespace.as_ref().is_none_or(|it| it == self.caller.namespace)
    }

    fn follow_tls(&self, head: &RuleHead, rules: &[ConnectionRule], port: &ServicePort, to: &mut Followed) {
        for written in rules {
            for asked in written.matches.iter().filter(|it| self.passes(&it.filter, port.number)) {
                let anything = asked.server_names.contains("*") && asked.networks.is_empty();
                if anything {
                    to.rest = Some(self.rest(head, written, port));
                    return;
                }
                to.told.push(self.chain(head, written, asked.server_names.clone(), &asked.networks, port));
            }
        }
    }

    fn follow_tcp(&self, head: &RuleHead, rules: &[ConnectionRule], port: &ServicePort, to: &mut Followed) {
        for written in rules {
            let passing: Vec<&ConnectionMatch> =
                written.matches.iter().filter(|it| self.passes(&it.filter, port.number)).collect();
            if written.matches.is_empty() || passing.iter().any(|it| it.networks.is_empty()) {
                to.rest = Some(self.rest(head, written, port));
                return;
            }
            let networks: BTreeSet<Network> = passing.iter().flat_map(|it| &it.networks).copied().collect();
            if !networks.is_empty() {
                to.told.push(self.chain(head, written, BTreeSet::from([any()]), &networks, port));
            }
        }
    }

    fn rest(&self, head: &RuleHead, written: &ConnectionRule, port: &ServicePort) -> Rest {
        Rest { shared: self.shared(head, written, port), rule: Some(place(head, written)) }
    }

    fn chain(
        &self,
        head: &RuleHead,
        written: &ConnectionRule,
        server_names: BTreeSet<Hostname>,
        networks: &BTreeSet<Network>,
        port: &ServicePort,
    ) -> Chain {
        Chain {
            opening: if server_names.contains("*") { Opening::Any } else { Opening::Tls },
            server_names,
            networks: networks.clone(),
            tls: None,
            content: ChainContent::Bytes(self.shared(head, written, port)),
            rule: Some(place(head, written)),
        }
    }

    fn shared(&self, head: &RuleHead, written: &ConnectionRule, port: &ServicePort) -> Shared {
        let client = RouteClient {
            kind: ProxyKind::Sidecar,
            namespace: self.caller.namespace.clone(),
            gateway: GatewayRef::Mesh,
            port: port.number,
            secure: is_tls(port.protocol),
            labels: Arc::default(),
            selecting: self.caller.selecting.clone(),
            chosen: self.imports.chosen.clone(),
            rtds: false,
            edits_copies: true,
            judges: Default::default(),
        };
        bind_shared(self.caller.view, &head.id, written, &client)
    }
}

/// Whether the connections of a port begin with a TLS handshake.
pub(crate) fn is_tls(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tls | Protocol::Https)
}

/// Where a rule stands.
pub(crate) fn place(head: &RuleHead, written: &ConnectionRule) -> Placed<ObjectId> {
    Placed { value: head.id.clone(), field: written.field.clone() }
}

/// Where a rule sends connections. What means no cluster keeps its share and ends.
pub(crate) fn bind_shared(
    view: &dyn View,
    rule: &ObjectId,
    written: &ConnectionRule,
    client: &RouteClient,
) -> Shared {
    let one = |destination: &WeightedDestination| {
        let onward = match destination_target(view, rule, &destination.destination, client) {
            Ok(cluster) => onward_to(view, cluster),
            Err(_) => Onward::BuiltIn(BuiltInCluster::BlackHole),
        };
        (onward, destination.weight)
    };
    Shared(written.destinations.iter().map(one).collect())
}

/// Where the bytes of a service's port go where no rule says otherwise. Nowhere when it takes TLS that we cannot give: never
/// silently in plaintext.
pub(crate) fn onward(caller: &Caller<'_>, service: &ServiceHead, port: PortNumber) -> Option<Onward> {
    let clusters = caller.view.service_clusters(caller.namespace, caller.selecting, &service.id);
    let cluster = clusters.iter().find(|c| c.port == port && c.subset.is_none())?;
    Some(onward_to(caller.view, cluster.clone()))
}

/// Where the bytes for a cluster go, by its policy.
fn onward_to(view: &dyn View, cluster: ClusterRef) -> Onward {
    let (port, subset) = (cluster.port, cluster.subset.as_ref());
    let policy = cluster.policy.as_ref().map(|id| view.destination_rule_set(id).effective(port, subset));
    let policy = policy.unwrap_or_default();
    if matches!(policy.tls, Some(ClientTls::Unsupported(_))) {
        return Onward::BuiltIn(OutboundPolicy::RegistryOnly.cluster());
    }
    let idle_timeout = policy.connection_pool.and_then(|pool| pool.tcp_idle_timeout);
    let as_asked = goes_as_asked(view, &cluster);
    Onward::Service { cluster, idle_timeout, as_asked }
}
