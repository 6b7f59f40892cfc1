//! A plan for people.

use super::{Action, MirrorChange, Plan, ProxyChange};
use crate::diagnostics::one_line;

/// Names that are shown of proxies and resources that change in the same way; of more, only the number.
const SHOWN: usize = 6;

/// All of it.
pub(crate) fn text(plan: &Plan) -> String {
    let mut lines = Vec::new();
    section(
        &mut lines,
        "Objects",
        plan.objects.iter().map(|it| {
            let file = it.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
            format!("{} {}{file}", sign(it.action), it.object)
        }),
    );
    section(&mut lines, "Mirrors", plan.mirrors.iter().map(mirror));
    section(&mut lines, "Proxies", plan.proxies.iter().flat_map(proxies));
    let appear = plan.diagnostics.appear.iter().map(|it| format!("+ {}", one_line(it)));
    let disappear = plan.diagnostics.disappear.iter().map(|it| format!("- {}", one_line(it)));
    section(&mut lines, "Diagnostics", appear.chain(disappear));
    let changed: usize = plan.proxies.iter().map(|it| it.proxies.len()).sum();
    lines.push(match plan.changes() {
        true => format!(
            "{} objects; something changes for {changed} of {} proxies",
            plan.objects.len(),
            plan.looked_at
        ),
        false => {
            format!("{} objects; nothing changes for any of {} proxies", plan.objects.len(), plan.looked_at)
        }
    });
    lines.join("\n") + "\n"
}

fn section(lines: &mut Vec<String>, title: &str, of: impl Iterator<Item = String>) {
    let start = lines.len();
    lines.extend(of.map(|line| format!("  {line}")));
    if lines.len() > start {
        lines.insert(start, title.to_owned());
        lines.push(String::new());
    }
}

fn sign(action: Action) -> char {
    match action {
        Action::Added => '+',
        Action::Changed => '~',
        Action::Removed => '-',
    }
}

fn mirror(change: &MirrorChange) -> String {
    let MirrorChange { action, object, field, hosts, target, before, after, problem } = change;
    let share = match (before, after) {
        (None, Some(after)) => format!("STARTS: {after}% of the requests"),
        (Some(before), None) => format!("STOPS: no more {before}% of the requests"),
        (Some(before), Some(after)) if before != after => {
            format!("{after}% instead of {before}% of the requests")
        }
        _ => format!("{}% of the requests as before, but elsewhere:", after.unwrap_or_default()),
    };
    let problem = problem.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!("{} {object} {field} {share} to {} copied to {target}{problem}", sign(*action), hosts.join(", "))
}

fn proxies(change: &ProxyChange) -> Vec<String> {
    let mut lines = vec![some(&change.proxies)];
    lines.extend(change.words.iter().map(|line| format!("  {line}")));
    for action in [Action::Added, Action::Changed, Action::Removed] {
        let of = change.resources.iter().filter(|it| it.action == action);
        let names: Vec<_> = of.map(|it| format!("{} {}", it.resource_type, it.name)).collect();
        if !names.is_empty() {
            lines.push(format!("  {} {} resources: {}", sign(action), names.len(), some(&names)));
        }
    }
    lines
}

/// The first of them.
fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ") + &more
}
