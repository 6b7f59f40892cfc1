//! Who may stay on a port when there is no room for all. Nobody waits to be accepted: when a port is full, the one that has
//! shown nothing for the longest gives way, and of all addresses that of the largest crowd. So whoever keeps connections
//! for nothing costs a bounded number of them, and takes no room from others.
//!
//! What is *held* (a connection with a stream that was let in, or with a watch) stays. Whether something is asked on another
//! makes no difference: whoever opens a stream to say nothing would keep newcomers out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How often the log says that somebody gave way.
const SAY: Duration = Duration::from_secs(60);

/// How much room there is on a port.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Connections that are not held, at once.
    pub(crate) idle: usize,
    /// Of these, those of one address.
    pub(crate) per_address: usize,
    /// Connections that are held.
    pub(crate) held: usize,
    /// The same for several ports together.
    pub(crate) together: Arc<Semaphore>,
}

impl Room {
    /// For a port by itself.
    pub(crate) fn alone(idle: usize, per_address: usize, held: usize) -> Self {
        Room { idle, per_address, held, together: Arc::new(Semaphore::new(held)) }
    }
}

/// Those who are connected to a port. Clones are the same crowd.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    what: &'static str,
    room: Room,
    table: Arc<Mutex<Table>>,
    gave_way: Counter,
}

#[derive(Debug, Default)]
struct Table {
    /// Counts whatever happens, so that there is an order.
    clock: u64,
    members: HashMap<u64, Member>,
    /// Those who may have to give way, of each address in their order.
    yielding: BTreeMap<IpAddr, BTreeSet<Turn>>,
    /// The addresses by how many they are above; of those with as many the one whose turn is next comes last.
    crowds: BTreeSet<(usize, Reverse<Turn>, IpAddr)>,
    yielding_count: usize,
    held_count: usize,
    said: Option<Instant>,
}

/// The younger goes after the older.
type Turn = (u64, u64);

#[derive(Debug)]
struct Member {
    address: IpAddr,
    close: CancellationToken,
    /// Since when nothing is held.
    since: u64,
    holds: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Member {
    fn turn(&self, id: u64) -> Turn {
        (self.since, id)
    }
}

/// A connection's place; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Crowd,
    id: u64,
    asking: AtomicUsize,
    /// What the table has too, to be seen without its lock.
    holds: AtomicUsize,
}

/// Something is asked on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Place>);

/// A connection is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Place>);

/// Whose connections count together: an address of IPv4, or a network of 64 bits of IPv6, which is one client's.
pub(crate) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

/// How much of something each may have at once (by [`origin`], or by name), so that one does not have it all. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Portions<K: Eq + Hash + Clone> {
    each: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// A portion, until this is dropped.
#[derive(Debug)]
pub(crate) struct Portion<K: Eq + Hash + Clone> {
    of: Portions<K>,
    whose: K,
}

impl<K: Eq + Hash + Clone> Portions<K> {
    /// So many for each.
    pub(crate) fn new(each: usize) -> Self {
        Portions { each, taken: Arc::default() }
    }

    /// One more; `None`: that one has all that it may have.
    pub(crate) fn take(&self, whose: K) -> Option<Portion<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(whose.clone()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Portion { of: self.clone(), whose })
    }
}

impl<K: Eq + Hash + Clone> Drop for Portion<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

impl Crowd {
    /// Nobody yet. `what` is the port's name in the log.
    pub(crate) fn new(what: &'static str, room: Room, gave_way: Counter) -> Self {
        Crowd { what, room, table: Arc::default(), gave_way }
    }

