//! The core of one watch: what the API server tells, turned into steps. No IO, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use umbra_api::{Change, Object};
use umbra_ir::{Code, Diagnostic, Kind, ObjectId};

use super::health::{Failure, WatchHealth, WatchState};
use super::problem;
use super::resource::Resource;
use super::status::Observed;
use super::told::Told;

/// A list that lacks so many objects, and half or more of all, has to be said again before it counts.
const MANY: usize = 10;
/// How often it has to be said again. The pauses between make three seconds or more of it.
const AGAIN: u32 = 5;

/// What a watch tells, in the words of the Kubernetes API (list, watch, bookmark).
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A list begins.
    Init,
    /// An object of the list.
    Listed(Told),
    /// The list is complete, as of this resource version: what was not in it is gone.
    InitDone(String),
    /// The watch that follows the list, or goes on after a break, was accepted.
    Watching,
    /// An object was added or modified.
    Apply(Told),
    /// An object was deleted.
    Delete(Told),
    /// A bookmark, or the end of a watch in its time.
    Heard(Option<String>),
    /// It went wrong. Never takes anything away.
    Failed(Failure),
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) id: ObjectId,
    /// `None`: it means what it meant.
    pub(crate) change: Option<Change>,
    /// What is wrong with its text now.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Of an Istio object that is there: what a writer of statuses must know.
    pub(crate) seen: Option<Arc<Observed>>,
}

/// What one watch knows. Only what [`umbra_api`] keeps of an object stays in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    resource: Resource,
    held: BTreeMap<ObjectId, Held>,
    /// How many of them were understood.
    objects: usize,
    /// What the list that is being read holds.
    listed: Option<BTreeSet<ObjectId>>,
    /// How often in a row the list lacked many objects.
    doubted: u32,
    /// The newest resource version seen: a watch is ordered, so nothing older follows.
    newest: u64,
    listed_once: bool,
    /// A missing kind must be missing twice before it counts as absent.
    missed: bool,
    stalled: bool,
    state: WatchState,
    reason: String,
    failures: u64,
    /// Where what it holds comes from while no list has been complete, in words for a person; empty: from nowhere else.
    restored: String,
}

#[derive(Debug)]
struct Held {
    /// `None`: it has never been understood.
    object: Option<Arc<Object>>,
    diagnostics: Vec<Diagnostic>,
    seen: Option<Arc<Observed>>,
}

impl Cache {
    pub(crate) fn new(resource: Resource) -> Self {
        Cache {
            resource,
            held: BTreeMap::new(),
            objects: 0,
            listed: None,
            doubted: 0,
            newest: 0,
            listed_once: false,
            missed: false,
            stalled: false,
            state: WatchState::Starting,
            reason: String::new(),
            failures: 0,
            restored: String::new(),
        }
    }

    /// Takes in what was held in an earlier life, as of some time, until a list is complete. What a list that broke off has
    /// told is newer.
    pub(crate) fn restore(&mut self, told: Vec<Told>, as_of: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        for told in told {
            if identity(self.resource.kind, &told).is_some_and(|id| !self.held.contains_key(&id)) {
                steps.extend(self.apply(told).1);
            }
        }
        self.state = WatchState::Degraded;
        self.restored = format!("read from disk, as of {as_of}; ");
        self.reason.insert_str(0, &self.restored);
        steps
    }

