//! One table's virtual hosts on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::held::Held;
use crate::names::Names;
use crate::of_type::OfType;
use crate::resource::ResourceMap;

/// See the module. While [`Held::whole`] stands, all of its hosts are to be sent in one response.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) held: Held,
    /// The version under which the proxy has the route configuration, or will have it.
    pub(crate) version: Arc<str>,
    /// The proxy brought that version, and has not told yet what it has of the hosts, or nobody has looked.
    pub(crate) claimed: bool,
    /// The version under which it was sent once more since.
    pub(crate) updated: Option<Arc<str>>,
    /// The marker is to be sent.
    pub(crate) marker_due: bool,
    /// The response that it is in.
    pub(crate) marker_nonce: u64,
    /// The configuration no longer has this table, but the proxy does.
    pub(crate) dormant: bool,
    /// Names that were refused together, each part to be sent by itself.
    pub(crate) parts: VecDeque<BTreeSet<Arc<str>>>,
    /// A response was refused, and it is being found out for whose sake.
    pub(crate) dividing: bool,
    /// All hosts wait since then for what they require.
    pub(crate) waiting_since: Option<Duration>,
    /// Not before that; `resting` when something waits for it.
    pub(crate) rest_until: Duration,
    pub(crate) resting: bool,
}

impl Table {
    /// A table that the proxy starts anew.
    pub(crate) fn new(version: Arc<str>) -> Self {
        let mut table = Self::empty(version);
        table.start_over();
        table
    }

    /// A table that the proxy has from an earlier stream, or so it says.
    pub(crate) fn claimed(version: &str) -> Self {
        Self { claimed: true, ..Self::empty(version.into()) }
    }

    fn empty(version: Arc<str>) -> Self {
        let mut held = Held::default();
        // All of them are watched, and it takes no names to say so.
        let _ = held.subscription.change(&[], &[], true, &Names::default());
        Self {
            held,
            version,
            claimed: false,
            updated: None,
            marker_due: false,
            marker_nonce: 0,
            dormant: false,
            parts: VecDeque::new(),
            dividing: false,
            waiting_since: None,
            rest_until: Duration::ZERO,
            resting: false,
        }
    }

    /// Nothing that the proxy has of it counts, but for removals.
    fn start_over(&mut self) {
        self.held.whole = true;
        self.marker_due = true;
    }

    /// The proxy may have these hosts besides; while all are to be sent, it is told which of them are gone.
    pub(crate) fn remember(&mut self, brought: BTreeMap<String, String>) {
        self.held.foreign.extend(brought.into_iter().map(|(name, version)| (name.into(), version)));
    }

    /// The route configuration was sent once more: the proxy keeps the hosts.
    pub(crate) fn update(&mut self, version: Arc<str>) {
        // What was brought is still compared with the version that was brought.
        if self.claimed {
            self.updated = Some(version);
        } else {
            self.version = version;
            self.marker_due = true;
        }
    }

    /// Looks at what the proxy brought of the hosts: it counts when the marker is of the same delivery as the table.
    pub(crate) fn judge(&mut self, marker: &str, hosts: &OfType, mut brought: BTreeMap<String, String>) {
        let proven = brought.remove(marker).is_some_and(|version| *version == *self.version);
        self.claimed = false;
        if !proven {
            self.start_over();
            self.remember(brought);
        } else if hosts.has_versions(&brought) {
            (self.held.confirmed, self.held.answered) = (hosts.map.clone(), true);
        } else {
            self.held.compare(&hosts.map, brought);
            self.held.answered = true;
        }
        if let Some(version) = self.updated.take() {
            self.update(version);
        }
    }

    /// A name has changed.
    pub(crate) fn mark(&mut self, name: &Arc<str>, since: u64) {
        if self.is_served() && !self.held.whole {
            self.held.mark(name.clone(), since, false);
        }
    }

    /// The configuration has no such table any more: the proxy uses it as long as connections last.
    pub(crate) fn sleep(&mut self) {
        if !self.dormant {
            self.dormant = true;
            self.held.pending.clear();
            self.parts.clear();
            (self.dividing, self.resting, self.waiting_since) = (false, false, None);
        }
    }

    /// It is back, and delivered anew: the proxy may just have let it go and begun it again, which we shall hear of only
    /// later, and then it has no hosts. Whatever came first would be live by itself.
    pub(crate) fn wake(&mut self, map: &ResourceMap, generation: u64) {
        if !std::mem::take(&mut self.dormant) || self.held.whole || self.claimed {
            return;
        }
        let known: BTreeSet<_> = self.names().collect();
        for name in known.iter().chain(map.keys()) {
            self.held.mark(name.clone(), generation, false);
        }
        self.remember(known.into_iter().map(|name| (name.to_string(), String::new())).collect());
        self.start_over();
    }

    /// Every name that the proxy may know.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        let flown = self.held.flights().flat_map(|flight| flight.load.names());
        let held = self.held.confirmed().map(|it| &it.name).chain(flown);
        held.chain(self.held.foreign.keys()).chain(self.held.refused.keys()).cloned()
    }

    /// What the proxy has of it is known, and it is to have it.
    pub(crate) fn is_served(&self) -> bool {
        !self.dormant && !self.claimed
    }

    /// All was sent and answered.
    pub(crate) fn idle(&self) -> bool {
        self.dormant || (self.held.idle() && !self.claimed && !self.held.whole && !self.marker_due)
    }

    /// When it is to be looked at again.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Duration> + '_ {
        let waiting = self.held.pending.values().filter_map(|pending| pending.waiting_since);
        let waiting = waiting.chain(self.waiting_since).map(|since| since + crate::ACK_DEADLINE);
        let rest = self.resting.then_some(self.rest_until);
        waiting.chain(rest).filter(|_| !self.dormant && !self.held.blocked())
    }
}
