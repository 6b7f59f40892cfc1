//! MirrorPolicies: which one counts for a mirror, and what it says (docs/decisions/0050).

use std::cmp::Reverse;
use std::sync::Arc;

use umbra_api::{
    CanaryTool, CopyHostValue, CopyLimits as WrittenLimits, MirrorPolicy, Object, Objects, VirtualService,
    abort_limits, check_duration, check_mirror_target, check_verdicts, copied_methods, given_headers,
    removed_headers, resolve_ramp,
};
use umbra_ir::{
    AbortLimits, Code, CopiedRequests, CopyHost, CopyLimits, Destination, Diagnostic, HeaderChanges,
    HeaderValue, HostOf, Hostname, Kind, MirrorTerms, ObjectId, Pacing, PortNumber, SubsetName, Verdicts,
};
use umbra_mesh::{Index, Inputs, Report};

use crate::delegates::served_rules;
use crate::mirrors::{WrittenMirror, written_mirrors};
use crate::names::resolve_host;

/// The VirtualService that a policy is for; `None`: it names none.
pub fn select_policy_target(policy: &MirrorPolicy) -> Option<ObjectId> {
    let target = check_mirror_target(policy.spec.target_ref.as_ref()).ok()?;
    Some(ObjectId::new(Kind::VirtualService, policy.meta.namespace.clone(), target.name.as_str()))
}

/// The policies of a VirtualService.
pub(crate) struct Policies(Vec<Attached>);

/// A policy, and which mirrors it is for.
struct Attached {
    created: i64,
    /// Only those of rules of this name.
    rule: Option<String>,
    /// Only those that go here.
    mirror: Option<Place>,
    terms: Arc<MirrorTerms>,
}

/// Where a mirror goes, as far as it is said.
struct Place {
    host: Option<Hostname>,
    subset: Option<SubsetName>,
    port: Option<PortNumber>,
}

impl Policies {
    /// Those of a VirtualService, the one that counts first: of two for one mirror the one that names more of it, then the
    /// older one, then by name.
    pub(crate) fn of(objects: &(impl Inputs + Objects), vs: &ObjectId, domain: &str) -> Self {
        let ids = objects.ids(&Index::PoliciesOf(vs.clone()));
        // Whose shares another tool moves has no ramp beside it.
        let ramps = manager(objects, vs).is_none();
        let attached = ids.into_iter().filter_map(|id| match objects.object(&id).as_deref() {
            Some(Object::MirrorPolicy(policy)) => Attached::new(&id, policy, ramps, domain),
            _ => None,
        });
        let mut all: Vec<Attached> = attached.collect();
        all.sort_by_key(Attached::precedence);
        Policies(all)
    }

    /// The one that counts for a mirror of a rule.
    pub(crate) fn select(&self, rule: &str, mirror: &Destination) -> Option<&Arc<MirrorTerms>> {
        self.0.iter().find(|attached| attached.is_for(rule, mirror)).map(|attached| &attached.terms)
    }
}

impl Attached {
    fn new(id: &ObjectId, policy: &MirrorPolicy, ramps: bool, domain: &str) -> Option<Self> {
        let target = check_mirror_target(policy.spec.target_ref.as_ref()).ok()?;
        let place = target.mirror.as_ref().map(|mirror| Place {
            host: (!mirror.host.is_empty()).then(|| resolve_host(&mirror.host, &id.namespace, domain)),
            subset: SubsetName::new(&mirror.subset),
            port: mirror.port.and_then(|port| PortNumber::new(port.number.into())),
        });
        Some(Attached {
            created: policy.meta.created_seconds(),
            rule: (!target.rule.is_empty()).then(|| target.rule.clone()),
            mirror: place,
            terms: Arc::new(resolve_terms(id, policy, ramps)),
        })
    }

    fn precedence(&self) -> impl Ord + use<> {
        let named = (self.mirror.is_some(), self.rule.is_some());
        (Reverse(named), self.created, self.terms.policy.clone())
    }

