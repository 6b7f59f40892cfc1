//! What was derived, from what, and what has to be derived again.

use super::table::Table;
use super::{Domain, NoteChange, Settled, Sizes};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One thing that a key read, by its integer in the table of its sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    /// An object, present or not.
    Object(u32),
    /// Which objects an index has.
    Members(u32),
    /// Which objects an index has, and what they contain.
    Contents(u32),
    /// The value of another key.
    Key(u32),
}

/// Keys by their integers.
type Readers = BTreeSet<u32>;

#[derive(Default)]
struct IndexReaders {
    members: Readers,
    contents: Readers,
}

/// A key that somebody demanded or that another key read.
struct Node<D: Domain> {
    /// How many times it is demanded from outside.
    roots: u32,
    readers: Readers,
    /// Absent until the key is derived for the first time.
    state: Option<State<D>>,
}

struct State<D: Domain> {
    val: Arc<D::Val>,
    notes: Arc<[D::Note]>,
    /// Sorted, each once.
    reads: Box<[Read]>,
}

/// What a key had when the present settling began.
struct Before<D: Domain> {
    key: Arc<D::Key>,
    val: Option<Arc<D::Val>>,
    notes: Arc<[D::Note]>,
}

impl<D: Domain> Default for Node<D> {
    fn default() -> Self {
        Node { roots: 0, readers: Readers::new(), state: None }
    }
}

impl<D: Domain> Node<D> {
    fn wanted(&self) -> bool {
        self.roots > 0 || !self.readers.is_empty()
    }
}

/// Keys with what they read and who reads them. The reads form a directed graph without cycles, because each goes
/// to an earlier stage; so counting readers is enough to know what is no longer of use.
pub(super) struct Graph<D: Domain> {
    objects: Table<D::Id, Readers>,
    indexes: Table<D::Ix, IndexReaders>,
    keys: Table<D::Key, Node<D>>,
    /// Keys to derive (again), earliest stage first.
    dirty: BTreeSet<(u8, u32)>,
    /// What lost its last reader or its last demand, and may have found another since.
    loose: BTreeSet<Read>,
    /// Keys that were derived or dropped in the present settling.
    touched: HashMap<u32, Before<D>>,
    /// Those of all keys that have any.
    notes: BTreeMap<Arc<D::Key>, Arc<[D::Note]>>,
    recomputed: u64,
    work: BTreeMap<u8, u64>,
    pub(super) shelf: D::Shelf,
}

impl<D: Domain> Default for Graph<D> {
    fn default() -> Self {
        Graph {
            objects: Table::default(),
            indexes: Table::default(),
            keys: Table::default(),
            dirty: BTreeSet::new(),
            loose: BTreeSet::new(),
            touched: HashMap::new(),
            notes: BTreeMap::new(),
            recomputed: 0,
            work: BTreeMap::new(),
            shelf: D::Shelf::default(),
        }
    }
}

/// Reads. They are attached to their reader only when its derivation is done, and nothing is freed before the end of
/// the settling, so an integer stays good in between.
impl<D: Domain> Graph<D> {
    pub(super) fn read_object(&mut self, id: &D::Id) -> Read {
        Read::Object(self.objects.intern(id))
    }

    pub(super) fn read_members(&mut self, ix: &D::Ix) -> Read {
        Read::Members(self.indexes.intern(ix))
    }

    pub(super) fn read_contents(&mut self, ix: &D::Ix) -> Read {
        Read::Contents(self.indexes.intern(ix))
    }

    /// The key's integer, and its value unless it has yet to be derived.
    pub(super) fn read_key(&mut self, key: &D::Key) -> (u32, Option<Arc<D::Val>>) {
        let id = self.keys.intern(key);
        let known = self.keys[id].state.as_ref().map(|state| state.val.clone());
        debug_assert!(
            known.is_none() || !self.dirty.contains(&(D::stage(key), id)),
            "{key:?} is out of date"
        );
        (id, known)
    }
}

