//! What a snapshot has that an earlier one has not, of one type: the same for every stream that goes from the one to the
//! other, so it is found and encoded once for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::resource::{ResourceMap, ResourceType};
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
    /// The step of a type from one generation to another of a lineage. What has changed is asked the first time; `None` when something is
    /// gone, nothing has changed, or nobody knows any more what has.
    pub(crate) fn get(
        &self,
        resource_type: ResourceType,
        (from, to): (u64, u64),
        changed: impl FnOnce() -> Option<ResourceMap>,
    ) -> Option<Step> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |it: &Known| it.from == from && it.resource_type == resource_type;
        let at = all.iter().position(is).unwrap_or_else(|| {
            all.truncate(MAX_STEPS - 1);
            all.push(Known { from, resource_type, changed: changed(), cache: Cache::default() });
            all.len() - 1
        });
        let Known { changed, cache, .. } = &all[at];
        let changed = changed.as_ref().filter(|changed| !changed.is_empty())?;
        let since = (from + 1).min(to);
        Some(Step { since, changed: changed.clone(), whole: cache.get(Variant::Delta, changed) })
    }
}
