//! The task that writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};
use umbra_ir::ObjectId;

use super::queue::Queue;
use super::{AllObserved, Observed, Status, Statuses};
use crate::kubernetes::connect::ApiServer;
use crate::kubernetes::events::Events;
use crate::kubernetes::lease::{Leadership, NAME};
use crate::kubernetes::resource::Resource;

/// From one write to the next: at most 25 a second.
const PACE: Duration = Duration::from_millis(40);
/// The pause after a failure that is the API server's, not the object's.
const AWAY: Duration = Duration::from_secs(1);
/// How long a write may take: less than what is left of a lease when its holder stops writing.
const REQUEST: Duration = Duration::from_secs(4);

/// What the writer has done since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Whether this replica writes.
    pub leads: bool,
    /// Statuses that wait to be written, by whichever replica.
    pub waiting: usize,
    /// Statuses written.
    pub written: u64,
    /// Statuses that the API server did not take.
    pub failed: u64,
    /// Events sent.
    pub events: u64,
}

/// How a write ended.
enum Outcome {
    /// It arrived, or came too late: the object is another by now, or gone.
    Done { written: bool },
    /// The object's status cannot be written.
    Refused,
    /// The API server cannot be reached, or not now.
    Away,
}

/// Writes what `wanted` says and `observed` does not, while `leadership` lasts, and tells people of what turned.
pub async fn write(
    server: ApiServer,
    mut leadership: Leadership,
    mut observed: watch::Receiver<AllObserved>,
    mut wanted: watch::Receiver<Arc<Statuses>>,
    tally: watch::Sender<Tally>,
) {
    let mut queue = Queue::default();
    let mut events = Events::new(server.client.clone(), leadership.identity());
    let mut complained = String::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stale = true;
    let (mut now_wanted, mut now_observed) = (Arc::new(Statuses::new()), AllObserved::new());
    loop {
        stale |= wanted.has_changed().unwrap_or(true) || observed.has_changed().unwrap_or(true);
        if std::mem::take(&mut stale) {
            now_wanted = wanted.borrow_and_update().clone();
            now_observed = observed.borrow_and_update().clone();
            queue.look(&now_wanted, &now_observed, Instant::now());
        }
        let leads = leadership.holds();
        tally.send_if_modified(|tally| {
            let before = *tally;
            (tally.leads, tally.waiting) = (leads, queue.len());
            *tally != before
        });
        let next = queue.next(Instant::now()).filter(|_| leads);
        let due = next.as_ref().map(|(_, due)| due.saturating_duration_since(Instant::now()));
        match (next, due) {
            (Some((id, _)), Some(Duration::ZERO)) => {
                let (Some(status), Some(is)) = (now_wanted.get(&id), now_observed.get(&id)) else { continue };
                pace.tick().await;
                // The tick may have taken long: a process can be put to sleep anywhere.
                if !leadership.holds() {
                    continue;
                }
                let result = timeout(REQUEST, patch(&server.client, &id, status, is)).await;
                let outcome = match result {
                    Ok(result) => judge(&mut complained, &id, result),
                    Err(_) => Outcome::Away,
                };
                let done = matches!(outcome, Outcome::Done { .. });
                queue.tried(&id, status, is, done, Instant::now());
                let mut sent = 0;
                if matches!(outcome, Outcome::Done { written: true }) {
                    sent = events.tell(&id, is, status, &leadership).await;
                }
                tally.send_modify(|tally| {
                    tally.events += sent;
                    match outcome {
                        Outcome::Done { written } => tally.written += u64::from(written),
                        Outcome::Refused | Outcome::Away => tally.failed += 1,
                    }
                });
                if matches!(outcome, Outcome::Away) {
                    sleep(AWAY.mul_f64(0.8 + fastrand::f64() * 0.4)).await;
                }
            }
            (_, due) => tokio::select! {
                () = leadership.changed() => {}
                changed = observed.changed() => match changed {
                    Ok(()) => stale = true,
                    Err(_) => return,
                },
                changed = wanted.changed() => match changed {
                    Ok(()) => stale = true,
                    Err(_) => return,
                },
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            },
        }
    }
}

fn judge(complained: &mut String, id: &ObjectId, result: Result<(), kube::Error>) -> Outcome {
    let (words, outcome) = match result {
        Ok(()) => {
            complained.clear();
            return Outcome::Done { written: true };
        }
        // 404: the object is gone. 409: it has changed, which its watch tells in a moment.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            debug!(object = %id, reason = status.message, "status not written: it came too late");
            return Outcome::Done { written: false };
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let resource = Resource::of(id.kind);
            let (plural, group) = (resource.plural(), resource.group());
            let words = format!(
                "umbra's role lacks verb \"patch\" on resource \"{plural}/status\" of apiGroup \"{group}\""
            );
            (words, Outcome::Refused)
        }
        Err(kube::Error::Api(status)) if status.code == 429 || status.code >= 500 => {
            (status.message.clone(), Outcome::Away)
        }
        Err(kube::Error::Api(status)) => (status.message.clone(), Outcome::Refused),
        Err(error) => (error.to_string(), Outcome::Away),
    };
    debug!(object = %id, reason = words, "status not written");
    if *complained != words {
        warn!(object = %id, reason = words, "cannot write statuses; trying again");
        *complained = words;
    }
    outcome
}

async fn patch(client: &Client, id: &ObjectId, status: &Status, is: &Observed) -> Result<(), kube::Error> {
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let version = is.api_version.rsplit('/').next().unwrap_or_default();
    let path = Resource::of(id.kind).path(version, Some(&id.namespace));
    let params = PatchParams::apply(NAME).force();
    let body = Patch::Apply(status.body(id, is, &now));
    let request = Request::new(path).patch_subresource("status", &id.name, &params, &body);
    // What it answers is the object, which nobody needs, and which may be one that cannot be read.
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(|_| ())
}
