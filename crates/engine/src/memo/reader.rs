//! The one way in which a derivation sees the world.

use super::graph::{Graph, Read};
use super::{Domain, Store};
use std::cell::RefCell;
use std::sync::Arc;

/// What [`Domain::derive`] reads through. Every read is recorded, those that find nothing too, so that the key is
/// computed again when the answer may be another one.
///
/// Read as little as the value needs: [`Reader::ids`] rather than [`Reader::list`] when only the membership matters.
pub struct Reader<'a, D: Domain> {
    store: &'a Store<D>,
    graph: &'a RefCell<&'a mut Graph<D>>,
    id: u32,
    stage: u8,
    reads: RefCell<Reads>,
}

/// What was read, each mostly once: some derivations ask the same a million times.
#[derive(Default)]
struct Reads {
    all: Vec<Read>,
    /// How many may stand in it before repeats are looked for again.
    most: usize,
}

impl Reads {
    /// Repeats that are looked for from here on; fewer are not worth it.
    const FEW: usize = 1024;

    fn push(&mut self, read: Read) {
        if self.all.len() >= self.most.max(Self::FEW) {
            self.all.sort_unstable();
            self.all.dedup();
            self.most = 2 * self.all.len();
        }
        self.all.push(read);
    }
}

impl<D: Domain> Reader<'_, D> {
    /// One object. Depends on that object alone.
    pub fn get(&self, id: &D::Id) -> Option<Arc<D::Obj>> {
        self.record(self.graph.borrow_mut().read_object(id));
        self.store.get(id).cloned()
    }

    /// The objects of one index, sorted by identity. Depends on which objects those are and on what each contains.
    pub fn list(&self, ix: &D::Ix) -> Vec<(D::Id, Arc<D::Obj>)> {
        self.record(self.graph.borrow_mut().read_contents(ix));
        self.store.members(ix).map(|(id, obj)| (id.clone(), obj.clone())).collect()
    }

    /// The identities of the objects of one index, sorted. Depends on which objects those are, not on what they
    /// contain.
    pub fn ids(&self, ix: &D::Ix) -> Vec<D::Id> {
        self.record(self.graph.borrow_mut().read_members(ix));
        self.store.members(ix).map(|(id, _)| id.clone()).collect()
    }

    /// The value of another key, computed now if nobody asked for it before. Depends on that value alone.
    ///
    /// # Panics
    /// When the key is not of an earlier stage than the key being derived. That order is what makes every value
    /// that is read an up-to-date one, and what bounds the recursion; breaking it is a mistake in the domain that
    /// no input can cause or cure.
    pub fn derived(&self, key: &D::Key) -> Arc<D::Val> {
        assert!(
            D::stage(key) < self.stage,
            "{:?} may not read {key:?}: only keys of an earlier stage can be read",
            self.graph.borrow().key(self.id)
        );
        let (id, known) = self.graph.borrow_mut().read_key(key);
        self.record(Read::Key(id));
        known.unwrap_or_else(|| compute(self.store, self.graph, id, key))
    }

    /// Has values share what is equal in them. This is no read.
    pub fn share<T>(&self, how: impl FnOnce(&mut D::Shelf) -> T) -> T {
        how(&mut self.graph.borrow_mut().shelf)
    }

    fn record(&self, read: Read) {
        self.reads.borrow_mut().push(read);
    }
}

/// Derives one key, with whatever it needs and nobody asked for yet, and keeps the result.
///
/// The graph is not borrowed while the domain's code runs, since that comes back here for the keys it reads.
pub(super) fn compute<'a, D: Domain>(
    store: &'a Store<D>,
    graph: &'a RefCell<&'a mut Graph<D>>,
    id: u32,
    key: &D::Key,
) -> Arc<D::Val> {
    let reader = Reader { store, graph, id, stage: D::stage(key), reads: RefCell::default() };
    let (val, notes) = D::derive(key, &reader);
    let reads = reader.reads.into_inner().all;
    graph.borrow_mut().keep(id, val, notes, reads)
}
