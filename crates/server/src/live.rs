//! How far each object has come: which proxies of this replica it reaches, and which of them have taken all
//! that it comes to. What statuses, `umbra.v1` and `/v1/live` say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use umbra_engine::{ClassReach, Resources};
use umbra_envoy::RUNTIME_LAYER;
use umbra_ir::{Diagnostic, ObjectId, RuntimeFraction};
use umbra_istio::MirrorState;
use umbra_xds::{ResourceType, Standing};

use crate::engine_task::{EngineHandle, Reach};
use crate::proxies::{Proxies, Proxy};

/// Proxies that are named when an object is not live on them; the rest is counted.
const MAX_LAGGARDS: usize = 8;

/// How far one object has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLive {
    /// Which.
    pub object: ObjectId,
    /// The version (`metadata.generation`) that is in force; 0: none, or one from a file, which has none.
    pub generation: i64,
    /// The newest version that was seen; above `generation` when it was not understood.
    pub newest: i64,
    /// How many proxies it reaches.
    pub total: usize,
    /// How many of them have taken every resource that comes from it in its present version.
    pub live: usize,
    /// Some of the others: those that refused it first, then by name.
    pub laggards: Vec<Laggard>,
}

/// A proxy on which an object is not live.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Laggard {
    /// `POD.NAMESPACE` when its node id tells, else that id.
    pub proxy: String,
    /// A resource that it lacks, such as `rds/8000`; one that it refused before others.
    pub resource: String,
    /// Envoy's words, when it refused the resource.
    pub words: Option<String>,
}

impl Laggard {
    /// Whether its proxy refused the resource. Of a whole replica it is told why, without one.
    pub fn refused(&self) -> bool {
        self.words.is_some() && !self.resource.is_empty()
    }

    /// Who refused says more than who is slow, and must not be cut off.
    pub(crate) fn by_weight(&self, other: &Self) -> std::cmp::Ordering {
        (!self.refused(), self).cmp(&(!other.refused(), other))
    }
}

/// One mirror, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorLive {
    /// The VirtualService that it stands in.
    pub rule: ObjectId,
    /// What has become of it.
    pub state: MirrorState,
    /// How many proxies its VirtualService reaches.
    pub total: usize,
    /// How many of them mirror by it, or would at a share above 0; none when it is broken.
    pub live: usize,
}

impl MirrorLive {
    /// Its fraction; `None`: not a percentage.
    pub fn share(&self) -> Option<RuntimeFraction> {
        self.state.share
    }

    /// The names of its clusters, with the number of ready endpoints of each.
    pub fn clusters(&self) -> impl Iterator<Item = (Arc<str>, usize)> {
        self.state
            .clusters
            .iter()
            .map(|(cluster, endpoints)| (umbra_envoy::cluster_name(cluster), *endpoints))
    }

    /// The worst that is to be said about it.
    pub fn problem(&self) -> Option<&Diagnostic> {
        self.state.problem.as_ref()
    }
}

/// Where to ask. Clones ask the same place.
#[derive(Clone, Debug)]
pub struct Live {
    engine: EngineHandle,
    proxies: Arc<Proxies>,
    changes: watch::Receiver<u64>,
}

