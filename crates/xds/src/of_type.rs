//! The resources of one type in a snapshot, and what snapshots of all classes have in common.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::names::{Names, Print};
use crate::resource::{Resource, ResourceMap};
use crate::shelf::Shelf;
use crate::tree::Node;
use crate::variant::Variant;
use crate::version;
use crate::whole::{Cache, Whole};

/// What becomes of names: another resource, or none.
pub(crate) type News = BTreeMap<Arc<str>, Option<Arc<Resource>>>;

/// Where snapshots of several classes find what another one has already: what is the same in all of them stands once.
#[derive(Debug, Default)]
pub struct Shelves {
    resources: Shelf<Node<Arc<Resource>>>,
    names: Shelf<Node<()>>,
    types: Shelf<OfType>,
}

/// The resources of one type, or the virtual hosts of one route configuration. All but the resources follows from them, so
/// classes that have the same share it too: the response with all of them is put together once.
#[derive(Debug, Default)]
pub(crate) struct OfType {
    pub(crate) map: ResourceMap,
    /// Its names.
    pub(crate) names: Names,
    /// Its names with their versions.
    versions: Print,
    whole: Cache,
}

impl PartialEq for OfType {
    fn eq(&self, other: &Self) -> bool {
        self.map.is_one_with(&other.map)
    }
}

impl Eq for OfType {}

impl Hash for OfType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.map.address().hash(state);
    }
}

impl OfType {
    /// What it is after some changes. Those that change nothing are taken out of `news`; `None` when none is left.
    pub(crate) fn next(&self, news: &mut News, shelves: &mut Shelves) -> Option<Arc<Self>> {
        let version = |it: &Arc<Resource>| it.version.clone();
        news.retain(|name, new| self.map.get(name).map(version) != new.as_ref().map(version));
        if news.is_empty() {
            return None;
        }
        let (mut versions, mut names) = (self.versions, Vec::new());
        for (name, new) in &*news {
            let old = self.map.get(name);
            if let Some(old) = old {
                versions.take_version(name, &old.version);
            }
            if let Some(new) = new {
                versions.add_version(name, &new.version);
            }
            if old.is_some() != new.is_some() {
                names.push((name.clone(), new.as_ref().map(|_| ())));
            }
        }
        let names = self.names.with(names, &mut shelves.names);
        let changes = news.iter().map(|(name, new)| (name.clone(), new.clone()));
        let map = self.map.with(changes, &mut shelves.resources);
        Some(shelves.types.share(OfType { map, names, versions, whole: Cache::default() }))
    }

    /// Whether these are the names of all, with their versions.
    pub(crate) fn has_versions(&self, versions: &BTreeMap<String, String>) -> bool {
        if versions.len() != self.versions.count() {
            return false;
        }
        let mut print = Print::default();
        versions.iter().for_each(|(name, version)| print.add_version(name, version));
        print == self.versions
    }

    /// All of them as one part of a response.
    pub(crate) fn whole(&self, variant: Variant) -> Arc<Whole> {
        self.whole.get(variant, &self.map)
    }

    /// A version of all of them together.
    pub(crate) fn version(&self) -> Arc<str> {
        version::written(self.versions.hash())
    }
}