/// Changes that come from outside a settling.
impl<D: Domain> Graph<D> {
    pub(super) fn object_changed(&mut self, id: &D::Id) {
        if let Some(readers) = self.objects.get(id) {
            mark(&mut self.dirty, &self.keys, readers);
        }
    }

    pub(super) fn members_changed(&mut self, ix: &D::Ix) {
        if let Some(readers) = self.indexes.get(ix) {
            mark(&mut self.dirty, &self.keys, &readers.members);
            mark(&mut self.dirty, &self.keys, &readers.contents);
        }
    }

    pub(super) fn contents_changed(&mut self, ix: &D::Ix) {
        if let Some(readers) = self.indexes.get(ix) {
            mark(&mut self.dirty, &self.keys, &readers.contents);
        }
    }

    pub(super) fn demand(&mut self, key: &D::Key) {
        let id = self.keys.intern(key);
        let node = &mut self.keys[id];
        node.roots += 1;
        if node.state.is_none() {
            self.dirty.insert((D::stage(key), id));
        }
    }

    pub(super) fn release(&mut self, key: &D::Key) -> bool {
        let Some(id) = self.keys.find(key) else { return false };
        let node = &mut self.keys[id];
        if node.roots == 0 {
            return false;
        }
        node.roots -= 1;
        if !node.wanted() {
            self.loose.insert(Read::Key(id));
        }
        true
    }
}

/// Steps of a settling.
impl<D: Domain> Graph<D> {
    /// The next key to derive: one of the earliest stage that has any.
    pub(super) fn next_dirty(&mut self) -> Option<(u32, Arc<D::Key>)> {
        while let Some((_, id)) = self.dirty.pop_first() {
            let node = &self.keys[id];
            // A key demanded and released before it was ever derived; a reader that turns up later derives it.
            if node.state.is_none() && !node.wanted() {
                continue;
            }
            if let Some(key) = self.keys.name(id) {
                return Some((id, key.clone()));
            }
        }
        None
    }

    /// Keeps what was derived. A value equal to the one before is that one, and stops here.
    pub(super) fn keep(
        &mut self,
        id: u32,
        val: D::Val,
        mut notes: Vec<D::Note>,
        mut reads: Vec<Read>,
    ) -> Arc<D::Val> {
        notes.sort_unstable();
        notes.dedup();
        reads.sort_unstable();
        reads.dedup();
        let old = self.keys[id].state.take();
        let val = match &old {
            Some(old) if *old.val == val => old.val.clone(),
            _ => {
                mark(&mut self.dirty, &self.keys, &self.keys[id].readers);
                Arc::new(val)
            }
        };
        let notes: Arc<[D::Note]> = match &old {
            Some(old) if *old.notes == *notes => old.notes.clone(),
            _ => notes.into(),
        };
        let old_reads = old.as_ref().map(|old| &*old.reads).unwrap_or_default();
        self.rewire(id, old_reads, &reads);
        self.count(id);
        self.touch(id, old);
        self.keys[id].state = Some(State { val: val.clone(), notes, reads: reads.into() });
        val
    }

    /// Drops what nobody demands and no living key reads, all the way down.
    pub(super) fn sweep(&mut self) {
        while let Some(read) = self.loose.pop_first() {
            match read {
                Read::Object(id) if self.objects[id].is_empty() => {
                    self.objects.remove(id);
                }
                Read::Members(id) | Read::Contents(id)
                    if self.indexes[id].members.is_empty() && self.indexes[id].contents.is_empty() =>
                {
                    self.indexes.remove(id);
                }
                Read::Key(id) if !self.keys[id].wanted() => self.drop_key(id),
                _ => {}
            }
        }
    }

