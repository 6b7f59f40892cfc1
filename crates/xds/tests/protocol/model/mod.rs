//! A model of a proxy against a session: random worlds, requests that cross responses, reconnects, refusals.
//!
//! The model behaves as Envoy was measured to: a cluster that is added or changed warms until its assignment comes
//! behind it, the ACK of a CDS response is withheld while anything warms, a name that is watched already is not
//! asked for again, and a stream lost while something warms asks for clusters only when warming has ended.

mod checks;
mod proxy;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use umbra_xds::{
    Change, Output, Request, Resource, ResourceType, Response, Session, SessionEvent, Snapshot, Variant,
};

use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};

/// A resource put or removed: its type and index, and what it requires (indexes) and whether it is to be refused.
type Put = (ResourceType, u8, Option<(Vec<u8>, bool)>);

/// One step of a run.
#[derive(Clone, Debug)]
enum Op {
    /// The next snapshot.
    World(Vec<Put>),
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
    /// Names that it began to watch on this stream.
    asked_again: BTreeSet<(ResourceType, Arc<str>)>,
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
            asked_again: BTreeSet::new(),
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

    fn change(&mut self, changes: Vec<Put>) {
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
            let requires = crate::script::required(ty, &requires.join(","));
            batch.push(Change::put(ty, Resource::new(ty, name, body.into_bytes(), requires)));
        }
        let mut next = self.snapshot.next(self.snapshot.generation() + 1, batch);
        if self.kind.variant == Variant::Sotw {
            // State-of-the-world cannot say that an assignment does not exist: every cluster has one.
            let clusters = next.map(Cluster).values();
            let assignments: BTreeSet<_> =
                clusters.flat_map(|it| it.requires.iter().map(|it| it.name.clone())).collect();
            let absent = assignments.into_iter().filter(|name| next.get(Endpoint, name).is_none());
            let puts: Vec<_> = absent
                .map(|name| {
                    let body = format!("{name}|0||").into_bytes();
                    Change::put(Endpoint, Resource::new(Endpoint, name, body, []))
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
}

trait Position {
    fn position(self) -> usize;
}

impl Position for ResourceType {
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
