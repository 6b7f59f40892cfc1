//! A response on its way, and what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::resource::{Resource, ResourceMap};
use crate::whole::Whole;

/// A resource, or `None` for its removal.
pub(crate) type Content = Option<Arc<Resource>>;

/// What a response says that is new to the proxy, by name.
pub(crate) type Items = BTreeMap<Arc<str>, Content>;

/// A response that the proxy has not answered.
#[derive(Debug)]
pub(crate) struct Flight {
    pub nonce: u64,
    /// The snapshot that it was made from.
    pub generation: u64,
    /// The first generation that the proxy lacks of any of the items.
    pub since: u64,
    pub sent_at: Duration,
    /// The wait for its answer is over, though the answer may come.
    pub lapsed: bool,
    /// State-of-the-world: the version that it carries.
    pub version: Arc<str>,
    pub load: Load,
    /// It says nothing new: what the proxy has lives on.
    pub is_heartbeat: bool,
}

impl Flight {
    /// One that is sent now, with what is new from the first of these generations to the second.
    pub(crate) fn new(
        nonce: u64,
        (since, generation): (u64, u64),
        sent_at: Duration,
        version: Arc<str>,
        load: Load,
    ) -> Self {
        Flight { nonce, generation, since, sent_at, lapsed: false, version, load, is_heartbeat: false }
    }
}

/// What a flight carries: some names, or all of a snapshot's, which it shares with the snapshot.
#[derive(Debug, Default)]
pub(crate) struct Load {
    items: Items,
    /// What `items` says nothing about.
    all: ResourceMap,
    /// Kept for the next stream that starts cold.
    _whole: Option<Arc<Whole>>,
}

impl From<Items> for Load {
    fn from(items: Items) -> Self {
        Load { items, ..Load::default() }
    }
}

impl Load {
    /// All resources of a type.
    pub(crate) fn all(map: &ResourceMap, whole: Arc<Whole>) -> Self {
        Load { items: Items::new(), all: map.clone(), _whole: Some(whole) }
    }

    /// The same, and these besides.
    pub(crate) fn with(mut self, items: Items) -> Self {
        self.items.extend(items);
        self
    }

    /// The names that it takes away.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.items.iter().filter(|(_, content)| content.is_none()).map(|(name, _)| name)
    }

    /// What it says of a name.
    pub(crate) fn get(&self, name: &str) -> Option<Option<&Arc<Resource>>> {
        self.items.get(name).map(Option::as_ref).or_else(|| self.all.get(name).map(Some))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.items.contains_key(name) || self.all.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.items.keys().chain(self.all.keys().filter(|name| !self.items.contains_key(*name)))
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let others = self.all.values().filter(|it| !self.items.contains_key(&it.name));
        self.items.values().flatten().chain(others)
    }

    /// What an older one says of names that this one says nothing about.
    pub(crate) fn add_older(&mut self, older: Load) {
        let (items, all) = older.parts();
        for (name, content) in items {
            if !self.contains(&name) {
                self.items.insert(name, content);
            }
        }
        if self.all.is_empty() {
            self.all = all;
        } else {
            for (name, resource) in &all {
                if !self.contains(name) {
                    self.items.insert(name.clone(), Some(resource.clone()));
                }
            }
        }
    }

    /// The names that it tells something of, and the resources of all others.
    pub(crate) fn parts(self) -> (Items, ResourceMap) {
        (self.items, self.all)
    }

    /// Name by name.
    pub(crate) fn expand(self) -> Items {
        let Load { mut items, all, .. } = self;
        for (name, resource) in &all {
            items.entry(name.clone()).or_insert_with(|| Some(resource.clone()));
        }
        items
    }
}
