//! One ADS stream: requests, snapshots and the clock into a session; its responses out.

use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::http::HeaderValue;
use tonic::{Code, Status};
use tracing::{debug, info, warn};
use umbra_ir::{Kind, ObjectId};
use umbra_xds::{Output, SessionError, SessionEvent, Snapshot, Variant};

use super::allowance::Allowances;
use super::connection::{self, ConnectionInfo};
use super::node;
use super::requests::Requests;
use super::responses::{Closed, Sender};
use super::wire::Wire;
use super::{Ads, Hopeful, MAX_PROVEN_REQUEST_BYTES, MAX_REQUEST_BYTES};
use crate::crowd::{Asking, Hold};
use crate::identity::{Gate, Refusal};
use crate::metrics::ByReason;
use crate::proxies::{Proxy, variant_name};
use crate::words;

/// Between the end of a stream and that of its connection, where the proxy is to make another one.
const FAREWELL: Duration = Duration::from_millis(100);

/// Why a stream ended.
enum End {
    /// The proxy left, or its connection broke.
    Client,
    /// umbra is going down.
    Shutdown,
    /// It did not say who it is in time.
    FirstRequest,
    /// Its node cannot be understood.
    Refused(String),
    /// It has not proven who it is, says that it is somebody else, or nobody can say yet.
    Unproven(Refusal),
    /// What it has proven itself by has run out; it comes back with something newer.
    Expired,
    /// It sent what is no request: too large, too deep, garbage.
    Malformed(Status),
    /// It had not said who it is, and others of its address came.
    GaveWay(Status),
    /// It broke the protocol or a limit.
    Fault(SessionError),
    /// It stopped reading.
    SlowReader,
    /// As many connections have streams as may.
    Full,
    /// It has been here for so long that it may go to another replica.
    Age,
    /// The authority of its certificate counts no more.
    Disowned,
}

impl End {
    /// A failed read.
    fn of(status: Status) -> Self {
        match status.code() {
            Code::ResourceExhausted | Code::InvalidArgument | Code::DeadlineExceeded => {
                End::Malformed(status)
            }
            _ => End::Client,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            End::Client => "client",
            End::Shutdown => "shutdown",
            End::FirstRequest => "first_request_timeout",
            End::GaveWay(_) => "full",
            End::Refused(_) => "refused",
            End::Unproven(_) | End::Disowned => "unproven",
            End::Expired => "expired",
            End::Malformed(_) | End::Fault(_) => "error",
            End::SlowReader => "slow_reader",
            End::Full => "full",
            End::Age => "age",
        }
    }

    /// What the proxy is told; `None` ends the stream as it is, and Envoy comes back elsewhere.
    fn status(&self) -> Option<Status> {
        match self {
            End::Client | End::Shutdown | End::Expired | End::Age => None,
            End::Unproven(refusal) => Some(refusal.status()),
            End::FirstRequest => {
                Some(Status::deadline_exceeded("the stream was opened, and no request came in time"))
            }
            End::Refused(text) => Some(Status::invalid_argument(text.clone())),
            End::Malformed(status) | End::GaveWay(status) => Some(status.clone()),
            End::Fault(error) => {
                let code = if error.is_limit() { Code::ResourceExhausted } else { Code::InvalidArgument };
                Some(Status::new(code, error.to_string()))
            }
            End::Full => {
                Some(Status::unavailable("umbra has as many proxies as it may; try another replica"))
            }
            End::Disowned => {
                Some(Status::unauthenticated("nobody vouches for the client's certificate any more"))
            }
            // It would not read a status either.
            End::SlowReader => None,
        }
    }
}

