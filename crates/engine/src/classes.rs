//! Proxy classes in use: their manifests, and a snapshot for each, derived from the last by what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use umbra_ir::ProxyClass;
use umbra_xds::{Change, Resource, Snapshot};

use crate::ProxyId;
use crate::domain::{Key, Manifest};

/// One class in use.
pub(crate) struct Class {
    /// A number of its own among all that were ever made.
    number: u64,
    /// The proxies in it; never empty.
    pub(crate) proxies: BTreeSet<ProxyId>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// All classes in use.
#[derive(Default)]
pub(crate) struct Classes {
    classes: BTreeMap<ProxyClass, Class>,
    /// Classes by their number.
    numbers: BTreeMap<u64, ProxyClass>,
    /// The numbers of those that hold a resource, by its key: there is an entry for each resource of each class.
    users: HashMap<Key, BTreeSet<u64>>,
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
        let number = self.made;
        // Its first contents belong to this generation.
        let snapshot = Arc::new(Snapshot::empty(number, generation.saturating_sub(1)));
        let new = Class { number, proxies: BTreeSet::from([proxy]), manifest: Arc::default(), snapshot };
        self.classes.insert(class.clone(), new);
        self.numbers.insert(number, class.clone());
        true
    }

    /// One proxy less; when it was the last, the class goes, and these are the keys it held.
    pub(crate) fn leave(&mut self, class: &ProxyClass, proxy: ProxyId) -> Option<Vec<Key>> {
        let known = self.classes.get_mut(class)?;
        known.proxies.remove(&proxy);
        if !known.proxies.is_empty() {
            return None;
        }
        let gone = self.classes.remove(class)?;
        let keys: Vec<Key> = gone.manifest.0.values().cloned().collect();
        for key in &keys {
            self.unuse(key, gone.number);
        }
        self.numbers.remove(&gone.number);
        Some(keys)
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

    /// Takes a class's new manifest; answers which keys it holds from now on and which no longer. Entries
    /// that went, or that have another key now, are noted in `pending`.
    pub(crate) fn replace_manifest(
        &mut self,
        class: &ProxyClass,
        new: &Arc<Manifest>,
        pending: &mut Pending,
    ) -> (Vec<Key>, Vec<Key>) {
        let Some(known) = self.classes.get_mut(class) else { return Default::default() };
        let (old, number) = (std::mem::replace(&mut known.manifest, new.clone()), known.number);
        let names = pending.0.entry(class.clone()).or_default();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (name, key) in &old.0 {
            if new.0.get(name) != Some(key) {
                names.insert(name.clone());
                removed.push(key.clone());
            }
        }
        for (name, key) in &new.0 {
            if old.0.get(name) != Some(key) {
                names.insert(name.clone());
                added.push(key.clone());
            }
        }
        for key in &removed {
            self.unuse(key, number);
        }
        for key in &added {
            self.users.entry(key.clone()).or_default().insert(number);
        }
        (added, removed)
    }

    fn unuse(&mut self, key: &Key, number: u64) {
        if let Some(users) = self.users.get_mut(key) {
            users.remove(&number);
            if users.is_empty() {
                self.users.remove(key);
            }
        }
    }

    /// Notes a resource whose content changed for every class that holds it.
    pub(crate) fn content_changed(&self, key: &Key, pending: &mut Pending) {
        let users = self.users.get(key).into_iter().flatten();
        for class in users.filter_map(|number| self.numbers.get(number)) {
            pending.0.entry(class.clone()).or_default().extend(key.resource_name());
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
                let key = known.manifest.0.get(&(resource_type, name.clone()));
                match key.and_then(&content) {
                    Some(resource) => Change::put(resource_type, resource),
                    None => Change::remove(resource_type, name),
                }
            });
            known.snapshot = Arc::new(known.snapshot.next(generation, changes));
            published.push(class);
        }
        published
    }
}

/// Names of resources that may have changed, by class.
#[derive(Default)]
pub(crate) struct Pending(pub(crate) BTreeMap<ProxyClass, BTreeSet<(umbra_xds::ResourceType, Arc<str>)>>);
