//! The proxies that are connected, and how far each has come: what `/debug/proxies` shows.

mod away;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tracing::warn;
use umbra_ir::{ProxyNode, RuntimeForms};
use umbra_xds::{ResourceType, Session, SessionEvent, Snapshot, TypeStatus, Variant};

use crate::engine_task::Connected;
use crate::identity::Admission;
use crate::metrics::{ByProxy, Metrics};
use crate::pace::{Comings, Pace};
use crate::words::one_line;

pub use away::Away;
#[cfg(test)]
pub(crate) use away::GRACE;
pub(crate) use away::{Absent, pod as pod_of};

/// One connected proxy: who it is, and its session. The session's lock is held for the length of one call,
/// never across an await.
#[derive(Debug)]
pub struct Proxy {
    /// Counts streams; names this one at `/debug/proxies/{id}`.
    pub id: u64,
    /// The id that its node gave.
    pub node_id: String,
    /// What was understood of its node.
    pub node: ProxyNode,
    /// Address of its end of the connection.
    pub peer: String,
    /// Since when.
    pub connected: Timestamp,
    /// Whether it counts in statuses and gates: where proof is asked for, those who gave none do not.
    pub counts: bool,
    /// It says that it tells what it counts of mirrors.
    pub observes: bool,
    /// As whom it has proven itself: its ServiceAccount.
    pub account: Option<String>,
    pace: OnceLock<Pace>,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    session: Session,
    rtds: RuntimeForms,
    counters: BTreeMap<ResourceType, Counters>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    pushes: u64,
    acks: u64,
    nacks: u64,
    bytes: u64,
    last_nack: Option<Timestamp>,
}

/// A proxy as `/debug/proxies` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyView {
    /// Counts streams.
    pub id: u64,
    /// The id that its node gave.
    pub node: String,
    /// `sidecar` or `router`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its Pod, when the id tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// Its labels, when its metadata carry them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// It subscribes to the runtime layer, so percentages reach it without a route push.
    pub rtds: bool,
    /// It says that it tells what it counts of mirrors (`OBSERVE` of its node's metadata).
    pub observes: bool,
    /// `delta` or `sotw`.
    pub variant: &'static str,
    /// Address of its end of the connection.
    pub peer: String,
    /// Since when.
    pub connected: Timestamp,
    /// The ServiceAccount (`NAMESPACE/NAME`) that it has proven to be of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The newest generation made for it; `null` before the first load.
    pub generation: Option<u64>,
    /// The newest generation that it has fully taken; 0: none yet.
    pub acked_generation: u64,
    /// By resource type, those it has asked for.
    pub types: BTreeMap<&'static str, TypeView>,
}

/// How a stream stands with one resource type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TypeState {
    /// The proxy has taken all that there is.
    Synced,
    /// A response is not answered yet.
    Sent,
    /// Something is held back until what it needs is there.
    Pending,
    /// The proxy has rejected the newest content of something.
    Rejected,
}

/// One resource type on one stream.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeView {
    /// How it stands.
    pub state: TypeState,
    /// It watches everything.
    pub wildcard: bool,
    /// How many names it watches one by one.
    pub names: usize,
    /// The newest generation whose changes of this type were all sent.
    pub sent_generation: u64,
    /// The newest generation whose changes of this type were all taken.
    pub acked_generation: u64,
    /// Responses sent.
    pub pushes: u64,
    /// Responses taken.
    pub acks: u64,
    /// Responses rejected.
    pub nacks: u64,
    /// Bytes of the responses sent.
    pub bytes: u64,
    /// Resources whose newest content it rejected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Arc<str>>,
    /// The last rejection, kept after it was mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_nack: Option<NackView>,
}

