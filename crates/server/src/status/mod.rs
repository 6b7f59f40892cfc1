//! What the status of a cluster's objects says, and the tasks that have it written.
//!
//! Start reading at: `judge.rs` (what a status says), then [`follow`].

mod aborted;
mod judge;
mod judged;
mod mirrors;
mod observed;
mod programmed;
mod stopped;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use umbra_source::kubernetes::{AllObserved, ApiServer, Leadership, Statuses, Tally, write};

use crate::engine_task::Published;
use crate::live::{Live, Mirrors};
use crate::metrics::{ByResult, Metrics};
use crate::peers::Peers;
use judge::{Before, Facts};
use observed::Counted;
pub(crate) use observed::alarm;
use programmed::Liveness;

/// How long to wait for further changes before replicas are asked, and before statuses are computed: nobody reads
/// them faster.
const PAUSE: Duration = Duration::from_millis(100);
/// How often replicas are asked at least, since their proxies answer without our knowing.
const ASK: Duration = Duration::from_secs(2);
/// The same, while some proxy has not answered yet.
const ASK_OPEN: Duration = Duration::from_millis(500);
/// Of all the time, one part in so many at most goes into asking.
const EASE: u32 = 5;
/// How often it is asked what was counted of mirrors.
const COUNT: Duration = Duration::from_secs(10);
/// Who counts has told by then: a proxy does every five seconds.
const LONG: Duration = Duration::from_secs(60);
/// How long proxies may take to connect after the start, before a status says that there are none.
const WELCOME: Duration = Duration::from_secs(3);

/// What the replicas said last.
#[derive(Default)]
struct Said {
    liveness: Liveness,
    mirrors: Mirrors,
}

/// Has the statuses written until `shutdown`; of all replicas only the leader writes.
///
/// # Errors
/// A part of it has ended before.
pub(crate) async fn follow(
    (server, observed): (ApiServer, watch::Receiver<AllObserved>),
    leadership: Leadership,
    mut published: watch::Receiver<Published>,
    live: Live,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (hear, said) = watch::channel(None);
    let (note, counted) = watch::channel(Arc::default());
    let (send, wanted) = watch::channel(Arc::new(Statuses::new()));
    let (tell, tally) = watch::channel(Tally::default());
    let seat = leadership.clone();
    let work = async {
        if published.wait_for(|state| state.ready).await.is_err() {
            return "waiting for the first load";
        }
        // Each goes on for ever.
        tokio::select! {
            () = ask(live, peers.clone(), leadership.clone(), hear) => "asking the replicas",
            () = count(peers, leadership.clone(), note) => "asking what was counted",
            () = compute(published, (said, counted), observed.clone(), send) => "judging",
            () = write(server, leadership, observed, wanted, tell) => "writing",
            () = report(tally, metrics) => "counting",
        }
    };
    let ended = tokio::select! {
        part = work => Some(part),
        () = shutdown.cancelled() => None,
    };
    seat.resign().await;
    match ended {
        None => Ok(()),
        Some(part) => bail!("{part} came to an end"),
    }
}

/// Asks every replica how far objects have come, whenever that may have changed. Who does not write does not ask.
async fn ask(
    live: Live,
    peers: Arc<Peers>,
    mut leadership: Leadership,
    hear: watch::Sender<Option<Arc<Said>>>,
) {
    let started = Instant::now();
    let mut changes = live.changes();
    loop {
        changes.borrow_and_update();
        let (begun, mut again) = (Instant::now(), ASK);
        if leadership.holds() {
            let mut answer = peers.objects().await;
            let mirrors = std::mem::take(&mut answer.mirrors);
            let liveness = Liveness::from(answer);
            if liveness.is_open() {
                again = ASK_OPEN;
            }
            let welcome = WELCOME.saturating_sub(started.elapsed());
            if welcome.is_zero() || liveness.objects.values().any(|live| live.total > 0) {
                hear.send_replace(Some(Arc::new(Said { liveness, mirrors })));
            } else {
                again = again.min(welcome);
            }
        } else {
            // Old news by the time that this replica may write again.
            hear.send_replace(None);
        }
        let ease = begun.elapsed().saturating_mul(EASE).clamp(PAUSE, ASK);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = leadership.changed(), if !leadership.holds() => {}
            () = sleep(again) => {}
        }
        sleep(ease).await;
    }
}

/// Asks every replica what its proxies have counted of mirrors, as long as this one writes.
async fn count(peers: Arc<Peers>, mut leadership: Leadership, note: watch::Sender<Arc<Counted>>) {
    let mut since: Option<Instant> = None;
    loop {
        if leadership.holds() {
            let begun = *since.get_or_insert_with(Instant::now);
            let (mirrors, off) = (peers.mirrors().await, peers.observes_nothing());
            let now = jiff::Timestamp::now().as_second();
            note.send_replace(Arc::new(Counted::new(mirrors, off, begun.elapsed() >= LONG, now)));
        } else {
            since = None;
            note.send_replace(Arc::default());
        }
        tokio::select! {
            () = leadership.changed(), if !leadership.holds() => {}
            () = sleep(COUNT) => {}
        }
    }
}

/// What every status should say; nothing, as long as this replica does not ask.
async fn compute(
    mut published: watch::Receiver<Published>,
    (mut said, mut counted): (watch::Receiver<Option<Arc<Said>>>, watch::Receiver<Arc<Counted>>),
    there: watch::Receiver<AllObserved>,
    send: watch::Sender<Arc<Statuses>>,
) {
    loop {
        let heard = said.borrow_and_update().clone();
        // Taken last: never older than what was said.
        let state = published.borrow_and_update().clone();
        let figures = counted.borrow_and_update().clone();
        let now = heard.map_or(Statuses::new(), |said| {
            let facts = Facts {
                cluster: &state.cluster,
                diagnostics: &state.diagnostics,
                mirrors: &said.mirrors,
                liveness: &said.liveness,
                counted: &figures,
            };
            let (there, wanted) = (there.borrow().clone(), send.borrow().clone());
            judge::statuses(&facts, Before { there: &there, wanted: &wanted })
        });
        send.send_if_modified(|before| {
            let changed = **before != now;
            if changed {
                *before = Arc::new(now);
            }
            changed
        });
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            changed = said.changed() => if changed.is_err() { return },
            changed = counted.changed() => if changed.is_err() { return },
        }
        sleep(PAUSE).await;
    }
}

/// Shows what the writer does in the metrics.
async fn report(mut tally: watch::Receiver<Tally>, metrics: Arc<Metrics>) {
    loop {
        let now = *tally.borrow_and_update();
        metrics.leader.set(now.leads.into());
        metrics.statuses_waiting.set(i64::try_from(now.waiting).unwrap_or(i64::MAX));
        for (result, count) in [("written", now.written), ("failed", now.failed)] {
            let counter = metrics.status_writes.get_or_create(&ByResult { result });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        metrics.events.inc_by(now.events.saturating_sub(metrics.events.get()));
        if tally.changed().await.is_err() {
            return;
        }
    }
}
