//! A watch: the whole list, then what differs from what was sent. Nothing queues up for a slow reader: the next
//! difference is made when the last was read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;
use umbra_proto::umbra::v1::{Mirror, Proxy, Replica, WatchMirrorsResponse, WatchProxiesResponse};
use umbra_source::kubernetes::Wish;

use super::Api;
use super::asker::Asker;
use crate::crowd::{Hold, Portion};

/// Entries of one message: below gRPC's usual limit of 4 MiB even with long lists of labels.
const CHUNK: usize = 500;
/// The least time between two looks: conflates, and bounds what many watches cost.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a caller may leave a message unread.
const UNREAD: Duration = Duration::from_secs(120);

/// What can be watched.
pub(super) trait Watched: Clone + PartialEq + Send + Sized + 'static {
    /// A message of the stream.
    type Update: Send + 'static;
    /// How often to look though nothing is known to have changed.
    const AGAIN: Duration;
    fn id(&self) -> &str;
    fn list<'a>(api: &'a Api, namespace: &'a str) -> BoxFuture<'a, Vec<Self>>;
    fn update(replica: Replica, complete: bool, changed: Vec<Self>, removed: Vec<String>) -> Self::Update;
}

impl Watched for Proxy {
    type Update = WatchProxiesResponse;
    const AGAIN: Duration = Duration::MAX;

    fn id(&self) -> &str {
        &self.id
    }

    fn list<'a>(api: &'a Api, namespace: &'a str) -> BoxFuture<'a, Vec<Self>> {
        Box::pin(api.list_proxies(namespace))
    }

    fn update(replica: Replica, complete: bool, changed: Vec<Self>, removed: Vec<String>) -> Self::Update {
        WatchProxiesResponse { replica: Some(replica), complete, changed, removed }
    }
}

impl Watched for Mirror {
    type Update = WatchMirrorsResponse;
    /// What is counted comes this often.
    const AGAIN: Duration = Duration::from_secs(5);

    fn id(&self) -> &str {
        &self.id
    }

    fn list<'a>(api: &'a Api, namespace: &'a str) -> BoxFuture<'a, Vec<Self>> {
        Box::pin(api.list_mirrors(namespace))
    }

    fn update(replica: Replica, complete: bool, changed: Vec<Self>, removed: Vec<String>) -> Self::Update {
        WatchMirrorsResponse { replica: Some(replica), complete, changed, removed }
    }
}

/// What came and what went.
#[derive(Debug, PartialEq, Eq)]
struct Difference<T> {
    changed: Vec<T>,
    removed: Vec<String>,
}

/// What `now` differs from `sent`, which becomes `now`. Keeps the order of the list.
fn difference<T: Watched>(sent: &mut BTreeMap<String, T>, now: Vec<T>) -> Difference<T> {
    let mut before = std::mem::take(sent);
    let mut changed = Vec::new();
    for item in now {
        if before.remove(item.id()).as_ref() != Some(&item) {
            changed.push(item.clone());
        }
        sent.insert(item.id().to_owned(), item);
    }
    Difference { changed, removed: before.into_keys().collect() }
}

/// What a watch takes of what there is for all, as long as it goes on.
pub(super) struct Kept {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _of: Option<Portion<IpAddr>>,
    pub(super) _by: Option<Portion<String>>,
    pub(super) _hold: Option<Hold>,
}

/// Serves one watch to its end, which is that of the caller's right at the latest.
pub(super) async fn run<T: Watched>(
    api: Api,
    namespace: String,
    (asker, wish): (Asker, Wish),
    out: mpsc::Sender<Result<T::Update, Status>>,
    _kept: Kept,
) {
    let mut changes = api.live.changes();
    let mut sent = BTreeMap::new();
    let mut first = true;
    let updates = async {
        loop {
            changes.mark_unchanged();
            let Difference { mut changed, mut removed } =
                difference(&mut sent, T::list(&api, &namespace).await);
            while first || !changed.is_empty() || !removed.is_empty() {
                let later = changed.split_off(changed.len().min(CHUNK));
                let complete = later.is_empty();
                let part = std::mem::replace(&mut changed, later);
                let update = T::update(api.replica(), complete, part, std::mem::take(&mut removed));
                if out.send_timeout(Ok(update), UNREAD).await.is_err() {
                    return;
                }
                first &= !complete;
            }
            tokio::time::sleep(PAUSE).await;
            // Out of time is as good as a change.
            if let Ok(Err(_)) = tokio::time::timeout(T::AGAIN, changes.changed()).await {
                return;
            }
        }
    };
    tokio::select! {
        () = updates => {}
        () = out.closed() => {}
        () = api.shutdown.cancelled() => {
            let _ = out.try_send(Err(Status::unavailable("this replica shuts down")));
        }
        refusal = asker.lost(&wish) => {
            let _ = out.try_send(Err(refusal.status()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies as `ID:PEER`.
    fn list(words: &str) -> Vec<Proxy> {
        let one = |word: &str| {
            let (id, peer) = word.split_once(':').unwrap();
            Proxy { id: id.to_owned(), peer: peer.to_owned(), ..Proxy::default() }
        };
        words.split_whitespace().map(one).collect()
    }

    #[test]
    fn differences_make_up_the_list() {
        for (before, now, changed, removed) in [
            ("", "", "", &[][..]),
            ("", "b:1 a:1", "b:1 a:1", &[]),
            ("b:1 a:1", "b:1 a:1", "", &[]),
            ("b:1 a:1", "b:2 a:1", "b:2", &[]),
            ("b:1 a:1", "c:1", "c:1", &["a", "b"]),
            ("b:1", "", "", &["b"]),
        ] {
            let mut sent = list(before).into_iter().map(|proxy| (proxy.id.clone(), proxy)).collect();
            let difference = difference(&mut sent, list(now));
            assert_eq!(difference.changed, list(changed), "{before} -> {now}");
            assert_eq!(difference.removed, removed, "{before} -> {now}");
            assert_eq!(sent.len(), list(now).len());
        }
    }
}
