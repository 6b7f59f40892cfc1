//! The last good state of a cluster on disk: what to start from while the API server is away.
//!
//! Each watch notes what it was told; a task writes that once a second. The disk may be slow, full or broken: watches
//! never wait for it, and what cannot be written is tried again. What is read back is checked: its sums, its age, and
//! that it is of the same cluster and watches.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tracing::{info, warn};
use umbra_ir::ObjectId;

use super::health::WatchId;
use super::told::Told;
use store::Store;

/// How long changes are collected before they are written together.
const COLLECT: Duration = Duration::from_secs(1);
/// How long after a failure writing is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How old what is written may look, at most, while a watch is in step and nothing changes.
const HEARD: u64 = 60;

/// Where the last good state of a cluster is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keep {
    /// A folder of this process alone.
    pub folder: PathBuf,
    /// What was last in step longer ago is not read back.
    pub max_age: Duration,
}

/// What a watch was told last, on disk.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keep: Keep,
    scope: String,
    pending: Mutex<Pending>,
    /// `None`: it has to be opened anew.
    store: Mutex<Option<Store>>,
    noted: Notify,
}

/// What has to be written together.
#[derive(Default, Debug)]
struct Batch {
    /// What complete lists held: everything else of the watch is gone.
    complete: BTreeMap<String, BTreeSet<String>>,
    objects: BTreeMap<(String, String), Option<Box<str>>>,
    /// When a watch was in step last, in seconds since 1970.
    heard: BTreeMap<String, u64>,
}

/// What the watches have noted.
#[derive(Default, Debug)]
struct Pending {
    batch: Batch,
    /// When it was noted last that a watch is in step.
    noted: BTreeMap<String, u64>,
    /// Watches of which not all is on disk: a new list is needed.
    lost: BTreeSet<String>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.complete.is_empty() && self.objects.is_empty() && self.heard.is_empty()
    }

    /// What could not be written comes before what was noted since.
    fn put_back(&mut self, older: Batch) {
        for (watch, ids) in older.complete {
            self.complete.entry(watch).or_insert(ids);
        }
        for ((watch, id), text) in older.objects {
            let gone = self.complete.get(&watch).is_some_and(|ids| !ids.contains(&id));
            if !gone {
                self.objects.entry((watch, id)).or_insert(text);
            }
        }
        for (watch, at) in older.heard {
            self.heard.entry(watch).or_insert(at);
        }
    }
}

impl Kept {
    /// `scope` says which cluster it is and what of it is watched: what was kept of another is not used.
    pub(crate) fn new(keep: Keep, scope: String) -> Self {
        let kept = Kept(Arc::new(Shared {
            keep,
            scope,
            pending: Mutex::default(),
            store: Mutex::new(None),
            noted: Notify::new(),
        }));
        match kept.open() {
            Ok(store) => *lock(&kept.0.store) = Some(store),
            Err(error) => {
                warn!(folder = %kept.0.keep.folder.display(), %error, "the last good state is not kept for now");
            }
        }
        kept
    }

    /// Notes an object as it was told, or that it is gone.
    pub(crate) fn note(&self, watch: &WatchId, id: &ObjectId, told: Option<&RawValue>) {
        let key = (watch.to_string(), name(id));
        self.pending().batch.objects.insert(key, told.map(|text| text.get().into()));
        self.0.noted.notify_one();
    }

