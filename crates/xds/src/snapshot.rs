//! What a class of proxies should have: an immutable manifest and a log of what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::names::Names;
use crate::of_type::{News, OfType, Shelves};
use crate::resource::{Resource, ResourceMap, ResourceType};
use crate::step::{Step, Steps};
use crate::tree::Tree;
use crate::variant::Variant;
use crate::whole::Whole;

/// How many changed names the log keeps over all its generations; a session further behind compares everything.
const LOG_NAMES: usize = 8192;

/// One step from a snapshot to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// The resource's name.
    pub name: Arc<str>,
    /// The new resource, or `None` when it is gone.
    pub resource: Option<Arc<Resource>>,
}

impl Change {
    /// A resource that is new or has changed.
    pub fn put(resource_type: ResourceType, resource: impl Into<Arc<Resource>>) -> Self {
        let resource = resource.into();
        Self { resource_type, name: resource.name.clone(), resource: Some(resource) }
    }

    /// A resource that is gone.
    pub fn remove(resource_type: ResourceType, name: impl Into<Arc<str>>) -> Self {
        Self { resource_type, name: name.into(), resource: None }
    }
}

/// The names that changed in one generation.
type LogEntry = Arc<[(ResourceType, Arc<str>)]>;

/// Every resource of one proxy class at one generation.
///
/// Snapshots that were derived from one another form a lineage; only within it does the log mean anything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    lineage: u64,
    generation: u64,
    kinds: [Arc<OfType>; ResourceType::ALL.len()],
    /// The virtual hosts once more, by the route configuration that their name begins with.
    tables: Tree<Arc<OfType>>,
    log: RedBlackTreeMapSync<u64, LogEntry>,
    log_names: usize,
    /// The log knows every change after this generation.
    log_start: u64,
    steps: Steps,
}

impl Snapshot {
    /// An empty snapshot, the first of a lineage. The caller never uses a lineage number twice in a process.
    pub fn empty(lineage: u64, generation: u64) -> Self {
        Self {
            lineage,
            generation,
            kinds: Default::default(),
            tables: Tree::default(),
            log: RedBlackTreeMapSync::default(),
            log_names: 0,
            log_start: generation,
            steps: Steps::default(),
        }
    }

    /// The snapshot after some changes. Of several about one name the last counts; such as change nothing (same version, or removal
    /// of what is not there) are passed over. Cost: the changes, not the snapshot.
    ///
    /// Generations only grow: one that is not above the present counts as the next.
    #[must_use]
    pub fn next(&self, generation: u64, changes: impl IntoIterator<Item = Change>) -> Self {
        self.next_among(generation, changes, &mut Shelves::default())
    }

    /// The same for one of several classes: what it has in common with others that were made with these shelves it shares with
    /// them.
    #[must_use]
    pub fn next_among(
        &self,
        generation: u64,
        changes: impl IntoIterator<Item = Change>,
        shelves: &mut Shelves,
    ) -> Self {
        let mut next = Self { steps: Steps::default(), ..self.clone() };
        next.generation = generation.max(self.generation.saturating_add(1));
        let mut news: [News; ResourceType::ALL.len()] = Default::default();
        for Change { resource_type, name, resource } in changes {
            news[resource_type.index()].insert(name, resource);
        }
        let mut changed = Vec::new();
        for (ty, mut news) in ResourceType::ALL.into_iter().zip(news) {
            let Some(of_type) = self.kinds[ty.index()].next(&mut news, shelves) else { continue };
            next.kinds[ty.index()] = of_type;
            changed.extend(news.keys().map(|name| (ty, name.clone())));
            if ty == ResourceType::VirtualHost {
                next.put_hosts(news, shelves);
            }
        }
        if self.is_empty() {
            // Whoever has nothing needs no list of what he lacks.
            next.log_start = next.generation;
        } else if !changed.is_empty() {
            next.remember(changed.into());
        }
        next
    }

