//! The input: objects by identity and by index.

use super::Domain;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Objects, sorted by identity.
type Objects<D> = BTreeMap<<D as Domain>::Id, Arc<<D as Domain>::Obj>>;

/// The objects that everything is computed from. Both ways to reach one are sorted by identity, so that nothing
/// downstream depends on the order in which objects arrived.
pub struct Store<D: Domain> {
    objects: Objects<D>,
    /// No entry is empty: an index nobody is in takes no memory.
    index: HashMap<D::Ix, Objects<D>>,
}

/// What one change to the store touched.
pub(super) struct Touched<D: Domain> {
    /// Indexes that the object entered or left.
    pub(super) members: Vec<D::Ix>,
    /// Indexes that the object is in as before, with other content.
    pub(super) contents: Vec<D::Ix>,
}

impl<D: Domain> Default for Store<D> {
    fn default() -> Self {
        Store { objects: BTreeMap::new(), index: HashMap::new() }
    }
}

impl<D: Domain> Store<D> {
    /// The object of this identity.
    pub fn get(&self, id: &D::Id) -> Option<&Arc<D::Obj>> {
        self.objects.get(id)
    }

    /// Every object, sorted by identity.
    pub fn iter(&self) -> impl Iterator<Item = (&D::Id, &Arc<D::Obj>)> {
        self.objects.iter()
    }

    /// The objects of one index, sorted by identity.
    pub fn members(&self, ix: &D::Ix) -> impl Iterator<Item = (&D::Id, &Arc<D::Obj>)> {
        self.index.get(ix).into_iter().flatten()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object at all.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// How many indexes have a member.
    pub(super) fn indexes(&self) -> usize {
        self.index.len()
    }

    /// Puts an object in, or takes it out with `None`. Answers what that touched: nothing when the object was
    /// equal to the one already here, which then stays.
    pub(super) fn apply(&mut self, id: &D::Id, new: Option<Arc<D::Obj>>) -> Option<Touched<D>> {
        let old = self.objects.get(id);
        if old == new.as_ref() {
            return None;
        }
        let indexes = |obj: Option<&Arc<D::Obj>>| {
            let mut ixs = obj.map(|obj| D::index(id, obj)).unwrap_or_default();
            ixs.sort_unstable();
            ixs.dedup();
            ixs
        };
        let (before, after) = (indexes(old), indexes(new.as_ref()));
        match &new {
            Some(obj) => self.objects.insert(id.clone(), obj.clone()),
            None => self.objects.remove(id),
        };
        let mut touched = Touched { members: Vec::new(), contents: Vec::new() };
        for ix in before {
            if after.binary_search(&ix).is_err() {
                self.leave(id, &ix);
                touched.members.push(ix);
            }
        }
        for (ix, obj) in after.into_iter().flat_map(|ix| new.clone().map(|obj| (ix, obj))) {
            match self.index.entry(ix.clone()).or_default().insert(id.clone(), obj) {
                Some(_) => touched.contents.push(ix),
                None => touched.members.push(ix),
            }
        }
        Some(touched)
    }

    /// Builds its maps anew: those that were filled one by one in order have room for nearly as much again.
    pub(super) fn pack(&mut self) {
        let packed = |map: &mut Objects<D>| *map = std::mem::take(map).into_iter().collect();
        packed(&mut self.objects);
        self.index.values_mut().for_each(packed);
    }

    fn leave(&mut self, id: &D::Id, ix: &D::Ix) {
        if let Some(members) = self.index.get_mut(ix) {
            members.remove(id);
            if members.is_empty() {
                self.index.remove(ix);
            }
        }
    }
}
