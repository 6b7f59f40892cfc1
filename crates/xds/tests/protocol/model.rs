//! A model of a proxy against a session: random worlds, requests that cross responses, reconnects, refusals.
//!
//! The model behaves as Envoy was measured to: a cluster that is added or changed warms until its assignment comes
//! behind it, the ACK of a CDS response is withheld while anything warms, a name that is watched already is not
//! asked for again, and a stream lost while something warms asks for clusters only when warming has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_proto::google::rpc::Status;
use umbra_xds::{
    Change, Output, Request, Resource, ResourceType, Response, Session, SessionEvent, Snapshot, Variant,
};

use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};

/// One step of a run.
#[derive(Clone, Debug)]
enum Op {
    /// The next snapshot: resources put (type, index, required indexes, to be refused) or removed.
    World(Vec<(ResourceType, u8, Option<(Vec<u8>, bool)>)>),
    /// The proxy takes the next response.
    Receive,
    /// The server takes the next request.
    Deliver,
    /// The proxy begins or ends to watch a route or runtime layer.
    Watch(ResourceType, u8, bool),
    /// The stream breaks.
    Reconnect,
    /// Another class: the same resources, but nothing known of how they came about.
    Lineage,
    /// Seconds pass.
    Tick(u64),
}

/// What a run may contain.
#[derive(Clone, Copy)]
struct Kind {
    variant: Variant,
    refusals: bool,
    ticks: bool,
}

fn op(kind: Kind) -> impl Strategy<Value = Op> {
    let ty =
        prop::sample::select(vec![Cluster, Cluster, Endpoint, Endpoint, Listener, Route, Route, Runtime]);
    let put =
        (prop::collection::vec(0..4u8, 0..3), prop::bool::weighted(if kind.refusals { 0.15 } else { 0.0 }));
    let change = (ty, 0..4u8, prop::option::weighted(0.75, put));
    let watched = prop::sample::select(vec![Route, Runtime]);
    prop_oneof![
        4 => prop::collection::vec(change, 1..6).prop_map(Op::World),
        10 => Just(Op::Receive),
        10 => Just(Op::Deliver),
        1 => (watched, 0..4u8, any::<bool>()).prop_map(|(ty, name, on)| Op::Watch(ty, name, on)),
        1 => Just(Op::Reconnect),
        1 => Just(Op::Lineage),
        1 => (if kind.ticks { 1..7u64 } else { 0..1u64 }).prop_map(Op::Tick),
    ]
}

fn name(ty: ResourceType, index: u8) -> Arc<str> {
    format!("{ty}{index}").into()
}

/// A resource as the proxy reads it from the body: `name|serial|required,required|bad`.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    name: Arc<str>,
    body: Vec<u8>,
    requires: Vec<Arc<str>>,
    bad: bool,
}

impl Read {
    fn new(body: &[u8]) -> Self {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let parts: Vec<&str> = text.split('|').collect();
        let requires = parts[2].split(',').filter(|name| !name.is_empty()).map(Arc::from).collect();
        Self { name: parts[0].into(), body: body.to_vec(), requires, bad: parts[3] == "bad" }
    }
}

/// A response on its way, with what the server knew when it made it.
struct Sent {
    response: Response,
    snapshot: Arc<Snapshot>,
    clusters_asked: bool,
}

struct World {
    kind: Kind,
    session: Session,
    snapshot: Arc<Snapshot>,
    now: Duration,
    serial: u64,
    to_proxy: VecDeque<Sent>,
    to_server: VecDeque<Request>,
    // The proxy.
    has: BTreeMap<ResourceType, BTreeMap<Arc<str>, Read>>,
    watches: BTreeMap<ResourceType, BTreeSet<Arc<str>>>,
    /// Names asked for and not answered yet, which may bring what the proxy has.
    asked: BTreeSet<(ResourceType, Arc<str>)>,
    nonces: BTreeMap<ResourceType, String>,
    warming: BTreeSet<Arc<str>>,
    withheld: Vec<String>,
    /// The request for clusters still has to be made on this stream.
    clusters_later: bool,
    /// No response of this type came yet on this stream.
    fresh: BTreeSet<ResourceType>,
    /// Routes that came on this stream: all that a state-of-the-world server knows of.
    of_stream: BTreeSet<Arc<str>>,
    lagged: bool,
    /// Printed when the run fails.
    log: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n", self.log.join("\n"));
        }
    }
}

