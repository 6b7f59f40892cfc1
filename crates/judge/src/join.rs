//! Lines of one request, brought together. Both sides of it always come on one stream, in any order, and either may not come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Answer, Key, Line, Primary, Side};

/// Copies of one request that are kept at most: more than a route has mirrors.
const MAX_COPIES: usize = 16;

/// What lines that wait for others may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JoinLimits {
    /// Requests of one stream.
    pub per_stream: usize,
    /// Requests of all streams.
    pub in_all: usize,
    /// How long a request is waited for after its first line: the longest that a copy lives, two flushes of Envoy's, and some.
    pub patience: Duration,
}

impl JoinLimits {
    /// As many as that rate of requests needs, and a few times more.
    pub fn new(max_stream_duration: Duration, flush: Duration) -> Self {
        let spare = Duration::from_secs(5);
        let patience = max_stream_duration.saturating_add(flush.saturating_mul(2)).saturating_add(spare);
        JoinLimits { per_stream: 4096, in_all: 100_000, patience }
    }
}

/// A stream of lines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(u64);

/// A request of which all is known that will be.
#[derive(Clone, PartialEq, Debug)]
pub struct Ended {
    /// Which.
    pub key: Key,
    /// Its own line.
    pub primary: Option<(Primary, Answer)>,
    /// Those of its copies, by mark.
    pub copies: BTreeMap<Arc<str>, Answer>,
    /// It was let go to make room, or its stream ended: what is missing says nothing.
    pub evicted: bool,
    /// Its stream ended.
    pub closed: bool,
}

/// What became of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Lines that came.
    pub lines: u64,
    /// Second ones of a kind: the first counts.
    pub duplicate: u64,
    /// Requests that were let go to make room.
    pub evicted: u64,
    /// Requests that ended with something missing.
    pub unpaired: u64,
    /// Requests of which everything came.
    pub complete: u64,
}

#[derive(Debug)]
struct Entry {
    primary: Option<(Primary, Answer)>,
    copies: BTreeMap<Arc<str>, Answer>,
    /// Tells it from one that has the same key and came later.
    serial: u64,
}

#[derive(Debug, Default)]
struct Stream {
    entries: HashMap<Key, Entry>,
    /// In the order in which they came; those that are no longer there are passed over.
    order: VecDeque<(Instant, u64, Key)>,
}

impl Stream {
    /// Takes out the one that came first.
    fn oldest(&mut self) -> Option<(Key, Entry)> {
        while let Some((_, serial, key)) = self.order.pop_front() {
            if let Some(entry) = self.remove(&key, serial) {
                return Some((key, entry));
            }
        }
        None
    }

    fn remove(&mut self, key: &Key, serial: u64) -> Option<Entry> {
        self.entries.get(key).filter(|entry| entry.serial == serial)?;
        self.entries.remove(key)
    }

    /// Those that came before `before`.
    fn expired(&mut self, before: Instant) -> Vec<(Key, Entry)> {
        let mut all = Vec::new();
        while self.order.front().is_some_and(|(came, ..)| *came <= before) {
            let Some((_, serial, key)) = self.order.pop_front() else { break };
            if let Some(entry) = self.remove(&key, serial) {
                all.push((key, entry));
            }
        }
        all
    }

    /// Drops what the order holds of requests that have ended, when that is most of it.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(_, serial, key)| entries.get(key).is_some_and(|it| it.serial == *serial));
        }
    }
}

/// The lines of all streams that wait for others.
#[derive(Debug)]
pub struct Joins {
    limits: JoinLimits,
    streams: BTreeMap<StreamId, Stream>,
    next: u64,
    waiting: usize,
    counts: Counts,
}

impl Joins {
    /// None yet.
    pub fn new(limits: JoinLimits) -> Self {
        Joins { limits, streams: BTreeMap::new(), next: 0, waiting: 0, counts: Counts::default() }
    }

    /// Changes what may be kept from now on.
    pub fn set_limits(&mut self, limits: JoinLimits) {
        self.limits = limits;
    }

