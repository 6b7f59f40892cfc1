//! The one owner of the engine: takes changes and proxies in, publishes snapshots and diagnostics.
//!
//! Conflate, never debounce: everything that is queued goes in, then it is settled once; after many proxies were told of
//! something, the next change waits as long as that cost, and what comes meanwhile goes with it. It is a thread of its
//! own, because settling a large change must not hold up the streams of other proxies.

mod cluster;
mod held;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info};
use umbra_api::{Change, Object};
use umbra_engine::{ClassReach, Engine, ProxyId};
use umbra_ir::{
    Destinations, Diagnostic, Kind, MirrorState, ObjectId, ProxyNode, RuntimeForms, RuntimeFraction,
    RuntimeKey, Settings,
};
use umbra_source::{Place, Update, Work};
use umbra_xds::Snapshot;

pub use cluster::{ClusterObject, ClusterObjects};
use held::{Annotate, Held};
pub use look::Listed;
use look::Look;
pub(crate) use look::ProxyConfig;

use crate::diagnostics;
use crate::metrics::{ByObject, Metrics};

/// Commands that wait; senders wait when it is full.
const QUEUE: usize = 1024;

/// What everybody may see of the engine's state, immutable.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The first load is done: proxies are answered.
    pub ready: bool,
    /// The newest generation.
    pub generation: u64,
    /// How many objects there are.
    pub objects: BTreeMap<Kind, usize>,
    /// All that is wrong, with file and line, in the order of listings.
    pub diagnostics: Arc<Vec<Diagnostic>>,
    /// The cluster's Istio objects, as of these diagnostics.
    pub cluster: Arc<ClusterObjects>,
}

type Snapshots = Option<Arc<Snapshot>>;

enum Command {
    Update(Update),
    Settings(Settings),
    Hour,
    Judged(BTreeMap<RuntimeKey, RuntimeFraction>),
    Connect(ProxyId, ProxyNode, RuntimeForms, watch::Sender<Snapshots>),
    Rtds(ProxyId, RuntimeForms, oneshot::Sender<()>),
    /// Somebody is among the [`Gone`].
    Gone,
    Objects(oneshot::Sender<Vec<Listed>>),
    Outcome(oneshot::Sender<Outcome>),
    Observable(oneshot::Sender<Observable>),
    Knows(ObjectId, oneshot::Sender<bool>),
    Running(Vec<ObjectId>, oneshot::Sender<BTreeSet<ObjectId>>),
    Annotate(ObjectId, Annotate),
    Look(Look),
}

/// The mirrors of every VirtualService that has any.
pub(crate) type AllMirrors = BTreeMap<ObjectId, Arc<Vec<MirrorState>>>;

/// Of what is to be counted what proxies tell.
#[derive(Debug, Default)]
pub(crate) struct Observable {
    /// The mirrors of every VirtualService that has any; `None`: they are not observed.
    pub(crate) mirrors: Option<AllMirrors>,
    /// Where requests that follow rules are sent; `None`: these are not counted.
    pub(crate) destinations: Option<Destinations>,
}

/// What umbra has made of each Istio object, and for which proxies, as of the last settle.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every Istio object, also one of which no version was understood.
    pub objects: BTreeSet<ObjectId>,
    /// Those of the cluster.
    pub cluster: Arc<ClusterObjects>,
    /// Every class of proxies.
    pub classes: Vec<ClassReach>,
    /// The mirrors of every VirtualService that has any.
    pub mirrors: AllMirrors,
}

/// Questions that wait for the next settle.
enum Question {
    Objects(oneshot::Sender<Vec<Listed>>),
    Outcome(oneshot::Sender<Outcome>),
    Observable(oneshot::Sender<Observable>),
    /// Waits until this proxy is in its class.
    Settled(ProxyId, oneshot::Sender<()>),
}

