//! MirrorPolicies: which one counts for a mirror, and what it says (docs/decisions/0050).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{
    CopyHostValue, CopyLimits as WrittenLimits, MirrorPolicy, Object, Objects, VirtualService, abort_limits,
    check_duration, check_mirror_target, check_verdicts, copied_methods, given_headers, removed_headers,
    resolve_ramp,
};
use umbra_ir::{
    AbortLimits, AttachedPolicy, Code, CopiedRequests, CopyHost, CopyLimits, Diagnostic, HeaderChanges,
    HeaderValue, HostOf, Kind, MirrorPlace, MirrorPolicies, MirrorSelector, MirrorTerms, ObjectId, Pacing,
    PolicedMirror, PortNumber, SubsetName, Verdicts,
};
use umbra_mesh::{Index, Inputs, Report, View};

use crate::delegates::served_rules;
use crate::mirrors::{WrittenMirror, written_mirrors};
use crate::names::resolve_host;

/// The VirtualService that a policy is for; `None`: it names none.
pub fn select_policy_target(policy: &MirrorPolicy) -> Option<ObjectId> {
    let target = check_mirror_target(policy.spec.target_ref.as_ref()).ok()?;
    Some(ObjectId::new(Kind::VirtualService, policy.meta.namespace.clone(), target.name.as_str()))
}

/// Those of a VirtualService, the one that counts first: of two for one mirror the one that names more of it, then the
/// older one, then by name. Whose shares another tool moves has no ramp beside it.
pub fn select_mirror_policies(
    objects: &(impl Inputs + Objects),
    vs: &ObjectId,
    ramps: bool,
    domain: &str,
) -> MirrorPolicies {
    let ids = objects.ids(&Index::PoliciesOf(vs.clone()));
    let attached = ids.into_iter().filter_map(|id| match objects.object(&id).as_deref() {
        Some(Object::MirrorPolicy(policy)) => attach(&id, policy, ramps, domain),
        _ => None,
    });
    let mut all: Vec<AttachedPolicy> = attached.collect();
    all.sort_by_cached_key(|policy| (Reverse(policy.named()), policy.created, policy.terms.policy.clone()));
    MirrorPolicies(all)
}

/// The mirrors of a VirtualService, each with the policy that counts for it.
pub fn list_policed_mirrors(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    domain: &str,
) -> Vec<PolicedMirror> {
    let policies = policies_of(view, id, vs);
    let mirrors = written_mirrors(vs, &served_rules(view, vs, domain), domain);
    let policed = |mirror: WrittenMirror| PolicedMirror {
        counts: policies.position(&mirror.route, &mirror.destination),
        place: mirror.place,
        rule: mirror.route.into(),
        destination: mirror.destination,
    };
    mirrors.into_iter().map(policed).collect()
}

/// The policies of a VirtualService.
pub(crate) fn policies_of(view: &impl View, id: &ObjectId, vs: &VirtualService) -> Arc<MirrorPolicies> {
    match view.ids(&Index::PoliciesOf(id.clone())).is_empty() {
        true => Arc::default(),
        false => view.mirror_policies(id, &vs.meta.manager.is_none()),
    }
}

fn attach(id: &ObjectId, policy: &MirrorPolicy, ramps: bool, domain: &str) -> Option<AttachedPolicy> {
    let target = check_mirror_target(policy.spec.target_ref.as_ref()).ok()?;
    let mirror = target.mirror.as_ref().map(|mirror| MirrorSelector {
        host: (!mirror.host.is_empty()).then(|| resolve_host(&mirror.host, &id.namespace, domain)),
        subset: SubsetName::new(&mirror.subset),
        port: mirror.port.and_then(|port| PortNumber::new(port.number.into())),
    });
    Some(AttachedPolicy {
        created: policy.meta.created_seconds(),
        rule: (!target.rule.is_empty()).then(|| target.rule.clone()),
        mirror,
        terms: Arc::new(resolve_terms(id, policy, ramps)),
    })
}

/// What a policy says, with what counts where it says nothing.
fn resolve_terms(id: &ObjectId, policy: &MirrorPolicy, ramps: bool) -> MirrorTerms {
    let spec = &policy.spec;
    let pacing = Pacing {
        max_per_second: spec.max_requests_per_second.filter(|most| *most > 0),
        ramp: spec.ramp.as_ref().filter(|_| ramps).map(resolve_ramp),
    };
    let counted = spec.abort.is_some()
        || spec.verdicts.is_some()
        || spec.max_requests_per_second.is_some()
        || spec.ramp.is_some();
    let headers = spec.headers.as_ref();
    let value =
        |(name, value): (&str, &str)| HeaderValue { name: name.into(), value: value.into(), append: false };
    let host = spec.host.unwrap_or_default();
    MirrorTerms {
        policy: id.clone(),
        requests: copied_methods(spec).map_or(CopiedRequests::NoUpgrades, |methods| {
            CopiedRequests::Methods(methods.into_iter().map(Arc::from).collect())
        }),
        headers: HeaderChanges {
            remove: removed_headers(headers).into_iter().map(str::to_owned).collect(),
            values: given_headers(headers).map(value).collect(),
        },
        host: CopyHost {
            of: host.value.map(|value| match value {
                CopyHostValue::Caller => HostOf::Caller,
                CopyHostValue::Target => HostOf::Target,
            }),
            suffix: host.suffix,
        },
        mark: spec.mark,
        limits: spec.limits.and_then(|written| resolve_limits(id, &written)).map(Arc::new),
        unobserved: spec.observe == Some(false) && !counted,
        verdicts: spec.verdicts.as_ref().and_then(|written| check_verdicts(written).ok()),
        abort: abort_limits(spec.abort.as_ref()),
        pacing: (pacing != Pacing::default()).then(|| Arc::new(pacing)),
    }
}