    /// What it holds, whether understood or not.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.held.keys()
    }

    /// Whether the newest text of an object was understood.
    pub(crate) fn understands(&self, id: &ObjectId) -> bool {
        let kept = |note: &Diagnostic| note.code == Code::KeptLastGood;
        self.held.get(id).is_some_and(|held| held.object.is_some() && !held.diagnostics.iter().any(kept))
    }

    pub(crate) fn health(&self) -> WatchHealth {
        let (reason, objects) = (self.reason.clone(), self.objects);
        WatchHealth { state: self.state, reason, objects, failures: self.failures }
    }

    /// Takes one event in.
    ///
    /// # Errors
    /// An event is older than one before it: the stream cannot be trusted, and nothing of it was taken in. Or a list would take
    /// many objects away and leave none: it has to be said again.
    pub(crate) fn take(&mut self, event: Event) -> Result<Vec<Step>, Failure> {
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::Listed(told) => {
                let (id, step) = self.apply(told);
                if let (Some(listed), Some(id)) = (&mut self.listed, id) {
                    listed.insert(id);
                }
                return Ok(step.into_iter().collect());
            }
            Event::InitDone(version) => {
                let gone: Vec<_> = match self.listed.take() {
                    Some(listed) => self.held.keys().filter(|id| !listed.contains(*id)).cloned().collect(),
                    None => Vec::new(),
                };
                let (fewer, before) = (gone.len(), self.held.len());
                if fewer >= MANY && fewer * 2 >= before && self.doubted < AGAIN {
                    self.doubted += 1;
                    return Err(Failure::Fewer { gone: fewer, before });
                }
                self.doubted = 0;
                self.newest = number(&version);
                self.listed_once = true;
                self.restored.clear();
                return Ok(gone.into_iter().filter_map(|id| self.delete(id)).collect());
            }
            Event::Watching => {
                if !self.stalled {
                    self.in_step();
                }
            }
            Event::Apply(told) => {
                self.in_order(told.version().map_or(0, number))?;
                self.in_step();
                return Ok(self.apply(told).1.into_iter().collect());
            }
            Event::Delete(told) => {
                self.in_order(told.version().map_or(0, number))?;
                self.in_step();
                let id = identity(self.resource.kind, &told);
                return Ok(id.and_then(|id| self.delete(id)).into_iter().collect());
            }
            Event::Heard(version) => {
                if let Some(version) = version {
                    self.in_order(number(&version))?;
                }
                self.in_step();
            }
            Event::Failed(failure) => self.fail(&failure),
        }
        Ok(Vec::new())
    }

    /// Checks the order by the resource version. Version 0 is one that is no number: it says nothing.
    fn in_order(&mut self, version: u64) -> Result<(), Failure> {
        if version != 0 && version < self.newest {
            return Err(Failure::Disorder);
        }
        self.newest = self.newest.max(version);
        Ok(())
    }

    fn in_step(&mut self) {
        self.stalled = false;
        self.missed = false;
        if self.listed_once {
            self.state = WatchState::Synced;
            self.reason.clear();
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.listed = None;
        self.failures += 1;
        self.reason = format!("{}{failure}", self.restored);
        self.stalled = matches!(failure, Failure::Stalled(_));
        let missing = *failure == Failure::NoKind;
        self.state = match self.state {
            WatchState::Starting if missing && self.missed => WatchState::Absent,
            // It was absent in a former life, too.
            WatchState::Degraded if missing && self.missed && !self.listed_once && self.held.is_empty() => {
                WatchState::Absent
            }
            WatchState::Absent if missing => WatchState::Absent,
            WatchState::Starting | WatchState::Absent => self.state,
            WatchState::Synced | WatchState::Degraded => WatchState::Degraded,
        };
        self.missed = missing;
    }

    /// Which object the text is, and what that changes.
    fn apply(&mut self, told: Told) -> (Option<ObjectId>, Option<Step>) {
        let Some(id) = identity(self.resource.kind, &told) else { return (None, None) };
        let Told { mut value, broken } = told;
        // A status that cannot be read cannot be written either: it would be written again and again.
        let has_status = broken.is_none() || value.get("status").is_some();
        let seen = (self.resource.is_defined() && has_status).then(|| Observed::take(&mut value));
        slim(&mut value, self.resource);
        let (new, mut diagnostics) = match broken {
            Some(why) => (None, vec![problem::unreadable(&id, &why)]),
            None => {
                let parsed = umbra_api::parse_value(value);
                let object = parsed.objects.into_iter().next().map(|located| Arc::new(located.value));
                (object, parsed.diagnostics)
            }
        };
        let understood = new.is_some();
        let old = self.held.get(&id);
        let seen = seen.map(|mut seen| {
            let before = old.and_then(|held| held.seen.as_ref()).map(|before| before.generations.in_force);
            seen.generations.in_force =
                if understood { seen.generations.newest } else { before.unwrap_or_default() };
            Arc::new(seen)
        });
        let object = new.or_else(|| old.and_then(|held| held.object.clone()));
        if !understood && object.is_some() {
            diagnostics.push(problem::kept(&id));
        }
        let same = match old {
            Some(held) => held.object == object,
            None => object.is_none(),
        };
        let quiet = old.map_or(&[][..], |held| &held.diagnostics) == diagnostics
            && old.and_then(|held| held.seen.as_ref()) == seen.as_ref();
        let change = object.clone().filter(|_| !same).map(Change::Upsert);
        let step = (!same || !quiet).then(|| Step {
            id: id.clone(),
            change,
            diagnostics: diagnostics.clone(),
            seen: seen.clone(),
        });
        if same && quiet && old.is_some() {
            return (Some(id), None);
        }
        // The old allocation is the one that everybody shares, also where only the status is new.
        let object = old.and_then(|held| held.object.clone()).filter(|_| same).or(object);
        let (now, before) =
            (object.is_some(), self.held.insert(id.clone(), Held { object, diagnostics, seen }));
        let before = before.is_some_and(|held| held.object.is_some());
        self.objects += usize::from(now && !before);
        (Some(id), step)
    }

    fn delete(&mut self, id: ObjectId) -> Option<Step> {
        let held = self.held.remove(&id)?;
        self.objects -= usize::from(held.object.is_some());
        let change = held.object.is_some().then(|| Change::Delete(id.clone()));
        Some(Step { id, change, diagnostics: Vec::new(), seen: None })
    }
}

/// A resource version as a number; 0 when it is none.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Which object a text is.
pub(crate) fn identity(kind: Kind, told: &Told) -> Option<ObjectId> {
    let namespace = if kind.is_namespaced() { told.text("/metadata/namespace")? } else { "" };
    Some(ObjectId::new(kind, namespace, told.text("/metadata/name")?))
}

/// Drops what umbra never reads, and says what the items of a list leave out.
fn slim(value: &mut Value, resource: Resource) {
    let Value::Object(object) = value else { return };
    if resource.kind != Kind::Pod {
        object.remove("status");
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        // Whether a canary tool moves its shares is to be known of a VirtualService.
        let managers = metadata.remove("managedFields");
        let managers = managers.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut tools = managers.filter_map(|it| it.get("manager")?.as_str());
        let tool = tools.find(|name| umbra_api::CanaryTool::of_manager(name).is_some());
        if let Some(tool) = tool.filter(|_| resource.kind == Kind::VirtualService) {
            metadata.insert("managedFields".to_owned(), serde_json::json!([{ "manager": tool }]));
        }
    }
    for (key, text) in [
        ("apiVersion", resource.api_version(resource.versions()[0])),
        ("kind", resource.kind.as_str().to_owned()),
    ] {
        object.entry(key).or_insert(Value::String(text));
    }
}

#[cfg(test)]
mod tests;