/// Those who left. Whoever leaves cannot wait for room in the queue; there are no more of them than have connected.
#[derive(Clone, Debug, Default)]
struct Gone(Arc<Mutex<Vec<ProxyId>>>);

impl Gone {
    fn add(&self, id: ProxyId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn take(&self) -> Vec<ProxyId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How the rest of the process speaks to the engine. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    published: watch::Receiver<Published>,
    ids: Arc<AtomicU64>,
    gone: Gone,
}

/// A proxy's connection to the engine; dropping it takes the proxy out.
#[derive(Debug)]
pub struct Connected {
    /// The newest snapshot; `None` before the first load.
    pub snapshots: watch::Receiver<Snapshots>,
    id: ProxyId,
    commands: mpsc::Sender<Command>,
    gone: Gone,
}

impl EngineHandle {
    /// A handle, and the thread behind it that is to be started.
    pub fn new(engine: Engine, metrics: Arc<Metrics>) -> (Self, Work) {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (publish, published) = watch::channel(Published::default());
        let owner = Owner::new(engine, metrics, publish);
        let gone = owner.gone.clone();
        let work = Work::thread("engine", move || owner.run(inbox));
        (EngineHandle { commands, published, ids: Arc::default(), gone }, work)
    }

    /// A number for a new stream.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes in what the sources say has changed; waits while the engine is behind. The first makes the engine ready.
    pub async fn update(&self, update: Update) {
        let _ = self.commands.send(Command::Update(update)).await;
    }

    /// Replaces the settings.
    pub async fn settings(&self, settings: Settings) {
        let _ = self.commands.send(Command::Settings(settings)).await;
    }

    /// Says what part of rules' requests is judged by proxies of this replica, and nothing of all others'.
    pub(crate) async fn judged(&self, shares: BTreeMap<RuntimeKey, RuntimeFraction>) {
        let _ = self.commands.send(Command::Judged(shares)).await;
    }

    /// Has what is said of certificates judged again; waits while the engine is behind.
    pub(crate) async fn another_hour(&self) {
        let _ = self.commands.send(Command::Hour).await;
    }

    /// Takes a proxy in; `None` when the engine is gone.
    pub async fn connect(&self, id: u64, node: ProxyNode, rtds: RuntimeForms) -> Option<Connected> {
        let (sender, snapshots) = watch::channel(None);
        let id = ProxyId(id);
        // From here on the drop tells the engine, even when this future is never finished.
        let connected = Connected { snapshots, id, commands: self.commands.clone(), gone: self.gone.clone() };
        self.commands.send(Command::Connect(id, node, rtds, sender)).await.ok()?;
        Some(connected)
    }