impl World {
    fn new(kind: Kind) -> Self {
        let mut world = Self {
            kind,
            session: Session::new(kind.variant),
            snapshot: Arc::new(Snapshot::empty(1, 0)),
            now: Duration::ZERO,
            serial: 0,
            to_proxy: VecDeque::new(),
            to_server: VecDeque::new(),
            has: ResourceType::ALL.into_iter().map(|ty| (ty, BTreeMap::new())).collect(),
            watches: ResourceType::ALL.into_iter().map(|ty| (ty, BTreeSet::new())).collect(),
            asked: BTreeSet::new(),
            nonces: BTreeMap::new(),
            warming: BTreeSet::new(),
            withheld: Vec::new(),
            clusters_later: false,
            fresh: BTreeSet::new(),
            of_stream: BTreeSet::new(),
            lagged: false,
            log: Vec::new(),
        };
        for ty in [Route, Runtime] {
            world.watches.insert(ty, (0..3).map(|index| name(ty, index)).collect());
        }
        world.connect();
        world
    }

    fn run(&mut self, op: Op) {
        if !matches!(op, Op::Receive | Op::Deliver | Op::World(_)) {
            self.log.push(format!("{op:?}"));
        }
        match op {
            Op::World(changes) => self.change(changes),
            Op::Receive => self.receive(),
            Op::Deliver => self.deliver(),
            Op::Watch(ty, index, on) => self.watch(ty, name(ty, index), on),
            Op::Reconnect => self.connect(),
            Op::Lineage => {
                let mut copy = Snapshot::empty(self.snapshot.lineage() + 1, self.snapshot.generation());
                for ty in ResourceType::ALL {
                    let all = self.snapshot.map(ty).values().map(|it| Change::put(ty, it.clone()));
                    copy = copy.next(copy.generation() + 1, all);
                }
                self.publish(copy);
            }
            Op::Tick(seconds) => {
                self.now += Duration::from_secs(seconds);
                let output = self.session.on_timer(self.now);
                self.take(output);
            }
        }
    }

    fn publish(&mut self, snapshot: Snapshot) {
        self.snapshot = Arc::new(snapshot);
        let output = self.session.on_snapshot(self.snapshot.clone(), self.now);
        self.take(output);
    }

    fn change(&mut self, changes: Vec<(ResourceType, u8, Option<(Vec<u8>, bool)>)>) {
        let mut batch = Vec::new();
        for (ty, index, content) in changes {
            let name = name(ty, index);
            let Some((requires, bad)) = content else {
                self.log.push(format!("world -{name}"));
                batch.push(Change::remove(ty, name));
                continue;
            };
            let requires: Vec<Arc<str>> = match ty {
                Cluster => requires.iter().take(1).map(|index| self::name(Endpoint, *index)).collect(),
                Route => requires.iter().map(|index| self::name(Cluster, *index)).collect(),
                _ => Vec::new(),
            };
            self.serial += 1;
            // A refused cluster is never there, so its assignment is not of interest.
            let bad = if bad { "bad" } else { "" };
            // Few serials, so that old versions come back.
            let body = format!("{name}|{}|{}|{bad}", self.serial % 3, requires.join(","));
            self.log.push(format!("world {body}"));
            batch.push(Change::put(ty, Resource::new(name, body.into_bytes(), requires)));
        }
        let mut next = self.snapshot.next(self.snapshot.generation() + 1, batch);
        if self.kind.variant == Variant::Sotw {
            // State-of-the-world cannot say that an assignment does not exist: every cluster has one.
            let required: BTreeSet<_> =
                next.map(Cluster).values().flat_map(|cluster| cluster.requires.iter().cloned()).collect();
            let absent = required.into_iter().filter(|name| next.get(Endpoint, name).is_none());
            let puts: Vec<_> = absent
                .map(|name| {
                    let body = format!("{name}|0||").into_bytes();
                    Change::put(Endpoint, Resource::new(name, body, []))
                })
                .collect();
            next = next.next(next.generation() + 1, puts);
        }
        self.publish(next);
    }

