//! A response about a table that a proxy refused: nothing of it was taken, and Envoy's words mostly name no host.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::flight::Items;
use crate::hosts::Table;
use crate::resource::ResourceType;

impl Table {
    /// Finds out which host it was by sending less at a time: removals by themselves, then halves, each of its halves if it
    /// is refused too. What comes down to one is refused; once more at the end, if it may only have come too early.
    /// Answers what was refused for its own sake.
    pub(crate) fn divide(&mut self, items: Items, since: u64) -> Option<(Arc<str>, Arc<str>)> {
        let names: Vec<_> = items.keys().cloned().collect();
        if let [name] = &names[..] {
            let version = items[name].as_ref().map(|it| it.version.clone());
            let tried = self.held.repeated.get(name) == Some(&version);
            if self.dividing && !tried {
                self.held.repeated.insert(name.clone(), version);
                self.held.mark(name.clone(), since, true);
                self.parts.push_back(BTreeSet::from([name.clone()]));
                return None;
            }
            let suspect = version.map(|version| (name.clone(), version));
            self.held.refuse(ResourceType::VirtualHost, items, since);
            return suspect;
        }
        self.dividing = true;
        names.iter().for_each(|name| self.held.mark(name.clone(), since, true));
        let (removed, put): (Vec<_>, Vec<_>) = items.into_iter().partition(|(_, content)| content.is_none());
        let of =
            |items: &[(Arc<str>, _)]| items.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        let parts = if put.is_empty() {
            let (first, second) = removed.split_at(removed.len() / 2);
            [of(first), of(second), BTreeSet::new()]
        } else if removed.is_empty() {
            let (first, second) = put.split_at(put.len() / 2);
            [of(first), of(second), BTreeSet::new()]
        } else {
            let (first, second) = put.split_at(put.len() / 2);
            [of(&removed), of(first), of(second)]
        };
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            self.parts.push_front(part);
        }
        None
    }
}
