//! Turns to be read: a connection brings so much, and then others have their turn; and the connections of one address that have
//! shown nothing have no more turns together than one of them is worth.
//!
//! A runtime takes up what can go on in its order. Without this a connection is read as long as bytes are there (two MiB of
//! requests), and a newcomer waits behind all of it, and behind the tasks that come of it, for each of the steps in which it
//! begins. A round is a pass through what waits in the runtime: the port's own task starts it, and is behind whatever was
//! there before.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::crowd::{Place, origin};

/// Bytes in a round: of a connection that is held, of all others of an address together.
const ROUND: usize = 64 << 10;
/// What a read counts at least: it takes a turn, however little it brings.
const READ: usize = 512;
/// What the first read of a connection counts: a handshake, buffers, a task.
const FIRST: usize = 4096;
/// Connections of one address whose turn it is at once.
const AT_ONCE: usize = 16;

/// Starts the rounds of a port, beside what the port waits for. Without it nobody waits for a turn.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    table: Shared,
    /// Somebody waits for the next one, and all that was there before has had its turn.
    due: bool,
}

type Shared = Arc<Mutex<Table>>;

#[derive(Debug, Default)]
struct Table {
    lanes: HashMap<IpAddr, Lane>,
    /// Counts those who wait, so that there is an order.
    clock: u64,
    /// Who starts the next round; `None` as long as nobody does.
    starter: Option<Waker>,
}

/// The connections of an address.
#[derive(Debug, Default)]
struct Lane {
    connections: usize,
    /// What they have brought in this round.
    brought: usize,
    waiting: BTreeMap<u64, Waker>,
}

fn lock(table: &Shared) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Begins a round; whether anybody has waited for it.
    fn turn(&mut self, woken: &mut Vec<Waker>) -> bool {
        let before = woken.len();
        for lane in self.lanes.values_mut() {
            lane.brought = 0;
            for _ in 0..AT_ONCE {
                woken.extend(lane.waiting.pop_first().map(|(_, waker)| waker));
            }
        }
        woken.len() > before
    }
}

impl Rounds {
    /// Takes a connection in.
    pub(crate) fn enter(&self, stream: TcpStream, address: IpAddr, place: Arc<Place>) -> Paced {
        Paced { stream, place, turns: Turns::new(self.table.clone(), address) }
    }

    /// What comes of `what`; meanwhile rounds go on.
    pub(crate) async fn beside<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        std::future::poll_fn(|cx| {
            let done = what.as_mut().poll(cx);
            if done.is_pending() {
                self.go_on(cx);
            }
            done
        })
        .await
    }

    fn go_on(&mut self, cx: &Context<'_>) {
        let mut woken = Vec::new();
        let mut table = lock(&self.table);
        if std::mem::take(&mut self.due) {
            table.turn(&mut woken);
        }
        self.due = table.lanes.values().any(|lane| !lane.waiting.is_empty());
        // Otherwise whoever waits first says so.
        table.starter = Some(cx.waker().clone());
        drop(table);
        woken.into_iter().for_each(Waker::wake);
        if self.due {
            // Behind all that can go on now.
            cx.waker().wake_by_ref();
        }
    }
}

