//! What clients may make umbra keep for them: messages that are not whole yet, and names that nobody else asks for. Who has
//! proven nothing shares a budget with everybody else at his address, and with all who have proven nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::crowd::origin;

/// Messages up to this size need no turn, and names that weigh less are not counted.
pub(crate) const SMALL: usize = 16 << 10;

/// Bytes that may be kept.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of messages of one address that are being read, and of all together; in KiB.
    messages: (usize, usize),
    /// Of names of one address, and of all together.
    names: (usize, usize),
}

/// Without proof.
const UNPROVEN: Limits = Limits { messages: (8 << 10, 128 << 10), names: (20 << 20, 512 << 20) };
/// With proof. An address says nothing then.
const PROVEN: Limits = Limits { messages: (128 << 10, 128 << 10), names: (1 << 30, 4 << 30) };

/// The budgets of everybody. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Allowances {
    unproven: Arc<Pot>,
    proven: Arc<Pot>,
}

impl Default for Allowances {
    fn default() -> Self {
        Allowances { unproven: Pot::new(UNPROVEN), proven: Pot::new(PROVEN) }
    }
}

#[derive(Debug)]
struct Pot {
    limits: Limits,
    messages: Arc<Semaphore>,
    messages_of: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
    names: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// What one stream may make umbra keep.
#[derive(Debug)]
pub(crate) struct Allowance {
    pot: Arc<Pot>,
    address: IpAddr,
    messages: Arc<Semaphore>,
    names: usize,
}

/// A message's turn to be read.
#[derive(Debug)]
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// More names than the stream's address may have, or all together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Allowances {
    /// That of a stream from this address.
    pub(crate) fn of(&self, address: IpAddr, proven: bool) -> Allowance {
        let pot = if proven { &self.proven } else { &self.unproven };
        let address = origin(address);
        Allowance { pot: pot.clone(), address, messages: pot.messages_of(address), names: 0 }
    }
}

impl Pot {
    fn new(limits: Limits) -> Arc<Self> {
        let messages = Arc::new(Semaphore::new(limits.messages.1));
        Arc::new(Pot { limits, messages, messages_of: Mutex::default(), names: Mutex::default() })
    }

    fn messages_of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut all = self.messages_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        // Those that are gone, now and then.
        if all.len() == all.capacity() {
            all.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.limits.messages.0));
        all.insert(address, Arc::downgrade(&new));
        new
    }

    /// Changes what an address has in names from one weight to another.
    fn weigh(&self, address: IpAddr, from: usize, to: usize) -> Result<(), TooMany> {
        let mut kept = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let all = kept.all - from + to;
        let of = kept.of.get(&address).copied().unwrap_or_default() - from + to;
        let (most, most_of_all) = self.limits.names;
        if to > from && (of > most || all > most_of_all) {
            return Err(TooMany);
        }
        kept.all = all;
        match of {
            0 => drop(kept.of.remove(&address)),
            of => drop(kept.of.insert(address, of)),
        }
        Ok(())
    }
}

impl Allowance {
    /// Waits until a message of so many bytes may be read. One that is larger than all there is waits for all.
    pub(crate) async fn turn(&self, bytes: usize) -> Option<Turn> {
        let kib = bytes.div_ceil(1 << 10);
        let take = |from: &Arc<Semaphore>, most: usize| {
            from.clone().acquire_many_owned(u32::try_from(kib.min(most)).unwrap_or(u32::MAX))
        };
        let (own, all) = self.pot.limits.messages;
        let _own = take(&self.messages, own).await.ok()?;
        let _all = take(&self.pot.messages, all).await.ok()?;
        Some(Turn { _own, _all })
    }

    /// Takes note of what the stream's names weigh.
    pub(super) fn names(&mut self, weight: usize) -> Result<(), TooMany> {
        let weight = if weight > SMALL { weight } else { 0 };
        if weight != self.names {
            self.pot.weigh(self.address, self.names, weight)?;
            self.names = weight;
        }
        Ok(())
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let _ = self.names(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn names_are_counted_by_address() {
        let allowances = Allowances::default();
        let most = UNPROVEN.names.0;
        let mut streams = [ONE, ONE, OTHER].map(|address| allowances.of(address, false));
        assert_eq!(streams[0].names(most - SMALL), Ok(()));
        assert_eq!(streams[1].names(SMALL), Ok(()), "what is small is not counted");
        assert_eq!(streams[1].names(2 * SMALL), Err(TooMany));
        assert_eq!(streams[2].names(2 * SMALL), Ok(()), "somebody else");
        assert_eq!(allowances.of(ONE, true).names(2 * SMALL), Ok(()), "with proof");
        assert_eq!(streams[0].names(0), Ok(()));
        assert_eq!(streams[1].names(2 * SMALL), Ok(()), "what was given back");
        drop(streams);
        let kept = allowances.unproven.names.lock().unwrap();
        assert_eq!((kept.all, kept.of.len()), (0, 0));
    }

    #[tokio::test]
    async fn messages_take_turns_by_address() {
        let allowances = Allowances::default();
        let most = UNPROVEN.messages.0 << 10;
        let [first, second, other] = [ONE, ONE, OTHER].map(|address| allowances.of(address, false));
        let turn = first.turn(most).await;
        let mut waits = Box::pin(second.turn(1));
        assert!(futures::poll!(&mut waits).is_pending());
        assert!(other.turn(1).await.is_some());
        drop(turn);
        assert!(waits.await.is_some());
    }
}