    fn is_for(&self, rule: &str, mirror: &Destination) -> bool {
        self.rule.as_ref().is_none_or(|own| own == rule)
            && self.mirror.as_ref().is_none_or(|place| place.fits(mirror))
    }
}

impl Place {
    fn fits(&self, mirror: &Destination) -> bool {
        self.host.as_ref().is_none_or(|host| *host == mirror.host)
            && self.subset.as_ref().is_none_or(|subset| mirror.subset.as_ref() == Some(subset))
            && self.port.is_none_or(|port| mirror.port == Some(port))
    }
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
    objects: &(impl Inputs + Objects),
    id: &ObjectId,
    policy: &MirrorPolicy,
    domain: &str,
    report: &mut Report,
) {
    let Some(target) = select_policy_target(policy) else { return };
    let object = objects.object(&target);
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
    report_mirrors(objects, id, (&target, vs), domain, report);
}

fn report_mirrors(
    objects: &(impl Inputs + Objects),
    id: &ObjectId,
    (target, vs): (&ObjectId, &VirtualService),
    domain: &str,
    report: &mut Report,
) {
    let policies = Policies::of(objects, target, domain);
    let Some(own) = policies.0.iter().find(|attached| attached.terms.policy == *id) else { return };
    let mirrors = written_mirrors(vs, &served_rules(objects, vs, domain), domain);
    if let Some(rule) = own.rule.as_ref().filter(|rule| mirrors.iter().all(|m| m.route != **rule)) {
        let message =
            format!("{target} has no rule {rule:?} with mirrors; the policy has no effect until it does");
        return report.insert(not_found(id, ".rule", message));
    }
    let meant: Vec<&WrittenMirror> =
        mirrors.iter().filter(|mirror| own.is_for(&mirror.route, &mirror.destination)).collect();
    if meant.is_empty() {
        let field = if own.mirror.is_some() { ".mirror" } else { "" };
        let message = format!("{target} has no such mirror; the policy has no effect until it does");
        return report.insert(not_found(id, field, message));
    }
    for mirror in meant {
        let counts = policies.0.iter().find(|other| other.is_for(&mirror.route, &mirror.destination));
        let Some(winner) = counts.filter(|winner| winner.terms.policy != *id) else { continue };
        let why = match (winner.names_as_much(own), winner.created == own.created) {
            (false, _) => "names more of it",
            (true, false) => "is older",
            (true, true) => "comes first by name",
        };
        let message = format!(
            "{} counts for the mirror at {}, since it {why}; this policy does not",
            winner.terms.policy,
            mirror.place.entry_field()
        );
        report.insert(Diagnostic::new(Code::PolicyConflict, id, "spec.targetRef", message));
    }
}

/// Who else moves the shares of a VirtualService.
fn manager(objects: &impl Objects, vs: &ObjectId) -> Option<CanaryTool> {
    objects.object(vs)?.meta().manager
}

/// How a mirror is judged where its VirtualService says one thing and a policy maybe another; `None`: not at all.
pub(crate) fn verdicts_of(written: Option<Verdicts>, terms: Option<&MirrorTerms>) -> Option<Verdicts> {
    terms.and_then(|terms| terms.verdicts).or(written).filter(|verdicts| verdicts.rate > 0)
}

/// The same of the limits at which it stops.
pub(crate) fn limits_of(written: AbortLimits, terms: Option<&MirrorTerms>) -> AbortLimits {
    terms.and_then(|terms| terms.abort).unwrap_or(written)
}

impl Attached {
    fn names_as_much(&self, other: &Attached) -> bool {
        (self.mirror.is_some(), self.rule.is_some()) == (other.mirror.is_some(), other.rule.is_some())
    }
}

fn not_found(id: &ObjectId, field: &str, message: String) -> Diagnostic {
    Diagnostic::new(Code::PolicyTargetNotFound, id, format!("spec.targetRef{field}"), message)
}
