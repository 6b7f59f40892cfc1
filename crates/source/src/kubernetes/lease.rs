//! One writer among replicas: a Lease (`coordination.k8s.io/v1`), as client-go's leader election uses it. The
//! core has no clock and does no IO; time is what the caller says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::connect::ApiServer;
use crate::Work;

/// How long a lease that nobody renews keeps others away.
const DURATION: Duration = Duration::from_secs(15);
/// For how long after its last renewal a leader may write: less than [`DURATION`], so that two never do.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the lease is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(3);
/// The name of the Lease and of the field manager.
pub(crate) const NAME: &str = "umbra";

/// What a lease says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Record {
    holder: String,
    renewed: Option<String>,
    transitions: i32,
}

/// What to do with the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    /// It is somebody else's.
    Wait,
    /// Write it: it is ours, or nobody's any more. The number is that of its changes of hands.
    Hold(i32),
}

/// Who leads, as far as this replica can tell.
#[derive(Debug)]
struct Election {
    me: String,
    /// What was read last, and since when it reads so by our own clock: clocks of others are not compared.
    seen: Option<(Record, Duration)>,
}

impl Election {
    fn decide(&mut self, lease: Option<Record>, now: Duration) -> Action {
        let Some(record) = lease else { return Action::Hold(0) };
        if record.holder == self.me {
            return Action::Hold(record.transitions);
        }
        if record.holder.is_empty() {
            return Action::Hold(record.transitions + 1);
        }
        match &self.seen {
            Some((seen, since)) if *seen == record => {
                if now.saturating_sub(*since) > DURATION {
                    Action::Hold(record.transitions + 1)
                } else {
                    Action::Wait
                }
            }
            _ => {
                self.seen = Some((record, now));
                Action::Wait
            }
        }
    }
}

/// Until when this replica may write; `None`: it may not.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    me: Arc<str>,
    resign: mpsc::Sender<oneshot::Sender<()>>,
}

impl Leadership {
    /// Whether it may write right now.
    pub fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// The name of this replica in the lease.
    pub(crate) fn identity(&self) -> &str {
        &self.me
    }

    /// Gives the lease up, so that another need not wait until it has run out, and takes no part any more. Who calls
    /// this has stopped writing.
    pub async fn resign(&self) {
        let (done, resigned) = oneshot::channel();
        if self.resign.send(done).await.is_ok() {
            let _ = resigned.await;
        }
    }

    /// Waits until that may have changed. Never, once the work behind it has ended: whoever started that work notices,
    /// and nobody may write any more when the time is up.
    pub async fn changed(&mut self) {
        if self.until.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// How to take part in the election as `identity`, in the credentials' own namespace, until nobody asks any more.
pub fn take_part(server: &ApiServer, identity: String) -> (Leadership, Work) {
    let (publish, until) = watch::channel(None);
    let api = Api::default_namespaced(server.client.clone());
    let me = identity.as_str().into();
    let (resign, resigned) = mpsc::channel(1);
    let work = Work::task("lease", run(api, identity, publish, resigned));
    (Leadership { until, me, resign }, work)
}

async fn run(
    api: Api<Lease>,
    me: String,
    publish: watch::Sender<Option<Instant>>,
    mut resigned: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let start = Instant::now();
    let mut election = Election { me: me.clone(), seen: None };
    let mut complained = String::new();
    loop {
        let begun = Instant::now();
        match timeout(REQUEST * 2, attempt(&api, &mut election, start.elapsed())).await {
            Ok(Ok(leads)) => {
                complained.clear();
                let led = publish.send_replace(leads.then(|| begun + DEADLINE)).is_some();
                match (led, leads) {
                    (false, true) => info!(identity = me, "this replica writes the status of objects"),
                    (true, false) => info!(identity = me, "another replica writes the status of objects now"),
                    _ => {}
                }
            }
            // The lease may still be ours until its deadline, which the readers look at.
            Ok(Err(error)) => complain(&mut complained, &error),
            Err(_) => debug!("the lease cannot be renewed: no answer in time"),
        }
        if publish.borrow().is_some_and(|until| until <= Instant::now()) {
            warn!(identity = me, "the lease could not be renewed in time: this replica writes no statuses");
            publish.send_replace(None);
        }
        tokio::select! {
            () = sleep(PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)) => {}
            Some(done) = resigned.recv() => {
                publish.send_replace(None);
                leave(&api, &me).await;
                let _ = done.send(());
                return;
            }
            // Whoever wrote is gone, so nobody writes any more.
            () = publish.closed() => return leave(&api, &me).await,
        }
    }
}

async fn leave(api: &Api<Lease>, me: &str) {
    match timeout(REQUEST, give_up(api, me)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(reason = %error, "the lease runs out by itself"),
        Err(_) => debug!("the lease runs out by itself: no answer in time"),
    }
}

/// Writes that nobody holds the lease, if `me` does.
async fn give_up(api: &Api<Lease>, me: &str) -> Result<(), kube::Error> {
    let Some(mut lease) = api.get_opt(NAME).await? else { return Ok(()) };
    let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(me)) else {
        return Ok(());
    };
    spec.holder_identity = None;
    api.replace(NAME, &PostParams::default(), &lease).await.map(|_| ())
}

