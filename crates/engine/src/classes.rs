//! Proxy classes in use: their manifests, and a snapshot for each, derived from the last by what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use umbra_ir::ProxyClass;
use umbra_xds::{Change, Identity, Resource, ResourceType, Shelves, Snapshot};

use crate::ProxyId;
use crate::domain::{Key, Manifest};

/// One class in use.
pub(crate) struct Class {
    /// The proxies in it; never empty.
    pub(crate) proxies: BTreeSet<ProxyId>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// All classes in use. What they are served is nearly the same for all of them, and stands once: a class adds what is its own.
#[derive(Default)]
pub(crate) struct Classes {
    classes: BTreeMap<ProxyClass, Class>,
    /// How many of them hold a key. Manifests share their keys, so that where one stands says which it is.
    holders: HashMap<usize, u32>,
    shelves: Shelves,
    made: u64,
}

impl Classes {
    /// One more proxy; true when the class is new.
    pub(crate) fn join(&mut self, class: &ProxyClass, proxy: ProxyId, generation: u64) -> bool {
        if let Some(known) = self.classes.get_mut(class) {
            known.proxies.insert(proxy);
            return false;
        }
        self.made += 1;
        // Its first contents belong to this generation.
        let snapshot = Arc::new(Snapshot::empty(self.made, generation.saturating_sub(1)));
        let new = Class { proxies: BTreeSet::from([proxy]), manifest: Arc::default(), snapshot };
        self.classes.insert(class.clone(), new);
        true
    }

    /// One proxy less; when it was the last, the class goes, and these are the keys that no other holds.
    pub(crate) fn leave(&mut self, class: &ProxyClass, proxy: ProxyId) -> Option<Vec<Arc<Key>>> {
        let known = self.classes.get_mut(class)?;
        known.proxies.remove(&proxy);
        if !known.proxies.is_empty() {
            return None;
        }
        let gone = self.classes.remove(class)?;
        Some(gone.manifest.iter().filter(|(.., key)| self.let_go(key)).map(|(.., key)| key.clone()).collect())
    }

    pub(crate) fn get(&self, class: &ProxyClass) -> Option<&Class> {
        self.classes.get(class)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ProxyClass, &Class)> {
        self.classes.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }

    /// Takes a class's new manifest; answers which keys are held from now on and were not, and which no longer. Entries
    /// that went, or that have another key now, are noted in `pending`.
    pub(crate) fn replace_manifest(
        &mut self,
        class: &ProxyClass,
        new: &Arc<Manifest>,
        pending: &mut Pending,
    ) -> (Vec<Arc<Key>>, Vec<Arc<Key>>) {
        let Some(known) = self.classes.get_mut(class) else { return Default::default() };
        let old = std::mem::replace(&mut known.manifest, new.clone());
        let names = pending.0.entry(class.clone()).or_default();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        old.differences(new, |ty, name, before, after| {
            names.insert((ty, name.clone()));
            removed.extend(before.cloned());
            added.extend(after.cloned());
        });
        // What only moves to another name is held all the time.
        added.retain(|key| self.take(key));
        removed.retain(|key| self.let_go(key));
        (added, removed)
    }

    /// One class more holds a key; true when it is the first.
    fn take(&mut self, key: &Arc<Key>) -> bool {
        let count = self.holders.entry(key.identity()).or_default();
        *count += 1;
        *count == 1
    }

    /// One class less holds a key; true when it was the last.
    fn let_go(&mut self, key: &Arc<Key>) -> bool {
        let Some(count) = self.holders.get_mut(&key.identity()) else { return false };
        *count -= 1;
        let was_last = *count == 0;
        if was_last {
            self.holders.remove(&key.identity());
        }
        was_last
    }

    /// Notes a resource whose content changed for every class that holds it.
    pub(crate) fn content_changed(&self, key: &Key, pending: &mut Pending) {
        let Some((ty, name)) = key.resource_name() else { return };
        for (class, known) in &self.classes {
            if known.manifest.get(ty, &name).is_some_and(|held| **held == *key) {
                pending.0.entry(class.clone()).or_default().insert((ty, name.clone()));
            }
        }
    }

    /// Derives the snapshots of the classes that changed and answers which did.
    pub(crate) fn publish(
        &mut self,
        generation: u64,
        pending: Pending,
        content: impl Fn(&Key) -> Option<Arc<Resource>>,
    ) -> Vec<ProxyClass> {
        let mut published = Vec::new();
        for (class, names) in pending.0 {
            let Some(known) = self.classes.get_mut(&class) else { continue };
            let changes = names.into_iter().map(|(resource_type, name)| {
                match known.manifest.get(resource_type, &name).and_then(|key| content(key)) {
                    Some(resource) => Change::put(resource_type, resource),
                    None => Change::remove(resource_type, name),
                }
            });
            known.snapshot = Arc::new(known.snapshot.next_among(generation, changes, &mut self.shelves));
            published.push(class);
        }
        published
    }
}

/// Names of resources that may have changed, by class.
#[derive(Default)]
pub(crate) struct Pending(pub(crate) BTreeMap<ProxyClass, BTreeSet<(ResourceType, Arc<str>)>>);
