//! What a stream has of one type: taken, on its way, refused, and still to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::flight::{Content, Flight, Items, Load};
use crate::names::NAME;
use crate::resource::{Resource, ResourceMap, ResourceType};
use crate::snapshot::Snapshot;
use crate::step::Step;
use crate::subscription::{Delta, Subscription};

/// Unanswered responses kept apart; the oldest are merged beyond it, so that a proxy that never answers costs
/// no more than its names.
const MAX_FLIGHTS: usize = 16;

/// A name to look at in the next flush.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// The first generation that the proxy lacks of this name.
    pub since: u64,
    /// To be sent although the proxy has this version: it asked, or Envoy warms a cluster that reads it.
    pub force: bool,
    /// Does not wait for the answer to the response before it: the assignment behind a CDS response.
    pub urgent: bool,
    /// Since when it waits for what it requires.
    pub waiting_since: Option<Duration>,
}

/// Content in a response that the proxy refused, so that nobody knows what it has under this name.
#[derive(Debug)]
pub(crate) struct Refused {
    pub content: Content,
    pub since: u64,
    /// The proxy's words about the response; `None`: they blame others in it, and this one was taken.
    pub words: Option<Arc<str>>,
}

/// The last NACK of a type on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NackInfo {
    /// Envoy's own words.
    pub message: String,
    /// What was new in the response, with the version that was refused (`None`: a removal).
    pub resources: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// The snapshot that the response was made from.
    pub generation: u64,
}

