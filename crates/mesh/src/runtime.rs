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

/// The shares of these mirrors, and of the requests that are judged: of those never more than what the rule's mirrors copy at this very
/// moment, since a judged request without a copy says nothing and has its control all the same.
pub fn bind_runtime(
    view: &dyn View,
    members: &[(RuntimeKey, ObjectId)],
) -> BTreeMap<RuntimeKey, RuntimeFraction> {
    let mut copied: BTreeMap<&ObjectId, BTreeMap<RuntimeKey, RuntimeFraction>> = BTreeMap::new();
    let decided = |key: &RuntimeKey| view.decided_share(key);
    let mut shares = BTreeMap::new();
    for (key, vs) in members {
        let share = if key.is_judging() {
            let most = copied.entry(vs).or_insert_with(|| smallest(view, vs)).get(key);
            Some(decided(key).min(most.copied().unwrap_or(RuntimeFraction::NONE)))
        } else {
            view.shares(vs).and_then(|shares| shares.told(key, decided))
        };
        shares.extend(share.map(|share| (key.clone(), share)));
    }
    shares
}

/// The smallest share of each rule's mirrors that copy anything, by the key of the share that is judged.
fn smallest(view: &dyn View, vs: &ObjectId) -> BTreeMap<RuntimeKey, RuntimeFraction> {
    let mut smallest = BTreeMap::new();
    let Some(shares) = view.shares(vs) else { return smallest };
    for key in shares.written.keys() {
        let told =
            shares.told(key, |key| view.decided_share(key)).filter(|told| *told != RuntimeFraction::NONE);
        if let Some(told) = told {
            smallest
                .entry(key.judging())
                .and_modify(|least: &mut RuntimeFraction| *least = told.min(*least))
                .or_insert(told);
        }
    }
    smallest
}
