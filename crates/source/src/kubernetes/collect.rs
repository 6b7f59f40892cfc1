//! All watches and the directory together, as one stream of updates.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use umbra_ir::Kind;

use super::cache::Step;
use super::connect::ApiServer;
use super::health::{Health, WatchHealth, WatchId, WatchState};
use super::hold::Hold;
use super::kept::{Keep, Kept};
use super::listwatch::{ListWatch, Message};
use super::merge::Merge;
use super::resource::Resource;
use super::secrets::SecretWatches;
use super::status::AllObserved;
use crate::{Update, Watch, Work};

/// Updates that wait for their reader; while they do, changes merge.
const UPDATES: usize = 2;
/// Messages of watches that wait for the collector; the watches wait when it is full.
const MESSAGES: usize = 64;

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// Only these namespaces; empty: all. When there are any, neither Namespaces nor Nodes are read, so that
    /// a Role in each of them is enough.
    pub namespaces: Vec<Arc<str>>,
    /// Only VirtualServices, DestinationRules, ServiceEntries, WorkloadEntries, Gateways and Sidecars with these labels, as for
    /// `kubectl --selector`. Services, EndpointSlices and Pods are not limited: they don't carry the labels of rules.
    pub selector: Option<String>,
    /// Also the Secrets that Gateways name, each by its name.
    pub secrets: bool,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces {:?}, selector {:?}", self.namespaces, self.selector)
    }
}

impl Scope {
    fn watches(&self) -> Vec<WatchId> {
        if self.namespaces.is_empty() {
            let kinds = Kind::all().filter(|kind| !kind.facts().by_name);
            return kinds.map(|kind| WatchId { kind, namespace: None }).collect();
        }
        let mut namespaces = self.namespaces.clone();
        namespaces.sort();
        namespaces.dedup();
        let kinds = Kind::all().filter(|kind| kind.is_namespaced() && !kind.facts().by_name);
        kinds
            .flat_map(|kind| {
                namespaces.iter().map(move |name| WatchId { kind, namespace: Some(name.clone()) })
            })
            .collect()
    }
}

/// A cluster that is being watched.
#[derive(Debug)]
pub struct Cluster {
    /// What changed, in order. The first update is the whole state, once every watch has been in step. Dropping it ends
    /// the work.
    pub updates: mpsc::Receiver<Update>,
    /// How the watches are, from the start on.
    pub health: watch::Receiver<Health>,
    /// The statuses that the cluster's objects carry now.
    pub observed: watch::Receiver<AllObserved>,
    /// One piece for each watch, one that collects what they tell, and those of the files.
    pub work: Vec<Work>,
}

/// How to watch the cluster, with the objects of `files` beside it: the file wins over the same object. With `keep` the last
/// good state outlives the process: it is served when the API server is away at the start. With `resync` each watch lists anew
/// after so long (a tenth more or less), so that what it was never told comes to light; such a list is doubted as any other.
pub fn watch_cluster(
    server: &ApiServer,
    scope: &Scope,
    files: Option<Watch>,
    keep: Option<Keep>,
    resync: Option<Duration>,
) -> Cluster {
    let (out, updates) = mpsc::channel(UPDATES);
    let (sender, inbox) = mpsc::channel(MESSAGES);
    let watches = scope.watches();
    let start = watches.iter().map(|id| (id.clone(), WatchHealth::default())).collect();
    let (publish, health) = watch::channel(start);
    let (publish_observed, observed) = watch::channel(AllObserved::new());
    let mut work = Vec::new();
    let kept = keep.map(|keep| Kept::new(keep, format!("{} {}", server.url, scope)));
    if let Some(kept) = &kept {
        work.push(Work::task("last good state", kept.clone().run(sender.clone())));
    }
    for id in watches {
        let selector = scope.selector.clone().filter(|_| Resource::of(id.kind).is_defined());
        let (name, sender) = (format!("watch {id}"), sender.clone());
        let watch = ListWatch::new(server.client.clone(), id, selector, kept.clone(), resync, sender.clone());
        work.push(Work::task(name, async move {
            tokio::select! {
                () = watch.run() => {}
                () = sender.closed() => {}
            }
        }));
    }
    let (files, reading) = files.map(|files| (files.updates, files.work)).unzip();
    work.extend(reading);
    let secrets = scope.secrets.then(|| SecretWatches::new(server.client.clone(), resync));
    let namespaces = scope.namespaces.clone();
    let secrets = secrets.map(|watches| Secrets { watches, namespaces, since: None });
    work.push(Work::task("collector", collect(inbox, files, secrets, publish, publish_observed, out)));
    Cluster { updates, health, observed, work }
}

