//! What an object's author should know: everything about it alone (`umbra_api::validate`) and everything
//! that only shows beside other objects. Computed for every object, also with no proxy connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{DestinationRule, Object, VirtualService};
use umbra_ir::{
    ClientTls, ClusterRef, Diagnostic, GatewayRef, Hostname, LeveledPolicy, MirrorRule, MirrorState,
    ObjectId, PortNumber, ProxyKind, Resolution, Role, RouteClient, Rule, RuleAction, RuleEntry, RuleHead,
    ServiceHead, Severity,
};

use crate::endpoints::unknown_pods;
use crate::gateways::intersection;
use crate::mirrors::written_mirrors;
use crate::names::{resolve_gateway, resolve_host};
use umbra_mesh::{
    LITERAL_PORT, broken_destination, broken_mirror, filter_may_pass, is_plaintext_to_tls, query,
};

use crate::world::World;

/// Everything that the author of one object should know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectReport {
    /// Sorted, without repetitions.
    pub diagnostics: Vec<Diagnostic>,
    /// A VirtualService's mirrors in the order in which they are written.
    pub mirrors: Vec<MirrorState>,
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    notes: BTreeSet<Diagnostic>,
    mirrors: Vec<MirrorState>,
}

impl Found {
    fn insert(&mut self, diagnostic: Diagnostic) {
        self.notes.insert(diagnostic);
    }

    fn finish(mut self) -> ObjectReport {
        for mirror in &mut self.mirrors {
            let about = self.notes.iter().filter(|note| note.severity != Severity::Info);
            let about = about.filter(|note| is_about(&note.field, &mirror.field));
            mirror.problem = about.min_by_key(|note| note.severity).cloned();
        }
        ObjectReport { diagnostics: self.notes.into_iter().collect(), mirrors: self.mirrors }
    }
}

/// Whether a diagnostic's field is a mirror, a part of it, or the percentage beside it.
fn is_about(field: &str, mirror: &str) -> bool {
    let entry = mirror.strip_suffix(".destination").unwrap_or(mirror);
    let rest = field.strip_prefix(entry);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        || (entry.ends_with("].mirror")
            && rest.is_some_and(|rest| rest.starts_with("Percent") || rest.starts_with("_percent")))
}

/// All that is to be said about one object.
pub fn report_object(view: &impl World, id: &ObjectId) -> ObjectReport {
    let Some(object) = view.object(id) else { return ObjectReport::default() };
    let mut found = Found { notes: umbra_api::validate(&object).into_iter().collect(), mirrors: Vec::new() };
    match &*object {
        Object::VirtualService(vs) => {
            found.mirrors = list_mirrors(vs, &view.settings().cluster_domain);
            report_rules(view, id, vs, &mut found);
        }
        Object::DestinationRule(rule) => report_destination_rule(view, id, rule, &mut found),
        Object::Service(service) => {
            report_ports(view, id, |_| true, &mut found);
            for pod in unknown_pods(view, service) {
                let message = format!("{pod} is not known: its endpoint is left out until it is");
                found.insert(Diagnostic::warning("PodNotFound", id, "", message));
            }
        }
        Object::ServiceEntry(entry) => {
            // Other entries may add ports to its hosts.
            let own =
                |number: PortNumber| entry.spec.ports.iter().any(|p| p.number == u32::from(number.get()));
            report_ports(view, id, own, &mut found);
        }
        _ => {}
    }
    found.finish()
}

/// The mirrors as written, before any is looked up.
fn list_mirrors(vs: &umbra_api::VirtualService, domain: &str) -> Vec<MirrorState> {
    let hosts: Arc<[String]> = vs.spec.hosts.clone().into();
    let state = |mirror: crate::mirrors::WrittenMirror| MirrorState {
        hosts: hosts.clone(),
        route: vs.spec.http.get(mirror.rule).map(|rule| rule.name.clone()).unwrap_or_default(),
        field: mirror.field,
        host: mirror.host,
        subset: mirror.destination.subset.map(|subset| subset.as_str().to_owned()).unwrap_or_default(),
        port: mirror.destination.port,
        key: mirror.key,
        share: mirror.share,
        clusters: BTreeMap::new(),
        problem: None,
    };
    written_mirrors(vs, domain).into_iter().map(state).collect()
}