    fn is_empty(&self) -> bool {
        self.kinds.iter().all(|of_type| of_type.map.is_empty())
    }

    fn put_hosts(&mut self, news: News, shelves: &mut Shelves) {
        let mut by_table: BTreeMap<Arc<str>, News> = BTreeMap::new();
        for (name, resource) in news {
            let Some(table) = table_of(&name) else { continue };
            match by_table.get_mut(table) {
                Some(news) => drop(news.insert(name, resource)),
                None => drop(by_table.insert(table.into(), News::from([(name, resource)]))),
            }
        }
        for (table, mut news) in by_table {
            let hosts = self.tables.get(&table).cloned().unwrap_or_default();
            match hosts.next(&mut news, shelves) {
                Some(hosts) if hosts.map.is_empty() => self.tables.remove(&table),
                Some(hosts) => self.tables.insert(table, hosts),
                None => false,
            };
        }
    }

    fn remember(&mut self, entry: LogEntry) {
        self.log_names += entry.len();
        self.log.insert_mut(self.generation, entry);
        while self.log_names > LOG_NAMES {
            let Some((oldest, names)) = self.log.first().map(|(oldest, entry)| (*oldest, entry.len())) else {
                break;
            };
            self.log.remove_mut(&oldest);
            self.log_names -= names;
            self.log_start = oldest;
        }
    }

    /// The lineage that this snapshot belongs to.
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Counts the states of the world; every class's snapshots take it from one counter.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// One resource.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.map(resource_type).get(name)
    }

    /// All resources of a type, by name.
    pub fn map(&self, resource_type: ResourceType) -> &ResourceMap {
        &self.kinds[resource_type.index()].map
    }

    /// The names of all resources of a type.
    pub(crate) fn names(&self, resource_type: ResourceType) -> &Names {
        &self.kinds[resource_type.index()].names
    }

    /// Whether these are the names of all resources of a type, with their versions.
    pub(crate) fn has_versions(
        &self,
        resource_type: ResourceType,
        versions: &BTreeMap<String, String>,
    ) -> bool {
        self.kinds[resource_type.index()].has_versions(versions)
    }

    /// All resources of a type as one part of a response.
    pub(crate) fn whole(&self, resource_type: ResourceType, variant: Variant) -> Arc<Whole> {
        self.kinds[resource_type.index()].whole(variant)
    }

    /// What it has of a type that an earlier snapshot has not, if nothing is gone.
    pub(crate) fn step(&self, resource_type: ResourceType, earlier: &Snapshot) -> Option<Step> {
        if self.lineage != earlier.lineage {
            return None;
        }
        let generations = (earlier.generation, self.generation);
        self.steps.get(resource_type, generations, || self.news(resource_type, earlier))
    }

    /// The resources of a type that are new or have changed; `None` when some are gone, or nobody knows.
    fn news(&self, resource_type: ResourceType, earlier: &Snapshot) -> Option<ResourceMap> {
        let mut news = ResourceMap::default();
        for (_, name) in self.changed_from(earlier)?.filter(|(of, _)| *of == resource_type) {
            let before = earlier.get(resource_type, name);
            match self.get(resource_type, name) {
                Some(now) if before.is_none_or(|before| before.version != now.version) => {
                    news.insert(name.clone(), now.clone());
                }
                None if before.is_some() => return None,
                _ => {}
            }
        }
        Some(news)
    }

    /// The virtual hosts of a route configuration; `None` when there are none.
    pub(crate) fn hosts(&self, table: &str) -> Option<&OfType> {
        self.tables.get(table).map(Arc::as_ref)
    }

    /// There are route configurations whose virtual hosts are resources of their own.
    pub(crate) fn has_tables_of_hosts(&self) -> bool {
        self.map(ResourceType::Route).values().any(|it| it.marker().is_some())
    }

    /// The names that changed after an earlier generation of the same lineage, some perhaps twice; `None` when the log does not
    /// reach back that far, so that only a full comparison can tell.
    pub fn changed_since(&self, generation: u64) -> Option<impl Iterator<Item = &(ResourceType, Arc<str>)>> {
        if generation < self.log_start || generation > self.generation {
            return None;
        }
        Some(self.log.range(generation.saturating_add(1)..).flat_map(|(_, entry)| entry.iter()))
    }

    /// As [`Snapshot::changed_since`] for an earlier snapshot; also `None` when it is of another lineage.
    pub fn changed_from(
        &self,
        earlier: &Snapshot,
    ) -> Option<impl Iterator<Item = &(ResourceType, Arc<str>)>> {
        if self.lineage != earlier.lineage {
            return None;
        }
        self.changed_since(earlier.generation)
    }
}

