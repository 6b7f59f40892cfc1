//! What is to be known of resources with a time to live: when a stream's are to be repeated, and whether they may be.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::held::Held;

/// They are repeated after this part of their time, or up to a quarter sooner: two may be lost.
const PART: u32 = 3;

/// When a stream's resources are to be repeated.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    pub(crate) due: Option<Duration>,
    seed: u64,
}

impl Heartbeats {
    pub(crate) fn seeded(seed: u64) -> Self {
        Heartbeats { due: None, seed }
    }

    /// They are to be repeated as soon as may be.
    pub(crate) fn hurry(&mut self, now: Duration) {
        self.due = Some(now);
    }

    /// So much later than now, at another time than other streams: those that come together after a restart part again.
    pub(crate) fn put_off(&mut self, ttl: Duration, now: Duration) {
        self.seed = xxh3_64_with_seed(b"heartbeat", self.seed);
        let sooner = (self.seed % 1024) as u32;
        let pause = ttl / PART;
        self.due = Some(now + pause - pause / 4096 * sooner);
    }
}

/// Nothing is on its way or about to go: what is sent lives anew.
pub(crate) fn rests(held: &Held) -> bool {
    held.answered && !held.whole && held.pending.is_empty() && !held.blocked()
}

/// A proxy refuses a repetition of what it has dropped already: it needs all of it.
pub(crate) fn missed(held: &mut Held, generation: u64) {
    let names: Vec<_> = held.confirmed().filter(|it| it.ttl.is_some()).map(|it| it.name.clone()).collect();
    for name in names {
        held.mark(name, generation, true);
    }
}