/// A rejection.
#[derive(Debug, Serialize)]
pub struct NackView {
    /// When.
    pub at: Option<Timestamp>,
    /// Envoy's own words.
    pub message: String,
    /// What was new in the response.
    pub resources: Vec<Arc<str>>,
    /// The generation of the response.
    pub generation: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy whose stream has just brought its node.
    pub fn new(id: u64, node_id: String, node: ProxyNode, variant: Variant, peer: String) -> Self {
        let live =
            Live { session: Session::new(variant), rtds: RuntimeForms::NONE, counters: BTreeMap::new() };
        let connected = Timestamp::now();
        Proxy {
            id,
            node_id,
            node,
            peer,
            connected,
            counts: true,
            observes: false,
            account: None,
            pace: OnceLock::new(),
            live: Mutex::new(live),
        }
    }

    /// The same with what it says of its counting.
    #[must_use]
    pub fn observing(mut self, observes: bool) -> Self {
        self.observes = observes;
        self
    }

    /// The same with what its stream was admitted by.
    #[must_use]
    pub fn admitted(mut self, admission: &Admission) -> Self {
        self.counts = admission.counts;
        self.account = admission.proven.as_ref().map(|it| format!("{}/{}", it.namespace, it.account));
        self
    }

    /// Whether it keeps pace.
    pub fn pace(&self) -> &Pace {
        self.pace.get_or_init(Pace::default)
    }

    /// Calls something of the session.
    pub fn with_session<T>(&self, call: impl FnOnce(&mut Session) -> T) -> T {
        call(&mut lock(&self.live).session)
    }

    /// Notes that it subscribes to layers of the runtime; false when that was known.
    pub fn set_rtds(&self, forms: RuntimeForms) -> bool {
        let known = &mut lock(&self.live).rtds;
        let all = known.with(forms);
        std::mem::replace(known, all) != all
    }

    /// Its newest snapshot.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        lock(&self.live).session.snapshot().cloned()
    }

    /// Counts what happened on the stream.
    pub fn note(&self, event: &SessionEvent, metrics: &Metrics) {
        let (resource_type, count): (_, fn(&mut Counters)) = match event {
            SessionEvent::Push { resource_type, .. } => (*resource_type, |it| it.pushes += 1),
            SessionEvent::Ack { resource_type, .. } => (*resource_type, |it| it.acks += 1),
            SessionEvent::Nack { resource_type, .. } => (*resource_type, |it| it.nacks += 1),
            SessionEvent::Lag { .. } => return,
        };
        let mut live = lock(&self.live);
        let counters = live.counters.entry(resource_type).or_default();
        count(counters);
        match event {
            SessionEvent::Push { bytes, .. } => {
                counters.bytes += *bytes as u64;
                metrics.pushes.get(resource_type).inc();
                metrics.push_bytes.get(resource_type).inc_by(*bytes as u64);
            }
            SessionEvent::Ack { .. } => {
                metrics.acks.get(resource_type).inc();
            }
            SessionEvent::Nack { .. } => {
                counters.last_nack = Some(Timestamp::now());
                metrics.nacks.get(resource_type).inc();
            }
            SessionEvent::Lag { .. } => {}
        }
    }

    /// Its Pod as `POD.NAMESPACE`, else the id that its node gave.
    pub fn name(&self) -> String {
        match &self.node.pod {
            Some(pod) => format!("{pod}.{}", self.node.namespace),
            None => self.node_id.clone(),
        }
    }

    /// What to show of it.
    pub fn view(&self) -> ProxyView {
        let live = lock(&self.live);
        let session = &live.session;
        let asked = session.status().into_iter().filter(|status| status.asked);
        let types = asked.map(|status| {
            let counters = live.counters.get(&status.resource_type).copied().unwrap_or_default();
            (status.resource_type.short_name(), TypeView::new(status, counters))
        });
        ProxyView {
            id: self.id,
            node: self.node_id.clone(),
            kind: self.node.kind.as_str(),
            namespace: self.node.namespace.clone(),
            pod: self.node.pod.clone(),
            labels: self.node.labels.clone(),
            rtds: live.rtds.any(),
            observes: self.observes,
            variant: variant_name(session.variant()),
            peer: self.peer.clone(),
            connected: self.connected,
            account: self.account.clone(),
            generation: session.snapshot().map(|snapshot| snapshot.generation()),
            acked_generation: session.acked_generation(),
            types: types.collect(),
        }
    }
}

