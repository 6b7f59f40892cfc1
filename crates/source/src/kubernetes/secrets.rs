//! The Secrets that Gateways name, each by its name: never a list of all, so that a Role that allows just these names is
//! enough. None is kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use umbra_ir::ObjectId;

use super::health::WatchId;
use super::listwatch::{ListWatch, Message};

/// Messages that wait for the collector.
const MESSAGES: usize = 64;

/// The watches of Secrets. Dropping it ends them.
pub(crate) struct SecretWatches {
    client: Client,
    /// See [`ListWatch::new`].
    resync: Option<Duration>,
    running: JoinSet<()>,
    watched: BTreeMap<ObjectId, AbortHandle>,
    sender: mpsc::Sender<(ObjectId, Message)>,
    /// What they tell.
    inbox: mpsc::Receiver<(ObjectId, Message)>,
    /// Those that have told nothing yet.
    silent: BTreeSet<ObjectId>,
}

impl SecretWatches {
    /// None yet.
    pub(crate) fn new(client: Client, resync: Option<Duration>) -> Self {
        let (sender, inbox) = mpsc::channel(MESSAGES);
        let (running, watched, silent) = Default::default();
        SecretWatches { client, resync, running, watched, sender, inbox, silent }
    }

    /// Watches just these from now on; answers those that are watched no more.
    pub(crate) fn want(&mut self, wanted: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        while self.running.try_join_next().is_some() {}
        let dropped: Vec<ObjectId> = self.watched.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        for id in &dropped {
            self.silent.remove(id);
            if let Some(watch) = self.watched.remove(id) {
                watch.abort();
            }
        }
        for id in wanted {
            if self.watched.contains_key(id) {
                continue;
            }
            let (out, mut told) = mpsc::channel(1);
            let of = WatchId { kind: id.kind, namespace: Some(id.namespace.clone()) };
            let watch = ListWatch::new(self.client.clone(), of, None, None, self.resync, out).only(&id.name);
            let (sender, name) = (self.sender.clone(), id.clone());
            let handle = self.running.spawn(async move {
                let pass_on = async {
                    while let Some(message) = told.recv().await {
                        if sender.send((name.clone(), message)).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = watch.run() => {}
                    () = pass_on => {}
                }
            });
            self.watched.insert(id.clone(), handle);
            self.silent.insert(id.clone());
        }
        dropped
    }

    /// The next message of a watch that still runs.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            let (id, message) = self.inbox.recv().await?;
            if self.watched.contains_key(&id) {
                self.silent.remove(&id);
                return Some(message);
            }
        }
    }

    /// Whether each has told something.
    pub(crate) fn all_told(&self) -> bool {
        self.silent.is_empty()
    }
}
