//! Interning: a small integer for each name in use, given out again once the name is gone.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Names with a small integer each, and what is kept beside each name.
///
/// An integer stays the same from [`Table::intern`] to [`Table::remove`] and is then reused, so the table is never
/// longer than the most names that were in use at one time.
pub(super) struct Table<T, S> {
    ids: HashMap<Arc<T>, u32>,
    slots: Vec<Slot<T, S>>,
    free: Vec<u32>,
}

/// `name` is absent while the slot waits to be reused; its `data` is then the default.
struct Slot<T, S> {
    name: Option<Arc<T>>,
    data: S,
}

impl<T, S> Default for Table<T, S> {
    fn default() -> Self {
        Table { ids: HashMap::new(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash, S: Default> Table<T, S> {
    /// The integer of `name`, given to it now when it has none.
    pub(super) fn intern(&mut self, name: &T) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let name = Arc::new(name.clone());
        let slot = Slot { name: Some(name.clone()), data: S::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                // Memory ends long before 2^32 slots do.
                (self.slots.len() - 1) as u32
            }
        };
        self.ids.insert(name, id);
        id
    }

    /// The integer of `name`, if it is in use.
    pub(super) fn find(&self, name: &T) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// What is kept beside `name`, if it is in use.
    pub(super) fn get(&self, name: &T) -> Option<&S> {
        self.find(name).map(|id| &self[id])
    }

    /// The name of `id`, unless it was removed.
    pub(super) fn name(&self, id: u32) -> Option<&Arc<T>> {
        self.slots[id as usize].name.as_ref()
    }

    /// Takes a name out; its integer may be given to another name from now on.
    pub(super) fn remove(&mut self, id: u32) -> Option<(Arc<T>, S)> {
        let slot = &mut self.slots[id as usize];
        let name = slot.name.take()?;
        let data = std::mem::take(&mut slot.data);
        self.ids.remove(&name);
        self.free.push(id);
        Some((name, data))
    }

    /// Every name in use, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&T, &S)> {
        self.slots.iter().filter_map(|slot| Some((&**slot.name.as_ref()?, &slot.data)))
    }

    /// How many names are in use.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many slots exist, in use or waiting: the most names that were ever in use at one time.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }
}

impl<T, S> Index<u32> for Table<T, S> {
    type Output = S;
    fn index(&self, id: u32) -> &S {
        &self.slots[id as usize].data
    }
}

impl<T, S> IndexMut<u32> for Table<T, S> {
    fn index_mut(&mut self, id: u32) -> &mut S {
        &mut self.slots[id as usize].data
    }
}
