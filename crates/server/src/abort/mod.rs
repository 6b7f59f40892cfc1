//! Mirrors that stop by themselves when a limit of theirs is crossed.
//!
//! Each replica judges by what its own proxies count. What it decides holds at once, by annotations that it gives the object in
//! memory; where the object is the cluster's the same is then written there, for everybody and for good. In a folder nothing is
//! written.
//!
//! Start reading at: `judge.rs` (what is too much), then `watch.rs` (of what time), then [`follow`].

mod judge;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::{info, warn};
use umbra_ir::{Aborted, Kind, RuntimeKey};
use umbra_istio::{ABORTED, STOP, Stop, record_abort};
use umbra_judge::Verdict;
use umbra_proto::umbra::v1;
use umbra_source::kubernetes::{AnnotateError, ApiServer};

use crate::engine_task::EngineHandle;
use crate::mirrors;
use crate::observe::Observed;
use watch::{Stopped, Watch};

/// How often it is judged. Proxies tell every five seconds, each at a time of its own.
const PACE: Duration = Duration::from_secs(1);
/// How long it is waited before what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Stops that are to be written to the API server.
#[derive(Debug, Default)]
struct Unwritten {
    all: Mutex<BTreeMap<RuntimeKey, Stopped>>,
    more: Notify,
}

impl Unwritten {
    fn held(&self) -> MutexGuard<'_, BTreeMap<RuntimeKey, Stopped>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges for ever. Where objects are the API server's, that is `server`: what it takes to write to it keeps nobody from being judged.
pub(crate) async fn follow(engine: EngineHandle, observed: Observed, server: Option<ApiServer>) {
    let unwritten = Unwritten::default();
    let writes = async {
        match &server {
            Some(server) => write_all(server, &unwritten).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(judge_all(&engine, &observed, server.is_some().then_some(&unwritten)), writes);
}

async fn judge_all(engine: &EngineHandle, observed: &Observed, unwritten: Option<&Unwritten>) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(PACE).await;
        observed.refresh().await;
        let mut watched = observed.watched();
        for seen in watched.iter_mut().filter(|seen| seen.limits.different) {
            seen.different = mirrors::verdict(observed, &seen.key).and_then(|verdict| different(&verdict));
        }
        let crossed = watch.step(watched, Instant::now());
        observed.set_unbased(watch.unbased());
        for stopped in crossed {
            let Stopped { object, key, why } = &stopped;
            warn!(%object, mirror = %key, limit = why.reason.limit_name(), why = why.words, "a mirror stops by itself");
            let (key, at) = (key.clone(), Timestamp::now());
            let why = Aborted { words: format!("{:.0}: {}", at, why.words), ..why.clone() };
            let (mirror, words) = (key.clone(), why.clone());
            engine.annotate(object.clone(), move |before| annotations(&mirror, &words, before)).await;
            let of_cluster = engine.published().cluster.get(object).is_some_and(|known| !known.in_file);
            match unwritten.filter(|_| of_cluster) {
                Some(unwritten) => {
                    unwritten.held().insert(key, Stopped { why, ..stopped });
                    unwritten.more.notify_one();
                }
                None => info!(object = %object, "kept in memory: there is no API server to write it to"),
            }
        }
    }
}

/// Writes what there is, and again what could not be written.
async fn write_all(server: &ApiServer, unwritten: &Unwritten) {
    loop {
        let all: Vec<Stopped> = unwritten.held().values().cloned().collect();
        for stopped in all {
            match write(server, &stopped).await {
                Ok(()) | Err(AnnotateError::NoObject(_)) => drop(unwritten.held().remove(&stopped.key)),
                Err(error) => {
                    warn!(object = %stopped.object, %error, "a stop is kept in memory until it can be written");
                }
            }
        }
        let again = match unwritten.held().is_empty() {
            true => Duration::MAX,
            false => AGAIN,
        };
        let _ = tokio::time::timeout(again, unwritten.more.notified()).await;
    }
}

/// What is to be said of a verdict that stops a mirror; `None`: it is another.
fn different(verdict: &v1::Verdict) -> Option<String> {
    (verdict.verdict == Verdict::Different.as_str())
        .then(|| format!("{}: {}", mirrors::verdict_words(verdict), verdict.reasons.join(", ")))
}

async fn write(server: &ApiServer, stopped: &Stopped) -> Result<(), AnnotateError> {
    let Stopped { object, key, why } = stopped;
    let all = server.annotations(Kind::VirtualService).await?.written_by("umbra");
    all.change_all(object, |before| Ok(annotations(key, why, before))).await
}

/// What becomes of the two annotations by the stop of a mirror.
fn annotations(
    key: &RuntimeKey,
    why: &Aborted,
    before: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, Option<String>> {
    let stop = before(STOP);
    let stop = Stop::parse(stop.as_deref()).and(&[key.as_str()]);
    let record = record_abort(before(ABORTED).as_deref(), key, why);
    BTreeMap::from([(STOP.to_owned(), Some(stop)), (ABORTED.to_owned(), Some(record))])
}
