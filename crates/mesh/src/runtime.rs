//! The percentages of a class.

use std::collections::{BTreeMap, BTreeSet};

use umbra_ir::{ObjectId, RouteSource, RuntimeFraction, RuntimeKey, Scope};

use crate::view::View;

/// The mirrors that the routes of a scope hold, each with the rule that says its share; never the shares.
pub(crate) fn bind_runtime_members(view: &dyn View, scope: &Scope) -> BTreeSet<(RuntimeKey, ObjectId)> {
    let mut members = BTreeSet::new();
    for source in scope.sources() {
        let RouteSource::Rules(vs, _) = source else { continue };
        members.extend(view.refs(source).keys.iter().map(|key| (key.clone(), vs.clone())));
    }
    members
}

/// The shares of these mirrors, and of the requests that are judged.
pub fn bind_runtime(
    view: &dyn View,
    members: &[(RuntimeKey, ObjectId)],
) -> BTreeMap<RuntimeKey, RuntimeFraction> {
    let share = |(key, vs): &(RuntimeKey, ObjectId)| {
        let decided = |key: &RuntimeKey| view.decided_share(key);
        let share = if key.is_judging() { decided(key) } else { view.shares(vs)?.told(key, decided)? };
        Some((key.clone(), share))
    };
    members.iter().filter_map(share).collect()
}
