//! How far each object has come: which proxies of this replica it reaches (they are served something that comes of it),
//! and on which of them it is live (they have taken all of that). What statuses, `umbra.v1` and `/v1/live` say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use umbra_engine::{ClassReach, Resources};
use umbra_envoy::RuntimeLayer;
use umbra_ir::{Diagnostic, MirrorState, ObjectId, RuntimeForms, RuntimeFraction, RuntimeKey};
use umbra_source::Work;
use umbra_xds::{ResourceType, Standing};

use crate::engine_task::{EngineHandle, Outcome};
use crate::proxies::{Proxies, Proxy};
use crate::supervise::blocking;
use crate::words::one_line;

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

/// How far objects have come, and what is known about their mirrors, both of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectsLive {
    /// Sorted.
    pub objects: Vec<ObjectLive>,
    /// What has become of every mirror, by VirtualService, in the order in which they are written.
    pub mirrors: Mirrors,
}

/// The mirrors of every VirtualService that has any, in the order in which they are written.
pub type Mirrors = BTreeMap<ObjectId, Arc<Vec<MirrorState>>>;

/// Where to ask. Clones ask the same place.
#[derive(Clone, Debug)]
pub struct Live {
    engine: EngineHandle,
    proxies: Arc<Proxies>,
    changes: watch::Receiver<u64>,
}