/// The route configuration that a virtual host belongs to: Envoy cuts its name at the last `/`.
pub(crate) fn table_of(host: &str) -> Option<&str> {
    host.rsplit_once('/').map(|(table, _)| table)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use ResourceType::{Cluster, Route};

    fn put(ty: ResourceType, name: &str, body: &'static str) -> Change {
        Change::put(ty, Resource::new(ty, name, body.as_bytes(), []))
    }

    fn changed(snapshot: &Snapshot, since: u64) -> Option<Vec<String>> {
        let set: BTreeSet<_> = snapshot.changed_since(since)?.collect();
        Some(set.into_iter().map(|(ty, name)| format!("{ty}/{name}")).collect())
    }

    #[test]
    fn the_log_says_what_changed_and_passes_over_what_did_not() {
        let empty = Snapshot::empty(1, 0);
        let one = empty.next(1, [put(Cluster, "a", "1"), put(Cluster, "b", "1"), put(Route, "r", "1")]);
        let same = one.next(2, [put(Cluster, "a", "1"), Change::remove(Route, "none")]);
        let three = same.next(3, [put(Cluster, "a", "2"), Change::remove(Route, "r")]);
        let cases: &[(&Snapshot, u64, Option<&[&str]>)] = &[
            (&one, 0, None),
            (&one, 1, Some(&[])),
            (&same, 1, Some(&[])),
            (&three, 2, Some(&["cds/a", "rds/r"])),
            (&three, 1, Some(&["cds/a", "rds/r"])),
            (&three, 0, None),
            (&three, 3, Some(&[])),
            (&three, 4, None),
        ];
        for (snapshot, since, expected) in cases {
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(changed(snapshot, *since), expected, "{} since {since}", snapshot.generation());
        }
        assert!(three.get(Route, "r").is_none());
        assert!(one.get(Route, "r").is_some(), "an older snapshot does not change");
        assert!(Snapshot::empty(2, 3).changed_from(&three).is_none(), "another lineage");
    }

    #[test]
    fn the_log_is_bounded_and_says_when_it_does_not_reach_back() {
        let mut snapshot = Snapshot::empty(1, 9).next(10, [put(Route, "r", "1")]);
        assert!(snapshot.changed_since(9).is_none(), "before the lineage began");
        let bodies = ["1", "2"];
        for generation in 11..=(10 + 3 * LOG_NAMES as u64) {
            snapshot = snapshot.next(generation, [put(Cluster, "a", bodies[generation as usize % 2])]);
        }
        let newest = snapshot.generation();
        assert_eq!(snapshot.log.size(), LOG_NAMES);
        assert!(snapshot.changed_since(newest - LOG_NAMES as u64).is_some());
        assert!(snapshot.changed_since(newest - LOG_NAMES as u64 - 1).is_none());
    }

    #[test]
    fn generations_only_grow() {
        let first = Snapshot::empty(1, 5).next(5, [put(Cluster, "a", "1")]);
        let snapshot = first.next(2, [put(Cluster, "a", "2")]);
        assert_eq!((first.generation(), snapshot.generation()), (6, 7));
        assert_eq!(changed(&snapshot, 6), Some(vec!["cds/a".to_owned()]));
    }
}
