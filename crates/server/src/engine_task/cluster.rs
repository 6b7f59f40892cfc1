//! What a writer of statuses needs of the cluster's objects, kept in step with what the engine has.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::ObjectId;
use umbra_source::{Generations, Place};

/// The cluster's Istio objects.
pub type ClusterObjects = BTreeMap<ObjectId, ClusterObject>;

/// An Istio object of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterObject {
    /// The newest version (`metadata.generation`) that was seen.
    pub generation: i64,
    /// The version that is in force, see [`Generations`].
    pub in_force: i64,
    /// Its last version that was understood.
    pub object: Option<Arc<Object>>,
    /// A file has the object too, and wins.
    pub in_file: bool,
}

/// Takes in what changed; `written` is where objects stood before.
pub(super) fn note(
    objects: &mut Arc<ClusterObjects>,
    written: &BTreeMap<ObjectId, Place>,
    changes: &[Change],
    places: &[(ObjectId, Option<Place>)],
    generations: Vec<(ObjectId, Option<Generations>)>,
) {
    if !generations.is_empty() {
        let objects = Arc::make_mut(objects);
        for (id, generation) in generations {
            match generation {
                Some(generation) => {
                    let in_file = written.contains_key(&id);
                    let new = || ClusterObject { in_file, ..ClusterObject::default() };
                    let object = objects.entry(id).or_insert_with(new);
                    object.generation = generation.newest;
                    object.in_force = generation.in_force;
                }
                None => {
                    objects.remove(&id);
                }
            }
        }
    }
    for change in changes {
        if let Change::Upsert(object) = change
            && objects.contains_key(&object.id())
            && let Some(known) = Arc::make_mut(objects).get_mut(&object.id())
        {
            known.object = Some(object.clone());
        }
    }
    for (id, place) in places {
        if objects.contains_key(id)
            && let Some(known) = Arc::make_mut(objects).get_mut(id)
        {
            known.in_file = place.is_some();
        }
    }
}