    /// Takes a connection in, which `close` closes. Others may have to give way for it.
    pub(crate) fn enter(&self, address: IpAddr, close: CancellationToken) -> Arc<Place> {
        let address = origin(address);
        let mut table = self.lock();
        let id = table.tick();
        let member = Member { address, close, since: id, holds: 0, permit: None };
        table.queue(&member, id);
        table.members.insert(id, member);
        self.make_room(table, address);
        Arc::new(Place { crowd: self.clone(), id, asking: AtomicUsize::new(0), holds: AtomicUsize::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes those who have to give way, after one of this address came.
    fn make_room(&self, mut table: MutexGuard<'_, Table>, address: IpAddr) {
        let mut gone = Vec::new();
        while table.yielding.get(&address).is_some_and(|turns| turns.len() > self.room.per_address) {
            gone.extend(table.evict(address));
        }
        while table.yielding_count > self.room.idle {
            let Some(&(_, _, largest)) = table.crowds.last() else { break };
            gone.extend(table.evict(largest));
        }
        if gone.is_empty() {
            return;
        }
        let says = table.said.is_none_or(|said| said.elapsed() > SAY);
        if says {
            table.said = Some(Instant::now());
        }
        drop(table);
        self.gave_way.inc_by(gone.len() as u64);
        if says {
            let Room { idle, per_address, .. } = self.room;
            tracing::warn!(
                port = self.what,
                %address,
                "connections that do nothing give way to new ones: there is room for {per_address} of one address and {idle} in all"
            );
        }
        gone.iter().for_each(CancellationToken::cancel);
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn queue(&mut self, member: &Member, id: u64) {
        self.in_crowd(member.address, |turns| turns.insert(member.turn(id)));
        self.yielding_count += 1;
    }

    fn unqueue(&mut self, address: IpAddr, turn: Turn) {
        if self.in_crowd(address, |turns| turns.remove(&turn)) {
            self.yielding_count -= 1;
        }
    }

    /// Changes an address's crowd, and where it stands among the others.
    fn in_crowd<T>(&mut self, address: IpAddr, change: impl FnOnce(&mut BTreeSet<Turn>) -> T) -> T {
        let turns = self.yielding.entry(address).or_default();
        let place = |turns: &BTreeSet<Turn>| Some((turns.len(), Reverse(*turns.first()?), address));
        if let Some(before) = place(turns) {
            self.crowds.remove(&before);
        }
        let changed = change(turns);
        match place(turns) {
            Some(now) => drop(self.crowds.insert(now)),
            None => drop(self.yielding.remove(&address)),
        }
        changed
    }

    /// Takes the next of an address out.
    fn evict(&mut self, address: IpAddr) -> Option<CancellationToken> {
        let turn = *self.yielding.get(&address)?.first()?;
        self.unqueue(address, turn);
        self.members.remove(&turn.1).map(|member| member.close)
    }

    /// Changes a member, and where it stands. `None`: it has given way already.
    fn change<T>(&mut self, id: u64, change: impl FnOnce(&mut Member) -> T) -> Option<(T, IpAddr)> {
        let mut member = self.members.remove(&id)?;
        if member.holds == 0 {
            self.unqueue(member.address, member.turn(id));
        }
        let was = member.holds > 0;
        let changed = change(&mut member);
        let is = member.holds > 0;
        if was && !is {
            member.since = self.tick();
            member.permit = None;
        }
        self.held_count = self.held_count + usize::from(is) - usize::from(was);
        let address = member.address;
        if !is {
            self.queue(&member, id);
        }
        self.members.insert(id, member);
        Some((changed, address))
    }
}

impl Place {
    /// Something is asked, and nobody knows of what worth.
    pub(crate) fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Relaxed) > 0
    }

    /// The connection stays.
    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    /// Notes that something is asked.
    pub(crate) fn ask(self: &Arc<Self>) -> Asking {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(self.clone())
    }

    /// Keeps the connection from having to give way; `None`: as many are held as may be.
    pub(crate) fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut table = self.crowd.lock();
        let is_held = table.members.get(&self.id)?.holds > 0;
        let permit = match is_held {
            true => None,
            false if table.held_count >= self.crowd.room.held => return None,
            false => Some(self.crowd.room.together.clone().try_acquire_owned().ok()?),
        };
        table.change(self.id, |member| {
            member.holds += 1;
            if permit.is_some() {
                member.permit = permit;
            }
        });
        self.holds.fetch_add(1, Ordering::Relaxed);
        Some(Hold(self.clone()))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
        let crowd = &self.0.crowd;
        let mut table = crowd.lock();
        let changed = table.change(self.0.id, |member| member.holds = member.holds.saturating_sub(1));
        if let Some(((), address)) = changed {
            crowd.make_room(table, address);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.crowd.lock();
        let Some(member) = table.members.remove(&self.id) else { return };
        match member.holds {
            0 => table.unqueue(member.address, member.turn(self.id)),
            _ => table.held_count -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections by name; what happens is `a+` (comes, from the address 10.0.0.N behind the name's letter), `a?` asks,
    /// `a!` is held, `a.` ends what it asked or held, `a-` leaves. Tells who was closed, in order, and who was not let stay.
    fn play(room: (usize, usize, usize), script: &str) -> String {
        let crowd = Crowd::new("test", Room::alone(room.0, room.1, room.2), Counter::default());
        let mut closes: Vec<(String, CancellationToken)> = Vec::new();
        let mut places: HashMap<String, Arc<Place>> = HashMap::new();
        let mut asks: HashMap<String, Asking> = HashMap::new();
        let mut holds: HashMap<String, Hold> = HashMap::new();
        let mut told = Vec::new();
        for step in script.split_whitespace() {
            let (name, what) = step.split_at(step.len() - 1);
            let name = name.to_owned();
            match what {
                "+" => {
                    let close = CancellationToken::new();
                    let letter = name.as_bytes()[0];
                    let place = crowd.enter(IpAddr::from([10, 0, 0, letter]), close.clone());
                    closes.push((name.clone(), close));
                    places.insert(name, place);
                }
                "?" => drop(asks.insert(name.clone(), places[&name].ask())),
                "!" => match places[&name].hold() {
                    Some(hold) => drop(holds.insert(name, hold)),
                    None => told.push(format!("no {name}")),
                },
                "." => {
                    asks.remove(&name);
                    holds.remove(&name);
                }
                "-" => {
                    places.remove(&name);
                    closes.retain(|(other, _)| *other != name);
                }
                other => panic!("{other}"),
            }
            closes.retain(|(name, close)| {
                let closed = close.is_cancelled();
                if closed {
                    told.push(name.clone());
                }
                !closed
            });
        }
        drop((asks, holds, places));
        let table = crowd.lock();
        assert!(table.members.is_empty() && table.yielding.is_empty() && table.crowds.is_empty());
        assert_eq!((table.yielding_count, table.held_count), (0, 0));
        assert_eq!(crowd.room.together.available_permits(), room.2);
        told.join(" ")
    }

    #[test]
    fn the_oldest_idle_one_of_the_largest_crowd_gives_way() {
        for (room, script, closed) in [
            ((9, 9, 9), "a1+ a2+ b1+", ""),
            // Of one address.
            ((9, 2, 9), "a1+ a2+ b1+ a3+ a4+", "a1 a2"),
            // Of all: the newcomer stays, and so does whoever is alone.
            ((3, 9, 9), "b1+ a1+ a2+ c1+ d1+", "a1 b1"),
            ((3, 9, 9), "b1+ a1+ a2+ a3+ a4+", "a1 a2"),
            // Who asks goes as who does not, who is held not at all.
            ((2, 9, 9), "a1+ a1? a2+ a3+ a4+", "a1 a2"),
            ((2, 9, 9), "a1+ a1! a2+ a3+ a4+", "a2"),
            // What is not held any more is as one that has just come.
            ((2, 9, 9), "a1+ a1! a2+ a3+ a1. a4+", "a2 a3"),
            // Whoever leaves makes room.
            ((2, 9, 9), "a1+ a2+ a1- a3+", ""),
            // Held ones have an end too.
            ((9, 9, 1), "a1+ a1! a2+ a2! a1. a2!", "no a2"),
            ((9, 9, 1), "a1+ a1! a1! a1-", ""),
        ] {
            assert_eq!(play(room, script), closed, "{script}");
        }
    }

    #[test]
    fn each_address_has_its_portion() {
        let portions = Portions::new(2);
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let first = (portions.take(one).unwrap(), portions.take(one).unwrap());
        assert!(portions.take(one).is_none() && portions.take(other).is_some());
        drop(first);
        assert!(portions.taken.lock().unwrap().is_empty() && portions.take(one).is_some());
    }

    #[test]
    fn whose_connections_count_together() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let of = |text: &str| origin(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }
}