impl Live {
    /// Asks this engine and these proxies. Needs a tokio runtime, for a task that ends with the engine.
    pub fn new(engine: EngineHandle, proxies: Arc<Proxies>) -> Self {
        let (tick, changes) = watch::channel(0);
        let (mut settles, mut answers) = (engine.follow(), proxies.follow());
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    settled = settles.changed() => settled,
                    answered = answers.changed() => answered,
                    () = tick.closed() => return,
                };
                if next.is_err() {
                    return;
                }
                tick.send_modify(|count| *count += 1);
            }
        });
        Live { engine, proxies, changes }
    }

    /// Changes whenever an answer may be another one: something settled, a proxy answered, came or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// How far these objects have come, sorted; `None`: every Istio object. One that does not exist is left out.
    pub async fn objects(&self, which: Option<&[ObjectId]>) -> Vec<ObjectLive> {
        let reach = self.engine.reach().await;
        let (live, which) = (self.clone(), which.map(<[ObjectId]>::to_vec));
        // Thousands of objects on thousands of proxies take a while; the streams go on meanwhile.
        let judged = tokio::task::spawn_blocking(move || live.judge(&reach, which.as_deref()));
        judged.await.unwrap_or_default()
    }

    /// What has become of every mirror, by VirtualService, in the order in which they are written.
    pub async fn mirror_states(&self) -> BTreeMap<ObjectId, Arc<Vec<MirrorState>>> {
        self.engine.reach().await.mirrors
    }

    /// Every mirror, sorted by VirtualService, in the order in which they are written.
    pub async fn mirrors(&self) -> Vec<MirrorLive> {
        let reach = self.engine.reach().await;
        let rules: Vec<ObjectId> = reach.mirrors.keys().cloned().collect();
        let lives = self.judge(&reach, Some(&rules));
        let lives: BTreeMap<&ObjectId, &ObjectLive> = lives.iter().map(|live| (&live.object, live)).collect();
        let mut all = Vec::new();
        for (rule, states) in &reach.mirrors {
            let (total, live) = lives.get(rule).map_or((0, 0), |live| (live.total, live.live));
            all.extend(states.iter().map(|state| {
                let live = if state.clusters.is_empty() { 0 } else { live };
                MirrorLive { rule: rule.clone(), state: state.clone(), total, live }
            }));
        }
        all
    }

    fn judge(&self, reach: &Reach, which: Option<&[ObjectId]>) -> Vec<ObjectLive> {
        let asked: BTreeSet<&ObjectId> = match which {
            Some(ids) => ids.iter().filter(|id| reach.objects.contains(id)).collect(),
            None => reach.objects.iter().collect(),
        };
        let mut found: BTreeMap<&ObjectId, ObjectLive> =
            asked.iter().map(|id| (*id, blank(reach, id))).collect();
        for class in &reach.classes {
            let proxies = class.proxies.iter().filter_map(|id| self.proxies.get(id.0));
            let (taken, lagging): (Vec<_>, Vec<_>) =
                proxies.partition(|proxy| proxy.with_session(|session| session.has_taken(&class.snapshot)));
            for (id, resources) in class.objects.iter() {
                let Some(live) = found.get_mut(id) else { continue };
                live.total += taken.len() + lagging.len();
                live.live += taken.len();
                for proxy in &lagging {
                    match lacks(proxy, class, resources, reach.mirrors.contains_key(id)) {
                        None => live.live += 1,
                        Some(laggard) => live.laggards.push(laggard),
                    }
                }
                // Before the next class: a mass of proxies may lag.
                live.cap();
            }
        }
        found.into_values().collect()
    }
}

impl ObjectLive {
    /// Keeps those laggards that say most.
    fn cap(&mut self) {
        self.laggards.sort_by(Laggard::by_weight);
        self.laggards.truncate(MAX_LAGGARDS);
    }
}

fn blank(reach: &Reach, id: &ObjectId) -> ObjectLive {
    let rule = reach.rules.get(id).filter(|rule| !rule.in_file);
    ObjectLive {
        object: id.clone(),
        generation: rule.map_or(0, |rule| rule.in_force),
        newest: rule.map_or(0, |rule| rule.generation),
        total: 0,
        live: 0,
        laggards: Vec::new(),
    }
}

