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
        let mut request = DeltaDiscoveryRequest { type_url: ty.type_url().to_owned(), ..Default::default() };
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
            let error_detail = refusal.map(|words| Status { message: words.to_owned(), ..Status::default() });
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
    async fn set(engine: &EngineHandle, objects: &str, generations: Vec<(ObjectId, Option<Generations>)>) {
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
            edits_copies: true,
            may_have_keys: false,
            http10: false,
            judges: Default::default(),
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
    let routes = "VirtualService@3 0/1 p.default rds/80, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 0/1";
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
    let rule = stage.live.objects(None).await.objects.remove(0);
    let named: Vec<_> = rule.excused.iter().map(|it| (it.proxy.as_str(), it.resource.as_str())).collect();
    assert_eq!(named, [("p.default", "rds/80")]);
    stage.stream.proxy.pace().note(true, true, now);
    stage.check("it has answered something", routes).await;
    stage.push();
    stage.stream.answer(Route, None);
    stage.check("all taken", "VirtualService@3 1/1, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 1/1").await;
    let live = stage.live.clone();
    drop(stage);
    assert_eq!(told(&live).await, nobody, "gone");
}

#[tokio::test]
async fn proxies_that_do_not_count_are_told_apart() {
    let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, Gateway@0 0/0; v2 50% 0/0";
    let stage = Stage::new(OBJECTS, nobody).await;
    let counts = async || {
        let all = stage.live.mirrors().await;
        all.iter().map(|it| (it.total, it.uncounted)).collect::<Vec<_>>()
    };
    assert_eq!(counts().await, [(1, 1)]);
    let (id, node) = (stage.engine.next_id(), stage.stream.proxy.node.clone());
    let other = Proxy::new(id, "m".to_owned(), node.clone(), Variant::Delta, String::new());
    let _connected = stage.engine.connect(id, node, RuntimeForms::WHOLE).await.unwrap();
    let _entry = stage.live.proxies.enter(Arc::new(other.observing(true)));
    assert_eq!(counts().await, [(2, 1)]);
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
    let second = "mirrors: [{destination: {host: web, subset: v2}}, {destination: {host: web, subset: v3}}]";
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

/// One whose stream has ended goes on with what it has taken, and is told of with its share.
#[tokio::test]
async fn who_is_away_counts_after_a_while() {
    let nobody = "VirtualService@3 0/0, DestinationRule@0 0/0, Gateway@0 0/0; v2 50% 0/0";
    let mut stage = Stage::new(OBJECTS, nobody).await;
    [Cluster, Listener, Endpoint].into_iter().for_each(|ty| stage.ask(ty));
    [Endpoint, Cluster, Endpoint, Listener].into_iter().for_each(|ty| stage.stream.answer(ty, None));
    for ty in [Runtime, Route] {
        stage.ask(ty);
        stage.stream.answer(ty, None);
    }
    let all = "VirtualService@3 1/1, DestinationRule@0 1/1, Gateway@0 0/0; v2 50% 1/1";
    stage.check("all taken", all).await;
    let Stage { engine, live, connected, stream, _entry: mut entry, _liar } = stage;
    entry.keep(connected);
    drop((entry, stream));
    assert_eq!(told(&live).await, nobody, "it may come back");
    live.proxies.away().age(crate::proxies::GRACE);
    assert_eq!(told(&live).await, all, "it goes on");
    let rule = ObjectId::new(Kind::VirtualService, "default", "web");
    let of_rule = || async { live.objects(Some(std::slice::from_ref(&rule))).await.objects.remove(0) };
    let now = of_rule().await;
    assert_eq!(
        (now.total_away, now.away[0].proxy.as_str(), now.away[0].told.as_str()),
        (1, "p.default", "v2 50%")
    );
    assert_eq!(live.mirrors().await[0].away, 1);

    // What it should have now it has not, and it goes on with what it was told.
    Stage::set(&engine, &OBJECTS.replace("value: 50", "value: 25"), Vec::new()).await;
    let now = of_rule().await;
    assert_eq!((now.live, now.total, now.total_away), (0, 1, 1));
    assert_eq!((now.laggards[0].resource.as_str(), now.away[0].told.as_str()), ("rtds/umbra", "v2 50%"));
    let patient = live.clone().with_patience(Some(crate::proxies::GRACE));
    let now = patient.objects(Some(std::slice::from_ref(&rule))).await.objects.remove(0);
    assert_eq!((now.live, now.total, now.total_away), (0, 0, 0));

    let pod = live.proxies.away().pods().into_iter().collect();
    live.proxies.away().forget(&pod);
    assert_eq!(told(&live).await, nobody.replace("50%", "25%"), "its Pod is gone");
}