/// Runs until nobody takes updates any more; the watches end with it.
async fn collect(
    mut inbox: mpsc::Receiver<Message>,
    mut files: Option<mpsc::Receiver<Update>>,
    mut secrets: Option<Secrets>,
    health: watch::Sender<Health>,
    observed: watch::Sender<AllObserved>,
    out: mpsc::Sender<Update>,
) {
    let (mut merge, mut hold) = (Merge::default(), Hold::default());
    // The first update is sent even when it is empty: it says that there is nothing.
    let (mut first, mut synced, mut loaded) = (true, false, files.is_none());
    loop {
        let complete = synced && loaded;
        if let Some(secrets) = secrets.as_mut().filter(|_| complete) {
            secrets.follow(&mut merge);
        }
        // A gateway must not lose a server because its certificate comes a moment later than all the rest.
        let patience = secrets.as_ref().filter(|_| complete && first).and_then(Secrets::patience);
        let due = complete && patience.is_none() && (first || merge.is_dirty());
        tokio::select! {
            biased;
            message = inbox.recv() => {
                let Some(message) = message else { return };
                let (id, now) = (message.id.clone(), message.health.clone());
                let steps = hold.take(message, &health.borrow(), Instant::now());
                take_in(&mut merge, steps, &observed);
                health.send_modify(|health| {
                    health.insert(id, now);
                });
                synced = synced || health.borrow().values().all(|now| now.state != WatchState::Starting);
            }
            message = next_secret(&mut secrets) => {
                if let Some(message) = message {
                    take_in(&mut merge, message.steps, &observed);
                }
            }
            () = at(patience) => {}
            () = at(hold.until()) => take_in(&mut merge, hold.release(), &observed),
            update = next(&mut files) => {
                let Some(update) = update else { return };
                merge.files(update);
                loaded = true;
            }
            permit = out.reserve(), if due => {
                let Ok(permit) = permit else { return };
                permit.send(merge.take());
                first = false;
            }
            () = out.closed(), if !due => return,
        }
    }
}

fn take_in(merge: &mut Merge, steps: Vec<Step>, observed: &watch::Sender<AllObserved>) {
    let carries = steps.iter().any(|step| Resource::of(step.id.kind).is_defined());
    steps.into_iter().for_each(|step| merge.cluster(step));
    if carries {
        observed.send_replace(merge.observed().clone());
    }
}

/// The Secrets that Gateways name.
struct Secrets {
    watches: SecretWatches,
    /// Only in these namespaces; empty: in all.
    namespaces: Vec<Arc<str>>,
    /// When they were waited for first.
    since: Option<Instant>,
}

/// How long the first state waits for Secrets.
const SECRETS: Duration = Duration::from_secs(5);

impl Secrets {
    /// Watches what is named now.
    fn follow(&mut self, merge: &mut Merge) {
        let mut wanted = merge.wanted_secrets();
        wanted.retain(|id| self.namespaces.is_empty() || self.namespaces.contains(&id.namespace));
        self.watches.want(&wanted).iter().for_each(|id| merge.forget(id));
        self.since.get_or_insert_with(Instant::now);
    }

    /// Until when the first state should wait; `None`: it need not.
    fn patience(&self) -> Option<Instant> {
        let until = self.since? + SECRETS;
        (!self.watches.all_told() && Instant::now() < until).then_some(until)
    }
}

async fn next_secret(secrets: &mut Option<Secrets>) -> Option<Message> {
    match secrets {
        Some(secrets) => secrets.watches.next().await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

async fn next(files: &mut Option<mpsc::Receiver<Update>>) -> Option<Update> {
    match files {
        Some(updates) => updates.recv().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