/// Hosts that another object defines first, and ports that carry no HTTP: those get no listener.
fn report_ports(view: &impl World, id: &ObjectId, own: impl Fn(PortNumber) -> bool, found: &mut Found) {
    for head in view.service_heads(id).iter() {
        let seen = view.resolve(&id.namespace, &id.namespace, &head.id.host);
        if let Some(winner) = seen.filter(|winner| winner.id.objects().all(|object| object != id)) {
            let message = format!(
                "{} already defines {}: in this namespace it counts, not this one",
                winner.id.object, head.spelling
            );
            found.insert(Diagnostic::warning("HostConflict", id, "spec.hosts", message));
        }
        if matches!(head.resolution, Resolution::Alias(_)) {
            continue;
        }
        for port in head.ports.iter().filter(|p| !p.protocol.is_http() && own(p.number)) {
            let message = format!(
                "port {} speaks {}: accepted, not acted on yet: only HTTP ports get listeners and routes",
                port.number,
                port.protocol.as_str()
            );
            found.insert(Diagnostic::info("NotHttp", id, "spec.ports", message));
        }
    }
}

fn report_rules(view: &impl World, id: &ObjectId, vs: &VirtualService, found: &mut Found) {
    let (Some(head), Some(rules)) = (view.rule_head(id), view.rules(id)) else { return };
    let mut callers = Vec::new();
    for gateway in &head.gateways {
        match gateway {
            GatewayRef::Mesh => callers.extend(report_mesh(view, &head, vs, found)),
            GatewayRef::Named(gateway_id) => {
                let written = |text: &String| resolve_gateway(text, &id.namespace) == *gateway;
                let index = vs.spec.gateways.iter().position(written).unwrap_or_default();
                let field = format!("spec.gateways[{index}]");
                callers.extend(report_at_gateway(view, &head, gateway_id, field, found));
            }
        }
    }
    for rule in &rules.rules {
        report_rule(view, id, rule, &callers, found);
    }
}

/// Somebody who may follow a VirtualService's rules.
struct Caller {
    client: RouteClient,
    /// Whether rules are served to it; if not, nothing can be said about the port being called.
    served: bool,
}

/// What is said about the targets of a rule: for every caller that one of its matches can mean. A rule for nobody
/// known is looked up all the same, but for what depends on the port being called.
fn report_rule(view: &impl World, id: &ObjectId, rule: &Rule, callers: &[Caller], found: &mut Found) {
    let means = |caller: &&Caller| {
        let client = &caller.client;
        rule.matches.is_empty()
            || rule.matches.iter().any(|m| filter_may_pass(&m.filter, &client.gateway, client.port))
    };
    let meant: Vec<&Caller> = callers.iter().filter(means).collect();
    for caller in meant.iter().filter(|caller| caller.served) {
        report_targets(view, id, rule, &caller.client, found);
    }
    if meant.iter().any(|caller| caller.served) {
        return;
    }
    for caller in if meant.is_empty() { callers.iter().collect() } else { meant } {
        let mut all = Found { mirrors: std::mem::take(&mut found.mirrors), ..Found::default() };
        report_targets(view, id, rule, &caller.client, &mut all);
        found.mirrors = all.mirrors;
        found.notes.extend(all.notes.into_iter().filter(|d| d.code != "PortAmbiguous"));
    }
}

/// Says what is to be said of a VirtualService's hosts in the mesh, and returns those who call them there.
fn report_mesh(view: &impl World, head: &RuleHead, vs: &VirtualService, found: &mut Found) -> Vec<Caller> {
    let namespace = &head.id.namespace;
    let domain = &view.settings().cluster_domain;
    let services = view.visible_services(namespace);
    let mut called: BTreeSet<PortNumber> = BTreeSet::new();
    for host in &head.hosts {
        let written = |text: &String| resolve_host(text, namespace, domain) == *host;
        let field = format!("spec.hosts[{}]", vs.spec.hosts.iter().position(written).unwrap_or_default());
        let matched: Vec<_> = services.iter().filter(|s| s.id.host.subset_of(host)).collect();
        called.extend(matched.iter().flat_map(|s| called_ports(view, namespace, s)));
        if matched.is_empty() {
            called.extend(PortNumber::new(LITERAL_PORT.into()));
            let listens = |s: &ServiceHead| {
                !matches!(s.resolution, Resolution::Alias(_))
                    && s.ports.iter().any(|p| p.protocol.is_http() && p.number.get() == LITERAL_PORT)
            };
            let message = if services.iter().any(|s| listens(s)) {
                format!("no visible service is called {host}: in the mesh the rules apply on port 80 only")
            } else {
                format!(
                    "no visible service is called {host}, and none has HTTP on port 80, where sidecars would take rules for other hosts: in the mesh they are not served"
                )
            };
            found.insert(Diagnostic::warning("HostNotFound", &head.id, field.as_str(), message));
        }
        if let Some(winner) = earlier_owner(view, head, host) {
            let message = format!("{winner} already has rules for {host}: sidecars follow those, not these");
            found.insert(Diagnostic::warning("HostConflict", &head.id, field, message));
        }
    }
    let client = |port| client(ProxyKind::Sidecar, namespace, GatewayRef::Mesh, port);
    called.into_iter().map(|port| Caller { client: client(port), served: true }).collect()
}