/// What a proxy lacks of an object, if anything; what it refused comes first. Mirrors take their fractions from
/// the runtime layer, so a rule that has any needs it too.
fn lacks(proxy: &Proxy, class: &ClassReach, resources: &Resources, mirrors: bool) -> Option<Laggard> {
    let layer = (ResourceType::Runtime, Arc::from(RUNTIME_LAYER));
    let layer = Some(&layer).filter(|_| mirrors);
    let mut lacking = None;
    for (resource_type, name) in resources.iter().chain(layer) {
        let Some(resource) = class.snapshot.get(*resource_type, name) else { continue };
        let standing =
            proxy.with_session(|session| session.standing(*resource_type, name, &resource.version));
        let words = match standing {
            Standing::Taken => continue,
            Standing::Refused(words) => Some(words),
            Standing::Open => None,
        };
        if words.is_some() || lacking.is_none() {
            let refused = words.is_some();
            let resource = format!("{}/{name}", resource_type.short_name());
            lacking = Some(Laggard { proxy: proxy.name(), resource, words });
            if refused {
                break;
            }
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_api::Change;
    use umbra_engine::{Engine, Options};
    use umbra_ir::{Kind, ProxyKind, ProxyNode};
    use umbra_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use umbra_proto::google::rpc::Status;
    use umbra_source::{Generations, Update};
    use umbra_xds::{Output, Response, Variant};

    use super::*;
    use crate::metrics::Metrics;

    const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web}}], mirror: {host: web, subset: v2}, mirrorPercentage: {value: 50}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec: {selector: {app: door}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

    /// A proxy that answers what it is told to answer.
    struct Stream {
        proxy: Arc<Proxy>,
        open: Vec<Response>,
    }

    impl Stream {
        fn request(&mut self, ty: ResourceType, change: impl FnOnce(&mut DeltaDiscoveryRequest)) {
            let mut request =
                DeltaDiscoveryRequest { type_url: ty.type_url().to_owned(), ..Default::default() };
            change(&mut request);
            let output = self.proxy.with_session(|s| s.on_request(request, Duration::ZERO)).unwrap();
            self.take(output);
        }

        fn take(&mut self, output: Output) {
            self.open.extend(output.responses);
        }

        /// Answers all open responses of a type.
        fn answer(&mut self, ty: ResourceType, refusal: Option<&str>) {
            while let Some(at) = self.open.iter().position(|response| response.type_url() == ty.type_url()) {
                let nonce = self.open.remove(at).nonce().to_owned();
                let error_detail =
                    refusal.map(|words| Status { message: words.to_owned(), ..Status::default() });
                self.request(ty, |request| {
                    request.response_nonce = nonce;
                    request.error_detail = error_detail;
                });
            }
        }
    }

    /// Every object as `KIND LIVE/TOTAL`, then what its laggards lack; every mirror after them.
    async fn told(live: &Live) -> String {
        let objects = live.objects(None).await.into_iter().map(|it| {
            let words = it.laggards.iter().map(|lag| {
                format!(" {} {}{}", lag.proxy, lag.resource, lag.words.as_deref().unwrap_or_default())
            });
            let words: String = words.collect();
            format!("{}@{} {}/{}{words}", it.object.kind, it.generation, it.live, it.total)
        });
        let objects: Vec<_> = objects.collect();
        let mirrors = live
            .mirrors()
            .await
            .into_iter()
            .map(|it| format!("{} {} {}/{}", it.state.subset, it.share().unwrap(), it.live, it.total));
        let mirrors: Vec<_> = mirrors.collect();
        format!("{}; {}", objects.join(", "), mirrors.join(", "))
    }

    #[tokio::test]
    async fn an_object_is_live_where_all_that_comes_of_it_was_taken() {
        let metrics = Arc::new(Metrics::new());
        let engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
        let engine = EngineHandle::start(engine, metrics.clone()).unwrap();
        let proxies = Proxies::new(metrics);
        let live = Live::new(engine.clone(), proxies.clone());
        let parsed = umbra_api::parse_documents(OBJECTS, "a.yaml").objects;
        let changes = parsed.into_iter().map(|object| Change::Upsert(Arc::new(object.value))).collect();
        let rule = ObjectId::new(Kind::VirtualService, "default", "web");
        let generations = vec![(rule, Some(Generations { newest: 4, in_force: 3 }))];
        engine.files(Update { changes, generations, ..Update::default() }).await;
        let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, Gateway@0 0/0; v2 50% 0/0";
        assert_eq!(told(&live).await, nobody);

        let node = ProxyNode {
            kind: ProxyKind::Sidecar,
            namespace: "default".into(),
            pod: Some("p".into()),
            labels: Some(BTreeMap::new()),
            unprivileged: false,
        };
        let id = engine.next_id();
        let proxy = Arc::new(Proxy::new(id, "n".to_owned(), node.clone(), Variant::Delta, String::new()));
        let entry = proxies.enter(proxy.clone());
        let mut connected = engine.connect(id, node, true).await.unwrap();
        let snapshot = connected.snapshots.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let mut stream = Stream { proxy: proxy.clone(), open: Vec::new() };
        stream.take(proxy.with_session(|session| session.on_snapshot(snapshot.clone(), Duration::ZERO)));
        let check = async |what: &str, want: &str| assert_eq!(told(&live).await, want, "{what}");

        check(
            "connected",
            "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 0/1 p.default \
             cds/mirror|80|v2|web.default.svc.cluster.local, Gateway@0 0/0; v2 50% 0/1",
        )
        .await;
        use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};
        for ty in [Cluster, Listener] {
            stream.request(ty, |_| {});
        }
        let names = |ty| snapshot.map(ty).keys().map(|name| name.to_string()).collect::<Vec<_>>();
        stream.request(Endpoint, |request| request.resource_names_subscribe = names(Endpoint));
        for ty in [Endpoint, Cluster, Endpoint, Listener] {
            stream.answer(ty, None);
        }
        check(
            "all but routes and layer",
            "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1",
        )
        .await;
        stream.request(Runtime, |request| request.resource_names_subscribe = names(Runtime));
        stream.answer(Runtime, None);
        stream.request(Route, |request| request.resource_names_subscribe = names(Route));
        check(
            "routes sent",
            "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1",
        )
        .await;
        stream.answer(Route, Some(" no such luck"));
        check(
            "routes refused",
            "VirtualService@3 0/1 p.default rds/80 no such luck, DestinationRule@0 1/1, Gateway@0 0/0; \
             v2 50% 0/1",
        )
        .await;

        // The same rule mended: another version of the same table.
        let text = OBJECTS.replace("subset: v2}, mirrorP", "subset: v2}, timeout: 3s, mirrorP");
        let parsed = umbra_api::parse_documents(&text, "a.yaml").objects;
        let changes = parsed.into_iter().map(|object| Change::Upsert(Arc::new(object.value))).collect();
        engine.files(Update { changes, ..Update::default() }).await;
        connected.snapshots.changed().await.unwrap();
        check(
            "mended, not sent",
            "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1",
        )
        .await;
        let snapshot = connected.snapshots.borrow().clone().unwrap();
        stream.take(proxy.with_session(|session| session.on_snapshot(snapshot, Duration::ZERO)));
        stream.answer(Route, None);
        check("all taken", "VirtualService@3 1/1, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 1/1").await;
        drop((connected, entry));
        check("gone", nobody).await;
    }
}
