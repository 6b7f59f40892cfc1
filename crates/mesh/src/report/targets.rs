//! What is said about the destinations and mirrors of a rule.

use std::collections::BTreeMap;

use umbra_ir::{
    ClusterRef, Code, Destination, Diagnostic, ForwardRule, GatewayRef, MirrorRule, ObjectId, Protocol,
    ProxyKind, Role, RouteClient, Rule, RuleAction, Rules,
};

use super::shadows::unrouted_shadow;
use crate::clusters::{protocol_of, speaks_as_client};
use crate::filter::filter_may_pass;
use crate::hashing::not_hashed;
use crate::routes::{
    broken_destination, broken_mirror, destination_target, is_plaintext_to_tls, mirror_target, query,
};
use crate::{Report, View};

/// Somebody who may follow a VirtualService's rules.
pub(super) struct Caller {
    pub(super) client: RouteClient,
    /// Whether rules are served to it; if not, nothing can be said about the port being called.
    pub(super) served: bool,
}

/// All who may follow them.
pub(super) struct Callers {
    /// By how many ports others call at the same place before it, so that those who are looked at first differ most.
    all: Vec<Caller>,
    /// For how many of them each target is looked up.
    looked_at: usize,
}

impl Callers {
    /// The most lookups for one object's targets: a caller more is seldom another answer, since a port makes a difference only
    /// where none is written and the service has several.
    const LOOKUPS: usize = 1 << 14;
    /// The most callers that are looked at.
    const MOST: usize = 64;