fn complain(complained: &mut String, error: &kube::Error) {
    let words = match error {
        kube::Error::Api(status) if status.code == 409 => return,
        kube::Error::Api(status) if status.code == 403 => format!(
            "umbra's role lacks verbs get, create and update on resource \"leases\" of apiGroup \
             \"coordination.k8s.io\": {}",
            status.message
        ),
        error => error.to_string(),
    };
    if *complained != words {
        warn!(reason = words, "no part in the election of the replica that writes statuses");
        *complained = words;
    }
}

/// One look at the lease; whether it is ours now.
async fn attempt(api: &Api<Lease>, election: &mut Election, now: Duration) -> Result<bool, kube::Error> {
    let lease = api.get_opt(NAME).await?;
    let record = lease.as_ref().map(|lease| record(lease.spec.clone().unwrap_or_default()));
    let mine = record.as_ref().is_some_and(|record| record.holder == election.me);
    let Action::Hold(transitions) = election.decide(record, now) else { return Ok(false) };
    let time = MicroTime(k8s_openapi::jiff::Timestamp::now());
    let old = lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: Some(election.me.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: if mine { old.acquire_time } else { Some(time.clone()) },
        renew_time: Some(time),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let mut new = lease.clone().unwrap_or_default();
    new.spec = Some(spec);
    new.metadata.name = Some(NAME.to_owned());
    // With the resource version that was read: of two that try, one is told that it came too late.
    match lease {
        Some(_) => api.replace(NAME, &PostParams::default(), &new).await?,
        None => api.create(&PostParams::default(), &new).await?,
    };
    Ok(true)
}

fn record(spec: LeaseSpec) -> Record {
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time.map(|time| time.0.to_string()),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

/// A name for this process among the replicas: that of its pod, and a number that a restart changes.
pub fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    let host: Arc<str> = host.map_or("umbra".into(), |name| name.trim().into());
    format!("{host}_{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::{Body as Bytes, to_bytes};
    use axum::http::{Request, Response};
    use serde_json::{Value, json};

    use super::*;
    use crate::Body;

    /// An API server that has at most one object, as whoever wrote last left it.
    fn server() -> (ApiServer, Arc<Mutex<Value>>) {
        let object = Arc::new(Mutex::new(Value::Null));
        let kept = object.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let kept = kept.clone();
            async move {
                let body = to_bytes(Bytes::new(request.into_body()), usize::MAX).await.unwrap();
                let mut object = kept.lock().unwrap();
                if !body.is_empty() {
                    *object = serde_json::from_slice(&body).unwrap();
                }
                let (code, answer) = match &*object {
                    Value::Null => (404, json!({"status": "Failure", "reason": "NotFound", "code": 404})),
                    object => (200, object.clone()),
                };
                let answer = Response::builder().status(code).body(Bytes::from(answer.to_string()));
                Ok::<_, std::io::Error>(answer.unwrap())
            }
        });
        (ApiServer { client: kube::Client::new(service, "default"), url: String::new() }, object)
    }

    async fn within<T>(what: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(60), what).await.expect("an answer in time")
    }

    /// Whoever leaves in order resigns; of one that broke off, only that nobody is there any more can be seen.
    #[tokio::test]
    async fn who_writes_no_more_gives_the_lease_up() {
        for resigns in [true, false] {
            let (server, object) = server();
            let (mut leadership, work) = take_part(&server, "me".to_owned());
            let Body::Task(election) = work.body else { panic!("a task") };
            let election = tokio::spawn(election);
            within(leadership.changed()).await;
            assert!(leadership.holds());
            assert_eq!(object.lock().unwrap()["spec"]["holderIdentity"], "me");
            if resigns {
                within(leadership.resign()).await;
            }
            drop(leadership);
            within(election).await.unwrap();
            assert_eq!(object.lock().unwrap()["spec"]["holderIdentity"], Value::Null, "{resigns}");
        }
    }

    /// Looks at a lease as `HOLDER:RENEWED:TRANSITIONS`, or `-` for none, at a second.
    #[test]
    fn scripts() {
        let hold = Action::Hold;
        for (what, script, want) in [
            ("nobody's", &[("-", 0)][..], hold(0)),
            ("given up", &[(":1:3", 0)], hold(4)),
            ("ours", &[("me:1:3", 0)], hold(3)),
            ("just seen", &[("other:1:3", 0)], Action::Wait),
            (
                "renewed",
                &[("other:1:3", 0), ("other:2:3", 14), ("other:3:3", 28), ("other:3:3", 42)],
                Action::Wait,
            ),
            ("not yet", &[("other:1:3", 0), ("other:1:3", 15)], Action::Wait),
            ("abandoned", &[("other:1:3", 0), ("other:1:3", 16)], hold(4)),
            ("another took it", &[("other:1:3", 0), ("third:2:4", 16)], Action::Wait),
        ] {
            let mut election = Election { me: "me".to_owned(), seen: None };
            let mut last = Action::Wait;
            for (lease, at) in script {
                let parts: Vec<&str> = lease.split(':').collect();
                let record = (*lease != "-").then(|| Record {
                    holder: parts[0].to_owned(),
                    renewed: Some(parts[1].to_owned()),
                    transitions: parts[2].parse().unwrap(),
                });
                last = election.decide(record, Duration::from_secs(*at));
            }
            assert_eq!(last, want, "{what}");
        }
    }
}
