//! What a stream has of virtual hosts that are resources of their own (VHDS over delta ADS), held by the route configuration, the *table*, that they
//! belong to. Who must have what, and when, was measured on Envoy: `docs/decisions/0018-virtual-hosts-as-resources.md`.
//!
//! A table `T` is delivered once for each subscription to it: the route configuration, then all hosts and the marker `T/~` in
//! one response. The marker carries the version under which the route configuration was sent, which is unlike any other: a
//! proxy that comes back with the same one for both has just the hosts that it says it has, and no other sign proves that.

mod refused;
mod salt;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::flight::{Flight, Items};
use crate::held::Held;
use crate::resource::{Resource, ResourceType};
use crate::snapshot::{Snapshot, table_of};
use salt::Salts;
pub(crate) use table::Table;

/// The virtual hosts on one stream.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// Those route configurations that the proxy watches and was sent, or brought from an earlier stream.
    /// Boxed: a map has room for eleven from its first on, and nearly every stream has one.
    pub tables: BTreeMap<Arc<str>, Box<Table>>,
    /// What the proxy may have besides, with the version that it brought: Envoy remembers hosts of tables that are gone.
    claims: BTreeMap<Arc<str>, String>,
    /// Versions that were refused by themselves.
    pub suspects: BTreeMap<Arc<str>, Arc<str>>,
    salts: Salts,
}

impl Hosts {
    /// The versions that are made for this stream follow from the seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { salts: Salts::new(seed), ..Self::default() }
    }

    /// Takes the versions of route configurations that a proxy brought, and leaves them as those of their contents.
    pub(crate) fn claim_tables(&mut self, brought: &mut BTreeMap<String, String>, watched: &[String]) {
        for (name, version) in brought {
            let Some(content) = salt::content(version) else { continue };
            if watched.contains(name) {
                self.tables.insert(name.as_str().into(), Box::new(Table::claimed(version)));
            }
            *version = content.to_owned();
        }
    }

    /// Takes the versions of virtual hosts that a proxy brought.
    pub(crate) fn claim_hosts(&mut self, brought: BTreeMap<String, String>) {
        self.claims.extend(brought.into_iter().map(|(name, version)| (name.into(), version)));
    }

    /// Route configurations are about to be sent: those with hosts of their own go under a version that no other delivery
    /// has. The proxy builds a table anew only when it did not watch it.
    pub(crate) fn open(&mut self, items: &Items) -> Items {
        let mut sent = items.clone();
        for (name, content) in &mut sent {
            let Some(resource) = content.as_mut().filter(|it| it.marker().is_some()) else { continue };
            let version = self.salts.salted(&resource.version);
            *resource = Arc::new(resource.under_version(ResourceType::Route, &version));
            match self.tables.get_mut(name) {
                Some(table) => table.update(version),
                None => drop(self.tables.insert(name.clone(), Box::new(Table::new(version)))),
            }
        }
        sent
    }

    /// The proxy no longer watches a table, or does so anew: what it has of it counts no more, but it remembers it.
    pub(crate) fn close(&mut self, name: &str) {
        if let Some(table) = self.tables.remove(name) {
            self.claims.extend(table.names().map(|name| (name, String::new())));
        }
    }

    /// Takes the claims of a table out.
    pub(crate) fn take_claims(&mut self, table: &str) -> BTreeMap<String, String> {
        let (begin, end) = (format!("{table}/"), format!("{table}0"));
        let range = || (std::ops::Bound::Included(begin.as_str()), std::ops::Bound::Excluded(end.as_str()));
        let names: Vec<_> = self.claims.range::<str, _>(range()).map(|(name, _)| name.clone()).collect();
        // The name of a table may begin with another's.
        let own = names.into_iter().filter(|name| table_of(name) == Some(table));
        own.filter_map(|name| Some((name.to_string(), self.claims.remove(&name)?))).collect()
    }

    /// A name has changed.
    pub(crate) fn mark(&mut self, name: &Arc<str>, since: u64) {
        if let Some(table) = table_of(name).and_then(|table| self.tables.get_mut(table)) {
            table.mark(name, since);
        }
    }

    /// Marks what differs between two snapshots that have no log in common.
    pub(crate) fn compare(&mut self, before: &Snapshot, after: &Snapshot, since: u64) {
        for (name, table) in &mut self.tables {
            let of = |snapshot: &Snapshot| snapshot.hosts(name).map(|it| it.map.clone()).unwrap_or_default();
            let (before, after) = (of(before), of(after));
            for name in before.keys().chain(after.keys()) {
                if before.get(name).map(|it| &it.version) != after.get(name).map(|it| &it.version) {
                    table.mark(name, since);
                }
            }
        }
    }

    /// Takes the flight of a nonce, with the table that it was for.
    pub(crate) fn land(&mut self, nonce: u64) -> Option<(Arc<str>, Flight)> {
        self.tables.iter_mut().find_map(|(name, table)| Some((name.clone(), table.held.land(nonce)?)))
    }

    /// The table of a host, as long as what the proxy has of it is what it was sent.
    pub(crate) fn of(&self, host: &str) -> Option<&Held> {
        self.tables.get(table_of(host)?).filter(|table| table.is_served()).map(|table| &table.held)
    }

    /// Everything that the proxy may be using and the snapshot does not have.
    pub(crate) fn replaced<'a>(
        &'a self,
        routes: &'a Held,
        snapshot: &Snapshot,
    ) -> impl Iterator<Item = &'a Arc<Resource>> + use<'a> {
        let gone =
            |name: &str| snapshot.get(ResourceType::Route, name).is_none_or(|it| it.marker().is_none());
        // A table that leaves keeps its hosts; they count until its removal was answered, as those of any other.
        let leaving: Vec<_> =
            self.tables.iter().filter(|(name, _)| gone(name) && !routes.settled(name)).collect();
        let left = leaving.into_iter().flat_map(|(_, table)| table.held.confirmed());
        self.tables.values().flat_map(|table| table.held.replaced()).chain(left)
    }

    /// When something is to be looked at again.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Duration> + '_ {
        self.tables.values().flat_map(|table| table.deadlines())
    }

    /// All that was sent was answered.
    pub(crate) fn idle(&self) -> bool {
        self.tables.values().all(|table| table.idle())
    }

    /// Of each table that the configuration has.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.tables.values().filter(|table| !table.dormant).map(|table| &table.held)
    }

    /// Shares the snapshot's memory where nothing is open.
    pub(crate) fn share(&mut self, snapshot: &Snapshot) {
        for (name, table) in &mut self.tables {
            if table.idle()
                && table.is_served()
                && let Some(hosts) = snapshot.hosts(name)
            {
                table.held.share(&hosts.map);
            }
        }
    }
}