/// Limits that are some; `None`: those of the mesh hold.
fn resolve_limits(id: &ObjectId, written: &WrittenLimits) -> Option<CopyLimits> {
    let some = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
    let duration = written.max_stream_duration.filter(|limit| check_duration(*limit, false).is_ok());
    let limits = CopyLimits {
        policy: id.clone(),
        max_connections: some(written.max_connections),
        max_pending_requests: some(written.max_pending_requests),
        max_requests: some(written.max_requests),
        max_stream_duration: duration.and_then(|limit| limit.to_std()),
    };
    let CopyLimits { max_connections, max_pending_requests, max_requests, .. } = limits;
    let any = [max_connections, max_pending_requests, max_requests].iter().any(Option::is_some);
    (any || limits.max_stream_duration.is_some()).then_some(limits)
}

/// What is said about a policy beside the VirtualService that it is for and other policies.
pub fn report_mirror_policy(
    view: &(impl View + Objects),
    id: &ObjectId,
    policy: &MirrorPolicy,
    report: &mut Report,
) {
    let Some(target) = select_policy_target(policy) else { return };
    let object = view.object(&target);
    let vs = match object.as_deref() {
        Some(Object::VirtualService(vs)) => vs,
        _ => {
            let message = format!("{target} does not exist; the policy has no effect until it does");
            return report.insert(not_found(id, ".name", message));
        }
    };
    if vs.spec.hosts.is_empty() {
        let message = format!(
            "{target} has no hosts, so its rules are served by those that delegate to it; the policy has no effect, name one of them"
        );
        return report.insert(not_found(id, ".name", message));
    }
    if let (Some(tool), Some(_)) = (vs.meta.manager, &policy.spec.ramp) {
        let message = format!(
            "{} moves the shares of {target}: the ramp has no effect, copies have the share that is written",
            tool.name()
        );
        report.insert(Diagnostic::new(Code::RampRefused, id, "spec.ramp", message));
    }
    report_mirrors(view, id, (&target, vs), report);
}

fn report_mirrors(
    view: &impl View,
    id: &ObjectId,
    (target, vs): (&ObjectId, &VirtualService),
    report: &mut Report,
) {
    let policies = policies_of(view, target, vs);
    let Some(nth) = policies.0.iter().position(|attached| attached.terms.policy == *id) else { return };
    let own = &policies.0[nth];
    let mirrors = view.policed_mirrors(target);
    if let Some(rule) = own.rule.as_ref().filter(|rule| mirrors.iter().all(|m| *m.rule != ***rule)) {
        let message =
            format!("{target} has no rule {rule:?} with mirrors; the policy has no effect until it does");
        return report.insert(not_found(id, ".rule", message));
    }
    let mut meant = mirrors.iter().filter(|mirror| own.is_for(&mirror.rule, &mirror.destination)).peekable();
    if meant.peek().is_none() {
        let field = if own.mirror.is_some() { ".mirror" } else { "" };
        let message = format!("{target} has no such mirror; the policy has no effect until it does");
        return report.insert(not_found(id, field, message));
    }
    // By the policy that counts instead, the first of its mirrors, and how many there are.
    let mut lost: BTreeMap<usize, (MirrorPlace, usize)> = BTreeMap::new();
    for mirror in meant {
        if let Some(winner) = mirror.counts.filter(|winner| *winner != nth) {
            lost.entry(winner).or_insert((mirror.place, 0)).1 += 1;
        }
    }
    report_winners(id, own, &policies, lost, report);
}

/// Says which policies count instead of this one.
fn report_winners(
    id: &ObjectId,
    own: &AttachedPolicy,
    policies: &MirrorPolicies,
    lost: BTreeMap<usize, (MirrorPlace, usize)>,
    report: &mut Report,
) {
    /// Policies that are named.
    const NAMED: usize = 10;
    let unnamed = lost.len().saturating_sub(NAMED);
    for (winner, (place, count)) in lost.into_iter().take(NAMED) {
        let Some(winner) = policies.0.get(winner) else { continue };
        let why = match (winner.named() == own.named(), winner.created == own.created) {
            (false, _) => "names more of it",
            (true, false) => "is older",
            (true, true) => "comes first by name",
        };
        let others = match count {
            0 | 1 => String::new(),
            2 => " and another".to_owned(),
            more => format!(" and {} others", more - 1),
        };
        let message = format!(
            "{} counts for the mirror at {}{others}, since it {why}; this policy does not",
            winner.terms.policy,
            place.entry_field()
        );
        report.insert(Diagnostic::new(Code::PolicyConflict, id, "spec.targetRef", message));
    }
    if unnamed > 0 {
        let message =
            format!("{unnamed} more policies count for others of its mirrors; this policy does not");
        report.insert(Diagnostic::new(Code::PolicyConflict, id, "spec.targetRef", message));
    }
}

/// How a mirror is judged where its VirtualService says one thing and a policy maybe another; `None`: not at all.
pub(crate) fn verdicts_of(written: Option<Verdicts>, terms: Option<&MirrorTerms>) -> Option<Verdicts> {
    terms.and_then(|terms| terms.verdicts).or(written).filter(|verdicts| verdicts.rate > 0)
}

/// The same of the limits at which it stops.
pub(crate) fn limits_of(written: AbortLimits, terms: Option<&MirrorTerms>) -> AbortLimits {
    terms.and_then(|terms| terms.abort).unwrap_or(written)
}

fn not_found(id: &ObjectId, field: &str, message: String) -> Diagnostic {
    Diagnostic::new(Code::PolicyTargetNotFound, id, format!("spec.targetRef{field}"), message)
}
