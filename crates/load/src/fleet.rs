//! All proxies of a run: tasks of one thread that share a book, and count together.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::book::Book;
use crate::expect::{Counts, Expect, Marked, Part};
use crate::kind::Kind;
use crate::node::Identity;
use crate::proxy::{Manner, Proxy, Step};
use crate::stream::{Stream, Target};

/// How many connect at a time: the kernel keeps only so many waiting.
const CONNECTING: usize = 256;
/// The first pause before a broken stream is opened again, as the bootstrap says.
const PAUSE: Duration = Duration::from_millis(500);

/// How a proxy behaves beside what Envoy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Not at all.
    Normal,
    /// Reads nothing any more once it was in step.
    Slow,
    /// Rejects each response of a type.
    Nacks(Kind),
    /// Opens a new stream as often as this.
    Flaps(Duration),
}

/// What proxies share.
#[derive(Default)]
struct Shared {
    book: Book,
    counts: Counts,
    expect: Expect,
    slots: Vec<Slot>,
    left: usize,
    activity: Option<Instant>,
    marked: Vec<Marked>,
    by_service: HashMap<usize, Vec<u32>>,
    late: Vec<Duration>,
}

/// What one proxy has come to.
#[derive(Default)]
struct Slot {
    counted: bool,
    namespace: usize,
    /// What is expected now concerns it.
    waited: bool,
    seen: u32,
    done: Option<Instant>,
    /// How many of each service's numbered changes it has.
    taken: HashMap<usize, usize>,
}

/// Where to connect, and how often that was said.
#[derive(Clone, Default)]
struct Gate {
    open: Option<Rc<Target>>,
    epoch: u64,
}

/// See the module.
pub struct Fleet {
    shared: Rc<RefCell<Shared>>,
    proxies: Vec<Rc<RefCell<Proxy>>>,
    gate: watch::Sender<Gate>,
    news: Rc<Notify>,
    identity: Identity,
    manner: Manner,
    connecting: Rc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Without proxies; nobody connects before [`Fleet::open`].
    pub fn new(identity: Identity, manner: Manner) -> Self {
        Self {
            shared: Rc::default(),
            proxies: Vec::new(),
            gate: watch::Sender::new(Gate::default()),
            news: Rc::default(),
            identity,
            manner,
            connecting: Rc::new(Semaphore::new(CONNECTING)),
            tasks: JoinSet::new(),
        }
    }

    /// Adds `count` proxies. To be called within a `LocalSet`.
    ///
    /// # Errors
    /// When they cannot say who they are.
    pub fn add(&mut self, count: usize, mode: Mode) -> Result<()> {
        for _ in 0..count {
            let index = self.proxies.len();
            let node = self.identity.encode(index)?;
            let nacks = if let Mode::Nacks(kind) = mode { Some(kind) } else { None };
            let mut shared = self.shared.borrow_mut();
            let manner = Manner { nacks, ..self.manner.clone() };
            let proxy = Rc::new(RefCell::new(Proxy::new(manner, node, &mut shared.book)));
            let namespace = index % self.identity.namespaces.max(1);
            shared.slots.push(Slot { counted: mode == Mode::Normal, namespace, ..Slot::default() });
            self.proxies.push(proxy.clone());
            let member = Member {
                index,
                proxy,
                mode,
                sotw: self.manner.sotw,
                shared: self.shared.clone(),
                news: self.news.clone(),
                connecting: self.connecting.clone(),
            };
            self.tasks.spawn_local(member.live(self.gate.subscribe()));
        }
        Ok(())
    }

    /// How many proxies there are, those that misbehave apart.
    pub fn size(&self) -> usize {
        self.shared.borrow().slots.iter().filter(|slot| slot.counted).count()
    }

    /// How many of them are waited for.
    pub fn waited(&self) -> usize {
        self.shared.borrow().slots.iter().filter(|slot| slot.waited).count()
    }

    /// Lets everybody connect, and expects them to come into step.
    pub fn open(&self, target: Target) -> Instant {
        let epoch = self.gate.borrow().epoch + 1;
        self.expect(Expect::InStep(epoch));
        let start = Instant::now();
        self.gate.send_replace(Gate { open: Some(Rc::new(target)), epoch });
        start
    }

    /// Lets nobody connect again until [`Fleet::open`].
    pub fn close(&self) {
        let epoch = self.gate.borrow().epoch;
        self.gate.send_replace(Gate { open: None, epoch });
    }

    /// What everybody is waited for from now on; counts start at nothing.
    pub fn expect(&self, expect: Expect) {
        self.expect_in(None, expect);
    }