    pub(super) fn new(callers: Vec<Caller>, rules: &Rules) -> Self {
        let mut seen: BTreeMap<GatewayRef, usize> = BTreeMap::new();
        let mut ranked: Vec<(usize, Caller)> = Vec::new();
        for caller in callers {
            let rank = seen.entry(caller.client.gateway.clone()).or_default();
            ranked.push((*rank, caller));
            *rank += 1;
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let targets = |rule: &Rule| match &rule.action {
            RuleAction::Forward(forward) => forward.destinations.len() + forward.mirrors.len(),
            RuleAction::Redirect(_) | RuleAction::Direct(_) => 0,
        };
        let targets: usize = rules.rules.iter().map(targets).sum();
        Callers {
            all: ranked.into_iter().map(|(_, caller)| caller).collect(),
            looked_at: (Self::LOOKUPS / targets.max(1)).clamp(1, Self::MOST),
        }
    }
}

/// What is said about the targets of a rule: for every caller that one of its matches can mean. A rule for nobody
/// known is looked up all the same, but for what depends on the port being called.
pub(super) fn report_rule(
    view: &dyn View,
    id: &ObjectId,
    rule: &Rule,
    Callers { all: callers, looked_at }: &Callers,
    report: &mut Report,
) {
    let means = |caller: &&Caller| {
        let client = &caller.client;
        rule.matches.is_empty()
            || rule.matches.iter().any(|m| filter_may_pass(&m.filter, &client.gateway, client.port))
    };
    let meant: Vec<&Caller> = callers.iter().filter(means).collect();
    if meant.is_empty() && !callers.is_empty() && callers.iter().all(|caller| caller.served) {
        let message = "no proxy takes this rule: none of its matches is for a gateway and a port by which these hosts are called";
        say(
            rule,
            true,
            Diagnostic::new(Code::UnboundRule, id, format!("{}.match", rule.field), message),
            report,
        );
    }
    for caller in meant.iter().filter(|caller| caller.served).take(*looked_at) {
        report_targets(view, id, rule, &caller.client, report);
    }
    if meant.iter().any(|caller| caller.served) {
        return;
    }
    report.unsaid = Some(Code::PortAmbiguous);
    let unserved = if meant.is_empty() { callers.iter().collect() } else { meant };
    for caller in unserved.into_iter().take(*looked_at) {
        report_targets(view, id, rule, &caller.client, report);
    }
    report.unsaid = None;
}

/// Looks up every destination and mirror of a rule as `client` would.
fn report_targets(view: &dyn View, id: &ObjectId, rule: &Rule, client: &RouteClient, report: &mut Report) {
    let RuleAction::Forward(forward) = &rule.action else { return };
    for destination in &forward.destinations {
        if destination.destination.host.as_str().is_empty() {
            continue;
        }
        match destination_target(view, id, &destination.destination, client) {
            Err(problem) => say(rule, true, broken_destination(id, &destination.field, &problem), report),
            Ok(cluster) => {
                let note = plaintext(view, id, &destination.field, &cluster);
                let other =
                    other_port(view, id, &destination.field, &destination.destination, &cluster, client);
                note.into_iter().chain(other).for_each(|note| say(rule, true, note, report));
                report.goes_to(cluster);
            }
        }
    }
    for mirror in &forward.mirrors {
        match mirror_target(view, id, mirror, client) {
            Err(problem) => say(rule, mirror.by_delegate, broken_mirror(id, mirror.place, &problem), report),
            Ok(cluster) => {
                for note in report_mirror(view, id, forward, mirror, &cluster, client, report) {
                    say(rule, mirror.by_delegate, note.about_mirror(mirror.place), report);
                }
            }
        }
    }
}

/// Says something of a rule; of what stands in a delegate, to its author too.
fn say(rule: &Rule, by_delegate: bool, note: Diagnostic, report: &mut Report) {
    if let Some(delegate) = rule.delegate.as_ref().filter(|_| by_delegate)
        && let Some((_, field)) = note.field.split_once(".delegate.")
    {
        let (object, field) = (Some(delegate.clone()), format!("spec.{field}"));
        report.insert(Diagnostic { object, field, mirror: None, ..note.clone() });
    }
    report.insert(note);
}

/// Notes what a mirror comes to, and answers what is to be said of it.
fn report_mirror(
    view: &dyn View,
    id: &ObjectId,
    forward: &ForwardRule,
    mirror: &MirrorRule,
    cluster: &ClusterRef,
    client: &RouteClient,
    report: &mut Report,
) -> Vec<Diagnostic> {
    let field = mirror.place.field();
    let mut notes: Vec<_> = plaintext(view, id, &field, cluster).into_iter().collect();
    notes.extend(not_hashed(view, id, &field, cluster));
    notes.extend(as_http1(view, id, &field, forward, cluster, client));
    notes.extend(other_port(view, id, &field, &mirror.destination, cluster, client));
    notes.extend(unrouted_shadow(view, id, &field, cluster, mirror.terms.as_deref()));
    let endpoints = view.members(&cluster.with_role(Role::Primary)).0.len();
    if endpoints == 0 {
        let message = format!(
            "{} has no ready endpoints right now: copies are dropped until there are",
            describe(cluster)
        );
        notes.push(Diagnostic::new(Code::NoEndpoints, id, field, message));
    }
    report.mirror_goes_to(mirror.place, cluster.for_copies(mirror), endpoints);
    notes
}

/// Where a sidecar of Istio's would look for a port that the destination does not have.
fn other_port(
    view: &dyn View,
    id: &ObjectId,
    field: &str,
    destination: &Destination,
    cluster: &ClusterRef,
    client: &RouteClient,
) -> Option<Diagnostic> {
    let inferred = destination.port.is_none() && cluster.port != client.port;
    if client.kind != ProxyKind::Sidecar || !inferred || view.settings().istio_compatible {
        return None;
    }
    let message = format!(
        "no port is written, so that {}, the only one of {}, is meant; sidecars of Istio's take the called port {}, which it does not have: there requests get 503, and copies are lost (write the port, or set istioCompatible)",
        cluster.port, cluster.spelling, client.port
    );
    Some(Diagnostic::new(Code::DiffersFromIstio, id, field, message))
}

/// Istio sends it all the same, and says nothing.
fn plaintext(view: &dyn View, id: &ObjectId, field: &str, cluster: &ClusterRef) -> Option<Diagnostic> {
    is_plaintext_to_tls(view, cluster).then(|| {
        let message = format!(
            "{} speaks TLS, and no DestinationRule for it sets trafficPolicy.tls: plain HTTP is sent there, which it will refuse",
            describe(cluster)
        );
        Diagnostic::new(Code::PlaintextToTls, id, field, message)
    })
}

/// Envoy's copies call themselves HTTP/1.1, whatever their originals speak; only what the port says can change that.
fn as_http1(
    view: &dyn View,
    id: &ObjectId,
    field: &str,
    forward: &ForwardRule,
    cluster: &ClusterRef,
    client: &RouteClient,
) -> Option<Diagnostic> {
    let speaks_http2 = |target: &ClusterRef| protocol_of(view, target).is_some_and(Protocol::is_http2);
    let name_it = "name the port http2-… or grpc-…, or set its appProtocol";
    let message = if speaks_as_client(view, cluster, client.kind) {
        format!(
            "{} does not say what it speaks: copies of HTTP/2 requests that are not gRPC leave as HTTP/1.1; {name_it}",
            describe(cluster)
        )
    } else {
        let targets = forward.destinations.iter();
        let original = targets
            .filter_map(|d| view.target(&query(view, id, &d.destination, client)).ok())
            .find(speaks_http2)?;
        if speaks_http2(cluster) {
            return None;
        }
        format!(
            "{} speaks HTTP/2 and {} does not say that it does: copies leave as HTTP/1.1; {name_it}",
            describe(&original),
            describe(cluster)
        )
    };
    Some(Diagnostic::new(Code::CopiesAsHttp1, id, field, message))
}

fn describe(cluster: &ClusterRef) -> String {
    match &cluster.subset {
        Some(subset) => format!("subset {subset} of {}:{}", cluster.spelling, cluster.port),
        None => format!("{}:{}", cluster.spelling, cluster.port),
    }
}