/// Serves one stream to its end.
pub(super) async fn run<W: Wire>(ads: Ads, body: Body, out: Sender, mut visitor: Visitor) {
    let connection = visitor.connection.clone();
    let peer = connection.as_ref().map_or_else(|| "unknown".to_owned(), |info| info.peer.to_string());
    let hopeful = visitor.hopeful.take();
    let guest = async {
        // What that takes is given back: the task stays as long as the proxy does.
        let hello = Box::pin(hello::<W>(&ads, body, &visitor, &peer));
        match &hopeful {
            None => hello.await,
            Some(hopeful) => tokio::select! {
                guest = hello => guest,
                () = hopeful.gives_way.cancelled() => Err(End::GaveWay(hopeful.refusal())),
            },
        }
    };
    let guest = guest.await;
    drop(hopeful);
    let end = match guest {
        Ok(Guest { proxy, requests, first, lifetime, _hold }) => {
            visitor.asking = None;
            let name = proxy.node_id.clone();
            let (expired, aged) = (after(lifetime), after(ads.max_age.map(jittered)));
            let driver = Driver::<W> { ads: &ads, proxy, out: &out, published: None, variant: PhantomData };
            // A client that reads nothing also holds up what waits for room in its queue.
            let end = tokio::select! {
                end = driver.drive(requests, first) => end,
                () = stopped(&out, ads.patience.slow_reader) => End::SlowReader,
                () = expired => End::Expired,
                () = aged => End::Age,
                () = disowned(connection.as_ref()) => End::Disowned,
            };
            info!(proxy = name, %peer, reason = end.reason(), "proxy gone");
            end
        }
        Err(end) => {
            match &end {
                End::Refused(why) => warn!(%peer, why, "proxy refused"),
                End::Unproven(refusal) => warn!(%peer, why = refusal.why(), "proxy refused"),
                End::Malformed(status) => warn!(%peer, why = status.message(), "proxy refused"),
                End::Full => warn!(%peer, "proxy refused: as many are connected as may"),
                end => debug!(%peer, reason = end.reason(), "stream ended before its first request"),
            }
            end
        }
    };
    ads.metrics.streams_closed.get_or_create(&ByReason { reason: end.reason() }).inc();
    if matches!(end, End::SlowReader) {
        if let Some(connection) = connection {
            connection.close();
        }
    } else if matches!(end, End::Age | End::Disowned) {
        if let Some(status) = end.status() {
            let _ = tokio::time::timeout(FAREWELL, out.send(Err(status))).await;
        }
        // The end of the stream goes out first. Another connection is made anew: a load balancer finds the replica with room for
        // it, and its certificate is looked at.
        drop(out);
        tokio::time::sleep(FAREWELL).await;
        if let Some(connection) = connection {
            connection.close();
        }
    } else if let Some(status) = end.status() {
        let _ = tokio::time::timeout(ads.patience.slow_reader, out.send(Err(status))).await;
    }
}

/// Ends after a time, if there is one.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Ends when the client's certificate counts no more.
async fn disowned(connection: Option<&ConnectionInfo>) {
    match connection {
        Some(connection) => connection.disowned().await,
        None => std::future::pending().await,
    }
}

/// A tenth more or less, so that those who came together do not leave together.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Who opens a stream, before a byte of it is read.
pub(super) struct Visitor {
    /// What the port asks.
    pub(super) gate: Gate,
    /// The header of this name.
    pub(super) authorization: Option<HeaderValue>,
    /// How it came.
    pub(super) connection: Option<ConnectionInfo>,
    /// As long as nobody knows whether it is let in.
    pub(super) asking: Option<Asking>,
    /// The same, among all streams.
    pub(super) hopeful: Option<Hopeful>,
    /// What it may make umbra keep.
    pub(super) allowances: Allowances,
}

/// Who is let in.
struct Guest<W: Wire> {
    proxy: Arc<Proxy>,
    requests: Requests<W::Request>,
    first: Box<W::Request>,
    /// How long it may stay.
    lifetime: Option<Duration>,
    /// Its connection stays.
    _hold: Option<Hold>,
}

/// Finds out who asks, waits for the first request and understands it.
async fn hello<W: Wire>(ads: &Ads, body: Body, visitor: &Visitor, peer: &str) -> Result<Guest<W>, End> {
    let leaf = visitor.connection.as_ref().and_then(ConnectionInfo::leaf);
    let authorization = visitor.authorization.as_ref().map(HeaderValue::as_bytes);
    let address = connection::address(visitor.connection.as_ref());
    let admission = tokio::select! {
        admitted = visitor.gate.admit(authorization, leaf, address) => admitted.map_err(End::Unproven)?,
        () = ads.shutdown.cancelled() => return Err(End::Shutdown),
    };
    let limit = if admission.proven.is_some() { MAX_PROVEN_REQUEST_BYTES } else { MAX_REQUEST_BYTES };
    let allowance = visitor.allowances.of(address, admission.proven.is_some());
    let mut requests = Requests::new(body, limit, ads.patience.message, allowance);
    let mut first = tokio::select! {
        first = tokio::time::timeout(ads.patience.first_request, requests.message()) => match first {
            Err(_) => return Err(End::FirstRequest),
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None)) => return Err(End::Client),
            Ok(Err(status)) => return Err(End::of(status)),
        },
        () = ads.shutdown.cancelled() => return Err(End::Shutdown),
    };
    let identity = node::identity(W::take_node(&mut first)).map_err(End::Refused)?;
    let node = admission.name(&identity.id, identity.metadata).map_err(End::Unproven)?;
    let mut node = node.map_err(|error| End::Refused(error.to_string()))?;
    node.locality = identity.locality;
    node.takes_hosts = identity.takes_hosts && W::VARIANT == Variant::Delta;
    node.edits_copies = identity.edits_copies;
    node.judges = identity.judges;
    // A private key goes to whom it is known to be for: who has proven it, or a process of the same machine.
    node.may_have_keys = admission.proven.is_some() || address.is_loopback();
    let pod = admission.proven.as_ref().and_then(|proven| Some((&proven.namespace, proven.pod.as_ref()?)));
    if let Some((namespace, pod)) = pod {
        seen(ads, ObjectId::new(Kind::Pod, namespace.as_str(), pod.as_str())).await?;
    }
    let _hold = match &visitor.connection {
        Some(connection) => Some(connection.hold().ok_or(End::Full)?),
        None => None,
    };
    let lifetime = admission.lifetime(Timestamp::now(), fastrand::f64());
    let proxy = Proxy::new(ads.engine.next_id(), identity.id, node, W::VARIANT, peer.to_owned());
    let proxy = proxy.observing(identity.observes);
    Ok(Guest { proxy: Arc::new(proxy.admitted(&admission)), requests, first, lifetime, _hold })
}

