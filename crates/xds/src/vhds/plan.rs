//! Which of a table's changes go now.

use std::time::Duration;

use crate::ACK_DEADLINE;
use crate::held::{Current, Held};
use crate::order::{Plan, Types, all_arrive, missing};
use crate::resource::{Resource, ResourceMap, ResourceType};
use crate::snapshot::Snapshot;

const TYPE: ResourceType = ResourceType::VirtualHost;

/// Sorts the pending names of a table.
///
/// A host waits for the clusters that it names. Those whose domains change go all together or not at all: a domain that moves from
/// one to another is refused where it comes before it goes, and has no host where it goes before it comes.
pub(super) fn plan(
    held: &Held,
    map: &ResourceMap,
    types: &Types,
    snapshot: &Snapshot,
    now: Duration,
) -> Plan {
    let mut plan = Plan { since: u64::MAX, ..Plan::default() };
    let mut group = Vec::new();
    let over = |since: Option<Duration>| since.is_some_and(|since| now >= since + ACK_DEADLINE);
    for (name, pending) in &held.pending {
        let (current, new) = (held.current(name), map.get(name));
        if !pending.force && is_same(&current, new) {
            if let (Current::Foreign(_), Some(new)) = (&current, new) {
                plan.adopt.insert(name.clone(), Some(new.clone()));
            }
            plan.done.push(name.clone());
        } else if moves(&current, new) {
            group.push((name, pending, new));
        } else if let Some(new) = new {
            if missing(TYPE, new, types, snapshot).next().is_none() {
                plan.send(name, Some(new.clone()), pending);
            } else if over(pending.waiting_since) && all_arrive(TYPE, new, types, snapshot) {
                plan.send(name, Some(new.clone()), pending);
                plan.late.insert(name.clone(), missing(TYPE, new, types, snapshot).cloned().collect());
            } else {
                plan.wait.insert(name.clone());
            }
        }
    }
    let additions = || group.iter().filter_map(|(.., new)| *new);
    let ready = additions().all(|new| missing(TYPE, new, types, snapshot).next().is_none());
    let late = !ready
        && over(group.iter().filter_map(|(_, pending, _)| pending.waiting_since).min())
        && additions().all(|new| all_arrive(TYPE, new, types, snapshot));
    for (name, pending, new) in &group {
        if ready || late {
            plan.send(name, new.cloned(), pending);
        } else {
            plan.wait.insert((*name).clone());
        }
        if let Some(new) = new.filter(|_| late) {
            plan.late.insert((*name).clone(), missing(TYPE, new, types, snapshot).cloned().collect());
        }
    }
    plan
}

/// The proxy has this, or has refused just this.
fn is_same(current: &Current<'_>, new: Option<&std::sync::Arc<Resource>>) -> bool {
    let new = new.map(|it| &*it.version);
    match current {
        Current::Known(known) => known.map(|it| &*it.version) == new,
        Current::Refused(content) => content.as_ref().map(|it| &*it.version) == new,
        Current::Foreign(version) => new == Some(version),
    }
}

/// The domains may be others than before.
fn moves(current: &Current<'_>, new: Option<&std::sync::Arc<Resource>>) -> bool {
    match (current, new) {
        (Current::Known(Some(old)), Some(new)) => old.exclusive != new.exclusive,
        _ => true,
    }
}