/// The ports by which sidecars call a service: an ExternalName Service those of the host that it stands for.
fn called_ports(view: &impl World, namespace: &Arc<str>, service: &ServiceHead) -> Vec<PortNumber> {
    let http = |s: &ServiceHead| s.ports.iter().filter(|p| p.protocol.is_http()).map(|p| p.number).collect();
    match &service.resolution {
        Resolution::Alias(host) => {
            view.resolve(namespace, namespace, host).map(|s| http(&s)).unwrap_or_default()
        }
        _ => http(service),
    }
}

/// The VirtualService that owns a host on sidecars, when it is another one: there the first wins.
fn earlier_owner(view: &impl World, head: &RuleHead, host: &Hostname) -> Option<ObjectId> {
    let bound = view.bound_rules(&head.id.namespace, &GatewayRef::Mesh);
    let first = bound.iter().find(|other| other.hosts.contains(host) && !other.filters.is_empty())?;
    (first.id != head.id).then(|| first.id.clone())
}

/// Says what is to be said of a VirtualService at a Gateway, and returns who follows it there.
fn report_at_gateway(
    view: &impl World,
    head: &RuleHead,
    gateway: &ObjectId,
    field: String,
    found: &mut Found,
) -> Vec<Caller> {
    let reference = GatewayRef::Named(gateway.clone());
    let unserved = |found: &mut Found, code, message| {
        found.insert(Diagnostic::warning(code, &head.id, field, message));
        let port = PortNumber::new(LITERAL_PORT.into());
        let client = |port| client(ProxyKind::Router, &head.id.namespace, reference.clone(), port);
        port.map(|port| Caller { client: client(port), served: false }).into_iter().collect()
    };
    let Some(gateway_head) = view.gateway_head(gateway) else {
        let message = format!("{gateway} does not exist: the rules are not served there");
        return unserved(found, "GatewayNotFound", message);
    };
    let admitting = gateway_head.servers.iter().filter(|server| !intersection(server, head).is_empty());
    let ports: BTreeSet<PortNumber> = admitting.map(|server| server.port).collect();
    if ports.is_empty() {
        let message = format!(
            "{gateway} has no HTTP server that admits any of these hosts: the rules are not served there"
        );
        return unserved(found, "HostNotAdmitted", message);
    }
    let client = |port| client(ProxyKind::Router, &gateway.namespace, reference.clone(), port);
    ports.into_iter().map(|port| Caller { client: client(port), served: true }).collect()
}

fn client(kind: ProxyKind, namespace: &Arc<str>, gateway: GatewayRef, port: PortNumber) -> RouteClient {
    RouteClient { kind, namespace: namespace.clone(), gateway, port, labels: Arc::default(), rtds: true }
}

/// Looks up every destination and mirror of a rule as `client` would.
fn report_targets(view: &impl World, id: &ObjectId, rule: &Rule, client: &RouteClient, found: &mut Found) {
    let RuleAction::Forward(forward) = &rule.action else { return };
    for destination in &forward.destinations {
        if destination.destination.host.as_str().is_empty() {
            continue;
        }
        match view.target(&query(id, &destination.destination, client)) {
            Err(problem) => found.insert(broken_destination(id, &destination.field, &problem)),
            Ok(cluster) => report_plaintext(view, id, &destination.field, &cluster, found),
        }
    }
    for mirror in &forward.mirrors {
        match view.target(&query(id, &mirror.destination, client)) {
            Err(problem) => found.insert(broken_mirror(id, &mirror.field, &problem)),
            Ok(cluster) => report_mirror(view, id, mirror, &cluster, found),
        }
    }
}

fn report_mirror(
    view: &impl World,
    id: &ObjectId,
    mirror: &MirrorRule,
    cluster: &ClusterRef,
    found: &mut Found,
) {
    report_plaintext(view, id, &mirror.field, cluster, found);
    let endpoints = view.members(&cluster.with_role(Role::Primary)).0.len();
    if endpoints == 0 {
        let message = format!(
            "{} has no ready endpoints right now: copies are dropped until there are",
            describe(cluster)
        );
        found.insert(Diagnostic::warning("NoEndpoints", id, mirror.field.as_str(), message));
    }
    if let Some(state) = found.mirrors.iter_mut().find(|state| state.key == mirror.key) {
        state.clusters.insert(cluster.with_role(Role::Mirror), endpoints);
    }
}

