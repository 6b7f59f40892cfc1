//! The core: what files say, turned into changes and diagnostics. No IO, no clock.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use umbra_api::{Change, Located, Object};
use umbra_ir::{Diagnostic, ObjectId};

use crate::Reading;
use crate::problem;

/// Where an object stands: the document it was read from.
pub type Place = Arc<Located<Arc<Object>>>;

/// A file that lacks so many objects, and half or more of all that it had, is doubted.
const MANY: usize = 10;

/// What the files say now, as a state machine: feed it with readings, then ask what changed.
///
/// Paths are compared as text; of one object in two files the first path wins.
#[derive(Debug, Default)]
pub struct Directory {
    files: BTreeMap<Arc<str>, File>,
    /// Which files hold an object, in the order of paths: nearly always one.
    holders: BTreeMap<ObjectId, Vec<Arc<str>>>,
    /// The objects that more than one file holds.
    shared: BTreeSet<ObjectId>,
    /// The files with diagnostics.
    faulty: BTreeSet<Arc<str>>,
    /// How many files hold objects.
    full: usize,
    /// What was given out last.
    current: BTreeMap<ObjectId, Place>,
    /// Objects whose holders or contents may have changed since.
    touched: BTreeSet<ObjectId>,
    /// What is wrong with the folders themselves.
    problems: Vec<Diagnostic>,
}

#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectId, Place>,
    diagnostics: Vec<Diagnostic>,
    /// Not there at the moment, maybe only while an editor swaps it: any other file's objects go first.
    missing: bool,
}

/// What changed since the last [`Directory::settle`], and all that is wrong now.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// In the order of object ids, at most one for each object.
    pub changes: Vec<Change>,
    /// Where the objects stand whose place changed, be it only a line number; `None`: nowhere any more.
    pub places: Vec<(ObjectId, Option<Place>)>,
    /// Everything that is wrong with files and folders now, with file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// How many files hold objects now.
    pub files: usize,
    /// Of the cluster's Istio objects where they changed; `None`: gone. Files have none.
    pub generations: Vec<(ObjectId, Option<Generations>)>,
}

/// Two versions (`metadata.generation`) of one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Generations {
    /// The newest that was seen.
    pub newest: i64,
    /// The newest that was understood, which is the one in force; 0: none has been.
    pub in_force: i64,
}

impl Directory {
    /// Takes in what `path` says now.
    ///
    /// A text that cannot be read keeps the objects that were good. An object that the file still names, but that
    /// cannot be understood, keeps its last good version, and so does every object that is missing while a
    /// document does not say which object it is.
    pub fn read(&mut self, path: &Arc<str>, reading: Reading) {
        let file = self.take(path).unwrap_or_default();
        let Reading { objects, refused, ok, nameless, mut diagnostics } = reading;
        let mut next: BTreeMap<ObjectId, Place> = BTreeMap::new();
        if ok {
            for object in objects {
                let id = object.value.id();
                if let Some(first) = next.get(&id) {
                    diagnostics.push(problem::twice_in_file(path, &id, &object, first));
                } else {
                    next.insert(id, object);
                }
            }
            for (id, good) in &file.objects {
                if !next.contains_key(id) && (nameless || refused.contains(id)) {
                    diagnostics.push(problem::kept_object(path, id));
                    next.insert(id.clone(), good.clone());
                }
            }
        } else if !file.objects.is_empty() {
            diagnostics.push(problem::kept_file(path, file.objects.len()));
            next.clone_from(&file.objects);
        }
        self.replace(path, &file.objects, &next);
        self.full += usize::from(!next.is_empty());
        if !diagnostics.is_empty() {
            self.faulty.insert(path.clone());
        }
        self.files.insert(path.clone(), File { objects: next, diagnostics, missing: false });
    }

    fn take(&mut self, path: &str) -> Option<File> {
        let file = self.files.remove(path)?;
        self.full -= usize::from(!file.objects.is_empty());
        self.faulty.remove(path);
        Some(file)
    }

    /// How many of the objects of `path` a reading of it does not have any more, and how many there are, if that is much: a
    /// writer may be in the middle of it.
    pub(crate) fn would_lose(&self, path: &str, reading: &Reading) -> Option<(usize, usize)> {
        let file = self.files.get(path).filter(|_| reading.ok && !reading.nameless)?;
        let named: HashSet<ObjectId> = reading.objects.iter().map(|place| place.value.id()).collect();
        let lost = file.objects.keys().filter(|id| !named.contains(*id) && !reading.refused.contains(id));
        let elsewhere = |id: &&ObjectId| self.holders.get(*id).is_some_and(|paths| paths.len() > 1);
        let (lost, all) = (lost.filter(|id| !elsewhere(id)).count(), file.objects.len());
        (lost >= MANY && lost * 2 >= all).then_some((lost, all))
    }

