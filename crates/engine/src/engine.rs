//! The one mutable place: objects in, snapshots and diagnostics out.

mod counted;
mod judged;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::{
    Diagnostic, Kind, ObjectId, ProxyClass, ProxyNode, RuntimeForms, RuntimeFraction, RuntimeKey, Settings,
};
use umbra_mesh::Index;
use umbra_xds::{Resource, Snapshot};

use crate::classes::{Classes, Pending};
use crate::domain::{Key, Manifest, Value};
use crate::input::{Input, InputId, World};
use crate::ledger::{Effect, Ledger};
use crate::memo::Memo;
use crate::reach::{ClassReach, Reaches};
use crate::said::Said;
use crate::secrets::Secrets;
use crate::view::Mesh;
use crate::written::{WrittenHost, written};

/// A connected stream; the caller never uses a number twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProxyId(pub u64);

/// How an engine starts.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The operator's settings.
    pub settings: Settings,
    /// Whether a Service without EndpointSlices takes the Pods that its selector matches. True for a
    /// directory, where no controller writes slices.
    pub pods_as_endpoints: bool,
}

/// What one [`Engine::settle`] did.
#[derive(Debug, Default)]
pub struct Settled {
    /// The generation that all of it belongs to. Grows with every settle that changed something.
    pub generation: u64,
    /// The proxies whose snapshot is a new one.
    pub snapshots: Vec<(ProxyId, Arc<Snapshot>)>,
    /// Whether [`Engine::diagnostics`] answers something else than before.
    pub diagnostics_changed: bool,
    /// How many keys were computed.
    pub recomputed: u64,
    /// How many classes of proxies are new.
    pub classes_made: usize,
    /// How many proxies wait for a class that is still to be made.
    pub waiting: usize,
}

/// How many classes a turn makes. Each is a walk over all that it sees, so that every one more is time that changes wait.
const CLASSES_A_TURN: usize = 1;

struct Proxy {
    node: ProxyNode,
    rtds: RuntimeForms,
    class: Option<ProxyClass>,
}

impl Proxy {
    fn key(&self) -> Key {
        Key::Class(self.node.clone(), self.rtds)
    }
}

/// Objects, proxies, and everything computed from them. Not threaded: one task owns it.
pub struct Engine {
    memo: Memo<Mesh>,
    world: World,
    proxies: BTreeMap<ProxyId, Proxy>,
    /// Proxies by the key of their class.
    by_key: BTreeMap<Key, BTreeSet<ProxyId>>,
    /// Proxies to be put into a class at the next turn.
    unclassed: BTreeSet<ProxyId>,
    classes: Classes,
    reaches: Reaches,
    /// Each diagnostic with the number of keys that say it.
    diagnostics: BTreeMap<Diagnostic, usize>,
    counts: BTreeMap<Kind, usize>,
    ledger: Ledger,
    /// What was said of objects beyond their namespace's budget, and what is said instead since the last turn.
    over_budget: Vec<(Vec<Diagnostic>, Vec<Diagnostic>)>,
    secrets: Secrets,
    judged: BTreeMap<RuntimeKey, RuntimeFraction>,
    generation: u64,
    dirty: bool,
}

impl Engine {
    /// An engine without objects or proxies.
    pub fn new(options: Options) -> Self {
        let world =
            World { settings: Arc::new(options.settings), pods_as_endpoints: options.pods_as_endpoints };
        let mut memo = Memo::default();
        memo.apply(&InputId::World, Some(Arc::new(Input::World(world.clone()))));
        Engine {
            memo,
            world,
            proxies: BTreeMap::new(),
            by_key: BTreeMap::new(),
            unclassed: BTreeSet::new(),
            classes: Classes::default(),
            reaches: Reaches::default(),
            diagnostics: BTreeMap::new(),
            counts: BTreeMap::new(),
            ledger: Ledger::default(),
            over_budget: Vec::new(),
            secrets: Secrets::default(),
            judged: BTreeMap::new(),
            generation: 0,
            dirty: false,
        }
    }

    /// An engine where namespaces may come to so much.
    #[cfg(test)]
    pub(crate) fn with_namespace_budget(bytes: usize) -> Self {
        Engine { ledger: Ledger::of(bytes), ..Engine::new(Options::default()) }
    }

