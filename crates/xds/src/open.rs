//! How a type begins on a stream: what is to be sent of what there is, given what the proxy brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::held::{Held, Pending};
use crate::names::Names;
use crate::resource::{ResourceMap, ResourceType};
use crate::snapshot::Snapshot;

impl Held {
    /// Keeps the versions of a first delta request until there is a snapshot to compare them with.
    pub(crate) fn bring(&mut self, versions: BTreeMap<String, String>) {
        self.initial = versions;
    }

    /// Starts a subscription: everything watched is to be sent but what the proxy brought in the same version.
    pub(crate) fn open(&mut self, resource_type: ResourceType, snapshot: &Snapshot) {
        let (names, brought) = (snapshot.names(resource_type), std::mem::take(&mut self.initial));
        self.subscription.share(names);
        if brought.is_empty() && self.watches_all(names) {
            self.whole = true;
            return;
        }
        // A name that was asked for by itself is answered, known or not.
        let unknown =
            self.subscription.names().iter().filter(|name| snapshot.get(resource_type, name).is_none());
        let unknown: Vec<_> = unknown.cloned().collect();
        unknown.into_iter().for_each(|name| self.mark(name, 1, true));
        if snapshot.has_versions(resource_type, &brought) {
            self.confirmed = snapshot.map(resource_type).clone();
        } else {
            self.compare(snapshot.map(resource_type), brought);
        }
    }

    /// Compares what the proxy brought with what it should have.
    pub(crate) fn compare(&mut self, map: &ResourceMap, mut brought: BTreeMap<String, String>) {
        // Those that it does not watch have no meaning here.
        self.confirmed = map.clone();
        for (name, resource) in map {
            if !self.subscription.watches(name) {
                continue;
            }
            match brought.remove(&**name) {
                Some(version) if *version == *resource.version => continue,
                Some(version) => drop(self.foreign.insert(name.clone(), version)),
                None => {}
            }
            let force = !self.foreign.contains_key(name) && self.subscription.names().contains(name);
            self.mark(name.clone(), 1, force);
            self.confirmed.remove(name);
        }
        for (name, version) in brought {
            if self.subscription.watches(&name) {
                let name: Arc<str> = name.into();
                // Not to be sent in any case: what it waits for may take it back to what the proxy has.
                self.pending.insert(name.clone(), Pending { since: 1, ..Pending::default() });
                self.foreign.insert(name, version);
            }
        }
    }

    /// It watches just these names, or all there are and no others.
    pub(crate) fn watches_all(&self, names: &Names) -> bool {
        let own = self.subscription.names();
        (own.is_empty() && self.subscription.wildcard()) || own.is_same(names)
    }

    /// Marks everything by name after all: some of it has to wait.
    pub(crate) fn mark_all(&mut self, resource_type: ResourceType, snapshot: &Snapshot) {
        self.whole = false;
        let force = !self.subscription.names().is_empty();
        for name in snapshot.map(resource_type).keys() {
            self.mark(name.clone(), 1, force);
        }
    }
}