    /// Notes that `path` is not there at the moment: its objects stay, unless another file has them too.
    pub fn miss(&mut self, path: &str) {
        self.set_missing(path, true);
    }

    /// Notes that `path` is there, with the content that it had.
    pub fn keep(&mut self, path: &str) {
        self.set_missing(path, false);
    }

    fn set_missing(&mut self, path: &str, missing: bool) {
        if let Some(file) = self.files.get_mut(path)
            && file.missing != missing
        {
            file.missing = missing;
            self.touched.extend(file.objects.keys().cloned());
        }
    }

    /// Takes away a deleted file and its objects.
    pub fn remove(&mut self, path: &str) {
        if let Some(file) = self.take(path) {
            self.replace(&Arc::from(path), &file.objects, &BTreeMap::new());
        }
    }

    /// Says what is wrong with the folders; replaces what was said before.
    pub fn set_problems(&mut self, problems: Vec<Diagnostic>) {
        self.problems = problems;
    }

    /// The files known, missing ones included.
    pub fn paths(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
    }

    fn replace(&mut self, path: &Arc<str>, old: &BTreeMap<ObjectId, Place>, new: &BTreeMap<ObjectId, Place>) {
        for id in old.keys().filter(|id| !new.contains_key(*id)) {
            if let Some(paths) = self.holders.get_mut(id) {
                paths.retain(|held| held != path);
                paths.shrink_to_fit();
                if paths.len() < 2 {
                    self.shared.remove(id);
                }
                if paths.is_empty() {
                    self.holders.remove(id);
                }
            }
        }
        for id in new.keys().filter(|id| !old.contains_key(*id)) {
            let paths = self.holders.entry(id.clone()).or_default();
            paths.insert(paths.partition_point(|held| held < path), path.clone());
            paths.shrink_to_fit();
            if paths.len() > 1 {
                self.shared.insert(id.clone());
            }
        }
        self.touched.extend(old.keys().chain(new.keys()).cloned());
    }

    /// The file whose version of an object counts: present ones first, then the first path.
    fn winner(&self, id: &ObjectId) -> Option<(&Arc<str>, &Place)> {
        let paths = self.holders.get(id)?;
        let present = |path: &&Arc<str>| self.files.get(*path).is_some_and(|file| !file.missing);
        let path = paths.iter().find(present).or_else(|| paths.first())?;
        Some((path, self.files.get(path)?.objects.get(id)?))
    }

    /// What changed since the last call, and all that is wrong now.
    pub fn settle(&mut self) -> Update {
        let mut update = Update::default();
        let first = self.current.is_empty();
        for id in std::mem::take(&mut self.touched) {
            let place = self.winner(&id).map(|(_, place)| place.clone());
            let before = self.current.get(&id);
            match (&place, before) {
                (Some(now), Some(before)) if Arc::ptr_eq(now, before) => continue,
                (Some(now), Some(before)) if now.value == before.value => {}
                (Some(now), _) => update.changes.push(Change::Upsert(now.value.clone())),
                (None, Some(_)) => update.changes.push(Change::Delete(id.clone())),
                (None, None) => continue,
            }
            match &place {
                Some(now) => self.current.insert(id.clone(), now.clone()),
                None => self.current.remove(&id),
            };
            update.places.push((id, place));
        }
        if first {
            // What was filled one by one, in order, has room for nearly as much again.
            self.current = std::mem::take(&mut self.current).into_iter().collect();
            self.holders = std::mem::take(&mut self.holders).into_iter().collect();
        }
        update.diagnostics = self.diagnostics();
        update.files = self.full;
        update
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all = self.problems.clone();
        let faulty = self.faulty.iter().filter_map(|path| self.files.get(path));
        for file in faulty.filter(|file| !file.missing) {
            all.extend(file.diagnostics.iter().cloned());
        }
        for id in &self.shared {
            let (Some(paths), Some((winner, _))) = (self.holders.get(id), self.winner(id)) else { continue };
            for path in paths.iter().filter(|path| *path != winner) {
                let loser = self.files.get(path).filter(|file| !file.missing);
                if let Some(place) = loser.and_then(|file| file.objects.get(id)) {
                    all.push(problem::twice_in_folder(path, id, place, winner));
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