    /// Every object and where it stands.
    pub async fn objects(&self) -> Vec<Listed> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Objects(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Whether there is this object.
    pub async fn knows(&self, id: ObjectId) -> bool {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Knows(id, reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Those of these Pods that are there, and neither end nor have ended.
    pub(crate) async fn running(&self, pods: Vec<ObjectId>) -> BTreeSet<ObjectId> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Running(pods, reply)).await;
        answer.await.unwrap_or_default()
    }

    /// What has become of every Istio object, and where.
    pub async fn outcome(&self) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Outcome(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Gives a VirtualService annotations in memory: what `change` makes of those that it has. They stay until it says something
    /// else there itself.
    pub(crate) async fn annotate(
        &self,
        id: ObjectId,
        change: impl Fn(&dyn Fn(&str) -> Option<String>) -> BTreeMap<String, Option<String>>
        + Send
        + Sync
        + 'static,
    ) {
        let _ = self.commands.send(Command::Annotate(id, Box::new(change))).await;
    }

    /// Of what is to be counted what proxies tell.
    pub(crate) async fn observable(&self) -> Observable {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Observable(reply)).await;
        answer.await.unwrap_or_default()
    }

    /// The state as of the last settle.
    pub fn published(&self) -> Published {
        self.published.borrow().clone()
    }

    /// The state as of each settle.
    pub fn follow(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The first load is done.
    pub fn is_ready(&self) -> bool {
        self.published.borrow().ready
    }

    /// Waits until the first load is done.
    pub async fn ready(&self) {
        let _ = self.published.clone().wait_for(|published| published.ready).await;
    }
}

impl Connected {
    /// Notes that the proxy subscribes to layers of the runtime, and waits until `snapshots` has one with them
    /// (when there is any: not before the first load).
    pub async fn set_rtds(&self, forms: RuntimeForms) {
        let (reply, settled) = oneshot::channel();
        let _ = self.commands.send(Command::Rtds(self.id, forms, reply)).await;
        let _ = settled.await;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gone.add(self.id);
        // With a full queue the engine has what makes it look.
        let _ = self.commands.try_send(Command::Gone);
    }
}

struct Owner {
    engine: Engine,
    metrics: Arc<Metrics>,
    publish: watch::Sender<Published>,
    proxies: BTreeMap<ProxyId, watch::Sender<Snapshots>>,
    gone: Gone,
    /// Who left and was not there: his coming is in the queue, or never was.
    early: Vec<ProxyId>,
    places: BTreeMap<ObjectId, Place>,
    held: Held,
    cluster: Arc<ClusterObjects>,
    file_diagnostics: Vec<Diagnostic>,
    /// Mirrors of each VirtualService.
    mirrors: BTreeMap<ObjectId, usize>,
    /// What has been logged, so that it is not repeated.
    said: BTreeSet<Diagnostic>,
    shown: Arc<Vec<Diagnostic>>,
    loaded: bool,
    /// Files or places changed, so diagnostics may read otherwise.
    relocate: bool,
    work: bool,
    /// Proxies wait for classes that are to be made: turns follow without a command.
    waiting: bool,
    /// Until then changes gather.
    rest: Instant,
    questions: Vec<Question>,
}

impl Owner {
    fn new(engine: Engine, metrics: Arc<Metrics>, publish: watch::Sender<Published>) -> Self {
        Owner {
            engine,
            metrics,
            publish,
            proxies: BTreeMap::new(),
            gone: Gone::default(),
            early: Vec::new(),
            places: BTreeMap::new(),
            held: Held::default(),
            cluster: Arc::default(),
            file_diagnostics: Vec::new(),
            mirrors: BTreeMap::new(),
            said: BTreeSet::new(),
            shown: Arc::default(),
            loaded: false,
            relocate: false,
            work: false,
            waiting: false,
            rest: Instant::now(),
            questions: Vec::new(),
        }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            if !self.waiting {
                let Some(command) = inbox.blocking_recv() else { return };
                self.take(command);
            }
            if !self.drain(&mut inbox) {
                return;
            }
            let rest = self.rest.saturating_duration_since(Instant::now());
            if self.loaded && self.work && !self.waiting && !rest.is_zero() {
                std::thread::sleep(rest);
                if !self.drain(&mut inbox) {
                    return;
                }
            }
            self.part();
            if self.loaded && (std::mem::take(&mut self.work) || self.waiting) {
                // Changes reach the proxies that are there before a new class is made, and one is made in any case: neither
                // many changes nor many new classes keep the others waiting.
                if self.settle() == 0 && self.waiting {
                    self.settle();
                }
            }
            self.answer();
        }
    }

    /// Takes what has come by now; false when nobody can send any more.
    fn drain(&mut self, inbox: &mut mpsc::Receiver<Command>) -> bool {
        loop {
            match inbox.try_recv() {
                Ok(command) => self.take(command),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Lets those go who left. Of one whose coming was not taken yet it is tried once more, when the queue was taken again.
    fn part(&mut self) {
        for id in std::mem::take(&mut self.early) {
            self.disconnect(id);
        }
        for id in self.gone.take() {
            if !self.disconnect(id) {
                self.early.push(id);
            }
        }
    }

    fn disconnect(&mut self, id: ProxyId) -> bool {
        let was = self.proxies.remove(&id).is_some();
        if was {
            self.engine.disconnect(id);
            self.work = true;
        }
        was
    }

    fn take(&mut self, command: Command) {
        self.work |= !matches!(
            command,
            Command::Objects(_)
                | Command::Outcome(_)
                | Command::Observable(_)
                | Command::Knows(..)
                | Command::Running(..)
                | Command::Look(_)
                | Command::Gone
        );
        match command {
            Command::Update(update) => self.update(update),
            Command::Settings(settings) => self.engine.set_settings(settings),
            Command::Connect(id, node, rtds, sender) => {
                self.engine.connect(id, node, rtds);
                self.proxies.insert(id, sender);
            }
            Command::Rtds(id, forms, reply) => {
                self.engine.set_rtds(id, forms);
                self.questions.push(Question::Settled(id, reply));
            }
            Command::Judged(shares) => self.engine.set_judged(&shares),
            Command::Gone | Command::Hour => {}
            Command::Annotate(id, change) => self.annotate(id, change),
            Command::Look(look) => look(self),
            Command::Knows(id, reply) => drop(reply.send(self.engine.knows(&id))),
            Command::Running(mut pods, reply) => {
                pods.retain(|pod| self.engine.is_running(pod));
                let _ = reply.send(pods.into_iter().collect());
            }
            Command::Objects(reply) => self.questions.push(Question::Objects(reply)),
            Command::Outcome(reply) => self.questions.push(Question::Outcome(reply)),
            Command::Observable(reply) => self.questions.push(Question::Observable(reply)),
        }
    }

    fn update(&mut self, update: Update) {
        let Update { changes, places, diagnostics, files, generations } = update;
        cluster::note(&mut self.cluster, &self.places, &changes, &places, generations);
        let (mut put, mut deleted) = (0_usize, 0_usize);
        self.metrics.changes.inc_by(changes.len() as u64);
        self.metrics.files.set(i64::try_from(files).unwrap_or(i64::MAX));
        for change in changes {
            match &change {
                Change::Upsert(object) => {
                    put += 1;
                    let count = count_mirrors(object);
                    match count {
                        0 => self.mirrors.remove(&object.id()),
                        count => self.mirrors.insert(object.id(), count),
                    };
                }
                Change::Delete(id) => {
                    deleted += 1;
                    self.mirrors.remove(id);
                }
            }
            self.engine.apply(self.held.follow(change));
        }
        let from_files = !places.is_empty();
        self.relocate |= from_files || diagnostics != self.file_diagnostics;
        if self.places.is_empty() {
            // All at once: filled one by one, in order, a map has room for nearly as much again.
            self.places = places.into_iter().filter_map(|(id, place)| Some((id, place?))).collect();
        } else {
            for (id, place) in places {
                match place {
                    Some(place) => self.places.insert(id, place),
                    None => self.places.remove(&id),
                };
            }
        }
        self.file_diagnostics = diagnostics;
        if !self.loaded {
            self.loaded = true;
            self.engine.pack();
            info!(objects = put, files, "loaded");
        } else if put + deleted > 0 {
            match from_files {
                true => info!(changed = put, deleted, files, "files changed"),
                // Pods come and go: nobody acts on that.
                false => debug!(changed = put, deleted, "cluster changed"),
            }
        }
    }

    /// Gives an object annotations that nobody has written.
    fn annotate(&mut self, id: ObjectId, change: Annotate) {
        let Some(object) = self.engine.object(&id) else { return };
        if let Some(object) = self.held.hold(id, &object, change) {
            self.engine.apply(Change::Upsert(object));
        }
    }

    /// One turn of the engine, and how many new classes it made.
    fn settle(&mut self) -> usize {
        self.engine.set_time(jiff::Timestamp::now().as_second());
        let start = Instant::now();
        let settled = self.engine.turn();
        self.waiting = settled.waiting > 0;
        let took = start.elapsed();
        self.metrics.settled(took, settled.recomputed, settled.generation);
        debug!(
            generation = settled.generation,
            recomputed = settled.recomputed,
            snapshots = settled.snapshots.len(),
            ?took,
            "settled"
        );
        self.rest = Instant::now() + rest_after(settled.snapshots.len());
        for (id, snapshot) in settled.snapshots {
            if let Some(proxy) = self.proxies.get(&id) {
                proxy.send_replace(Some(snapshot));
            }
        }
        if settled.diagnostics_changed || std::mem::take(&mut self.relocate) {
            self.relocate = false;
            self.diagnose();
        }
        let objects: BTreeMap<_, _> = self.engine.object_counts().clone();
        for (kind, count) in &objects {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.metrics.objects.get_or_create(&ByObject { kind: kind.as_str() }).set(count);
        }
        self.metrics.mirrors.set(i64::try_from(self.mirrors.values().sum::<usize>()).unwrap_or(i64::MAX));
        let bare = i64::try_from(self.engine.bare_pods()).unwrap_or(i64::MAX);
        self.metrics.pods_without_sidecar.set(bare);
        self.metrics.ready.set(1);
        let diagnostics = self.shown.clone();
        let (ready, cluster) = (true, self.cluster.clone());
        let published = Published { ready, generation: settled.generation, objects, diagnostics, cluster };
        self.publish.send_replace(published);
        settled.classes_made
    }

    fn diagnose(&mut self) {
        let all = diagnostics::assemble(self.engine.diagnostics(), &self.file_diagnostics, &self.places);
        self.metrics.set_diagnostics(&diagnostics::count(&all));
        self.said = diagnostics::log_new(&all, &self.said);
        self.shown = Arc::new(all);
    }

    fn answer(&mut self) {
        for question in std::mem::take(&mut self.questions) {
            match question {
                Question::Objects(reply) => {
                    let objects = self.engine.objects().into_iter();
                    let listed = objects.map(|(id, _)| Listed { place: self.places.get(&id).cloned(), id });
                    let _ = reply.send(listed.collect());
                }
                Question::Outcome(reply) => drop(reply.send(self.outcome())),
                Question::Observable(reply) => {
                    let mirrors = self.engine.observes().then(|| self.engine.mirrors());
                    let destinations = self.engine.counts_requests().then(|| self.engine.destinations());
                    let _ = reply.send(Observable { mirrors, destinations });
                }
                // Before the first load nobody is in a class, and nobody waits for that.
                Question::Settled(id, reply) if self.loaded && self.engine.is_waiting(id) => {
                    self.questions.push(Question::Settled(id, reply));
                }
                Question::Settled(_, reply) => drop(reply.send(())),
            }
        }
    }

    fn outcome(&mut self) -> Outcome {
        let mut objects: BTreeSet<_> = self.engine.with_status().into_iter().collect();
        objects.extend(self.cluster.keys().cloned());
        Outcome {
            objects,
            cluster: self.cluster.clone(),
            classes: self.engine.reach(),
            mirrors: self.engine.mirrors(),
        }
    }
}

/// How long changes gather after so many proxies were told of some. What a push costs is some 30 µs of a core for each of
/// them, so that a stream of changes takes less than a third of one, and the first after a while waits for nothing.
fn rest_after(told: usize) -> Duration {
    const FOR_EACH: Duration = Duration::from_micros(115);
    const LONGEST: Duration = Duration::from_millis(115);
    u32::try_from(told).map_or(LONGEST, |told| (FOR_EACH * told).min(LONGEST))
}

/// Mirrors as written, broken and switched off ones included.
fn count_mirrors(object: &Object) -> usize {
    let Object::VirtualService(service) = object else { return 0 };
    service.spec.http.iter().map(|rule| usize::from(rule.mirror.is_some()) + rule.mirrors.len()).sum()
}

#[cfg(test)]
mod tests;
