//! What a snapshot has that an earlier one has not, of one type: the same for every stream that goes from the one to the
//! other, so it is found and encoded once for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::resource::{ResourceMap, ResourceType};
use crate::snapshot::Snapshot;
use crate::variant::Variant;
use crate::whole::{Cache, Whole};

/// Steps that a snapshot remembers; more are found again. Streams that keep up all go the same one.
const MAX_STEPS: usize = 8;

/// Resources of a type that are new or have changed, and the part of a response with all of them.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The first generation that a stream lacks that goes it.
    pub since: u64,
    pub changed: ResourceMap,
    pub whole: Arc<Whole>,
}

/// The steps to one snapshot that streams have asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Arc<Mutex<Vec<Known>>>);

#[derive(Debug)]
struct Known {
    from: u64,
    resource_type: ResourceType,
    /// `None`: something is gone, too.
    changed: Option<ResourceMap>,
    cache: Cache,
}

impl Steps {
    /// The step from an earlier snapshot of the same lineage; `None` when something is gone, nothing has changed, or nobody
    /// knows any more what has.
    pub(crate) fn get(&self, resource_type: ResourceType, from: &Snapshot, to: &Snapshot) -> Option<Step> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |it: &Known| it.from == from.generation() && it.resource_type == resource_type;
        let at = all.iter().position(is).unwrap_or_else(|| {
            let changed = changed(resource_type, from, to);
            all.truncate(MAX_STEPS - 1);
            all.push(Known { from: from.generation(), resource_type, changed, cache: Cache::default() });
            all.len() - 1
        });
        let Known { changed, cache, .. } = &all[at];
        let changed = changed.as_ref().filter(|changed| !changed.is_empty())?;
        let since = (from.generation() + 1).min(to.generation());
        Some(Step { since, changed: changed.clone(), whole: cache.get(Variant::Delta, changed) })
    }
}

fn changed(resource_type: ResourceType, from: &Snapshot, to: &Snapshot) -> Option<ResourceMap> {
    let mut changed = ResourceMap::default();
    for (_, name) in to.changed_from(from)?.filter(|(of, _)| *of == resource_type) {
        let before = from.get(resource_type, name);
        match to.get(resource_type, name) {
            Some(now) if before.is_none_or(|before| before.version != now.version) => {
                changed.insert_mut(name.clone(), now.clone());
            }
            None if before.is_some() => return None,
            _ => {}
        }
    }
    Some(changed)
}