    /// The same, of the proxies of one namespace alone.
    pub fn expect_in(&self, namespace: Option<usize>, expect: Expect) {
        let mut shared = self.shared.borrow_mut();
        shared.expect = expect;
        shared.counts = Counts::default();
        shared.late.clear();
        shared.marked.clear();
        shared.by_service.clear();
        let mut left = 0;
        for slot in &mut shared.slots {
            (slot.seen, slot.done) = (0, None);
            slot.taken.clear();
            slot.waited = slot.counted && namespace.is_none_or(|it| it == slot.namespace);
            left += usize::from(slot.waited);
        }
        shared.left = left;
    }

    /// The same for those who are connected, and those who were added since.
    pub fn expect_everybody(&self) -> Instant {
        self.expect(Expect::InStep(self.gate.borrow().epoch));
        let shared = &mut *self.shared.borrow_mut();
        let now = Instant::now();
        for (slot, proxy) in shared.slots.iter_mut().zip(&self.proxies) {
            if slot.waited && proxy.borrow().in_step() {
                slot.done = Some(now);
                shared.left -= 1;
            }
        }
        now
    }

    /// A change of a service is about to be written; its number, by which proxies that expect [`Expect::Markers`] know it.
    pub fn mark(&self, service: usize, written: Instant) -> u32 {
        let mut shared = self.shared.borrow_mut();
        let number = shared.marked.len() as u32;
        shared.marked.push(Marked { service, written });
        shared.by_service.entry(service).or_default().push(number);
        number
    }

    /// Waits until every proxy has what is expected; when each had it.
    ///
    /// # Errors
    /// Some have not by the deadline: which, and what they lack.
    pub async fn wait(&self, deadline: Duration) -> Result<Vec<Instant>> {
        let all = async {
            loop {
                let news = self.news.notified();
                if self.shared.borrow().left == 0 {
                    return;
                }
                news.await;
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            let shared = self.shared.borrow();
            let lacking = shared.slots.iter().position(|slot| slot.waited && slot.done.is_none());
            let lacks = lacking.map(|it| self.proxies[it].borrow().lacks()).unwrap_or_default();
            bail!(
                "{} of {} proxies lack {:?} after {deadline:?}; the first: {lacks}; {}",
                shared.left,
                self.size(),
                shared.expect,
                shared.counts.reason
            );
        }
        Ok(self.shared.borrow().slots.iter().filter_map(|slot| slot.done).collect())
    }

    /// When each proxy took the last of what [`Expect::Last`] is about.
    ///
    /// # Errors
    /// One has taken none of it.
    pub fn last(&self) -> Result<Vec<Instant>> {
        let shared = self.shared.borrow();
        let mut waited = shared.slots.iter().filter(|slot| slot.waited);
        waited.try_fold(Vec::new(), |mut all, slot| {
            all.push(slot.done.context("a proxy was told nothing")?);
            Ok(all)
        })
    }

    /// Waits until every proxy has every numbered change; how late each was.
    ///
    /// # Errors
    /// As [`Fleet::wait`].
    pub async fn wait_marked(&self, deadline: Duration) -> Result<Vec<Duration>> {
        let wanted = self.shared.borrow().marked.len() * self.size();
        let all = async {
            while self.shared.borrow().late.len() < wanted {
                self.news.notified().await;
            }
        };
        let done = tokio::time::timeout(deadline, all).await;
        let late = self.shared.borrow().late.clone();
        done.with_context(|| format!("{} of {wanted} changes arrived within {deadline:?}", late.len()))?;
        Ok(late)
    }

    /// Waits until nobody has been told anything for a while, and takes what was counted.
    pub async fn quiet(&self, pause: Duration) -> Counts {
        loop {
            let since = self.shared.borrow().activity.map_or(pause, |at| at.elapsed());
            if since >= pause {
                return self.take_counts();
            }
            tokio::time::sleep(pause - since).await;
        }
    }

    /// What was counted since it was last taken.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.shared.borrow_mut().counts)
    }

    /// Compares what proxies hold: of one namespace all the same.
    ///
    /// # Errors
    /// When two differ.
    pub fn compare(&self) -> Result<()> {
        let shared = self.shared.borrow();
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, slot) in shared.slots.iter().enumerate().filter(|(_, slot)| slot.counted) {
            let other = *first.entry(slot.namespace).or_insert(index);
            let (one, two) = (self.proxies[other].borrow(), self.proxies[index].borrow());
            for kind in Kind::ALL {
                ensure!(
                    one.digest(kind) == two.digest(kind),
                    "proxies {other} and {index} hold different {}: {} and {} of them",
                    kind.name(),
                    one.count(kind),
                    two.count(kind)
                );
            }
        }
        Ok(())
    }

    /// Whether the first proxy holds something under a name.
    pub fn holds(&self, kind: Kind, name: &str) -> bool {
        let id = self.shared.borrow_mut().book.name(kind, name.as_bytes());
        self.proxies.first().is_some_and(|proxy| proxy.borrow().held(kind, id).is_some())
    }

    /// How many resources of each type the first proxy holds.
    pub fn held(&self) -> BTreeMap<&'static str, usize> {
        let first = self.proxies.first();
        Kind::ALL.iter().filter_map(|kind| Some((kind.name(), first?.borrow().count(*kind)))).collect()
    }
}