    /// Takes what the session wants sent.
    fn take(&mut self, output: Output) {
        self.lagged |= output.events.iter().any(|event| matches!(event, SessionEvent::Lag { .. }));
        let status = self.session.status();
        for response in output.responses {
            let clusters_asked = status[Cluster.position()].asked;
            self.to_proxy.push_back(Sent { response, snapshot: self.snapshot.clone(), clusters_asked });
        }
        for ty in status {
            let single = ty.resource_type != Endpoint && (ty.resource_type != Cluster || !self.lagged);
            assert!(!single || ty.unanswered <= 1, "several responses at once: {ty:?}");
        }
        assert!(self.session.next_deadline().is_none_or(|at| at > self.now), "a deadline in the past");
    }

    fn deliver(&mut self) {
        if let Some(request) = self.to_server.pop_front() {
            self.log.push(match &request {
                Request::Delta(it) => format!(
                    "> {} #{} +{:?} -{:?} {:?}",
                    ResourceType::from_type_url(&it.type_url).unwrap(),
                    it.response_nonce,
                    it.resource_names_subscribe,
                    it.resource_names_unsubscribe,
                    it.initial_resource_versions.keys(),
                ),
                Request::Sotw(it) => format!(
                    "> {} #{} {:?}",
                    ResourceType::from_type_url(&it.type_url).unwrap(),
                    it.response_nonce,
                    it.resource_names,
                ),
            });
            let output = self.session.on_request(request, self.now).unwrap();
            self.take(output);
        }
    }

    // What the proxy does.

    fn connect(&mut self) {
        self.to_proxy.clear();
        self.to_server.clear();
        self.nonces.clear();
        self.asked.clear();
        self.withheld.clear();
        self.of_stream.clear();
        self.fresh = ResourceType::ALL.into_iter().collect();
        self.session = Session::new(self.kind.variant);
        self.clusters_later = !self.warming.is_empty();
        if self.snapshot.generation() > 0 {
            let output = self.session.on_snapshot(self.snapshot.clone(), self.now);
            self.take(output);
        }
        for ty in [Runtime, Cluster, Endpoint, Listener, Route] {
            let names = &self.watches[&ty];
            if (ty == Cluster && self.clusters_later) || (ty == Endpoint && names.is_empty()) {
                continue;
            }
            self.ask_first(ty);
        }
    }

    fn ask_first(&mut self, ty: ResourceType) {
        let names: Vec<Arc<str>> = self.watches[&ty].iter().cloned().collect();
        // State-of-the-world does not say what the proxy has, so every name may come again.
        let known = |name: &Arc<str>| self.kind.variant == Variant::Delta && self.has[&ty].contains_key(name);
        self.asked.extend(names.iter().filter(|name| !known(name)).map(|name| (ty, name.clone())));
        let versions = self.has[&ty].values().map(|read| {
            let version = Resource::new(read.name.clone(), read.body.clone(), []).version;
            (read.name.to_string(), version.to_string())
        });
        let versions = versions.collect();
        self.request(ty, names, Vec::new(), versions, None);
    }