/// Istio sends it all the same, and says nothing.
fn report_plaintext(view: &impl World, id: &ObjectId, field: &str, cluster: &ClusterRef, found: &mut Found) {
    if is_plaintext_to_tls(view, cluster) {
        let message = format!(
            "{} speaks TLS, and no DestinationRule for it sets trafficPolicy.tls: plain HTTP is sent there, which it will refuse",
            describe(cluster)
        );
        found.insert(Diagnostic::warning("PlaintextToTls", id, field, message));
    }
}

fn describe(cluster: &ClusterRef) -> String {
    match &cluster.subset {
        Some(subset) => format!("subset {subset} of {}:{}", cluster.spelling, cluster.port),
        None => format!("{}:{}", cluster.spelling, cluster.port),
    }
}

fn report_destination_rule(view: &impl World, id: &ObjectId, rule: &DestinationRule, found: &mut Found) {
    if rule.spec.workload_selector.is_some() || rule.spec.host.is_empty() {
        return;
    }
    let namespace = &id.namespace;
    let host = resolve_host(&rule.spec.host, namespace, &view.settings().cluster_domain);
    let services = view.visible_services(namespace);
    if !services.iter().any(|s| s.id.host.subset_of(&host)) {
        let message =
            format!("no visible service is called {host}: the rule has no effect until there is one");
        found.insert(Diagnostic::warning("HostNotFound", id, "spec.host", message));
    }
    let rules = view.namespace_rules(namespace);
    let Some(entries) = rules.0.get(&host) else { return };
    let set = umbra_ir::RuleSetId(entries.iter().map(|e| e.id.clone()).collect());
    let merged = view.rule_set(&set);
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        let owner = umbra_ir::SubsetName::new(&subset.name).and_then(|name| merged.subsets.get(&name));
        if let Some(owner) = owner.filter(|o| o.defined_by != *id) {
            let message = format!(
                "{} is older and already defines the subset {}: this definition is not used",
                owner.defined_by, subset.name
            );
            found.insert(Diagnostic::warning(
                "DuplicateSubset",
                id,
                format!("spec.subsets[{index}]"),
                message,
            ));
        }
    }
    report_policy_owner(view, id, rule, entries, found);
    report_tls(view, id, rule, found);
}

/// Of several rules for one host only the oldest rule's policy counts.
fn report_policy_owner(
    view: &impl World,
    id: &ObjectId,
    rule: &DestinationRule,
    entries: &[RuleEntry],
    found: &mut Found,
) {
    if rule.spec.traffic_policy.is_none() {
        return;
    }
    for entry in entries.iter().take_while(|e| e.id != *id) {
        let older = view.object(&entry.id);
        if let Some(Object::DestinationRule(older)) = older.as_deref()
            && older.spec.traffic_policy.is_some()
        {
            let message = format!(
                "{} is older and already sets the policy of this host: this one is not used",
                entry.id
            );
            found.insert(Diagnostic::warning("DuplicatePolicy", id, "spec.trafficPolicy", message));
            return;
        }
    }
}

/// TLS that cannot be given leaves the cluster without endpoints: said once for each place.
fn report_tls(view: &impl World, id: &ObjectId, rule: &DestinationRule, found: &mut Found) {
    let own = view.rule_set(&umbra_ir::RuleSetId(Arc::from([id.clone()])));
    let mut report = |policy: &LeveledPolicy, prefix: &str| {
        for blocks in std::iter::once(&policy.base).chain(policy.ports.values()) {
            if let Some(ClientTls::Unsupported(what)) = &blocks.tls {
                let message = format!(
                    "{what} is not supported yet: these clusters get no endpoints, so that nothing travels in plaintext"
                );
                found.insert(Diagnostic::error(
                    "TlsUnsupported",
                    id,
                    format!("{prefix}trafficPolicy.tls"),
                    message,
                ));
            }
        }
    };
    if let Some(policy) = &own.policy {
        report(policy, "spec.");
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        let resolved = umbra_ir::SubsetName::new(&subset.name).and_then(|name| own.subsets.get(&name));
        if let Some(policy) = resolved.and_then(|s| s.policy.as_ref()) {
            report(policy, &format!("spec.subsets[{index}]."));
        }
    }
}