/// What the proxy will have under a name when everything sent was answered.
#[derive(Debug)]
pub(crate) enum Current<'a> {
    /// This content, or nothing.
    Known(Option<&'a Arc<Resource>>),
    /// It refused this content.
    Refused(&'a Content),
    /// This version, from an earlier stream: we have not seen its content.
    Foreign(&'a str),
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    pub subscription: Subscription,
    /// Content that the proxy took. Entries for names that it does not watch have no meaning: when nothing is
    /// open this becomes the snapshot's own map, so that streams share the memory.
    pub confirmed: ResourceMap,
    /// What the proxy has from an earlier stream, and its version, where ours is another.
    pub foreign: BTreeMap<Arc<str>, String>,
    /// State-of-the-world: what no longer exists, but the proxy keeps, since the protocol cannot take it away.
    orphans: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Just opened, and everything is to be sent: nothing is marked by name.
    pub whole: bool,
    pub pending: BTreeMap<Arc<str>, Pending>,
    /// What goes in the next flush to a stream that was in step: nothing of it is marked by name.
    pub step: Option<Step>,
    flights: VecDeque<Flight>,
    pub refused: BTreeMap<Arc<str>, Refused>,
    /// Versions (`None`: removals) that were sent once more since a response was refused for another's sake.
    pub repeated: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// State-of-the-world: the version of a complete response that was refused.
    pub refused_version: Option<Arc<str>>,
    /// Delta, first request before the first snapshot: versions that the proxy brought.
    pub initial: BTreeMap<String, String>,
    /// The first request was answered.
    pub answered: bool,
    /// The newest nonce sent, 0 for none.
    pub last_nonce: u64,
    pub last_nack: Option<NackInfo>,
}

impl Held {
    pub(crate) fn current(&self, name: &str) -> Current<'_> {
        if let Some(content) = self.sent(name) {
            Current::Known(content)
        } else if let Some(refused) = self.refused.get(name) {
            Current::Refused(&refused.content)
        } else if let Some(version) = self.foreign.get(name) {
            Current::Foreign(version)
        } else {
            Current::Known(self.confirmed.get(name).or_else(|| self.orphans.get(name)))
        }
    }

    /// The newest body sent under a name that the proxy did not refuse.
    pub(crate) fn body(&self, name: &str) -> Option<&Arc<Resource>> {
        self.sent(name).unwrap_or_else(|| self.confirmed.get(name))
    }

    /// What the newest unanswered response with a name says of it.
    fn sent(&self, name: &str) -> Option<Option<&Arc<Resource>>> {
        self.flights.iter().rev().find_map(|flight| flight.load.get(name))
    }

    /// Everything that the proxy may be using and the snapshot does not have, as far as we know its content: what
    /// differs is pending, on its way, refused or kept.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let flown = self.flights.iter().flat_map(|flight| flight.load.names());
        let open = self.pending.keys().chain(flown).chain(self.refused.keys());
        let open = open.filter(|name| self.subscription.watches(name));
        let confirmed = open.filter_map(|name| self.confirmed.get(name));
        let flying = self.flights.iter().flat_map(|flight| flight.load.resources());
        let refused = self.refused.values().filter_map(|refused| refused.content.as_ref());
        confirmed.chain(flying).chain(refused).chain(self.orphans.values())
    }

    /// The names and versions that the proxy took.
    pub(crate) fn confirmed(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.confirmed.values().filter(|held| self.subscription.watches(&held.name))
    }

    /// What the proxy took under a name that it watches.
    pub(crate) fn taken(&self, name: &str) -> Option<&Arc<Resource>> {
        self.confirmed.get(name)
    }

    /// A response is out and the proxy has time left to answer it.
    pub(crate) fn blocked(&self) -> bool {
        self.flights.iter().any(|flight| !flight.lapsed)
    }

    pub(crate) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    pub(crate) fn flights_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.flights.iter_mut()
    }

    /// Everything was sent and answered.
    pub(crate) fn idle(&self) -> bool {
        self.answered && self.pending.is_empty() && self.flights.is_empty()
    }

    /// There is nothing to send of it, whatever the time, until something changes.
    pub(crate) fn rests(&self) -> bool {
        let nothing = !self.subscription.asked() || self.answered;
        nothing && !self.whole && self.step.is_none() && self.pending.is_empty()
    }

    /// The proxy has taken everything of it, or asks for nothing.
    pub(crate) fn is_taken(&self) -> bool {
        !self.subscription.asked() || (self.idle() && self.refused.is_empty())
    }

    /// It has taken all that its snapshot has of what it watches, and nothing else is known of it.
    pub(crate) fn is_in_step(&self) -> bool {
        let special = !self.refused.is_empty()
            || !self.foreign.is_empty()
            || !self.repeated.is_empty()
            || !self.orphans.is_empty();
        self.idle() && !self.whole && !special
    }

    /// The bytes that names and versions of this stream alone take, about.
    pub(crate) fn weight(&self) -> usize {
        self.subscription.names().weight() + (self.foreign.len() + self.initial.len()) * NAME
    }

    /// Every name is [`Held::settled`].
    pub(crate) fn all_settled(&self) -> bool {
        !self.whole && self.pending.is_empty() && !self.blocked()
    }

    /// The proxy took some version of it; if not, nothing can have come to depend on it.
    pub(crate) fn took(&self, name: &str) -> bool {
        self.confirmed.contains_key(name)
            || self.refused.contains_key(name)
            || self.foreign.contains_key(name)
    }

    /// The present version of a name was answered, or the proxy's time for it is over.
    pub(crate) fn settled(&self, name: &str) -> bool {
        !self.whole
            && !self.pending.contains_key(name)
            && !self.flights.iter().any(|flight| !flight.lapsed && flight.load.contains(name))
    }

    /// Every name is [`Held::answered`].
    pub(crate) fn all_answered(&self) -> bool {
        let flights = self.flights.iter().filter(|flight| !flight.lapsed);
        let mut open = self.pending.keys().chain(flights.flat_map(|flight| flight.load.names()));
        !self.whole && open.all(|name| self.confirmed.contains_key(name) || self.refused.contains_key(name))
    }

    /// Some version of a name was answered on this stream, or the proxy's time for it is over.
    pub(crate) fn answered(&self, name: &str) -> bool {
        self.confirmed.contains_key(name) || self.refused.contains_key(name) || self.settled(name)
    }

    /// The proxy has some version of a name, or will when it has read what was sent.
    pub(crate) fn arrives(&self, name: &str) -> bool {
        match self.current(name) {
            Current::Known(content) => content.is_some(),
            Current::Refused(content) => content.is_some(),
            Current::Foreign(_) => true,
        }
    }

    /// Asks for a look at a name in the next flush.
    pub(crate) fn mark(&mut self, name: Arc<str>, since: u64, force: bool) {
        let pending = self.pending.entry(name).or_insert_with(|| Pending { since, ..Pending::default() });
        pending.since = pending.since.min(since);
        pending.force |= force;
    }

    /// Follows a change of the subscription after it was opened.
    pub(crate) fn follow(&mut self, change: Delta, resource_type: ResourceType, snapshot: &Snapshot) {
        for name in &change.fresh {
            self.confirmed.remove(name);
        }
        if change.wildcard_on {
            // What stands here for names that were not watched is not the proxy's.
            let names = self.subscription.names();
            let kept = names.iter().filter(|name| !change.fresh.contains(*name));
            self.confirmed =
                kept.filter_map(|name| Some((name.clone(), self.confirmed.get(name)?.clone()))).collect();
            for name in snapshot.map(resource_type).keys() {
                self.mark(name.clone(), snapshot.generation(), false);
            }
        }
        if change.wildcard_off || !change.dropped.is_empty() {
            for name in change.dropped {
                if self.subscription.wildcard() {
                    // The proxy does not know whether the wildcard still covers it (xDS protocol,
                    // "Unsubscribing from resources").
                    self.mark(name, snapshot.generation(), true);
                }
            }
            let subscription = &self.subscription;
            self.pending.retain(|name, _| subscription.watches(name));
            self.refused.retain(|name, _| subscription.watches(name));
            self.repeated.retain(|name, _| subscription.watches(name));
            self.foreign.retain(|name, _| subscription.watches(name));
            self.orphans.retain(|name, _| subscription.watches(name));
        }
        for name in change.asked {
            self.mark(name, snapshot.generation(), true);
        }
    }

    /// Notes a response that was sent.
    pub(crate) fn send(&mut self, flight: Flight) {
        self.last_nonce = flight.nonce;
        self.answered = true;
        if self.flights.capacity() == 0 {
            // One is all that most streams ever have out, and each has seven of these lists.
            self.flights.reserve_exact(1);
        }
        self.flights.push_back(flight);
        if self.flights.len() > MAX_FLIGHTS
            && let Some(oldest) = self.flights.pop_front()
            && let Some(next) = self.flights.front_mut()
        {
            next.since = next.since.min(oldest.since);
            next.load.add_older(oldest.load);
        }
    }

    /// Takes the flight of a nonce, if it is one that is still out.
    pub(crate) fn land(&mut self, nonce: u64) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.nonce == nonce)?;
        self.flights.remove(at)
    }

    /// The oldest flight before a nonce.
    pub(crate) fn land_before(&mut self, nonce: u64) -> Option<Flight> {
        if self.flights.front()?.nonce < nonce { self.flights.pop_front() } else { None }
    }

    /// The proxy took a response, the last one where it is in step now: then it has what its snapshot has, and shares that.
    pub(crate) fn accept(&mut self, load: Load, snapshot: Option<&ResourceMap>) {
        match snapshot.filter(|_| self.is_in_step()) {
            Some(map) => self.become_one_with(map),
            None => self.confirm(load),
        }
    }

    /// The proxy took it.
    pub(crate) fn confirm(&mut self, load: impl Into<Load>) {
        let (items, all) = load.into().parts();
        if !all.is_empty() {
            self.foreign.retain(|name, _| !all.contains_key(name));
            self.refused.retain(|name, _| !all.contains_key(name));
            self.repeated.retain(|name, _| !all.contains_key(name));
            self.orphans.retain(|name, _| !all.contains_key(name));
            if self.confirmed.is_empty() {
                self.confirmed = all;
            } else {
                for (name, it) in &all {
                    self.confirmed.insert(name.clone(), it.clone());
                }
            }
        }
        for (name, content) in items {
            self.foreign.remove(&name);
            self.refused.remove(&name);
            self.repeated.remove(&name);
            self.orphans.remove(&name);
            match content {
                Some(resource) => self.confirmed.insert(name, resource),
                None => self.confirmed.remove(&name),
            };
        }
    }

    /// A name is gone and nothing can say so to the proxy: what it has of it, it keeps until it stops watching.
    pub(crate) fn orphan(&mut self, name: &Arc<str>) {
        let kept = self.body(name).cloned().or_else(|| self.orphans.get(name).cloned());
        self.pending.remove(name);
        self.confirm(Items::from([(name.clone(), None)]));
        if let Some(kept) = kept {
            self.orphans.insert(name.clone(), kept);
        }
    }

    /// The proxy refused it by its last NACK: not to be sent again before it changes.
    pub(crate) fn refuse(&mut self, ty: ResourceType, items: Items, since: u64) {
        let Some(nack) = &self.last_nack else { return };
        let (blames, words) = (nack.blames(ty), Arc::<str>::from(nack.message.as_str()));
        for (name, content) in items {
            if !self.subscription.watches(&name) {
                continue;
            }
            let since = self.refused.get(&name).map_or(since, |old| old.since.min(since));
            let words = Some(words.clone()).filter(|_| blames(&name));
            self.refused.insert(name, Refused { content, since, words });
        }
    }

    /// It came to nothing for another's sake: to be sent once more.
    pub(crate) fn repeat(&mut self, items: Items, since: u64) {
        for (name, content) in items {
            self.repeated.insert(name.clone(), content.map(|it| it.version.clone()));
            self.mark(name, since, true);
        }
    }

    /// Shares the snapshot's memory when nothing is open: then both say the same of every watched name.
    pub(crate) fn share(&mut self, snapshot: &ResourceMap) {
        if self.idle() && self.refused.is_empty() && self.foreign.is_empty() {
            self.become_one_with(snapshot);
        }
    }

    /// Thousands of streams share a snapshot's map: one that has it already leaves alone what counts who has it, since every core
    /// writes there.
    fn become_one_with(&mut self, map: &ResourceMap) {
        if !self.confirmed.is_one_with(map) {
            self.confirmed = map.clone();
        }
    }

    /// The newest generation whose changes were all sent (those of this type).
    pub(crate) fn sent_generation(&self, generation: u64) -> u64 {
        let open = self.pending.values().map(|pending| pending.since).min();
        self.until(open, generation)
    }

    /// The newest generation whose changes the proxy has all taken (those of this type).
    pub(crate) fn acked_generation(&self, generation: u64) -> u64 {
        let pending = self.pending.values().map(|pending| pending.since);
        let flying = self.flights.iter().map(|flight| flight.since);
        let refused = self.refused.values().map(|refused| refused.since);
        self.until(pending.chain(flying).chain(refused).min(), generation)
    }

    fn until(&self, open: Option<u64>, generation: u64) -> u64 {
        match open {
            _ if !self.answered => 0,
            Some(since) => since.saturating_sub(1).min(generation),
            None => generation,
        }
    }
}