    fn request(
        &mut self,
        ty: ResourceType,
        more: Vec<Arc<str>>,
        less: Vec<Arc<str>>,
        versions: BTreeMap<String, String>,
        answer: Option<(String, Option<Status>)>,
    ) {
        let strings = |names: Vec<Arc<str>>| names.iter().map(|name| name.to_string()).collect();
        let type_url = ty.type_url().to_owned();
        let request = match self.kind.variant {
            Variant::Delta => {
                let (response_nonce, error_detail) = answer.unwrap_or_default();
                Request::Delta(DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe: strings(more),
                    resource_names_unsubscribe: strings(less),
                    initial_resource_versions: versions,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                })
            }
            Variant::Sotw => Request::Sotw(DiscoveryRequest {
                type_url,
                resource_names: strings(self.watches[&ty].iter().cloned().collect()),
                response_nonce: self.nonces.get(&ty).cloned().unwrap_or_default(),
                error_detail: answer.and_then(|(_, error)| error),
                ..Default::default()
            }),
        };
        self.to_server.push_back(request);
    }

    fn watch(&mut self, ty: ResourceType, name: Arc<str>, on: bool) {
        let names = self.watches.get_mut(&ty).unwrap();
        if on && names.insert(name.clone()) {
            self.asked.insert((ty, name.clone()));
            self.request(ty, vec![name], Vec::new(), BTreeMap::new(), None);
        } else if !on && names.remove(&name) {
            self.has.get_mut(&ty).unwrap().remove(&name);
            self.asked.remove(&(ty, name.clone()));
            self.request(ty, Vec::new(), vec![name], BTreeMap::new(), None);
        }
    }

    fn receive(&mut self) {
        let Some(Sent { response, snapshot, clusters_asked }) = self.to_proxy.pop_front() else { return };
        let ty = ResourceType::from_type_url(response.type_url()).unwrap();
        self.nonces.insert(ty, response.nonce().to_owned());
        let nonce = response.nonce().to_owned();
        let (resources, removed): (Vec<Read>, Vec<Arc<str>>) = match &response {
            Response::Delta(delta) => (
                delta.resources.iter().map(|it| Read::new(&it.resource.as_ref().unwrap().value)).collect(),
                delta.removed_resources.iter().map(|name| name.as_str().into()).collect(),
            ),
            Response::Sotw(sotw) => {
                let resources: Vec<_> = sotw.resources.iter().map(|any| Read::new(&any.value)).collect();
                let complete = matches!(ty, Cluster | Listener);
                let left_out =
                    self.has[&ty].keys().filter(|name| resources.iter().all(|it| it.name != **name));
                let gone = left_out.filter(|_| complete).cloned().collect();
                (resources, gone)
            }
        };
        let bodies: Vec<_> = resources.iter().map(|read| String::from_utf8_lossy(&read.body)).collect();
        self.log.push(format!("< {ty}#{nonce} +{bodies:?} -{removed:?}"));
        let fresh = self.fresh.remove(&ty);
        if !self.kind.refusals {
            self.check_order(ty, &resources, &removed, &snapshot, clusters_asked, fresh);
            self.check_need(ty, &resources, &removed, fresh);
        }
        for name in resources.iter().map(|read| &read.name).chain(&removed) {
            self.asked.remove(&(ty, name.clone()));
        }
        let refused: Vec<_> =
            resources.iter().filter(|read| read.bad).map(|read| read.name.to_string()).collect();
        self.apply(ty, resources, removed);
        let error = (!refused.is_empty()).then(|| Status {
            code: 3,
            message: refused.join(" "),
            ..Default::default()
        });
        if ty == Cluster && error.is_none() {
            self.withheld.push(nonce);
        } else {
            self.request(ty, Vec::new(), Vec::new(), BTreeMap::new(), Some((nonce, error)));
        }
        self.follow_clusters();
    }

    fn apply(&mut self, ty: ResourceType, resources: Vec<Read>, removed: Vec<Arc<str>>) {
        let watched = |names: &BTreeSet<Arc<str>>, name: &Arc<str>| {
            matches!(ty, Cluster | Listener) || names.contains(name)
        };
        for read in resources {
            if ty == Endpoint && read.bad {
                // A refused assignment ends the wait for it as well.
                self.warmed(&read.name);
            }
            if !watched(&self.watches[&ty], &read.name) || read.bad {
                continue;
            }
            let old = self.has.get_mut(&ty).unwrap().insert(read.name.clone(), read.clone());
            if ty == Cluster && old.as_ref() != Some(&read) {
                if read.requires.is_empty() {
                    self.warming.remove(&read.name);
                } else {
                    self.warming.insert(read.name.clone());
                }
            }
            if ty == Endpoint {
                self.warmed(&read.name);
            }
        }
        for name in removed {
            self.has.get_mut(&ty).unwrap().remove(&name);
            match ty {
                Cluster => drop(self.warming.remove(&name)),
                Endpoint => self.warmed(&name),
                _ => {}
            }
        }
    }

    fn warmed(&mut self, assignment: &Arc<str>) {
        let clusters = &self.has[&Cluster];
        self.warming.retain(|name| !clusters.get(name).is_some_and(|it| it.requires.contains(assignment)));
    }

    /// Watches the assignments of the clusters there are, and gives the ACKs that waited for warming.
    fn follow_clusters(&mut self) {
        let wanted: BTreeSet<_> =
            self.has[&Cluster].values().flat_map(|it| it.requires.iter().cloned()).collect();
        let watched = self.watches.insert(Endpoint, wanted.clone()).unwrap();
        let more: Vec<_> = wanted.difference(&watched).cloned().collect();
        let less: Vec<_> = watched.difference(&wanted).cloned().collect();
        for name in &less {
            self.has.get_mut(&Endpoint).unwrap().remove(name);
        }
        if !more.is_empty() || !less.is_empty() {
            self.request(Endpoint, more, less, BTreeMap::new(), None);
        }
        if self.warming.is_empty() {
            for nonce in std::mem::take(&mut self.withheld) {
                self.request(Cluster, Vec::new(), Vec::new(), BTreeMap::new(), Some((nonce, None)));
            }
            if std::mem::take(&mut self.clusters_later) {
                self.ask_first(Cluster);
            }
        }
    }

    // What must hold.

    /// No route before its clusters, no cluster gone before its routes.
    fn check_order(
        &self,
        ty: ResourceType,
        resources: &[Read],
        removed: &[Arc<str>],
        snapshot: &Snapshot,
        clusters_asked: bool,
        fresh: bool,
    ) {
        if ty == Route && clusters_asked {
            for (route, cluster) in resources.iter().flat_map(|it| it.requires.iter().map(move |c| (it, c))) {
                if snapshot.get(Cluster, cluster).is_some() {
                    assert!(self.has[&Cluster].contains_key(cluster), "{} before {cluster}", route.name);
                    let warm = self.lagged || !self.warming.contains(cluster);
                    assert!(warm, "{} before {cluster} was warm", route.name);
                }
            }
        }
        // A reconnected state-of-the-world stream does not say what it has, so its first response cannot care.
        if ty == Cluster && !self.lagged && !(self.kind.variant == Variant::Sotw && fresh) {
            let known = |name| self.kind.variant == Variant::Delta || self.of_stream.contains(name);
            for (name, route) in self.has[&Route].iter().filter(|(name, _)| known(*name)) {
                let now = snapshot.get(Route, name);
                for cluster in removed.iter().filter(|cluster| route.requires.contains(cluster)) {
                    let still = now.is_some_and(|now| now.requires.contains(cluster));
                    assert!(still, "{cluster} is gone and {name} still names it");
                }
            }
        }
    }

    /// Nothing is sent that the proxy has and did not ask for.
    fn check_need(&self, ty: ResourceType, resources: &[Read], removed: &[Arc<str>], fresh: bool) {
        let asked = self.asked.iter().any(|(of, _)| *of == ty);
        if ty == Endpoint || fresh || asked {
            return;
        }
        let news = resources.iter().any(|read| self.has[&ty].get(&read.name) != Some(read));
        // Of names given up meanwhile it cannot know.
        let unwatched = self.kind.variant == Variant::Delta
            || resources.iter().any(|read| !self.watches[&ty].contains(&read.name));
        assert!(news || !removed.is_empty() || (unwatched && ty != Cluster), "{ty}: nothing new");
    }

    /// Everything on its way arrives, without any time passing.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.to_proxy.is_empty() && self.to_server.is_empty() {
                break;
            }
            self.deliver();
            self.receive();
        }
        assert!(self.to_proxy.is_empty() && self.to_server.is_empty(), "the exchange never ends");
    }

    /// State-of-the-world cannot say that a name does not exist, so a proxy does two things of its own accord: it
    /// gives up routes that its listeners no longer name, and a cluster whose assignment does not exist is warm
    /// after its initial fetch timeout.
    fn settle_sotw(&mut self) {
        let snapshot = self.snapshot.clone();
        let routes: Vec<_> = self.watches[&Route].iter().cloned().collect();
        for name in routes.into_iter().filter(|name| snapshot.get(Route, name).is_none()) {
            self.watch(Route, name, false);
        }
        self.settle();
        let assignments: Vec<_> = self.watches[&Endpoint].iter().cloned().collect();
        for name in assignments.iter().filter(|name| snapshot.get(Endpoint, name).is_none()) {
            self.warmed(name);
        }
        self.follow_clusters();
        self.settle();
    }

    fn check_settled(&mut self) {
        let status = self.session.status();
        // The version that it would replace a warming one with was refused.
        self.warming.retain(|name| !status[Cluster.position()].refused.contains(name));
        assert!(self.warming.is_empty(), "stuck warming: {:?}", self.warming);
        let anything_refused = status.iter().any(|ty| !ty.refused.is_empty());
        for ty in ResourceType::ALL {
            let wild = matches!(ty, Cluster | Listener);
            let names: BTreeSet<_> = if wild {
                self.snapshot.map(ty).keys().chain(self.has[&ty].keys()).cloned().collect()
            } else {
                self.watches[&ty].clone()
            };
            let refused = &status[ty.position()].refused;
            for name in names.iter().filter(|name| !refused.contains(*name)) {
                let should = self.snapshot.get(ty, name).map(|resource| resource.body.to_vec());
                let has = self.has[&ty].get(name).map(|read| read.body.clone());
                // State-of-the-world cannot take it away; or something whose replacement was refused uses it.
                let sotw = !wild && self.kind.variant == Variant::Sotw;
                let forgotten = should.is_none() && (anything_refused || sotw);
                assert!(forgotten || has == should, "{name}: has {has:?}, should have {should:?}");
            }
        }
        if !anything_refused && self.snapshot.generation() > 0 {
            assert_eq!(self.session.acked_generation(), self.snapshot.generation());
        }
        assert_eq!(self.session.next_deadline(), None);
        let later = self.session.on_timer(self.now + Duration::from_secs(3600));
        assert_eq!(later, Output::default(), "more to say after all");
    }
}

