//! What is said about what is written, beside other objects of its kind.

mod delegation;

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{DestinationRule, Object, Objects, VirtualService};
use umbra_ir::budget::SUBSET_CLUSTERS;
use umbra_ir::{
    ClientTls, ClusterRef, Code, Destination, DestinationRuleEntry, Diagnostic, Hostname, LeveledPolicy,
    MirrorState, ObjectId, Protocol, Severity, SubsetName, TargetQuery,
};
use umbra_mesh::{Report, View, select_services_named};

use crate::abort::{ABORT, Abort};
use crate::delegates::served_rules;
use crate::mirror_policies::{limits_of, policies_of, verdicts_of};
use crate::mirrors::{WrittenMirror, written_mirrors};
use crate::names::resolve_host;
use crate::ramp::ramp_state;
use crate::stop::{STOP, Stop};
use crate::verdicts::{CONTENTS, EXAMPLES, VERDICTS, contents, examples, verdicts};

pub use delegation::report_delegation;

/// The mirrors of a VirtualService as written, before any is looked up.
pub fn list_mirrors(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
) -> Vec<MirrorState> {
    let policies = policies_of(view, id, vs);
    let hosts: Arc<[String]> = vs.spec.hosts.clone().into();
    let verdicts = verdicts(vs).ok().flatten();
    let state = |mirror: WrittenMirror| {
        let terms = policies.select(&mirror.route, &mirror.destination).cloned();
        let terms = terms.as_deref();
        MirrorState {
            hosts: hosts.clone(),
            requests: terms.map_or_else(Default::default, |terms| terms.requests.clone()),
            copied_host: terms.map_or_else(Default::default, |terms| terms.host.clone()),
            written: mirror.share,
            pacing: terms.and_then(|terms| terms.pacing.clone()),
            ramp: terms.and_then(|terms| ramp_state(vs, &mirror.key, terms.pacing.as_ref()?.ramp.as_ref()?)),
            unobserved: terms.is_some_and(|terms| terms.unobserved),
            verdicts: verdicts_of(verdicts, terms),
            limits: limits_of(mirror.limits, terms),
            route: mirror.route,
            place: mirror.place,
            host: mirror.host,
            subset: mirror.destination.subset.map(|subset| subset.as_str().to_owned()).unwrap_or_default(),
            port: mirror.destination.port,
            key: mirror.key,
            share: mirror.share,
            stopped: mirror.stopped,
            aborted: mirror.aborted,
            clusters: BTreeMap::new(),
            problem: None,
        }
    };
    written_mirrors(vs, &served_rules(view, vs, domain), domain).into_iter().map(state).collect()
}

/// What is said about the annotation that stops mirrors: somebody may rely on it.
pub fn report_stop(
    objects: &impl Objects,
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
    report: &mut Report,
) {
    let stop = Stop::of(vs);
    if stop.is_empty() {
        return;
    }
    let mirrors = written_mirrors(vs, &served_rules(objects, vs, domain), domain);
    let keys: Vec<_> = mirrors.iter().map(|mirror| (mirror.route.as_str(), &mirror.key)).collect();
    for (name, others) in stop.unknown(&keys) {
        let message = if others {
            format!(
                "{name:?} is a mirror whose rule was edited: it stops those that have the same target now"
            )
        } else {
            format!(
                "{name:?} is neither \"all\", nor the name of a rule that has mirrors, nor a mirror's runtime key: it stops none"
            )
        };
        let field = format!("metadata.annotations[{STOP}]");
        report.insert(Diagnostic::new(Code::UnknownStop, id, field, message));
    }
}

/// What is said about the annotation by which mirrors stop by themselves: somebody may rely on it.
pub fn report_abort(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
    report: &mut Report,
) {
    report_policies_win(view, id, vs, domain, report);
    if !vs.meta.annotations.contains_key(ABORT) {
        return;
    }
    let abort = Abort::of(vs);
    let mirrors = written_mirrors(vs, &served_rules(view, vs, domain), domain);
    let unknown = abort.unknown(mirrors.iter().map(|mirror| (mirror.route.as_str(), &mirror.key)));
    let unknown = unknown.iter().map(|name| {
        format!("{name:?} is neither the name of a rule that has mirrors, nor a mirror's runtime key")
    });
    for words in abort.problems.iter().cloned().chain(unknown) {
        let field = format!("metadata.annotations[{ABORT}]");
        report.insert(Diagnostic::new(Code::InvalidAbort, id, field, format!("{words}: it stops none")));
    }
}