impl Live {
    /// Asks this engine and these proxies. The work notes when an answer may be another one; it ends with the engine.
    pub fn new(engine: EngineHandle, proxies: Arc<Proxies>) -> (Self, Work) {
        let (tick, changes) = watch::channel(0);
        let (mut settles, mut answers) = (engine.follow(), proxies.follow());
        let work = Work::task("liveness", async move {
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
        (Live { engine, proxies, changes }, work)
    }

    /// Changes whenever an answer may be another one: something settled, a proxy answered, came or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// How far these objects have come; `None`: every Istio object. One that does not exist is left out.
    pub async fn objects(&self, which: Option<&[ObjectId]>) -> ObjectsLive {
        let outcome = self.engine.outcome().await;
        let (live, which) = (self.clone(), which.map(<[ObjectId]>::to_vec));
        // Thousands of objects on thousands of proxies take a while; the streams go on meanwhile.
        blocking(move || {
            let asked: BTreeSet<&ObjectId> = match &which {
                Some(ids) => ids.iter().filter(|id| outcome.objects.contains(id)).collect(),
                None => outcome.objects.iter().collect(),
            };
            let mirrors = |id| outcome.mirrors.get(id).map_or(&[][..], |all| all.as_slice());
            let asked: Vec<_> = asked.into_iter().map(|id| Asked { id, mirrors: mirrors(id) }).collect();
            ObjectsLive { objects: live.judge(&outcome, &asked), mirrors: outcome.mirrors }
        })
        .await
    }

    /// Every mirror, sorted by VirtualService, in the order in which they are written.
    pub async fn mirrors(&self) -> Vec<MirrorLive> {
        let (outcome, live) = (self.engine.outcome().await, self.clone());
        blocking(move || {
            // Each for itself: what one lacks is no fault of those beside it.
            let each = outcome.mirrors.iter().flat_map(|(id, all)| {
                all.iter().map(move |mirror| Asked { id, mirrors: std::slice::from_ref(mirror) })
            });
            let asked: Vec<_> = each.collect();
            let lives = live.judge(&outcome, &asked).into_iter().zip(&asked);
            let all = lives.map(|(ObjectLive { object, total, live, .. }, asked)| {
                let state = asked.mirrors[0].clone();
                let live = if state.clusters.is_empty() { 0 } else { live };
                MirrorLive { rule: object, state, total, live }
            });
            all.collect()
        })
        .await
    }

    fn judge(&self, outcome: &Outcome, asked: &[Asked<'_>]) -> Vec<ObjectLive> {
        let mut found: Vec<ObjectLive> = asked.iter().map(|asked| blank(outcome, asked.id)).collect();
        for class in &outcome.classes {
            let proxies = class.proxies.iter().filter_map(|id| self.proxies.get(id.0));
            let proxies = proxies.filter(|proxy| proxy.counts && proxy.pace().is_steady());
            let (taken, lagging): (Vec<_>, Vec<_>) =
                proxies.partition(|proxy| proxy.with_session(|session| session.has_taken(&class.snapshot)));
            for (asked, live) in asked.iter().zip(&mut found) {
                let Some(resources) = class.objects.get(asked.id) else { continue };
                live.total += taken.len() + lagging.len();
                live.live += taken.len();
                if lagging.is_empty() {
                    continue;
                }
                let needs = asked.needs(resources);
                for proxy in &lagging {
                    match lacks(proxy, class, &needs) {
                        None => live.live += 1,
                        // It had its time. The log has named it, and `/debug/proxies` shows what it lacks.
                        Some(laggard) if !laggard.refused() && proxy.pace().is_excused() => live.total -= 1,
                        Some(laggard) => live.laggards.push(laggard),
                    }
                }
                // Before the next class: a mass of proxies may lag.
                live.cap();
            }
        }
        found
    }
}

/// What is looked at: an object with all of its mirrors, or one of them.
struct Asked<'a> {
    id: &'a ObjectId,
    mirrors: &'a [MirrorState],
}

impl Asked<'_> {
    /// What a proxy needs, of that which its class has: what comes of the object, and for mirrors their clusters and
    /// the runtime layer with their fractions.
    fn needs(&self, resources: &Resources) -> Vec<(ResourceType, Arc<str>)> {
        let clusters = self.mirrors.iter().flat_map(|mirror| mirror.clusters.keys());
        let clusters = clusters.map(|cluster| (ResourceType::Cluster, umbra_envoy::cluster_name(cluster)));
        // In each form; a class has those that its proxies ask for.
        let layers: BTreeSet<RuntimeLayer> = self.mirrors.iter().flat_map(|it| layers_of(&it.key)).collect();
        let layers = layers.into_iter().map(|layer| (ResourceType::Runtime, layer.to_string().into()));
        resources.iter().cloned().chain(clusters).chain(layers).collect()
    }
}

/// The layers, in every form, that a key is in.
fn layers_of(key: &RuntimeKey) -> impl Iterator<Item = RuntimeLayer> {
    (0..=RuntimeForms::MAX_DIGITS).map(|digits| RuntimeLayer::of(key, digits))
}

impl ObjectLive {
    /// Keeps those laggards that say most.
    fn cap(&mut self) {
        self.laggards.sort_by(Laggard::by_weight);
        self.laggards.truncate(MAX_LAGGARDS);
    }
}

fn blank(outcome: &Outcome, id: &ObjectId) -> ObjectLive {
    let known = outcome.cluster.get(id).filter(|known| !known.in_file);
    ObjectLive {
        object: id.clone(),
        generation: known.map_or(0, |known| known.in_force),
        newest: known.map_or(0, |known| known.generation),
        total: 0,
        live: 0,
        laggards: Vec::new(),
    }
}

/// What a proxy lacks of what it needs, if anything; what it refused comes first.
fn lacks(proxy: &Proxy, class: &ClassReach, needs: &[(ResourceType, Arc<str>)]) -> Option<Laggard> {
    let mut lacking = None;
    for (resource_type, name) in needs {
        let mut at_fault = (*resource_type, name.clone());
        let words = match standing(proxy, class, &at_fault) {
            None | Some(Standing::Taken) => continue,
            Some(Standing::Refused(words)) => Some(one_line(&words)),
            // Envoy does not ask for the routes of a listener that it refused (its port is taken, for example), and virtual hosts
            // of a table that it refused are nothing.
            Some(Standing::Open) => {
                let refused = carriers(class, &at_fault).into_iter().find_map(|carrier| {
                    match standing(proxy, class, &carrier) {
                        Some(Standing::Refused(words)) => Some((carrier, words)),
                        _ => None,
                    }
                });
                refused.map(|(carrier, words)| {
                    at_fault = carrier;
                    one_line(&words)
                })
            }
        };
        if words.is_some() || lacking.is_none() {
            let refused = words.is_some();
            let resource = format!("{}/{}", at_fault.0.short_name(), at_fault.1);
            lacking = Some(Laggard { proxy: proxy.name(), resource, words });
            if refused {
                break;
            }
        }
    }
    lacking
}

/// What a proxy must have taken before it asks for a route table, or has any use for a virtual host.
fn carriers(
    class: &ClassReach,
    (resource_type, name): &(ResourceType, Arc<str>),
) -> Vec<(ResourceType, Arc<str>)> {
    let table = match resource_type {
        ResourceType::Route => Some(&**name),
        ResourceType::VirtualHost => name.rsplit_once('/').map(|(table, _)| table),
        _ => None,
    };
    let Some(table) = table else { return Vec::new() };
    let route = (*resource_type == ResourceType::VirtualHost).then(|| (ResourceType::Route, table.into()));
    let listener = class.listener_of(table).map(|name| (ResourceType::Listener, name));
    route.into_iter().chain(listener).collect()
}

/// How a proxy stands to what its class has under this name; `None`: nothing is there.
fn standing(
    proxy: &Proxy,
    class: &ClassReach,
    (resource_type, name): &(ResourceType, Arc<str>),
) -> Option<Standing> {
    let resource = class.snapshot.get(*resource_type, name)?;
    Some(proxy.with_session(|session| session.standing(*resource_type, name, &resource.version)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_api::Change;
    use umbra_engine::{Engine, Options};
    use umbra_ir::{Interception, Kind, ProxyKind, ProxyNode};
    use umbra_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use umbra_proto::google::rpc::Status;
    use umbra_source::{Generations, Update};
    use umbra_xds::{Output, Response, Variant};

    use super::*;
    use crate::engine_task::Connected;
    use crate::identity::Admission;
    use crate::metrics::Metrics;
    use crate::proxies::Entry;

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

    const OTHER: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec: {host: other, subsets: [{name: v1, labels: {version: v1}}]}
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
                let nonce = self.open.remove(at).nonce();
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
        let objects = live.objects(None).await.objects.into_iter().map(|it| {
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

    /// umbra without its sockets, and a proxy that has asked for nothing yet.
    struct Stage {
        engine: EngineHandle,
        live: Live,
        connected: Connected,
        stream: Stream,
        _entry: Entry,
        /// One of the same class that has proven nothing where proof is asked for, and takes nothing: it counts nowhere.
        _liar: (Entry, Connected),
    }

    impl Stage {
        async fn set(
            engine: &EngineHandle,
            objects: &str,
            generations: Vec<(ObjectId, Option<Generations>)>,
        ) {
            let parsed = umbra_api::parse_documents(objects, "a.yaml").objects;
            let changes = parsed.into_iter().map(|object| Change::Upsert(Arc::new(object.value))).collect();
            engine.update(Update { changes, generations, ..Update::default() }).await;
        }

        /// After `nobody` was told without a proxy.
        async fn new(objects: &str, nobody: &str) -> Self {
            let metrics = Arc::new(Metrics::default());
            let engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
            let (engine, thread) = EngineHandle::new(engine, metrics.clone());
            let proxies = Proxies::new(metrics);
            let (live, task) = Live::new(engine.clone(), proxies.clone());
            [thread, task].into_iter().for_each(Work::start_alone);
            let rule = ObjectId::new(Kind::VirtualService, "default", "web");
            let generations = vec![(rule, Some(Generations { newest: 4, in_force: 3 }))];
            Self::set(&engine, objects, generations).await;
            assert_eq!(told(&live).await, nobody);
            let node = ProxyNode {
                kind: ProxyKind::Sidecar,
                namespace: "default".into(),
                pod: Some("p".into()),
                labels: Some(BTreeMap::new()),
                unprivileged: false,
                trusted_proxies: None,
                interception: Interception::None,
                locality: None,
                takes_hosts: false,
            };
            let id = engine.next_id();
            let proxy = Proxy::new(id, "n".to_owned(), node.clone(), Variant::Delta, String::new());
            let proxy = Arc::new(proxy);
            let _entry = proxies.enter(proxy.clone());
            let liar =
                Proxy::new(engine.next_id(), "liar".to_owned(), node.clone(), Variant::Delta, String::new());
            let liar = liar.admitted(&Admission { proven: None, counts: false });
            let joined = engine.connect(liar.id, node.clone(), RuntimeForms::WHOLE).await.unwrap();
            let _liar = (proxies.enter(Arc::new(liar)), joined);
            let mut connected = engine.connect(id, node, RuntimeForms::WHOLE).await.unwrap();
            connected.snapshots.wait_for(Option::is_some).await.unwrap();
            let mut stage =
                Stage { engine, live, connected, stream: Stream { proxy, open: Vec::new() }, _entry, _liar };
            stage.push();
            stage
        }

        /// Gives the session the newest snapshot.
        fn push(&mut self) {
            let snapshot = self.connected.snapshots.borrow().clone().unwrap();
            let output = self.stream.proxy.with_session(|it| it.on_snapshot(snapshot, Duration::ZERO));
            self.stream.take(output);
        }

        /// Asks for everything of a type, by name if it must.
        fn ask(&mut self, ty: ResourceType) {
            let snapshot = self.connected.snapshots.borrow().clone().unwrap();
            let names = snapshot.map(ty).keys().map(|name| name.to_string()).collect();
            let wildcard = matches!(ty, ResourceType::Cluster | ResourceType::Listener);
            self.stream.request(ty, |request| {
                request.resource_names_subscribe = if wildcard { Vec::new() } else { names };
            });
        }

        async fn check(&self, what: &str, want: &str) {
            assert_eq!(told(&self.live).await, want, "{what}");
        }
    }

    use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};

    #[tokio::test]
    async fn an_object_is_live_where_all_that_comes_of_it_was_taken() {
        let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, Gateway@0 0/0; v2 50% 0/0";
        let mut stage = Stage::new(OBJECTS, nobody).await;
        stage
            .check(
                "connected",
                "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 0/1 p.default \
                 cds/mirror|80|v2|web.default.svc.cluster.local, Gateway@0 0/0; v2 50% 0/1",
            )
            .await;
        [Cluster, Listener, Endpoint].into_iter().for_each(|ty| stage.ask(ty));
        [Endpoint, Cluster, Endpoint, Listener].into_iter().for_each(|ty| stage.stream.answer(ty, None));
        let routes =
            "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1";
        stage.check("all but routes and layer", routes).await;
        stage.ask(Runtime);
        stage.stream.answer(Runtime, None);
        stage.ask(Route);
        stage.check("routes sent", routes).await;
        stage.stream.answer(Route, Some(" no such luck"));
        let refused = routes.replace("rds/80", "rds/80no such luck");
        stage.check("routes refused", &refused).await;

        // The same rule mended: another version of the same table.
        let text = OBJECTS.replace("subset: v2}, mirrorP", "subset: v2}, timeout: 3s, mirrorP");
        Stage::set(&stage.engine, &text, Vec::new()).await;
        stage.connected.snapshots.changed().await.unwrap();
        stage.check("mended, not sent", routes).await;
        // One that has not answered for longer than patience lasts holds nobody up, until it answers.
        let (pace, now) = (stage.stream.proxy.pace(), std::time::Instant::now());
        pace.note(true, false, now);
        assert!(pace.turn(now, Some(Duration::ZERO)));
        stage
            .check("out of patience", &routes.replace("0/1 p.default rds/80", "0/0").replace("0/1", "0/0"))
            .await;
        stage.stream.proxy.pace().note(true, true, now);
        stage.check("it has answered something", routes).await;
        stage.push();
        stage.stream.answer(Route, None);
        stage
            .check("all taken", "VirtualService@3 1/1, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 1/1")
            .await;
        let live = stage.live.clone();
        drop(stage);
        assert_eq!(told(&live).await, nobody, "gone");
    }

    /// A proxy that cannot open the port never asks for its routes.
    #[tokio::test]
    async fn a_refused_listener_is_what_its_routes_lack() {
        let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, Gateway@0 0/0; v2 50% 0/0";
        let mut stage = Stage::new(OBJECTS, nobody).await;
        [Cluster, Endpoint, Listener].into_iter().for_each(|ty| stage.ask(ty));
        [Endpoint, Cluster, Endpoint].into_iter().for_each(|ty| stage.stream.answer(ty, None));
        let words = "Error adding/updating listener(s) 127.0.0.1_80: cannot bind";
        stage.stream.answer(Listener, Some(words));
        let want = format!(
            "VirtualService@3 0/1 p.default lds/127.0.0.1_80{words}, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1"
        );
        stage.check("no port", &want).await;
    }

    /// A rule of two mirrors, and a proxy that cannot have the cluster of one.
    #[tokio::test]
    async fn a_mirror_is_live_where_its_cluster_was_taken() {
        let second =
            "mirrors: [{destination: {host: web, subset: v2}}, {destination: {host: web, subset: v3}}]";
        let text = OBJECTS.replace("mirror: {host: web, subset: v2}, mirrorPercentage: {value: 50}", second);
        let more = "labels: {version: v2}}, {name: v3, labels: {version: v3}}";
        let text = text.replace("labels: {version: v2}}", more) + OTHER;
        let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, DestinationRule@0 0/0, Gateway@0 0/0; \
                      v2 100% 0/0, v3 100% 0/0";
        let mut stage = Stage::new(&text, nobody).await;
        [Cluster, Listener, Endpoint].into_iter().for_each(|ty| stage.ask(ty));
        stage.stream.answer(Endpoint, None);
        let cluster = "mirror|80|v3|web.default.svc.cluster.local";
        let words = format!("Error adding/updating cluster(s) {cluster}: no such file");
        stage.stream.answer(Cluster, Some(&words));
        [Endpoint, Listener].into_iter().for_each(|ty| stage.stream.answer(ty, None));
        for ty in [Runtime, Route] {
            stage.ask(ty);
            stage.stream.answer(ty, None);
        }
        // Who is not named by the words has nothing to do with them.
        let want = format!(
            "DestinationRule@0 1/1, DestinationRule@0 0/1 p.default cds/{cluster}{words}, Gateway@0 0/0; \
             v2 100% 1/1, v3 100% 0/1"
        );
        let want = format!("VirtualService@3 0/1 p.default cds/{cluster}{words}, {want}");
        stage.check("a cluster refused", &want).await;
    }
}
