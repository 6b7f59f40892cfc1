//! What is said about rules whose routes and hosts multiply beyond what one object may come to.

use umbra_ir::budget::{ROUTES_ON_A_HOST, ROUTES_ON_HOSTS};
use umbra_ir::{Code, Diagnostic, RuleHead, Rules};

use super::Report;

/// What of a VirtualService is left out, whoever calls it.
pub(super) fn report_surplus(head: &RuleHead, rules: &Rules, report: &mut Report) {
    if let Some(surplus) = &rules.surplus {
        let message = format!(
            "the routes of this object are more than the {} of a host: from here on {} of them are left out",
            amount(ROUTES_ON_A_HOST),
            surplus.routes
        );
        report.insert(Diagnostic::new(Code::OverBudget, &head.id, surplus.field.as_str(), message));
    }
    if head.hosts_left_out > 0 {
        let served = head.hosts.len();
        let all = served + head.hosts_left_out;
        let message = format!(
            "{all} hosts with routes of {} each are {}, more than the {} that one object may come to: the first {served} are served, the others are as if they were not named",
            amount(rules.size),
            amount(rules.size * all),
            amount(ROUTES_ON_HOSTS)
        );
        report.insert(Diagnostic::new(Code::OverBudget, &head.id, "spec.hosts", message));
    }
}

/// What is left out where hosts come to so many virtual hosts.
pub(super) fn report_virtual_hosts(
    head: &RuleHead,
    rules: &Rules,
    field: &str,
    count: usize,
    report: &mut Report,
) {
    let room = head.virtual_hosts;
    if count > room {
        let message = format!(
            "its hosts come to {count} virtual hosts with routes of {} each, more than one object may come to: the first {room} are served, port by port, the others are as if these rules did not name them",
            amount(rules.size)
        );
        report.insert(Diagnostic::new(Code::OverBudget, &head.id, field, message));
    }
}

/// Bytes, for people.
fn amount(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
