//! What is said, on both sides, about rules for other people's services.

use std::sync::Arc;

use umbra_ir::{Code, Diagnostic, HostOwnership, ObjectId, RULES_FROM, RuleHead, ServiceHead};

use super::Report;
use crate::ownership::{is_exported, is_own, is_welcome};
use crate::view::View;

/// How many rules a diagnostic of a Service names.
const NAMED: usize = 3;

/// What is said about a host of a rule that means other people's services.
pub(crate) fn report_foreign_host(
    view: &dyn View,
    head: &RuleHead,
    field: &str,
    services: &[Arc<ServiceHead>],
) -> Option<Diagnostic> {
    let settings = view.settings();
    let reaches_others = is_exported(head);
    let mut foreign = services.iter().filter(|service| {
        reaches_others
            && !service.is_pod
            && !match settings.host_ownership {
                // What counts all the same is worth a word only where nobody agreed to it.
                HostOwnership::Open | HostOwnership::Consent => is_welcome(&settings, &head.id, service),
                HostOwnership::Own => is_own(&settings, &head.id, &service.id.object.namespace),
            }
    });
    let first = foreign.next()?;
    let which = match foreign.count() {
        0 => format!("{} belongs", first.spelling),
        more => format!("{} and {more} more belong", first.spelling),
    };
    let (owner, own) = (&first.id.object.namespace, &head.id.namespace);
    let message = match settings.host_ownership {
        HostOwnership::Open => format!(
            "{which} to namespace {owner}, which did not ask for rules of {own}: they count for callers of every namespace that they are exported to, since hostOwnership is open"
        ),
        HostOwnership::Own => format!(
            "{which} to namespace {owner}: the rules count for callers of {own} only, since hostOwnership is own"
        ),
        HostOwnership::Consent => format!(
            "{which} to namespace {owner}, which does not admit rules of {own} by the annotation {RULES_FROM}: they count for callers of {own} only"
        ),
    };
    Some(Diagnostic::new(Code::ForeignHost, &head.id, field, message))
}

/// Says on a Service which rules of other namespaces count for calls to it without its owner's word.
pub fn report_foreign_rules(view: &dyn View, id: &ObjectId, report: &mut Report) {
    let rules = view.foreign_rules_of(&id.namespace);
    if rules.is_empty() {
        return;
    }
    let heads = view.service_heads(id);
    let Some(service) = heads.iter().find(|head| !head.is_pod) else { return };
    let settings = view.settings();
    let mut counting: Vec<&ObjectId> = rules
        .iter()
        .filter(|(rule, host)| service.id.host.subset_of(host) && !is_welcome(&settings, rule, service))
        .map(|(rule, _)| rule)
        .collect();
    counting.dedup();
    let Some((last, more)) = counting.split_last() else { return };
    let mut names: Vec<String> = more.iter().take(NAMED - 1).map(|rule| rule.to_string()).collect();
    names.push(match counting.len().checked_sub(NAMED).filter(|rest| *rest > 0) {
        Some(rest) => format!("{} others", rest + 1),
        None => last.to_string(),
    });
    let message = format!(
        "rules of other namespaces say what becomes of calls to it, since hostOwnership is open: {}; those that are welcome are admitted by the annotation {RULES_FROM}",
        names.join(", ")
    );
    report.insert(Diagnostic::new(Code::ForeignRules, id, "", message));
}