    /// The account of the settling, which ends here.
    pub(super) fn finish(&mut self) -> Settled<D> {
        let (mut changed, mut notes) = (Vec::new(), Vec::new());
        let mut touched: Vec<(u32, Before<D>)> = self.touched.drain().collect();
        // A hash map that was large once keeps being large to walk.
        self.touched.shrink_to(1024);
        touched.sort_unstable_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        for (id, before) in touched {
            let now = self.keys[id].state.as_ref();
            let val = now.map(|state| state.val.clone());
            if !same(before.val.as_ref(), val.as_ref()) {
                changed.push(((*before.key).clone(), val));
            }
            let after = now.map_or_else(|| Arc::from([]), |state| state.notes.clone());
            if before.notes != after {
                if after.is_empty() {
                    self.notes.remove(&before.key);
                } else {
                    self.notes.insert(before.key.clone(), after.clone());
                }
                notes.push(NoteChange { key: (*before.key).clone(), before: before.notes, after });
            }
        }
        Settled { changed, notes, recomputed: std::mem::take(&mut self.recomputed) }
    }

    fn drop_key(&mut self, id: u32) {
        let state = self.keys[id].state.take();
        for &read in state.iter().flat_map(|state| &state.reads) {
            self.detach(id, read);
        }
        self.touch(id, state);
        self.keys.remove(id);
    }

    /// Remembers what a key had before the present settling, the first time it is touched in it.
    fn touch(&mut self, id: u32, old: Option<State<D>>) {
        let Some(key) = self.keys.name(id) else { return };
        self.touched.entry(id).or_insert_with(|| {
            let key = key.clone();
            match old {
                Some(old) => Before { key, val: Some(old.val), notes: old.notes },
                None => Before { key, val: None, notes: Arc::from([]) },
            }
        });
    }

    fn count(&mut self, id: u32) {
        let Some(key) = self.keys.name(id) else { return };
        self.recomputed += 1;
        *self.work.entry(D::stage(key)).or_default() += 1;
    }

    /// Mostly a key reads what it read before: only differences cost.
    fn rewire(&mut self, id: u32, old: &[Read], new: &[Read]) {
        for &read in new.iter().filter(|read| old.binary_search(read).is_err()) {
            self.readers(read).insert(id);
        }
        for &read in old.iter().filter(|read| new.binary_search(read).is_err()) {
            self.detach(id, read);
        }
    }

    fn detach(&mut self, id: u32, read: Read) {
        let readers = self.readers(read);
        readers.remove(&id);
        if readers.is_empty() {
            self.loose.insert(read);
        }
    }

    fn readers(&mut self, read: Read) -> &mut Readers {
        match read {
            Read::Object(id) => &mut self.objects[id],
            Read::Members(id) => &mut self.indexes[id].members,
            Read::Contents(id) => &mut self.indexes[id].contents,
            Read::Key(id) => &mut self.keys[id].readers,
        }
    }
}

/// What is there to see.
impl<D: Domain> Graph<D> {
    pub(super) fn key(&self, id: u32) -> Option<&D::Key> {
        self.keys.name(id).map(|key| &**key)
    }

    pub(super) fn value(&self, key: &D::Key) -> Option<&Arc<D::Val>> {
        self.keys.get(key)?.state.as_ref().map(|state| &state.val)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&D::Key, &Arc<D::Val>)> {
        self.keys.iter().filter_map(|(key, node)| Some((key, &node.state.as_ref()?.val)))
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &D::Key> {
        self.keys.iter().filter(|(_, node)| node.roots > 0).map(|(key, _)| key)
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = (&D::Key, &D::Note)> {
        self.notes.iter().flat_map(|(key, notes)| notes.iter().map(move |note| (&**key, note)))
    }

    pub(super) fn work(&self) -> &BTreeMap<u8, u64> {
        &self.work
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            objects: 0,
            indexes: 0,
            keys: self.keys.len(),
            reads: self.keys.iter().filter_map(|(_, node)| Some(node.state.as_ref()?.reads.len())).sum(),
            sources: self.objects.len() + self.indexes.len(),
            slots: self.objects.slots() + self.indexes.slots() + self.keys.slots(),
        }
    }
}

fn mark<D: Domain>(dirty: &mut BTreeSet<(u8, u32)>, keys: &Table<D::Key, Node<D>>, readers: &Readers) {
    dirty.extend(readers.iter().filter_map(|&id| Some((D::stage(keys.name(id)?), id))));
}

fn same<V>(a: Option<&Arc<V>>, b: Option<&Arc<V>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
