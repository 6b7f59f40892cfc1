//! What is said about delegation, to the authors of both sides.

use umbra_api::{Object, Objects, VirtualService};
use umbra_ir::{Code, Diagnostic, ObjectId};
use umbra_mesh::{Index, Report, View};

use crate::delegates::{Dropped, Merged, Missing, Taken, take_rules};

/// What becomes of the rules that a VirtualService takes from others, and, if it has no hosts itself, of its rules at
/// those that take them.
pub fn report_delegation(
    view: &(impl View + Objects),
    id: &ObjectId,
    vs: &VirtualService,
    report: &mut Report,
) {
    if vs.spec.hosts.is_empty() {
        report_delegate(view, id, report);
        return;
    }
    for (index, taken) in take_rules(view, vs, &view.settings().cluster_domain).iter().enumerate() {
        let Taken::Delegated(delegate, rules) = taken else { continue };
        let field = format!("spec.http[{index}].delegate");
        match rules {
            Err(missing) => {
                let why = match missing {
                    Missing::NotFound => "does not exist".to_owned(),
                    Missing::HasHosts => "has hosts of its own, so it is no delegate".to_owned(),
                    Missing::NotExported => format!("is not exported to the namespace {}", id.namespace),
                };
                let message = format!("{delegate} {why}: the rule is left out");
                report.insert(Diagnostic::new(Code::DelegateNotFound, id, field, message));
            }
            Ok(rules) => {
                for (other, dropped) in left_out(rules) {
                    let (code, why) = reason(dropped);
                    let message = format!("spec.http[{other}] of {delegate} {why}: it is left out here");
                    report.insert(Diagnostic::new(code, id, &field, message));
                }
            }
        }
    }
}

fn left_out(rules: &[Merged]) -> impl Iterator<Item = (usize, Dropped)> {
    rules.iter().filter_map(|merged| Some((merged.index, *merged.rule.as_ref().err()?)))
}

fn reason(dropped: Dropped) -> (Code, &'static str) {
    match dropped {
        Dropped::Nested => (Code::NestedDelegate, "delegates, too, and one level is all there is"),
        Dropped::Conflict => {
            (Code::DelegateConflict, "asks for requests that the match of this rule does not admit")
        }
        Dropped::TooMany => (
            Code::OverBudget,
            "comes, with this rule and what stood before it, to more than can be served, as does all that follows",
        ),
    }
}

/// What becomes of a delegate's rules at each VirtualService that names it.
fn report_delegate(view: &(impl View + Objects), id: &ObjectId, report: &mut Report) {
    let mut used = false;
    for root in view.ids(&Index::DelegatesTo(id.clone())) {
        let object = view.object(&root);
        let Some(Object::VirtualService(vs)) = object.as_deref() else { continue };
        if vs.spec.hosts.is_empty() {
            let message = format!(
                "{root} delegates to it and has no hosts either: delegation goes one level deep, so nothing comes of that"
            );
            report.insert(Diagnostic::new(Code::NestedDelegate, id, "spec.hosts", message));
            continue;
        }
        used = true;
        for (index, taken) in take_rules(view, vs, &view.settings().cluster_domain).iter().enumerate() {
            match taken {
                Taken::Delegated(to, Err(Missing::NotExported)) if to == id => {
                    let message = format!(
                        "{root} delegates to it and is of a namespace to which it is not exported: none of its rules are served there"
                    );
                    report.insert(Diagnostic::new(Code::DelegateNotFound, id, "spec.exportTo", message));
                }
                Taken::Delegated(to, Ok(rules)) if to == id => {
                    // What delegates further is said once, of the rule itself.
                    for (own, dropped) in left_out(rules).filter(|(_, dropped)| *dropped != Dropped::Nested) {
                        let message = format!(
                            "spec.http[{index}] of {root} does not admit all that it asks for: it is left out there"
                        );
                        let field = format!("spec.http[{own}].match");
                        report.insert(Diagnostic::new(reason(dropped).0, id, field, message));
                    }
                }
                _ => {}
            }
        }
    }
    if !used {
        let message =
            "no hosts make it a delegate, and no VirtualService delegates to it: its rules are not served";
        report.insert(Diagnostic::new(Code::DelegateUnused, id, "spec.hosts", message));
    }
}