/// The word for a variant in logs and views.
pub fn variant_name(variant: Variant) -> &'static str {
    match variant {
        Variant::Sotw => "sotw",
        Variant::Delta => "delta",
    }
}

impl TypeView {
    fn new(status: TypeStatus, counters: Counters) -> Self {
        let state = match &status {
            status if !status.refused.is_empty() => TypeState::Rejected,
            status if status.unanswered > 0 => TypeState::Sent,
            status if status.pending > 0 => TypeState::Pending,
            _ => TypeState::Synced,
        };
        let last_nack = status.last_nack.map(|nack| NackView {
            at: counters.last_nack,
            message: one_line(&nack.message),
            resources: nack.resources.into_iter().map(|(name, _)| name).collect(),
            generation: nack.generation,
        });
        TypeView {
            state,
            wildcard: status.wildcard,
            names: status.names,
            sent_generation: status.sent_generation,
            acked_generation: status.acked_generation,
            pushes: counters.pushes,
            acks: counters.acks,
            nacks: counters.nacks,
            bytes: counters.bytes,
            rejected: status.refused,
            last_nack,
        }
    }
}

/// The table of connected proxies.
#[derive(Debug)]
pub struct Proxies {
    table: Mutex<BTreeMap<u64, Arc<Proxy>>>,
    metrics: Arc<Metrics>,
    answers: watch::Sender<u64>,
    comings: Mutex<Comings>,
    away: Away,
}

/// A proxy's place in the table; dropping it takes the proxy out, among those who are away.
#[derive(Debug)]
pub struct Entry {
    proxy: Arc<Proxy>,
    proxies: Arc<Proxies>,
    connected: Option<Connected>,
}

impl Entry {
    /// Keeps its connection to the engine, for as long as it counts.
    pub fn keep(&mut self, connected: Connected) -> &mut Connected {
        self.connected.insert(connected)
    }
}

