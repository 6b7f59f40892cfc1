//! Two states of a mesh, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_engine::ProxyId;
use umbra_ir::{Diagnostic, MirrorState, ObjectId};
use umbra_xds::{ResourceType, Snapshot};

use super::{
    Action, DiagnosticsChange, MirrorChange, ObjectChange, Plan, ProxyChange, ResourceChange, State, words,
};

/// What differs.
pub(super) fn compare(
    before: &State,
    after: &State,
    proxies: &BTreeMap<ProxyId, String>,
    file: impl Fn(&ObjectId) -> Option<Arc<str>>,
) -> Plan {
    let objects = differences(&before.objects, &after.objects).into_iter();
    let objects = objects.map(|(action, id)| ObjectChange { action, object: id.to_string(), file: file(id) });
    Plan {
        objects: objects.collect(),
        mirrors: mirrors(before, after),
        proxies: compare_proxies(before, after, proxies),
        looked_at: proxies.len(),
        diagnostics: diagnostics(&before.diagnostics, &after.diagnostics),
    }
}

/// The keys whose values differ, and how.
fn differences<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> Vec<(Action, &'a K)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let one = |key| match (before.get(key), after.get(key)) {
        (None, Some(_)) => Some((Action::Added, key)),
        (Some(_), None) => Some((Action::Removed, key)),
        (Some(was), Some(is)) if was != is => Some((Action::Changed, key)),
        _ => None,
    };
    keys.into_iter().filter_map(one).collect()
}

fn diagnostics(before: &[Diagnostic], after: &[Diagnostic]) -> DiagnosticsChange {
    let plain = |d: &Diagnostic| Diagnostic { file: None, line: None, column: None, ..d.clone() };
    let beyond = |these: &[Diagnostic], others: &[Diagnostic]| {
        let others: BTreeSet<Diagnostic> = others.iter().map(plain).collect();
        these.iter().filter(|d| !others.contains(&plain(d))).cloned().collect()
    };
    DiagnosticsChange { appear: beyond(after, before), disappear: beyond(before, after) }
}

/// A mirror by what its runtime knows it by.
type MirrorKey<'a> = (&'a ObjectId, &'a str);

fn by_key(state: &State) -> BTreeMap<MirrorKey<'_>, &MirrorState> {
    let all = state.mirrors.iter().flat_map(|(id, mirrors)| mirrors.iter().map(move |it| (id, it)));
    all.map(|(id, mirror)| ((id, mirror.key.as_str()), mirror)).collect()
}

fn mirrors(before: &State, after: &State) -> Vec<MirrorChange> {
    let (was, is) = (by_key(before), by_key(after));
    let keys: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
    keys.into_iter().filter_map(|key| mirror(key.0, was.get(&key).copied(), is.get(&key).copied())).collect()
}

/// How much a mirror copies, in percent; `None`: nothing.
fn percentage(mirror: Option<&MirrorState>) -> Option<f64> {
    let mirror = mirror.filter(|it| !it.clusters.is_empty())?;
    let millionths = mirror.share.map(|share| share.millionths()).filter(|it| *it > 0)?;
    Some(f64::from(millionths) / 1e4)
}

fn mirror(id: &ObjectId, was: Option<&MirrorState>, is: Option<&MirrorState>) -> Option<MirrorChange> {
    let (before, after) = (percentage(was), percentage(is));
    let targets = |it: Option<&MirrorState>| it.map(|it| it.clusters.keys().cloned().collect::<Vec<_>>());
    let action = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => Action::Added,
        (Some(_), None) => Action::Removed,
        (Some(was_share), Some(is_share)) if was_share != is_share => Action::Changed,
        _ if targets(was) != targets(is) => Action::Changed,
        _ => return None,
    };
    let shown = is.or(was)?;
    let subset = if shown.subset.is_empty() { String::new() } else { format!(" subset {}", shown.subset) };
    let port = shown.port.map(|port| format!(" port {port}")).unwrap_or_default();
    Some(MirrorChange {
        action,
        object: id.to_string(),
        field: shown.place.entry_field(),
        hosts: shown.hosts.to_vec(),
        target: format!("{}{subset}{port}", shown.host),
        before,
        after,
        problem: is.and_then(|it| it.problem.as_ref()).map(|it| it.message.clone()),
    })
}

/// Proxies with the same before and the same after stand together.
fn compare_proxies(before: &State, after: &State, proxies: &BTreeMap<ProxyId, String>) -> Vec<ProxyChange> {
    type Pair<'a> = (&'a Arc<Snapshot>, &'a Arc<Snapshot>, Vec<String>);
    let mut groups: Vec<Pair<'_>> = Vec::new();
    for (id, name) in proxies {
        let (Some(was), Some(is)) = (before.snapshots.get(id), after.snapshots.get(id)) else { continue };
        let same = |group: &&mut Pair<'_>| Arc::ptr_eq(group.0, was) && Arc::ptr_eq(group.1, is);
        match groups.iter_mut().find(same) {
            Some(group) => group.2.push(name.clone()),
            None => groups.push((was, is, vec![name.clone()])),
        }
    }
    let mut all: Vec<ProxyChange> = Vec::new();
    for (was, is, proxies) in groups {
        let resources = resources(was, is);
        if resources.is_empty() {
            continue;
        }
        let words = words::words(was, is);
        // Other classes may have the same to say.
        match all.iter_mut().find(|it| it.resources == resources && it.words == words) {
            Some(known) => known.proxies.extend(proxies),
            None => all.push(ProxyChange { proxies, words, resources }),
        }
    }
    all
}

fn resources(was: &Snapshot, is: &Snapshot) -> Vec<ResourceChange> {
    let of = |ty: ResourceType| {
        let (was, is) = (was.map(ty), is.map(ty));
        let names: BTreeSet<&Arc<str>> = was.keys().chain(is.keys()).collect();
        let changes = names.into_iter().filter_map(move |name| {
            let action = match (was.get(name), is.get(name)) {
                (None, Some(_)) => Action::Added,
                (Some(_), None) => Action::Removed,
                (Some(was), Some(is)) if was.version != is.version => Action::Changed,
                _ => return None,
            };
            Some(ResourceChange { action, resource_type: ty.short_name(), name: name.clone() })
        });
        changes.collect::<Vec<_>>()
    };
    ResourceType::ALL.into_iter().flat_map(of).collect()
}
