//! Files beside the cluster, and what waits to be taken: the core of the collector. No IO, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::{Diagnostic, Kind, ObjectId};

use super::cache::Step;
use super::problem;
use super::status::AllObserved;
use crate::{Generations, Place, Update};

/// Joins steps of the cluster and updates of a directory: of the same object the file wins. Changes merge
/// until they are taken.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    files: BTreeMap<ObjectId, Place>,
    cluster: BTreeMap<ObjectId, Arc<Object>>,
    file_diagnostics: Vec<Diagnostic>,
    file_count: usize,
    cluster_diagnostics: BTreeMap<ObjectId, Vec<Diagnostic>>,
    generations: BTreeMap<ObjectId, Option<Generations>>,
    observed: AllObserved,
    /// The Secrets that each Gateway in force names.
    secrets: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    changes: BTreeMap<ObjectId, Change>,
    places: BTreeMap<ObjectId, Option<Place>>,
    dirty: bool,
}

impl Merge {
    /// Takes in what changed in the cluster.
    pub(crate) fn cluster(&mut self, step: Step) {
        let Step { id, change, diagnostics, seen } = step;
        if let Some(seen) = seen {
            let generations = seen.generations;
            let before = self.observed.insert(id.clone(), seen);
            // A status that was written is nobody's business but its writer's.
            if before.is_none_or(|before| before.generations != generations) {
                self.generations.insert(id.clone(), Some(generations));
                self.dirty = true;
            }
        } else if self.observed.remove(&id).is_some() {
            self.generations.insert(id.clone(), None);
            self.dirty = true;
        }
        if diagnostics.is_empty() {
            self.dirty |= self.cluster_diagnostics.remove(&id).is_some();
        } else if self.cluster_diagnostics.get(&id) != Some(&diagnostics) {
            self.dirty = true;
            self.cluster_diagnostics.insert(id.clone(), diagnostics);
        }
        let Some(change) = change else { return };
        match &change {
            Change::Upsert(object) => self.cluster.insert(id.clone(), object.clone()),
            Change::Delete(id) => self.cluster.remove(id),
        };
        self.dirty = true;
        if !self.files.contains_key(&id) {
            self.note_secrets(&id, &change);
            self.changes.insert(id, change);
        }
    }

    /// Takes out a Secret that is watched no more: nobody names it.
    pub(crate) fn forget(&mut self, id: &ObjectId) {
        if self.cluster.remove(id).is_some() && !self.files.contains_key(id) {
            self.dirty = true;
            self.changes.insert(id.clone(), Change::Delete(id.clone()));
        }
    }

    /// The Secrets that Gateways name.
    pub(crate) fn wanted_secrets(&self) -> BTreeSet<ObjectId> {
        self.secrets.values().flatten().cloned().collect()
    }

    fn note_secrets(&mut self, id: &ObjectId, change: &Change) {
        if id.kind != Kind::Gateway {
            return;
        }
        let named = match change {
            Change::Upsert(object) => match &**object {
                Object::Gateway(gateway) => umbra_api::named_secrets(gateway),
                _ => BTreeSet::new(),
            },
            Change::Delete(_) => BTreeSet::new(),
        };
        self.secrets.insert(id.clone(), named);
        self.secrets.retain(|_, named| !named.is_empty());
    }

    /// Takes in what changed in the files.
    pub(crate) fn files(&mut self, update: Update) {
        let Update { changes, places, diagnostics, files, generations: _ } = update;
        self.dirty = true;
        self.file_diagnostics = diagnostics;
        self.file_count = files;
        for (id, place) in places {
            match &place {
                Some(place) => self.files.insert(id.clone(), place.clone()),
                None => self.files.remove(&id),
            };
            self.places.insert(id, place);
        }
        for change in changes {
            let (id, change) = match change {
                Change::Upsert(object) => (object.id(), Change::Upsert(object)),
                // The cluster's own comes to light again.
                Change::Delete(id) => match self.cluster.get(&id) {
                    Some(object) => (id, Change::Upsert(object.clone())),
                    None => (id.clone(), Change::Delete(id)),
                },
            };
            self.note_secrets(&id, &change);
            self.changes.insert(id, change);
        }
    }

    /// The statuses that the cluster's objects carry.
    pub(crate) fn observed(&self) -> &AllObserved {
        &self.observed
    }

    /// Whether there is anything to take.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What changed since the last call, and all that is wrong now.
    pub(crate) fn take(&mut self) -> Update {
        self.dirty = false;
        let mut diagnostics = self.file_diagnostics.clone();
        diagnostics.extend(self.cluster_diagnostics.values().flatten().cloned());
        for (id, place) in self.files.iter().filter(|(id, _)| self.cluster.contains_key(*id)) {
            diagnostics.push(problem::also_in_cluster(id, place));
        }
        Update {
            changes: std::mem::take(&mut self.changes).into_values().collect(),
            places: std::mem::take(&mut self.places).into_iter().collect(),
            diagnostics,
            files: self.file_count,
            generations: std::mem::take(&mut self.generations).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