/// Waits until umbra has seen a Pod, whose labels say what its proxy gets: a watch may be behind the Pod's own start.
async fn seen(ads: &Ads, pod: ObjectId) -> Result<(), End> {
    let mut settled = ads.engine.follow();
    let look = async {
        while !ads.engine.knows(pod.clone()).await {
            if settled.changed().await.is_err() {
                return Err(End::Shutdown);
            }
        }
        Ok(())
    };
    tokio::select! {
        looked = tokio::time::timeout(ads.patience.first_request, look) => looked.unwrap_or_else(|_| {
            let text = format!("umbra has not seen {pod} yet, whose token this is; is its namespace watched?");
            Err(End::Unproven(Refusal::Later(text)))
        }),
        () = ads.shutdown.cancelled() => Err(End::Shutdown),
    }
}

struct Driver<'a, W: Wire> {
    ads: &'a Ads,
    proxy: Arc<Proxy>,
    out: &'a Sender,
    /// The generation that is on its way to the proxy, and when it was taken up.
    published: Option<(u64, Instant)>,
    variant: PhantomData<fn() -> W>,
}

/// Ends when a client has had something to read and has read nothing of it for as long as `patience`, or up to a third
/// more.
async fn stopped(out: &Sender, patience: Duration) {
    let mut seen = (Instant::now(), None);
    loop {
        tokio::time::sleep(patience / 3).await;
        let unread = out.unread_at();
        if unread.is_none() || unread != seen.1 {
            seen = (Instant::now(), unread);
        } else if seen.0.elapsed() >= patience {
            return;
        }
    }
}

