//! Stops that a running umbra is asked for: it writes the same annotation, where each object is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;
use umbra_ir::{Kind, ObjectId};
use umbra_source::kubernetes::ApiServer;

use super::confirm::{self, Said};
use super::{AllWritten, Annotations, Confirmed, Verb, Wanted, cluster, files};
use crate::engine_task::EngineHandle;
use crate::live::ObjectLive;
use crate::peers::Peers;
use crate::supervise::blocking;

/// From one question to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Files that are written at once.
const AT_ONCE: usize = 8;

/// Where stops are written, and who is asked whether they are in force. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    /// Where objects are that stand in no file; `None`: there are none.
    cluster: Option<ApiServer>,
    engine: EngineHandle,
    peers: Arc<Peers>,
    /// A file is read and replaced by one at a time.
    turn: Arc<Semaphore>,
}

impl Stops {
    /// Of the objects that `engine` has.
    pub(crate) fn new(cluster: Option<ApiServer>, engine: EngineHandle, peers: Arc<Peers>) -> Self {
        Stops { cluster, engine, peers, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Every VirtualService of a namespace (`None`: of all) that has mirrors; to be resumed, those of which any are stopped.
    pub(crate) async fn everything(&self, verb: Verb, namespace: Option<&str>) -> Wanted {
        let all = self.engine.outcome().await.mirrors;
        let meant = all.iter().filter(|(id, mirrors)| {
            let verb = verb == Verb::Stop || mirrors.iter().any(|mirror| mirror.stopped);
            verb && namespace.is_none_or(|name| *id.namespace == *name)
        });
        meant.map(|(id, _)| (id.clone(), Vec::new())).collect()
    }

    /// Writes it.
    pub(crate) async fn write(&self, verb: Verb, mut wanted: Wanted) -> AllWritten {
        let places = self.engine.objects().await.into_iter();
        let files: BTreeMap<ObjectId, Arc<str>> = places
            .filter(|listed| wanted.contains_key(&listed.id))
            .filter_map(|listed| Some((listed.id, listed.place?.file.clone())))
            .collect();
        let of_cluster = match &self.cluster {
            Some(server) => {
                let elsewhere = wanted.keys().filter(|id| !files.contains_key(*id)).cloned();
                let elsewhere: Vec<ObjectId> = elsewhere.collect();
                let elsewhere = elsewhere.into_iter().filter_map(|id| wanted.remove_entry(&id)).collect();
                write_to_cluster(server, verb, elsewhere).await
            }
            None => AllWritten::new(),
        };
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        let files = Arc::new(files);
        let nobody = |id: &ObjectId| format!("umbra knows no {id}");
        let parts = divide(&files, wanted).into_iter().map(|part| {
            let files = files.clone();
            blocking(move || files::write_all(verb, &files, part, nobody))
        });
        let written = join_all(parts).await;
        written.into_iter().flatten().chain(of_cluster).collect()
    }

    /// Waits until what the annotations say is in force on all replicas.
    pub(crate) async fn confirm(
        &self,
        annotations: &Annotations,
        patience: Duration,
    ) -> BTreeMap<ObjectId, Confirmed> {
        confirm::wait(annotations, (PAUSE, patience), |ids| self.ask(ids, annotations)).await
    }

    async fn ask(&self, ids: Vec<ObjectId>, annotations: &Annotations) -> Said {
        let answer = self.peers.ask(Some(&ids)).await;
        let known: BTreeMap<&ObjectId, &ObjectLive> =
            answer.objects.iter().map(|live| (&live.object, live)).collect();
        let each = ids.iter().map(|id| {
            let mirrors = answer.mirrors.get(id).into_iter().flat_map(|all| all.iter());
            let mirrors = mirrors.map(|state| (&*state.route, state.key.clone()));
            let wanted = confirm::stopped(mirrors, annotations.get(id).and_then(Option::as_deref));
            (id.clone(), confirm::judge(known.get(id).copied(), id, &wanted, &answer.silent))
        });
        Ok(each.collect())
    }
}

/// Parts that are written side by side: most of the time a disk is waited for. What is in one file is in one part.
fn divide(files: &BTreeMap<ObjectId, Arc<str>>, wanted: Wanted) -> Vec<Wanted> {
    let mut parts = vec![Wanted::new(); AT_ONCE];
    let mut places: BTreeMap<Option<&Arc<str>>, usize> = BTreeMap::new();
    for (id, names) in wanted {
        let next = places.len() % AT_ONCE;
        let place = *places.entry(files.get(&id)).or_insert(next);
        parts[place].insert(id, names);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

async fn write_to_cluster(server: &ApiServer, verb: Verb, wanted: Wanted) -> AllWritten {
    if wanted.is_empty() {
        return AllWritten::new();
    }
    match server.annotations(Kind::VirtualService).await {
        Ok(annotations) => {
            let written = cluster::write(verb, &annotations.written_by("umbra"), wanted).await;
            written.into_iter().map(|(id, it)| (id, it.map_err(own_rights))).collect()
        }
        Err(error) => wanted.into_keys().map(|id| (id, Err(error.to_string()))).collect(),
    }
}

/// What umbra itself may not do, its caller may.
fn own_rights(why: String) -> String {
    const RIGHTS: &str = "umbra itself needs get and patch of virtualservices for that (stopByApi of its chart); `umbra stop` takes your own rights";
    if why.contains("forbidden") { format!("{why}; {RIGHTS}") } else { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_one_file_is_in_one_part() {
        let id = |n: usize| ObjectId::new(Kind::VirtualService, "shop", format!("web-{n}"));
        let file = |n: usize| Arc::<str>::from(format!("{}.yaml", n % 20));
        let files: BTreeMap<_, _> = (0..100).map(|n| (id(n), file(n))).collect();
        let wanted: Wanted = (0..101).map(|n| (id(n), Vec::new())).collect();
        let parts = divide(&files, wanted.clone());
        assert_eq!(parts.len(), AT_ONCE);
        assert_eq!(parts.iter().flatten().map(|(id, _)| id.clone()).collect::<Vec<_>>().len(), wanted.len());
        for file in files.values() {
            let has = |part: &&Wanted| part.keys().any(|id| files.get(id) == Some(file));
            assert_eq!(parts.iter().filter(has).count(), 1, "{file}");
        }
    }
}