/// A proxy's task.
struct Member {
    index: usize,
    proxy: Rc<RefCell<Proxy>>,
    mode: Mode,
    sotw: bool,
    shared: Rc<RefCell<Shared>>,
    news: Rc<Notify>,
    connecting: Rc<Semaphore>,
}

impl Member {
    async fn live(self, mut gate: watch::Receiver<Gate>) {
        loop {
            let Ok(open) = gate.wait_for(|gate| gate.open.is_some()).await.map(|gate| gate.clone()) else {
                return;
            };
            let Some(target) = open.open else { continue };
            let ended = match self.mode {
                Mode::Flaps(often) => tokio::time::timeout(often, self.stream(&target, open.epoch)).await,
                _ => Ok(self.stream(&target, open.epoch).await),
            };
            if let Ok(ended) = ended {
                if self.mode == Mode::Normal {
                    let mut shared = self.shared.borrow_mut();
                    shared.counts.ended += 1;
                    shared.counts.reason =
                        ended.err().map_or("ended".to_owned(), |error| format!("{error:#}"));
                }
                // Spread as Envoy's jitter does; who is let in anew goes at once.
                let pause = PAUSE.mul_f64(0.2 + 0.8 * (self.index % 97) as f64 / 97.0);
                let _ = tokio::time::timeout(pause, gate.wait_for(|gate| gate.epoch > open.epoch)).await;
            }
        }
    }

    async fn stream(&self, target: &Target, epoch: u64) -> Result<()> {
        let slow = self.mode == Mode::Slow;
        let first = self.proxy.borrow_mut().open(&mut self.shared.borrow_mut().book);
        self.count_requests(&first);
        let mut stream = {
            let _turn = self.connecting.acquire().await?;
            Stream::open(target, self.sotw, slow, first).await?
        };
        while let Some(message) = stream.next().await? {
            let step = self.proxy.borrow_mut().take(&mut self.shared.borrow_mut().book, &message)?;
            self.count_requests(&step.requests);
            for request in &step.requests {
                stream.send(request)?;
            }
            self.note(&step, message.len(), epoch);
            if slow && self.proxy.borrow().in_step() {
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }

    fn count_requests(&self, requests: &[Vec<u8>]) {
        if self.mode != Mode::Normal {
            return;
        }
        let counts = &mut self.shared.borrow_mut().counts;
        counts.requests += requests.len() as u64;
        counts.request_bytes += requests.iter().map(|it| it.len() as u64).sum::<u64>();
    }

    /// Counts a response, and looks whether what is expected is there.
    fn note(&self, step: &Step, bytes: usize, epoch: u64) {
        let shared = &mut *self.shared.borrow_mut();
        if !shared.slots[self.index].counted {
            return;
        }
        let now = Instant::now();
        shared.activity = Some(now);
        if let Some(kind) = step.kind {
            shared.counts.messages[kind as usize] += 1;
            shared.counts.bytes[kind as usize] += bytes as u64;
        }
        let slot = &mut shared.slots[self.index];
        if let Expect::Last(kinds) = shared.expect {
            if step.acked.iter().any(|taken| kinds.contains(&taken.kind)) {
                slot.done = Some(now);
            }
            return;
        }
        if !slot.waited || slot.done.is_some() {
            return;
        }
        let done = match &shared.expect {
            Expect::Nothing | Expect::Last(_) => false,
            Expect::InStep(newest) => epoch >= *newest && self.proxy.borrow().in_step(),
            Expect::Parts(parts) => {
                slot.seen |= seen(parts, step, &shared.book);
                slot.seen.count_ones() as usize == parts.len()
            }
            Expect::Markers => {
                let markers = step.acked.iter().filter_map(|taken| shared.book.known(taken.now?)?.marker);
                for marker in markers {
                    let Some(marked) = shared.marked.get(marker as usize) else { continue };
                    let all = shared.by_service.get(&marked.service).map(Vec::as_slice).unwrap_or_default();
                    let taken = slot.taken.entry(marked.service).or_default();
                    for number in all[*taken..].iter().take_while(|number| **number <= marker) {
                        shared.late.push(now - shared.marked[*number as usize].written);
                        *taken += 1;
                    }
                }
                self.news.notify_one();
                false
            }
        };
        if done {
            slot.done = Some(now);
            shared.left -= 1;
            self.news.notify_one();
        }
    }
}

/// One bit for each part that a step acknowledges.
fn seen(parts: &[Part], step: &Step, book: &Book) -> u32 {
    let is_seen = |part: &Part| step.acked.iter().any(|taken| part.is(taken, book));
    parts.iter().enumerate().filter(|(_, part)| is_seen(part)).map(|(n, _)| 1 << n).sum()
}
