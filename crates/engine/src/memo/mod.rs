//! Keyed recompute with recorded reads: computes what is asked for, and again only what a change can have changed.
//!
//! A [`Domain`] says what the objects are, by what they are looked up, and how the value of a key follows from
//! objects and from other keys. [`Memo`] keeps the values of the keys that are demanded, and of those they read.
//!
//! Why no value is ever out of date: every key has a stage and reads only keys of earlier stages. [`Memo::settle`]
//! derives the keys that have to be derived earliest stage first, so while a key is being derived, every key that it
//! may read and that has a value is up to date. One that has none yet is derived on the spot; what that one reads
//! is of a still earlier stage, and up to date for the same reason. A key derived on the spot was read by nobody
//! before, so it makes nobody out of date.

mod graph;
mod reader;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use reader::Reader;
pub use store::Store;

use graph::Graph;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// What is computed from what. All functions are pure: equal arguments, equal answers.
pub trait Domain: Sized {
    /// Identity of an object. Its order is the order in which objects are listed.
    type Id: Clone + Eq + Hash + Ord;
    /// An object of the input. An object applied again and equal to before changes nothing.
    type Obj: PartialEq;
    /// Something by which objects are looked up together.
    type Ix: Clone + Eq + Hash + Ord;
    /// Something to compute.
    type Key: Clone + Eq + Hash + Ord + Debug;
    /// What it comes to. An equal value stops a change from going further.
    type Val: PartialEq;
    /// Something to tell about the input, such as a diagnostic. Nothing is computed from notes; they live and die
    /// with the key that made them.
    type Note: Clone + Eq + Hash + Ord;
    /// Where values find such parts of theirs as another value has already. It changes where they stand, never what they are.
    type Shelf: Default;

    /// The indexes under which an object is found.
    fn index(id: &Self::Id, obj: &Self::Obj) -> Vec<Self::Ix>;
    /// The stage of a key: it may read keys of strictly lower stages only. At most one derivation per stage is on
    /// the stack at a time.
    fn stage(key: &Self::Key) -> u8;
    /// The value of a key, from what the reader shows and nothing else.
    fn derive(key: &Self::Key, reader: &Reader<'_, Self>) -> (Self::Val, Vec<Self::Note>);
}

/// A key with its value from now on; `None` when the key was dropped.
pub type Change<D> = (<D as Domain>::Key, Option<Arc<<D as Domain>::Val>>);

/// What one [`Memo::settle`] did. Both lists are sorted by key.
pub struct Settled<D: Domain> {
    /// Keys whose value is new, another one than before, or gone.
    pub changed: Vec<Change<D>>,
    /// Keys whose notes are other ones than before.
    pub notes: Vec<NoteChange<D>>,
    /// How many times a key was derived.
    pub recomputed: u64,
}

/// The notes of one key, each sorted and without repeats, before and after a [`Memo::settle`].
pub struct NoteChange<D: Domain> {
    /// The key that makes the notes.
    pub key: D::Key,
    /// Its notes until now; empty for a new key.
    pub before: Arc<[D::Note]>,
    /// Its notes from now on; empty for a dropped key.
    pub after: Arc<[D::Note]>,
}

/// How much is held, for metrics and for tests of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Objects of the input.
    pub objects: usize,
    /// Indexes with at least one object.
    pub indexes: usize,
    /// Keys demanded or read.
    pub keys: usize,
    /// Recorded reads of all keys together.
    pub reads: usize,
    /// Distinct objects and indexes that some key reads, whether they exist or not.
    pub sources: usize,
    /// Room for keys and sources: the most that were ever held at one time.
    pub slots: usize,
}

/// Objects, the keys that are demanded, and all values those need, kept up to date by [`Memo::settle`].
pub struct Memo<D: Domain> {
    store: Store<D>,
    graph: Graph<D>,
}

impl<D: Domain> Default for Memo<D> {
    fn default() -> Self {
        Memo { store: Store::default(), graph: Graph::default() }
    }
}

impl<D: Domain> Memo<D> {
    /// Puts an object in, in place of one of the same identity, or takes it out with `None`. Answers whether that
    /// is a change. Values follow at the next [`Memo::settle`].
    pub fn apply(&mut self, id: &D::Id, obj: Option<Arc<D::Obj>>) -> bool {
        let Some(touched) = self.store.apply(id, obj) else { return false };
        self.graph.object_changed(id);
        for ix in &touched.members {
            self.graph.members_changed(ix);
        }
        for ix in &touched.contents {
            self.graph.contents_changed(ix);
        }
        true
    }

    /// Gives back memory after much was put in at once. Nothing that can be asked changes.
    pub fn pack(&mut self) {
        self.store.pack();
    }

    /// Asks for a key to be kept up to date from the next [`Memo::settle`] on. Demands are counted: each needs a
    /// [`Memo::release`] of its own.
    pub fn demand(&mut self, key: &D::Key) {
        self.graph.demand(key);
    }

    /// Takes one demand back. After the last one the key goes at the end of the next [`Memo::settle`], unless
    /// another key reads it, and with it what only it read. Answers false, and does nothing, when there is none.
    pub fn release(&mut self, key: &D::Key) -> bool {
        self.graph.release(key)
    }

    /// Derives what is new or can have changed, each key at most once, then drops what is no longer of use.
    ///
    /// # Panics
    /// When a derivation reads a key of its own or a later stage, see [`Reader::derived`].
    pub fn settle(&mut self) -> Settled<D> {
        let graph = RefCell::new(&mut self.graph);
        loop {
            let next = graph.borrow_mut().next_dirty();
            let Some((id, key)) = next else { break };
            reader::compute(&self.store, &graph, id, &key);
        }
        self.graph.sweep();
        self.graph.finish()
    }

    /// The value of a key as of the last [`Memo::settle`]; `None` when nobody needed it then.
    pub fn value(&self, key: &D::Key) -> Option<Arc<D::Val>> {
        self.graph.value(key).cloned()
    }

    /// All values as of the last [`Memo::settle`], those that are only read by other keys too, in no particular
    /// order.
    pub fn values(&self) -> impl Iterator<Item = (&D::Key, &Arc<D::Val>)> {
        self.graph.values()
    }

    /// All notes as of the last [`Memo::settle`], sorted by key and then by note. Two keys can make the same note.
    pub fn notes(&self) -> impl Iterator<Item = (&D::Key, &D::Note)> {
        self.graph.notes()
    }

    /// The objects.
    pub fn store(&self) -> &Store<D> {
        &self.store
    }

    /// How many times keys of each stage were derived since the start.
    pub fn work(&self) -> &BTreeMap<u8, u64> {
        self.graph.work()
    }

    /// How much is held. Walks all keys.
    pub fn sizes(&self) -> Sizes {
        Sizes { objects: self.store.len(), indexes: self.store.indexes(), ..self.graph.sizes() }
    }

    /// The same objects and demands computed from scratch, settled: what this one must be equal to once it is
    /// settled itself. It is the oracle of tests, and a way to check a running engine.
    pub fn rebuilt(&self) -> Memo<D> {
        let mut fresh = Memo::default();
        for (id, obj) in self.store.iter() {
            fresh.apply(id, Some(obj.clone()));
        }
        for key in self.graph.roots() {
            fresh.demand(key);
        }
        fresh.settle();
        fresh
    }
}