    /// Notes that a complete list held these objects and no others.
    pub(crate) fn note_complete<'a>(&self, watch: &WatchId, ids: impl Iterator<Item = &'a ObjectId>) {
        let (watch, ids) = (watch.to_string(), ids.map(name).collect::<BTreeSet<_>>());
        let mut pending = self.pending();
        pending.batch.objects.retain(|(of, id), _| *of != watch || ids.contains(id));
        pending.lost.remove(&watch);
        pending.batch.complete.insert(watch.clone(), ids);
        pending.batch.heard.insert(watch, now());
        self.0.noted.notify_one();
    }

    /// Notes that a watch is in step.
    pub(crate) fn note_heard(&self, watch: &WatchId) {
        let (watch, now) = (watch.to_string(), now());
        let mut pending = self.pending();
        if pending.noted.get(&watch).is_some_and(|noted| now < noted + HEARD) {
            return;
        }
        pending.noted.insert(watch.clone(), now);
        pending.batch.heard.insert(watch, now);
        self.0.noted.notify_one();
    }

    /// Whether only a new list of the watch makes what is on disk complete.
    pub(crate) fn needs_list(&self, watch: &WatchId) -> bool {
        self.pending().lost.contains(&watch.to_string())
    }

    /// What a watch held when it was last in step, and when that was; `None`: nothing that can be used.
    pub(crate) async fn read(&self, watch: &WatchId) -> Option<(Timestamp, Vec<Told>)> {
        let (kept, key) = (self.clone(), watch.to_string());
        let read = tokio::task::spawn_blocking(move || -> Result<_, store::Broken> {
            match &*lock(&kept.0.store) {
                Some(store) => store.read(&key),
                None => Ok(None),
            }
        });
        let (heard, texts) = match read.await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => {
                warn!(%watch, %error, "the last good state on disk cannot be used");
                return None;
            }
            Err(error) => {
                warn!(%watch, %error, "the last good state on disk cannot be read");
                return None;
            }
        };
        let age = Duration::from_secs(now().saturating_sub(heard));
        if age > self.0.keep.max_age {
            info!(%watch, age_seconds = age.as_secs(), "the last good state on disk is too old");
            return None;
        }
        let raw = texts.into_iter().filter_map(|text| RawValue::from_string(text).ok());
        let told = raw.map(|text| Told::read(&text)).collect();
        Some((Timestamp::from_second(i64::try_from(heard).ok()?).ok()?, told))
    }

    /// Writes what is noted, until nobody listens to the watches any more.
    pub(crate) async fn run<T>(self, listeners: mpsc::Sender<T>) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.0.noted.notified() => {}
                () = listeners.closed() => return,
            }
            sleep(COLLECT).await;
            let kept = self.clone();
            let failed = match tokio::task::spawn_blocking(move || kept.write()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = &failed {
                if !failing {
                    warn!(folder = %self.0.keep.folder.display(), %error, "the last good state cannot be written; trying again");
                }
                sleep(AGAIN).await;
                self.0.noted.notify_one();
            } else if failing {
                info!("the last good state is written again");
            }
            failing = failed.is_some();
        }
    }

    fn write(&self) -> Result<(), store::Broken> {
        let mut store = lock(&self.0.store);
        let mut open = match store.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let batch = std::mem::take(&mut self.pending().batch);
        if !batch.is_empty()
            && let Err(error) = open.write(&batch)
        {
            // After an error of the disk the library refuses everything until it is opened anew.
            self.pending().batch.put_back(batch);
            return Err(error);
        }
        *store = Some(open);
        Ok(())
    }

    /// Opens the file; what is damaged, or of another cluster, begins anew.
    fn open(&self) -> Result<Store, store::Broken> {
        let (store, anew) = Store::open(&self.0.keep.folder, &self.0.scope)?;
        if let Some(why) = anew {
            info!(folder = %self.0.keep.folder.display(), why, "keeping the last good state begins anew");
            let mut pending = self.pending();
            let known: Vec<String> = pending.noted.keys().cloned().collect();
            pending.lost.extend(known);
        }
        Ok(store)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.0.pending)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is no worse than what a disk may say.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(id: &ObjectId) -> String {
    format!("{}/{}", id.namespace, id.name)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What is kept of an object: without what umbra never reads, above all without what a Pod's containers are told,
/// which may be secret.
fn trim(value: &mut Value) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    let Some(Value::Object(spec)) = value.get_mut("spec") else { return };
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Value::Object(container) = container else { continue };
            for field in ["env", "envFrom", "command", "args", "volumeMounts", "lifecycle"] {
                container.remove(field);
            }
        }
    }
    if spec.contains_key("containers") {
        spec.remove("volumes");
    }
}

#[cfg(test)]
mod tests;