/// Annotations that do not count for a mirror, since a policy says otherwise, and verdicts that are waited for and never come.
fn report_policies_win(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
    report: &mut Report,
) {
    let policies = policies_of(view, id, vs);
    let judged = verdicts(vs).ok().flatten();
    let annotated = |key: &str| vs.meta.annotations.contains_key(key);
    let field = |key: &str| format!("metadata.annotations[{key}]");
    for mirror in written_mirrors(vs, &served_rules(view, vs, domain), domain) {
        let terms = policies.select(&mirror.route, &mirror.destination).map(|terms| &**terms);
        let place = mirror.place;
        if let Some(terms) = terms {
            let (policy, at) = (&terms.policy, place.entry_field());
            let judged = terms.verdicts.is_some();
            for (key, said) in
                [(ABORT, terms.abort.is_some()), (VERDICTS, judged), (CONTENTS, judged), (EXAMPLES, judged)]
            {
                if said && annotated(key) {
                    let message = format!(
                        "{policy} says it of the mirror at {at}: the annotation does not count for it"
                    );
                    report.insert(Diagnostic::new(Code::PolicyConflict, id, field(key), message));
                }
            }
        }
        if limits_of(mirror.limits, terms).different && verdicts_of(judged, terms).is_none() {
            let by_policy = terms.is_some_and(|terms| terms.abort.is_some());
            let at = if by_policy { place.entry_field() } else { field(ABORT) };
            let message = format!(
                "the mirror at {} is not judged, so its verdict never stops it: ask for verdicts, too",
                place.entry_field()
            );
            report.insert(Diagnostic::new(Code::InvalidAbort, id, at, message));
        }
    }
}

/// What is said about the annotations by which copies are judged.
pub fn report_verdicts(id: &ObjectId, vs: &VirtualService, report: &mut Report) {
    if let Err(message) = verdicts(vs) {
        let field = format!("metadata.annotations[{VERDICTS}]");
        report.insert(Diagnostic::new(Code::InvalidVerdicts, id, field, message));
    }
    if let Err(message) = contents(vs) {
        let field = format!("metadata.annotations[{CONTENTS}]");
        report.insert(Diagnostic::new(Code::InvalidContents, id, field, message));
    }
    if let (_, Err(message)) = examples(vs) {
        let field = format!("metadata.annotations[{EXAMPLES}]");
        report.insert(Diagnostic::new(Code::InvalidExamples, id, field, message));
    }
}

/// What is said about a DestinationRule beside others of its host, and about TLS that cannot be given.
pub fn report_destination_rule(
    view: &(impl View + Objects),
    id: &ObjectId,
    rule: &DestinationRule,
    report: &mut Report,
) {
    if rule.spec.host.is_empty() {
        return;
    }
    let namespace = &id.namespace;
    let host = resolve_host(&rule.spec.host, namespace, &view.settings().cluster_domain);
    if select_services_named(view, namespace, &host).is_empty() {
        let message =
            format!("no visible service is called {host}: the rule has no effect until there is one");
        report.insert(Diagnostic::new(Code::HostNotFound, id, "spec.host", message));
    }
    let rules = view.namespace_destination_rules(namespace);
    // Rules for other clients have nothing to do with it.
    let all = rules.0.get(&host).into_iter().flatten();
    let selector = all.clone().find(|entry| entry.id == *id).map(|entry| entry.selector.clone());
    let Some(selector) = selector else { return };
    let entries: Vec<DestinationRuleEntry> =
        all.filter(|entry| entry.selector == selector).cloned().collect();
    report_kept_apart(view, id, &entries, report);
    // Those that are kept apart take nothing from one another.
    let own = entries.iter().find(|own| own.id == *id).cloned();
    let beside = |entry: &DestinationRuleEntry| {
        !view.settings().istio_compatible || own.as_ref().is_none_or(|own| own.export_to == entry.export_to)
    };
    let entries: Vec<DestinationRuleEntry> = entries.into_iter().filter(beside).collect();
    let set = umbra_ir::DestinationRuleSetId(entries.iter().map(|e| e.id.clone()).collect());
    let merged = view.destination_rule_set(&set);
    let (kept, all) = (view.subsets_kept(&set), merged.subsets.len());
    if kept < all {
        let message = format!(
            "{all} subsets of all services of {host} are more than the {SUBSET_CLUSTERS} clusters that a DestinationRule may come to: of each service only the first {kept} by name, and those that rules name, are clusters"
        );
        report.insert(
            Diagnostic::new(Code::OverBudget, id, "spec.subsets", message).with_severity(Severity::Warning),
        );
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        let owner = umbra_ir::SubsetName::new(&subset.name).and_then(|name| merged.subsets.get(&name));
        if let Some(owner) = owner.filter(|o| o.defined_by != *id) {
            let message = format!(
                "{} is older and already defines the subset {}: this definition is not used",
                owner.defined_by, subset.name
            );
            report.insert(Diagnostic::new(
                Code::DuplicateSubset,
                id,
                format!("spec.subsets[{index}]"),
                message,
            ));
        }
    }
    report_policy_owner(view, id, rule, &entries, report);
    report_empty_subsets(view, id, rule, &host, report);
    report_tls(view, id, rule, report);
}