    /// Replaces the operator's settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.world.settings = Arc::new(settings);
        let input = Arc::new(Input::World(self.world.clone()));
        self.dirty |= self.memo.apply(&InputId::World, Some(input));
    }

    /// Says what time it is, in seconds since 1970. It only matters which hour.
    pub fn set_time(&mut self, seconds: i64) {
        let hour = Arc::new(Input::Hour(seconds.div_euclid(3600)));
        self.dirty |= self.memo.apply(&InputId::Hour, Some(hour));
    }

    /// Takes one change in; nothing is computed before [`Engine::settle`]. An equal object changes nothing. Objects beyond what
    /// their namespace may come to are as if they were not there.
    pub fn apply(&mut self, change: Change) {
        let change = match change {
            Change::Upsert(object) => Change::Upsert(self.secrets.follow(&self.memo, object)),
            Change::Delete(id) => self.secrets.keep(&self.memo, id),
        };
        self.admit(change);
        for id in self.secrets.forgotten(&self.memo) {
            self.admit(Change::Delete(id));
        }
    }

    /// Gives back memory after many objects were applied, for whom that is worth a walk over all of them.
    pub fn pack(&mut self) {
        self.memo.pack();
    }

    fn admit(&mut self, change: Change) {
        let memo = &self.memo;
        let counts = |id: &ObjectId| match memo.store().get(&InputId::Object(id.clone())).map(Arc::as_ref) {
            Some(Input::Object(object)) => Some(object.clone()),
            _ => None,
        };
        let Effect { now_in, now_out, said } = self.ledger.take(change, counts);
        now_out.into_iter().for_each(|id| self.remove(id));
        now_in.into_iter().for_each(|object| self.put(object));
        if said.0 != said.1 {
            self.dirty = true;
            self.over_budget.push(said);
        }
    }

    fn put(&mut self, object: Arc<Object>) {
        let id = object.id();
        let input = InputId::Object(id.clone());
        let known = self.memo.store().get(&input).is_some();
        self.dirty |= self.memo.apply(&input, Some(Arc::new(Input::Object(object))));
        if !known {
            *self.counts.entry(id.kind).or_default() += 1;
            if id.kind.facts().reported {
                self.memo.demand(&Key::Report(id));
            }
        }
    }

    fn remove(&mut self, id: ObjectId) {
        if self.memo.apply(&InputId::Object(id.clone()), None) {
            self.dirty = true;
            if let Some(count) = self.counts.get_mut(&id.kind) {
                *count -= 1;
            }
            if id.kind.facts().reported {
                self.memo.release(&Key::Report(id));
            }
        }
    }

    /// Takes a proxy in; its snapshot comes with the next [`Engine::settle`].
    pub fn connect(&mut self, id: ProxyId, node: ProxyNode, rtds: impl Into<RuntimeForms>) {
        self.disconnect(id);
        let proxy = Proxy { node, rtds: rtds.into(), class: None };
        let key = proxy.key();
        self.memo.demand(&key);
        self.by_key.entry(key).or_default().insert(id);
        self.unclassed.insert(id);
        self.proxies.insert(id, proxy);
    }

    /// The proxy has asked for layers of the runtime: fractions reach it that way from now on.
    pub fn set_rtds(&mut self, id: ProxyId, forms: RuntimeForms) {
        let Some(proxy) = self.proxies.get_mut(&id).filter(|p| p.rtds.with(forms) != p.rtds) else { return };
        let old = proxy.key();
        proxy.rtds = proxy.rtds.with(forms);
        let new = proxy.key();
        self.memo.demand(&new);
        self.by_key.entry(new).or_default().insert(id);
        self.unclassed.insert(id);
        self.forget_key(&old, id);
    }

    /// The proxy has gone.
    pub fn disconnect(&mut self, id: ProxyId) {
        let Some(proxy) = self.proxies.remove(&id) else { return };
        self.unclassed.remove(&id);
        self.forget_key(&proxy.key(), id);
        if let Some(class) = proxy.class {
            self.leave(&class, id);
        }
    }

    fn forget_key(&mut self, key: &Key, id: ProxyId) {
        self.memo.release(key);
        if let Some(users) = self.by_key.get_mut(key) {
            users.remove(&id);
            if users.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    fn leave(&mut self, class: &ProxyClass, id: ProxyId) {
        if let Some(held) = self.classes.leave(class, id) {
            self.memo.release(&Key::Manifest(class.clone()));
            for key in &held {
                self.memo.release(key);
            }
        }
    }

    /// Computes all that the changes since the last time have touched and derives new snapshots, for all proxies.
    pub fn settle(&mut self) -> Settled {
        let mut all = self.turn();
        let mut snapshots: BTreeMap<_, _> = std::mem::take(&mut all.snapshots).into_iter().collect();
        while all.waiting > 0 {
            let next = self.turn();
            snapshots.extend(next.snapshots);
            all.diagnostics_changed |= next.diagnostics_changed;
            all.recomputed += next.recomputed;
            all.classes_made += next.classes_made;
            (all.generation, all.waiting) = (next.generation, next.waiting);
        }
        all.snapshots = snapshots.into_iter().collect();
        all
    }

    /// Whether a proxy waits for a class that is still to be made.
    pub fn is_waiting(&self, id: ProxyId) -> bool {
        self.unclassed.contains(&id)
    }

    /// A part of [`Engine::settle`]: all changes for the classes that there are, or else one new class. While
    /// [`Settled::waiting`] is not 0, more turns follow; changes that came meanwhile go first in the next.
    ///
    /// In rounds: what class each proxy is in, then what each class holds, then the contents. Each round asks
    /// for more and ends when nothing new is asked.
    pub fn turn(&mut self) -> Settled {
        let mut settled = Settled::default();
        let may_make = if self.dirty && self.classes.len() > 0 { 0 } else { CLASSES_A_TURN };
        let mut pending = Pending::default();
        let mut updated: BTreeSet<ProxyId> = BTreeSet::new();
        let mut touched: BTreeMap<Diagnostic, bool> = BTreeMap::new();
        // Proxies whose class is new, and not of this turn.
        let mut waiting: BTreeSet<ProxyId> = BTreeSet::new();
        if self.dirty || !self.unclassed.is_empty() {
            self.generation += 1;
        }
        self.dirty = false;
        for (before, after) in std::mem::take(&mut self.over_budget) {
            self.count_notes(&before, &after, &mut touched);
        }
        loop {
            let round = self.memo.settle();
            settled.recomputed += round.recomputed;
            for change in round.notes {
                self.count_notes(&change.before, &change.after, &mut touched);
            }
            let mut more = false;
            for (key, value) in round.changed {
                match value.as_deref() {
                    Some(Value::Class(_)) => {
                        self.unclassed.extend(self.by_key.get(&key).into_iter().flatten());
                    }
                    Some(Value::Manifest(manifest)) => {
                        let Key::Manifest(class) = &key else { continue };
                        more |= self.hold(class, manifest, &mut pending);
                    }
                    Some(Value::Resource(_)) => self.classes.content_changed(&key, &mut pending),
                    _ => {}
                }
            }
            for id in std::mem::take(&mut self.unclassed) {
                let new = self.needs_class(id);
                if new && settled.classes_made == may_make {
                    waiting.insert(id);
                    continue;
                }
                settled.classes_made += usize::from(new);
                more |= self.reclass(id, &mut pending);
                updated.insert(id);
            }
            if !more {
                break;
            }
        }
        settled.waiting = waiting.len();
        self.unclassed = waiting;
        let memo = &self.memo;
        let published = self.classes.publish(self.generation, pending, |key| resource_of(memo, key));
        for class in published {
            updated.extend(self.classes.get(&class).into_iter().flat_map(|c| &c.proxies));
        }
        // One key may take over from another what it says: that is no change.
        settled.diagnostics_changed =
            touched.iter().any(|(note, was)| self.diagnostics.contains_key(note) != *was);
        settled.generation = self.generation;
        settled.snapshots = updated.into_iter().filter_map(|id| Some((id, self.snapshot(id)?))).collect();
        settled
    }

    /// Asks for what a class's manifest names, and no longer for what it named before; true when that differs.
    fn hold(&mut self, class: &ProxyClass, manifest: &Arc<Manifest>, pending: &mut Pending) -> bool {
        let (added, removed) = self.classes.replace_manifest(class, manifest, pending);
        for key in &added {
            self.memo.demand(key);
        }
        for key in &removed {
            self.memo.release(key);
        }
        !added.is_empty() || !removed.is_empty()
    }

    /// Whether a proxy's class is one that does not exist yet.
    fn needs_class(&self, id: ProxyId) -> bool {
        let Some(proxy) = self.proxies.get(&id) else { return false };
        match self.memo.value(&proxy.key()).as_deref() {
            Some(Value::Class(class)) => self.classes.get(class).is_none(),
            _ => false,
        }
    }

    /// Puts a proxy into its class; true when something new has to be computed for it.
    fn reclass(&mut self, id: ProxyId, pending: &mut Pending) -> bool {
        let Some(proxy) = self.proxies.get_mut(&id) else { return false };
        let value = self.memo.value(&proxy.key());
        let Some(Value::Class(class)) = value.as_deref() else { return false };
        if proxy.class.as_ref() == Some(class) {
            return false;
        }
        let old = proxy.class.replace(class.clone());
        let new = self.classes.join(class, id, self.generation);
        if new {
            let key = Key::Manifest(class.clone());
            self.memo.demand(&key);
            // Published even when it turns out to hold nothing: an empty answer is an answer.
            pending.0.entry(class.clone()).or_default();
            // The class's last proxy may have left a moment ago: then its manifest is here still, and no change.
            if let Some(Value::Manifest(manifest)) = self.memo.value(&key).as_deref() {
                self.hold(class, manifest, pending);
            }
        }
        if let Some(old) = old {
            self.leave(&old, id);
        }
        true
    }

    /// Adds and takes away. `touched` keeps whether each was there before the first time it was counted.
    fn count_notes(
        &mut self,
        before: &[Diagnostic],
        after: &[Diagnostic],
        touched: &mut BTreeMap<Diagnostic, bool>,
    ) {
        for note in after {
            let count = self.diagnostics.entry(note.clone()).or_default();
            touched.entry(note.clone()).or_insert(*count > 0);
            *count += 1;
        }
        for note in before {
            if let Some(count) = self.diagnostics.get_mut(note) {
                touched.entry(note.clone()).or_insert(*count > 0);
                *count -= 1;
                if *count == 0 {
                    self.diagnostics.remove(note);
                }
            }
        }
    }

    /// What a proxy should have as of the last settle.
    pub fn snapshot(&self, id: ProxyId) -> Option<Arc<Snapshot>> {
        let class = self.class(id)?;
        Some(self.classes.get(class)?.snapshot.clone())
    }

    /// The class of a proxy as of the last settle.
    pub fn class(&self, id: ProxyId) -> Option<&ProxyClass> {
        self.proxies.get(&id)?.class.as_ref()
    }

    /// How many classes of proxies are served.
    pub fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// The generation of the last settle.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every diagnostic about every object, sorted by severity, without files and lines.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.diagnostics.keys().cloned().collect()
    }

    /// How many Pods should have a sidecar and have none, as of the last settle; 0 as long as there are no rules that
    /// they could go past.
    pub fn bare_pods(&self) -> usize {
        match self.memo.value(&Key::BareNamespaces()).as_deref() {
            Some(Value::BareNamespaces(all)) => all.values().map(|bare| bare.count).sum(),
            _ => 0,
        }
    }

    /// How many objects there are of each kind.
    pub fn object_counts(&self) -> &BTreeMap<Kind, usize> {
        &self.counts
    }

    /// Whether there is this object, as it was applied last.
    pub fn knows(&self, id: &ObjectId) -> bool {
        let input = self.memo.store().get(&InputId::Object(id.clone()));
        input.is_some_and(|input| matches!(&**input, Input::Object(_)))
    }

    /// An object, as it was applied last.
    pub fn object(&self, id: &ObjectId) -> Option<Arc<Object>> {
        match self.memo.store().get(&InputId::Object(id.clone())).map(Arc::as_ref) {
            Some(Input::Object(object)) => Some(object.clone()),
            _ => None,
        }
    }

    /// Whether this Pod is there, and neither ends nor has ended.
    pub fn is_running(&self, pod: &ObjectId) -> bool {
        let input = self.memo.store().get(&InputId::Object(pod.clone()));
        input.is_some_and(|input| match &**input {
            Input::Object(object) => match &**object {
                Object::Pod(pod) => !pod.meta.deleting && !["Succeeded", "Failed"].contains(&&*pod.phase),
                _ => false,
            },
            Input::World(_) | Input::Hour(_) | Input::Judged(_) => false,
        })
    }

    /// Every object, sorted by identity.
    pub fn objects(&self) -> Vec<(ObjectId, Arc<Object>)> {
        let objects = self.memo.store().iter().filter_map(|(id, input)| match (id, &**input) {
            (InputId::Object(id), Input::Object(object)) => Some((id.clone(), object.clone())),
            _ => None,
        });
        let mut objects: Vec<_> = objects.collect();
        objects.sort_by(|a, b| a.0.cmp(&b.0));
        objects
    }

    /// Every class of proxies and which of its resources come from which object, as of the last settle.
    pub fn reach(&mut self) -> Vec<ClassReach> {
        let Engine { memo, classes, reaches, .. } = self;
        reaches.retain(|class| classes.get(class).is_some());
        let all = classes.iter().map(|(class, known)| {
            let scope = match memo.value(&Key::Scope(class.clone())).as_deref() {
                Some(Value::Scope(scope)) => scope.clone(),
                _ => Arc::default(),
            };
            ClassReach {
                class: class.clone(),
                proxies: known.proxies.iter().copied().collect(),
                snapshot: known.snapshot.clone(),
                objects: reaches.of(class, scope.clone(), &known.manifest),
                scope,
            }
        });
        all.collect()
    }

    /// Every object whose status we write, sorted.
    pub fn with_status(&self) -> Vec<ObjectId> {
        let mut found = Vec::new();
        for kind in Kind::all().filter(|kind| kind.facts().status) {
            let index = Index::Kind(kind);
            found.extend(self.memo.store().members(&index).filter_map(|(id, _)| match id {
                InputId::Object(id) => Some(id.clone()),
                InputId::World | InputId::Hour | InputId::Judged(_) => None,
            }));
        }
        found
    }

    /// What the front ends made of the objects, so far as somebody reads it, as of the last settle.
    pub fn said(&self) -> Said {
        Said::of(&self.memo)
    }

    /// Of every virtual host of a class, which rule each of its routes is made of, as of the last settle.
    pub fn written(&self, class: &ProxyClass) -> Vec<WrittenHost> {
        written(&self.memo, class)
    }

    /// How many values are kept, and how many reads between them: for metrics and tests of memory.
    pub fn sizes(&self) -> crate::memo::Sizes {
        self.memo.sizes()
    }

    /// How many values of each kind are kept.
    pub fn key_counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (key, _) in self.memo.values() {
            *counts.entry(key.kind()).or_default() += 1;
        }
        counts
    }

    /// What another engine could be made of that comes to the same.
    pub fn parts(&self) -> Parts {
        let settings = (*self.world.settings).clone();
        Parts {
            options: Options { settings, pods_as_endpoints: self.world.pods_as_endpoints },
            objects: self.objects().into_iter().map(|(_, object)| object).collect(),
            judged: self.judged.clone(),
            proxies: self.proxies.iter().map(|(id, proxy)| (*id, proxy.node.clone(), proxy.rtds)).collect(),
        }
    }

    /// The oracle: the same objects, settings and proxies, computed from scratch.
    pub fn rebuilt(&self) -> Engine {
        let mut engine = self.parts().build();
        engine.settle();
        engine
    }
}

/// What an engine is made of. Objects are shared, so that it costs little to take.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Settings.
    pub options: Options,
    /// Every object, sorted by identity.
    pub objects: Vec<Arc<Object>>,
    /// What part of rules' requests is judged.
    pub judged: BTreeMap<RuntimeKey, RuntimeFraction>,
    /// Every proxy.
    pub proxies: Vec<(ProxyId, ProxyNode, RuntimeForms)>,
}

impl Parts {
    /// An engine of its own, which nobody has settled yet.
    pub fn build(self) -> Engine {
        let mut engine = Engine::new(self.options);
        self.objects.into_iter().for_each(|object| engine.apply(Change::Upsert(object)));
        engine.set_judged(&self.judged);
        self.proxies.into_iter().for_each(|(id, node, rtds)| engine.connect(id, node, rtds));
        engine
    }
}

fn resource_of(memo: &Memo<Mesh>, key: &Key) -> Option<Arc<Resource>> {
    match memo.value(key).as_deref() {
        Some(Value::Resource(resource)) => resource.clone(),
        _ => None,
    }
}
