//! Decides, as a loop, what part of each rule's requests is judged, and how far mirrors go that something holds down: so many a second
//! over all proxies, whatever the traffic, or step by step.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};
use umbra_ir::{Kind, MirrorState, RuntimeKey};
use umbra_istio::{RAMP, record_ramp};
use umbra_source::kubernetes::{AnnotateError, ApiServer};

use crate::engine_task::EngineHandle;
use crate::observe::Observed;
use crate::pacing::{Pacer, Step, World};
use crate::peers::Peers;

/// How often: as often as proxies tell how many requests there were.
const LOOK: Duration = Duration::from_secs(5);

/// Each replica decides for the proxies that are connected to it: it takes its part of what is asked for. Whether a ramp goes on is said
/// by what all replicas know. Where objects are the API server's, that is `server`: what it takes to write to it holds nothing else up.
pub(crate) async fn follow(
    engine: EngineHandle,
    observed: Observed,
    peers: Arc<Peers>,
    server: Option<ApiServer>,
) -> anyhow::Result<()> {
    engine.ready().await;
    // The newest is enough: a step that is not written is found to be due again.
    let (due, mut taken) = watch::channel(Vec::new());
    let steps = async {
        while taken.changed().await.is_ok() {
            let steps: Vec<Step> = taken.borrow_and_update().clone();
            for step in steps {
                take(&engine, server.as_ref(), step).await;
            }
        }
    };
    tokio::select! {
        never = look(&engine, &observed, &peers, &due) => match never {},
        () = steps => Ok(()),
    }
}

async fn look(
    engine: &EngineHandle,
    observed: &Observed,
    peers: &Peers,
    due: &watch::Sender<Vec<Step>>,
) -> Infallible {
    let (mut told, mut pacer) = (BTreeMap::new(), Pacer::default());
    loop {
        observed.refresh().await;
        observed.verdicts().turn(|rule| observed.requests(rule).map(|(_, judged)| judged));
        let replicas = peers.count().await;
        let requests = |rule: &str| observed.requests(rule).map(|(all, _)| all);
        let mut shares = observed.verdicts().pace(requests, replicas);
        let mirrors = engine.mirrors().await;
        let ramps = mirrors.values().flat_map(|all| all.iter()).any(is_on_a_ramp);
        let verdicts = if ramps { peers.verdicts().await } else { Some(BTreeMap::new()) };
        let limited = mirrors.values().flat_map(|all| all.iter()).any(is_limited);
        let uncounted = if limited { peers.uncounted().await } else { BTreeMap::new() };
        let (ceilings, steps) = pacer.step(
            &mirrors,
            &World {
                requests: &requests,
                uncounted: &|key: &RuntimeKey| uncounted.get(key).copied().unwrap_or(1.0),
                verdicts: verdicts.as_ref(),
                replicas,
                now: Instant::now(),
                seconds: Timestamp::now().as_second(),
            },
        );
        shares.extend(ceilings);
        if shares != told {
            engine.judged(shares.clone()).await;
            told = shares;
        }
        if !steps.is_empty() {
            due.send_replace(steps);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a step may be due.
fn is_on_a_ramp(mirror: &MirrorState) -> bool {
    let ramp = mirror.pacing.as_ref().and_then(|pacing| pacing.ramp.as_ref());
    ramp.is_some_and(|ramp| mirror.ramp.is_none_or(|state| state.step < ramp.steps.len()))
}

/// Whether it may copy no more than so many requests a second.
fn is_limited(mirror: &MirrorState) -> bool {
    mirror.pacing.as_ref().is_some_and(|pacing| pacing.max_per_second.is_some())
}

/// Writes down that a ramp goes to another step: in a cluster on the object, for every replica and for good; of a file in memory.
async fn take(engine: &EngineHandle, server: Option<&ApiServer>, step: Step) {
    let Step { object, key, ramp, state } = step;
    let record = |before: Option<String>| record_ramp(before.as_deref(), &key, &ramp, state);
    let of_cluster = engine.published().cluster.get(&object).is_some_and(|known| !known.in_file);
    let Some(server) = server.filter(|_| of_cluster) else {
        let (mirror, key, ramp) = (key.clone(), key.clone(), ramp.clone());
        engine
            .annotate(object.clone(), move |before| {
                let record = record_ramp(before(RAMP).as_deref(), &key, &ramp, state);
                record.map(|text| (RAMP.to_owned(), Some(text))).into_iter().collect()
            })
            .await;
        info!(%object, %mirror, step = state.step, "a ramp takes a step");
        return;
    };
    let written = async {
        let all = server.annotations(Kind::VirtualService).await?.written_by("umbra");
        let change = |before: &dyn Fn(&str) -> Option<String>| {
            let record = record(before(RAMP));
            Ok(record.map(|text| (RAMP.to_owned(), Some(text))).into_iter().collect())
        };
        all.change_all(&object, change).await
    };
    match written.await {
        Ok(()) => info!(%object, mirror = %key, step = state.step, "a ramp takes a step"),
        Err(AnnotateError::NoObject(_)) => {}
        // It is tried again at the next look: until it is written it stays where it is.
        Err(error) => warn!(%object, mirror = %key, %error, "a ramp waits: its step cannot be written"),
    }
}