impl<W: Wire> Driver<'_, W> {
    async fn drive(mut self, mut requests: Requests<W::Request>, first: Box<W::Request>) -> End {
        let proxy = self.proxy.clone();
        let rtds = W::runtime_forms(&first);
        proxy.set_rtds(rtds);
        info!(
            proxy = proxy.node_id,
            kind = proxy.node.kind.as_str(),
            namespace = &*proxy.node.namespace,
            variant = variant_name(W::VARIANT),
            peer = proxy.peer,
            "proxy connected"
        );
        let mut entry = self.ads.proxies.enter(proxy.clone());
        let Some(connected) = self.ads.engine.connect(proxy.id, proxy.node.clone(), rtds).await else {
            return End::Shutdown;
        };
        let connection = entry.keep(connected);
        let start = Instant::now();
        if let Err(end) = self.request(first, start).await {
            return end;
        }
        if let Err(status) = requests.weigh(proxy.with_session(|session| session.weight())) {
            return End::Malformed(status);
        }
        if self.ads.engine.is_ready() {
            // It comes at once. Requests that are read after it are compared with it, and need no memory of their own.
            let step = tokio::select! {
                () = self.ads.drain.turn() => Err(End::Shutdown),
                () = self.out.closed() => Err(End::Client),
                snapshot = next(&mut connection.snapshots) => match snapshot {
                    Some(snapshot) => self.snapshot(snapshot, start).await,
                    None => Err(End::Shutdown),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
        // Made once: each is a place in a list of all streams, behind a lock.
        let (ads, out) = (self.ads, self.out);
        let (mut shutdown, mut closed) = (pin!(ads.drain.turn()), pin!(out.closed()));
        loop {
            let deadline = proxy.with_session(|session| session.next_deadline());
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until((start + deadline).into()).await,
                    None => std::future::pending().await,
                }
            };
            let pace = proxy.pace().next(ads.laggard_patience);
            let paced = async {
                match pace {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                () = paced => {
                    if proxy.pace().turn(Instant::now(), ads.laggard_patience) {
                        let why = "it has not answered for as long as --laggard-patience";
                        warn!(proxy = proxy.node_id, peer = proxy.peer, why, "the proxy no longer holds gates");
                    }
                    // Answers about liveness are other ones now.
                    ads.proxies.answered();
                    Ok(())
                }
                () = &mut shutdown => Err(End::Shutdown),
                () = &mut closed => Err(End::Client),
                request = requests.message() => match request {
                    Ok(Some(mut request)) => {
                        W::take_node(&mut request);
                        let forms = W::runtime_forms(&request);
                        if proxy.set_rtds(forms) {
                            connection.set_rtds(forms).await;
                            // The snapshot before has no layer: made from it, the answer would say that there is none.
                            let newest = connection.snapshots.borrow_and_update().clone();
                            if let Some(snapshot) = newest
                                && let Err(end) = self.snapshot(snapshot, start).await
                            {
                                return end;
                            }
                        }
                        let weight = |done| {
                            let weight = proxy.with_session(|session| session.weight());
                            requests.weigh(weight).map_err(End::Malformed).map(|()| done)
                        };
                        self.request(request, start).await.and_then(weight)
                    }
                    Ok(None) => Err(End::Client),
                    Err(status) => Err(End::of(status)),
                },
                snapshot = next(&mut connection.snapshots) => match snapshot {
                    Some(snapshot) => self.snapshot(snapshot, start).await,
                    None => Err(End::Shutdown),
                },
                () = timer => {
                    let output = proxy.with_session(|session| session.on_timer(start.elapsed()));
                    self.send(output).await
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn request(&mut self, mut request: Box<W::Request>, start: Instant) -> Result<(), End> {
        if let Some(words) = W::words(&mut request) {
            words::keep(words);
        }
        let output = self.proxy.with_session(|session| session.on_request(*request, start.elapsed()));
        self.send(output.map_err(End::Fault)?).await
    }

    async fn snapshot(&mut self, snapshot: Arc<Snapshot>, start: Instant) -> Result<(), End> {
        let generation = snapshot.generation();
        let output = self.proxy.with_session(|session| session.on_snapshot(snapshot, start.elapsed()));
        if !output.responses.is_empty() && self.published.is_none() {
            self.published = Some((generation, Instant::now()));
        }
        self.send(output).await
    }

    async fn send(&mut self, output: Output) -> Result<(), End> {
        for event in &output.events {
            self.proxy.note(event, &self.ads.metrics);
            self.say(event);
        }
        let is_answer =
            |event: &SessionEvent| matches!(event, SessionEvent::Ack { .. } | SessionEvent::Nack { .. });
        let answers = output.events.iter().any(is_answer);
        let (generation, acked) = self.proxy.with_session(|session| {
            (session.snapshot().map_or(0, |snapshot| snapshot.generation()), session.acked_generation())
        });
        let now = Instant::now();
        self.proxy.pace().note(acked < generation, answers, now);
        if answers {
            self.ads.proxies.answered();
        }
        self.converge(acked, now);
        for response in output.responses {
            self.out.send(Ok(response)).await.map_err(|Closed| End::Client)?;
        }
        Ok(())
    }

    /// Measures how long a change took to be acknowledged.
    fn converge(&mut self, acked: u64, now: Instant) {
        if let Some((_, since)) = self.published.take_if(|(generation, _)| acked >= *generation) {
            self.ads.metrics.convergence.observe(now.duration_since(since).as_secs_f64());
        }
    }

    fn say(&self, event: &SessionEvent) {
        let proxy = &self.proxy.node_id;
        match event {
            SessionEvent::Push { resource_type, resources, removed, bytes, generation } => {
                debug!(proxy, r#type = %resource_type, resources, removed, bytes, generation, "push");
            }
            SessionEvent::Ack { resource_type, generation } => {
                debug!(proxy, r#type = %resource_type, generation, "ACK");
            }
            SessionEvent::Nack { resource_type, message, names, generation } => {
                let names = listed(names);
                warn!(proxy, r#type = %resource_type, generation, names, envoy = words::one_line(message), "NACK: the proxy keeps what it had");
            }
            SessionEvent::Lag { resource_type, names, waiting_for } => {
                let (names, waiting_for) = (listed(names), listed(waiting_for));
                warn!(proxy, r#type = %resource_type, names, waiting_for, "the proxy has not answered in time; going on");
            }
        }
    }
}

/// The next snapshot; `None` when there will be none. Older ones that were not looked at are skipped.
async fn next(snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>) -> Option<Arc<Snapshot>> {
    loop {
        snapshots.changed().await.ok()?;
        if let Some(snapshot) = snapshots.borrow_and_update().clone() {
            return Some(snapshot);
        }
    }
}

/// A few names for a log line.
fn listed(names: &[Arc<str>]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|name| &**name).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