impl Proxies {
    /// An empty table.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let (table, answers, comings) = (Mutex::default(), watch::Sender::default(), Mutex::default());
        Arc::new(Proxies { table, metrics, answers, comings, away: Away::default() })
    }

    /// Enters a proxy.
    pub fn enter(self: &Arc<Self>, proxy: Arc<Proxy>) -> Entry {
        let name = proxy.name();
        let (steady, said) = lock(&self.comings).note(&name, Instant::now());
        if said {
            warn!(proxy = name, "the proxy comes and goes: it counts in statuses and gates when it stays");
        }
        let _ = proxy.pace.set(Pace::from(steady));
        self.away.returned(&proxy);
        lock(&self.table).insert(proxy.id, proxy.clone());
        self.metrics.proxies.get_or_create(&ByProxy { kind: proxy.node.kind.as_str() }).inc();
        Entry { proxy, proxies: self.clone(), connected: None }
    }

    /// Tells those who follow that a proxy has answered a response.
    pub fn answered(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    /// Counts the answers of all proxies.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    /// The proxy on a stream.
    pub fn get(&self, id: u64) -> Option<Arc<Proxy>> {
        lock(&self.table).get(&id).cloned()
    }

    /// Those whose streams have ended.
    pub fn away(&self) -> &Away {
        &self.away
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// Every connected proxy, in the order of connecting.
    pub fn list(&self) -> Vec<Arc<Proxy>> {
        lock(&self.table).values().cloned().collect()
    }

    /// The proxies with this stream number or node id.
    pub fn find(&self, name: &str) -> Vec<Arc<Proxy>> {
        let number = name.parse::<u64>().ok();
        self.list().into_iter().filter(|proxy| number == Some(proxy.id) || proxy.node_id == name).collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.proxies.table).remove(&self.proxy.id);
        let kind = self.proxy.node.kind.as_str();
        self.proxies.metrics.proxies.get_or_create(&ByProxy { kind }).dec();
        if let Some(connected) = self.connected.take() {
            self.proxies.away.enter(&self.proxy, connected);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::{Interception, ProxyKind};
    use umbra_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use umbra_proto::google::rpc::Status;
    use umbra_xds::{Change, Resource};

    use super::*;

    fn proxy() -> Arc<Proxy> {
        let node = ProxyNode {
            kind: ProxyKind::Sidecar,
            namespace: "default".into(),
            pod: None,
            labels: None,
            unprivileged: false,
            trusted_proxies: None,
            interception: Interception::None,
            locality: None,
            takes_hosts: false,
            edits_copies: true,
            may_have_keys: false,
            http10: false,
            judges: Default::default(),
        };
        Arc::new(Proxy::new(7, "web-1".to_owned(), node, Variant::Delta, "127.0.0.1:1".to_owned()))
    }

    fn request(nonce: &str, error: Option<&str>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: ResourceType::Cluster.type_url().to_owned(),
            response_nonce: nonce.to_owned(),
            error_detail: error.map(|text| Status { message: text.to_owned(), ..Status::default() }),
            ..DeltaDiscoveryRequest::default()
        }
    }

    #[test]
    fn what_happens_shows_and_leaving_takes_a_proxy_out() {
        let metrics = Arc::new(Metrics::default());
        let proxies = Proxies::new(metrics.clone());
        let proxy = proxy();
        let entry = proxies.enter(proxy.clone());
        let cluster = |body: &'static str| {
            [Change::put(
                ResourceType::Cluster,
                Resource::new(ResourceType::Cluster, "c", body.as_bytes(), []),
            )]
        };
        let first = Snapshot::empty(1, 0).next(1, cluster("a"));
        let second = first.next(2, cluster("b"));
        let state = || serde_json::to_value(proxies.find("web-1")[0].view()).unwrap();
        let now = Duration::ZERO;
        let take = |output: umbra_xds::Output| {
            output.events.iter().for_each(|event| proxy.note(event, &metrics));
            output.responses.iter().map(|r| r.nonce()).collect::<Vec<_>>().join(" ")
        };
        take(proxy.with_session(|s| s.on_request(request("", None), now)).unwrap());
        let nonce = take(proxy.with_session(|s| s.on_snapshot(first.into(), now)));
        assert_eq!(state()["types"]["cds"]["state"], "sent");
        take(proxy.with_session(|s| s.on_request(request(&nonce, None), now)).unwrap());
        assert_eq!(state()["types"]["cds"]["state"], "synced");
        let nonce = take(proxy.with_session(|s| s.on_snapshot(second.into(), now)));
        take(proxy.with_session(|s| s.on_request(request(&nonce, Some("no")), now)).unwrap());
        let shown = state();
        assert_eq!(shown["types"]["cds"]["state"], "rejected");
        assert_eq!(shown["types"]["cds"]["lastNack"]["message"], "no");
        assert_eq!(shown["types"]["cds"]["lastNack"]["resources"][0], "c");
        assert_eq!(shown["types"]["cds"]["pushes"], 2);
        assert!(!proxy.set_rtds(RuntimeForms::NONE));
        assert!(proxy.set_rtds(RuntimeForms::WHOLE) && !proxy.set_rtds(RuntimeForms::WHOLE));
        assert_eq!(state()["rtds"], true);
        assert_eq!(proxies.find("7").len(), 1);
        assert!(metrics.encode().contains("umbra_xds_nacks_total{type=\"cds\"} 1"));
        assert!(metrics.encode().contains("umbra_proxies{kind=\"sidecar\"} 1"));
        drop(entry);
        assert!(proxies.list().is_empty());
        assert!(metrics.encode().contains("umbra_proxies{kind=\"sidecar\"} 0"));
    }
}