impl Drop for Rounds {
    /// Who is there goes on without turns.
    fn drop(&mut self) {
        let mut woken = Vec::new();
        let mut table = lock(&self.table);
        table.starter = None;
        while table.turn(&mut woken) {}
        drop(table);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// The turns of one connection.
#[derive(Debug)]
struct Turns {
    table: Shared,
    address: IpAddr,
    /// Its place among those who wait.
    ticket: u64,
    /// What it has brought since others had their turn, when it is held.
    brought: usize,
    first: bool,
}

impl Turns {
    fn new(table: Shared, address: IpAddr) -> Self {
        let address = origin(address);
        lock(&table).lanes.entry(address).or_default().connections += 1;
        Turns { table, address, ticket: 0, brought: 0, first: true }
    }

    /// Waits for a turn.
    fn poll(&mut self, held: bool, cx: &Context<'_>) -> Poll<()> {
        if held {
            if self.brought < ROUND {
                return Poll::Ready(());
            }
            self.brought = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut table = lock(&self.table);
        let Table { lanes, clock, starter } = &mut *table;
        let (Some(lane), Some(starts)) = (lanes.get_mut(&self.address), starter.as_ref()) else {
            return Poll::Ready(());
        };
        if lane.brought < ROUND {
            lane.waiting.remove(&self.ticket);
            return Poll::Ready(());
        }
        if !lane.waiting.contains_key(&self.ticket) {
            *clock += 1;
            self.ticket = *clock;
        }
        let is_first = lane.waiting.is_empty();
        lane.waiting.insert(self.ticket, cx.waker().clone());
        let starts = is_first.then(|| starts.clone());
        drop(table);
        if let Some(starts) = starts {
            starts.wake();
        }
        Poll::Pending
    }

    /// Takes note of what came.
    fn took(&mut self, held: bool, bytes: usize) {
        let least = if std::mem::take(&mut self.first) { FIRST } else { READ };
        let weight = bytes.max(least);
        if held {
            self.brought += weight;
        } else if let Some(lane) = lock(&self.table).lanes.get_mut(&self.address) {
            lane.brought += weight;
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(lane) = table.lanes.get_mut(&self.address) else { return };
        lane.waiting.remove(&self.ticket);
        lane.connections -= 1;
        if lane.connections == 0 {
            table.lanes.remove(&self.address);
        }
    }
}

/// A connection that is read in its turn.
#[derive(Debug)]
pub(crate) struct Paced {
    stream: TcpStream,
    place: Arc<Place>,
    turns: Turns,
}

impl Paced {
    /// What it is read from.
    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Paced {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, place, turns } = self.get_mut();
        let held = place.is_held();
        ready!(turns.poll(held, cx));
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        turns.took(held, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections by name, of the address 10.0.0.N behind the name's letter; what happens is `a1N` (would like to bring N
    /// KiB), `a1+N` (the same, and is held), `~` (a round). Tells who brought something, in order.
    fn play(script: &str) -> String {
        let mut rounds = Rounds::default();
        let cx = Context::from_waker(Waker::noop());
        rounds.go_on(&cx);
        let mut all: BTreeMap<&str, Turns> = BTreeMap::new();
        let mut told = Vec::new();
        for step in script.split_whitespace() {
            if step == "~" {
                rounds.due = true;
                rounds.go_on(&cx);
                told.push("~");
                continue;
            }
            let (name, kib) = step.split_at(2);
            let (held, kib) = kib.strip_prefix('+').map_or((false, kib), |kib| (true, kib));
            let address = IpAddr::from([10, 0, 0, name.as_bytes()[0]]);
            let turns = all.entry(name).or_insert_with(|| Turns::new(rounds.table.clone(), address));
            if turns.poll(held, &cx).is_ready() {
                turns.took(held, kib.parse::<usize>().unwrap() << 10);
                told.push(name);
            }
        }
        drop(all);
        assert!(lock(&rounds.table).lanes.is_empty());
        told.join(" ")
    }

    #[test]
    fn an_address_has_its_part_of_a_round() {
        for (script, told) in [
            ("a16 a16 a16", "a1 a1 a1"),
            // Whoever has brought a round's part waits, and with it all of its address; nobody else does.
            ("a164 a11 a21 b11", "a1 b1"),
            ("a164 a11 ~ a11", "a1 ~ a1"),
            // A connection costs something, however little it says.
            (
                "a10 a20 a30 a40 a50 a60 a70 a80 a90 aA0 aB0 aC0 aD0 aE0 aF0 aG0 aH0",
                "a1 a2 a3 a4 a5 a6 a7 a8 a9 aA aB aC aD aE aF aG",
            ),
            // Who is held waits for nobody of its address, but lets others go on.
            ("a164 a2+64 a2+1 a2+1", "a1 a2 a2"),
        ] {
            assert_eq!(play(script), told, "{script}");
        }
    }

    #[test]
    fn nobody_waits_where_nobody_starts_rounds() {
        let cx = Context::from_waker(Waker::noop());
        let mut rounds = Rounds::default();
        rounds.go_on(&cx);
        let mut turns = Turns::new(rounds.table.clone(), IpAddr::from([10, 0, 0, 1]));
        turns.took(false, ROUND);
        assert!(turns.poll(false, &cx).is_pending());
        drop(rounds);
        assert!(turns.poll(false, &cx).is_ready());
        turns.took(false, ROUND);
        assert!(turns.poll(false, &cx).is_ready());
    }

    /// Whoever brings a round's part each time is read all the same.
    #[tokio::test]
    async fn rounds_go_on_beside_what_a_port_waits_for() {
        let mut rounds = Rounds::default();
        let table = rounds.table.clone();
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut greedy = Turns::new(table.clone(), address);
        greedy.took(false, ROUND);
        let readers = async {
            for _ in 0..100 {
                std::future::poll_fn(|cx| greedy.poll(false, cx)).await;
                greedy.took(false, ROUND);
            }
        };
        rounds.beside(readers).await;
    }
}