/// Subsets that are looked at: bounds the work on a long list.
const MAX_LOOKED_AT: usize = 100;

/// Subsets that none of the host's ready endpoints fits. Of a wildcard's hosts nobody expects that each has all.
fn report_empty_subsets(
    view: &(impl View + Objects),
    id: &ObjectId,
    rule: &DestinationRule,
    host: &Hostname,
    report: &mut Report,
) {
    let services = select_services_named(view, &id.namespace, host);
    let Some(service) = services.first().filter(|_| !host.is_wildcard()) else { return };
    let Some(port) = service.ports.iter().find(|port| port.protocol != Protocol::Udp) else { return };
    for (index, subset) in rule.spec.subsets.iter().enumerate().take(MAX_LOOKED_AT) {
        let Some(name) = SubsetName::new(&subset.name).filter(|_| !subset.labels.is_empty()) else {
            continue;
        };
        let destination = Destination { host: host.clone(), port: Some(port.number), subset: Some(name) };
        let query = TargetQuery {
            namespace: id.namespace.clone(),
            selecting: Arc::default(),
            prefer: id.namespace.clone(),
            destination,
            called: port.number,
        };
        let Ok(cluster) = view.target(&query) else { continue };
        let counts = cluster.policy.as_ref().is_some_and(|set| set.0.contains(id));
        if !counts || !view.members(&cluster).0.is_empty() {
            continue;
        }
        let all = view.members(&ClusterRef { subset: None, ..cluster }).0.len();
        if all > 0 {
            let message = format!(
                "none of the {all} ready endpoints of {} has the labels of subset {}: requests for it get 503, and copies are dropped",
                service.spelling, subset.name
            );
            let field = format!("spec.subsets[{index}].labels");
            report.insert(Diagnostic::new(Code::EmptySubset, id, field, message));
        }
    }
}

/// Rules for one host with different `exportTo`: Istio never makes one of them.
fn report_kept_apart(view: &impl View, id: &ObjectId, entries: &[DestinationRuleEntry], report: &mut Report) {
    let Some(own) = entries.iter().find(|entry| entry.id == *id) else { return };
    let Some(other) = entries.iter().rfind(|entry| entry.export_to != own.export_to) else { return };
    let here = match view.settings().istio_compatible {
        true => "and so does umbra (istioCompatible)",
        false => {
            "here all that the client sees are merged, the oldest first (set istioCompatible for the other)"
        }
    };
    let message = format!(
        "{} is for the same host and has another exportTo: Istio keeps such rules apart, and of those that a client sees the newest alone counts; {here}",
        other.id
    );
    report.insert(Diagnostic::new(Code::DiffersFromIstio, id, "spec.exportTo", message));
}

/// Of several rules for one host only the oldest rule's policy counts.
fn report_policy_owner(
    view: &(impl View + Objects),
    id: &ObjectId,
    rule: &DestinationRule,
    entries: &[DestinationRuleEntry],
    report: &mut Report,
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
            report.insert(Diagnostic::new(Code::DuplicatePolicy, id, "spec.trafficPolicy", message));
            return;
        }
    }
}

/// TLS that cannot be given leaves the cluster without endpoints: said once for each place.
fn report_tls(view: &(impl View + Objects), id: &ObjectId, rule: &DestinationRule, report: &mut Report) {
    let own = view.destination_rule_set(&umbra_ir::DestinationRuleSetId(Arc::from([id.clone()])));
    let mut say = |policy: &LeveledPolicy, prefix: &str| {
        for blocks in std::iter::once(&policy.base).chain(policy.ports.values()) {
            if let Some(ClientTls::Unsupported(what)) = &blocks.tls {
                let message = format!(
                    "{what} is not supported yet: these clusters get no endpoints, so that nothing travels in plaintext"
                );
                report.insert(Diagnostic::new(
                    Code::TlsUnsupported,
                    id,
                    format!("{prefix}trafficPolicy.tls"),
                    message,
                ));
            }
        }
    };
    if let Some(policy) = &own.policy {
        say(policy, "spec.");
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        let resolved = umbra_ir::SubsetName::new(&subset.name).and_then(|name| own.subsets.get(&name));
        if let Some(policy) = resolved.and_then(|s| s.policy.as_ref()) {
            say(policy, &format!("spec.subsets[{index}]."));
        }
    }
}