trait Index {
    fn position(self) -> usize;
}

impl Index for ResourceType {
    fn position(self) -> usize {
        ResourceType::ALL.into_iter().position(|ty| ty == self).unwrap()
    }
}

fn check(kind: Kind, ops: Vec<Op>) {
    let mut world = World::new(kind);
    for op in ops {
        world.run(op);
    }
    if world.snapshot.generation() == 0 {
        world.change(vec![(Cluster, 0, Some((vec![0], false)))]);
    }
    world.settle();
    if kind.variant == Variant::Sotw {
        world.settle_sotw();
    }
    world.check_settled();
}

fn ops(kind: Kind) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(kind), 0..120)
}

const DELTA: Kind = Kind { variant: Variant::Delta, refusals: false, ticks: false };
const SOTW: Kind = Kind { variant: Variant::Sotw, refusals: false, ticks: false };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delta_brings_the_world(ops in ops(DELTA)) {
        check(DELTA, ops);
    }

    #[test]
    fn state_of_the_world_brings_the_world(ops in ops(SOTW)) {
        check(SOTW, ops);
    }

    #[test]
    fn late_answers_change_nothing_in_the_end(
        delta in ops(Kind { ticks: true, ..DELTA }),
        sotw in ops(Kind { ticks: true, ..SOTW }),
    ) {
        check(Kind { ticks: true, ..DELTA }, delta);
        check(Kind { ticks: true, ..SOTW }, sotw);
    }

    #[test]
    fn refusals_do_not_confuse_it(
        delta in ops(Kind { refusals: true, ..DELTA }),
        sotw in ops(Kind { refusals: true, ..SOTW }),
    ) {
        check(Kind { refusals: true, ..DELTA }, delta);
        check(Kind { refusals: true, ..SOTW }, sotw);
    }
}
