//! Proxies that are away: their streams have ended, and their Pods are there as before. An Envoy goes on with what it was told
//! last, so they go on to count among those that an object reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use umbra_ir::{Kind, ObjectId};

use super::Proxy;
use crate::engine_task::Connected;

/// Who is gone for shorter is about to come back, or to be gone for good.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// What is kept of all of them at most, by [`umbra_xds::Session::weight`]; whoever leaves beyond it is forgotten.
const MAX_WEIGHT: usize = 64 << 20;
/// The same of one.
const MAX_WEIGHT_OF_ONE: usize = 256 << 10;

/// Those who are away.
#[derive(Debug, Default)]
pub struct Away {
    /// By Pod: of one that left several times the last counts.
    gone: Mutex<BTreeMap<ObjectId, Gone>>,
}

#[derive(Debug)]
struct Gone {
    proxy: Arc<Proxy>,
    since: (Instant, Timestamp),
    weight: usize,
    /// So that what it should have goes on to be worked out.
    _connected: Connected,
}

/// One that counts.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    /// Who.
    pub(crate) proxy: Arc<Proxy>,
    /// Since when.
    pub(crate) since: Timestamp,
    /// For how long.
    pub(crate) age: Duration,
}

impl Away {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectId, Gone>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one whose stream has ended. Who counts nowhere or was told nothing is none.
    pub(super) fn enter(&self, proxy: &Arc<Proxy>, connected: Connected) {
        if !proxy.counts || proxy.snapshot().is_none() {
            return;
        }
        let weight = proxy.with_session(|session| session.weight());
        let mut gone = self.lock();
        let all: usize = gone.values().map(|it| it.weight).sum();
        if weight > MAX_WEIGHT_OF_ONE || all + weight > MAX_WEIGHT {
            return;
        }
        let since = (Instant::now(), Timestamp::now());
        gone.insert(pod(proxy), Gone { proxy: proxy.clone(), since, weight, _connected: connected });
    }

    /// Lets one go that has come back.
    pub(super) fn returned(&self, proxy: &Proxy) {
        let mut gone = self.lock();
        if !gone.is_empty() {
            gone.remove(&pod(proxy));
        }
    }

    /// The Pods of all.
    pub(crate) fn pods(&self) -> Vec<ObjectId> {
        self.lock().keys().cloned().collect()
    }

    /// Lets these go: they are somewhere else, or their Pods are gone.
    pub(crate) fn forget(&self, pods: &BTreeSet<ObjectId>) {
        self.lock().retain(|pod, _| !pods.contains(pod));
    }

    /// Makes everybody gone for longer by so much.
    #[cfg(test)]
    pub(crate) fn age(&self, by: Duration) {
        self.lock().values_mut().for_each(|it| it.since.0 = it.since.0.checked_sub(by).unwrap_or(it.since.0));
    }

    /// Those who count by now, by the number of their stream.
    pub(crate) fn counted(&self) -> BTreeMap<u64, Absent> {
        let gone = self.lock();
        let aged = gone.values().map(|it| (it, it.since.0.elapsed())).filter(|(_, age)| *age >= GRACE);
        let absent = |(it, age): (&Gone, Duration)| {
            (it.proxy.id, Absent { proxy: it.proxy.clone(), since: it.since.1, age })
        };
        aged.map(absent).collect()
    }
}

/// Whose proxy it is: where its node does not say so, the Pod that is called as its node is, if there is one.
pub(crate) fn pod(proxy: &Proxy) -> ObjectId {
    let name = proxy.node.pod.clone().unwrap_or_else(|| proxy.node_id.as_str().into());
    ObjectId::new(Kind::Pod, proxy.node.namespace.clone(), name)
}