    /// How long a line is waited for.
    pub fn patience(&self) -> Duration {
        self.limits.patience
    }

    /// What became of lines so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many requests wait for a line.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Another stream.
    pub fn open(&mut self) -> StreamId {
        let id = StreamId(self.serial());
        self.streams.insert(id, Stream::default());
        id
    }

    /// A stream has ended: what is missing there does not come any more, and says nothing.
    pub fn close(&mut self, id: StreamId) -> Vec<Ended> {
        let Some(mut stream) = self.streams.remove(&id) else { return Vec::new() };
        let left: Vec<_> = std::iter::from_fn(|| stream.oldest()).collect();
        let ended = left.into_iter().map(|(key, entry)| self.end(key, entry, true));
        ended.map(|it| Ended { closed: true, ..it }).collect()
    }

    fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes in a line. What ends with it is returned: its own request when that is complete now, others that make room.
    ///
    /// `expected` are the marks of all copies that such a request has.
    pub fn take(
        &mut self,
        id: StreamId,
        line: Line,
        expected: impl FnOnce(&Primary) -> Vec<Arc<str>>,
        now: Instant,
    ) -> Vec<Ended> {
        self.counts.lines += 1;
        let mut ended = Vec::new();
        let serial = self.serial();
        let known = match self.streams.get(&id) {
            Some(stream) => stream.entries.contains_key(&line.key),
            None => return ended,
        };
        if !known {
            ended.extend(self.make_room(id));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return ended };
        let key = line.key;
        if !known {
            stream.tidy();
            stream.order.push_back((now, serial, key.clone()));
            stream.entries.insert(key.clone(), Entry { primary: None, copies: BTreeMap::new(), serial });
            self.waiting += 1;
        }
        let Some(entry) = stream.entries.get_mut(&key) else { return ended };
        let taken = match line.side {
            Side::Primary(primary) => {
                let first = entry.primary.is_none();
                entry.primary.get_or_insert((primary, line.answer));
                first
            }
            Side::Copy { mark } => {
                let first = entry.copies.len() < MAX_COPIES && !entry.copies.contains_key(&mark);
                if first {
                    entry.copies.insert(mark, line.answer);
                }
                first
            }
        };
        if !taken {
            self.counts.duplicate += 1;
        }
        let complete = entry
            .primary
            .as_ref()
            .is_some_and(|(primary, _)| expected(primary).iter().all(|mark| entry.copies.contains_key(mark)));
        if complete && let Some(entry) = stream.entries.remove(&key) {
            self.counts.complete += 1;
            self.waiting -= 1;
            ended.push(Ended {
                key,
                primary: entry.primary,
                copies: entry.copies,
                evicted: false,
                closed: false,
            });
        }
        ended
    }

    /// Requests that have been waited for long enough: what is missing of them is a finding.
    pub fn expire(&mut self, now: Instant) -> Vec<Ended> {
        let Some(before) = now.checked_sub(self.limits.patience) else { return Vec::new() };
        let expired: Vec<_> = self.streams.values_mut().flat_map(|stream| stream.expired(before)).collect();
        expired.into_iter().map(|(key, entry)| self.end(key, entry, false)).collect()
    }

    /// The oldest of this stream, or of the one that has most, when there is no room for another.
    fn make_room(&mut self, id: StreamId) -> Option<Ended> {
        let own = self.streams.get(&id)?.entries.len();
        let from = if own >= self.limits.per_stream {
            id
        } else if self.waiting >= self.limits.in_all {
            *self.streams.iter().max_by_key(|(_, stream)| stream.entries.len())?.0
        } else {
            return None;
        };
        let (key, entry) = self.streams.get_mut(&from)?.oldest()?;
        Some(self.end(key, entry, true))
    }

    fn end(&mut self, key: Key, entry: Entry, evicted: bool) -> Ended {
        self.waiting -= 1;
        let count = if evicted { &mut self.counts.evicted } else { &mut self.counts.unpaired };
        *count += 1;
        Ended { key, primary: entry.primary, copies: entry.copies, evicted, closed: false }
    }
}
