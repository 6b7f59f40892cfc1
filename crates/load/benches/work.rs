//! Times of single steps on the way from a file to a proxy, each alone and without input or output.

#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use umbra_api::{Change, Object, parse_documents};
use umbra_engine::{Engine, Options, ProxyId};
use umbra_envoy::{RuntimeLayer, build_runtime};
use umbra_ir::{Interception, ProxyKind, ProxyNode, RuntimeForms, RuntimeFraction, RuntimeKey};
use umbra_load::world::{Size, World};
use umbra_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use umbra_xds::{ResourceType, Response, Session, Variant};

const SIZE: Size =
    Size { services: 1000, endpoints: 10, rules: 200, mirrors: 100, namespaces: 1, private: false };

fn world() -> World {
    World::new(Path::new("nowhere"), SIZE)
}

fn objects(text: &str) -> impl Iterator<Item = Change> {
    let parsed = parse_documents(text, "bench.yaml");
    parsed.objects.into_iter().map(|located| Change::Upsert(Arc::<Object>::from(located.value)))
}

/// An engine with the world of scenario M, and one sidecar.
fn engine() -> Engine {
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    let world = world();
    for n in 0..SIZE.services {
        objects(&world.render(n).expect("a service")).for_each(|change| engine.apply(change));
    }
    let node = ProxyNode {
        kind: ProxyKind::Sidecar,
        namespace: "ns-0".into(),
        pod: None,
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
    engine.connect(ProxyId(1), node, RuntimeForms::of_digits(2));
    engine.settle();
    engine
}

fn parse(c: &mut Criterion) {
    let text = world().render(0).expect("a service");
    c.bench_function("parse: a service of 10 endpoints with its rules", |b| {
        b.iter(|| parse_documents(black_box(&text), "bench.yaml"));
    });
}

fn settle(c: &mut Criterion) {
    let text = world().render(0).expect("a service");
    let edits = [
        ("a percentage", text.replace("value: 10", "value: 20")),
        ("an endpoint", text.replace("addresses: [10.0.0.1]", "addresses: [10.99.0.1]")),
        (
            "weights",
            text.replace("weight: 100", "weight: 100}, {destination: {host: svc-0, subset: v2}, weight: 1"),
        ),
    ];
    let mut engine = engine();
    for (what, edited) in edits {
        assert_ne!(text, edited, "{what}");
        let both = [&edited, &text].map(|text| objects(text).collect::<Vec<_>>());
        let mut turn = 0;
        c.bench_function(&format!("settle: {what} in 1000 services"), |b| {
            b.iter(|| {
                turn += 1;
                both[turn % 2].iter().for_each(|change| engine.apply(change.clone()));
                black_box(engine.settle())
            });
        });
    }
}

fn encode(c: &mut Criterion) {
    let share = RuntimeFraction::from_percent(10.0).expect("a share");
    let key = |n| {
        RuntimeKey::new(format!("mirror/ns-0/svc-{n}/0123456789abcdef/|v2|svc-{n}.ns-0.svc.cluster.local"))
    };
    let shares: BTreeMap<_, _> = (0..100).map(|n| (key(n), share)).collect();
    let layer = RuntimeLayer::parse("umbra").expect("a layer");
    c.bench_function("encode: a runtime layer of 100 keys", |b| {
        b.iter(|| build_runtime(layer, black_box(&shares)));
    });
}

fn ask(ty: ResourceType, names: Vec<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    }
}

fn session(c: &mut Criterion) {
    let snapshot = engine().snapshot(ProxyId(1)).expect("a snapshot");
    let names: Vec<String> =
        snapshot.map(ResourceType::Endpoint).keys().map(|name| name.to_string()).collect();
    let start = || {
        let mut session = Session::new(Variant::Delta);
        let mut bytes = 0;
        session.on_snapshot(snapshot.clone(), Duration::ZERO);
        for request in [ask(ResourceType::Cluster, Vec::new()), ask(ResourceType::Endpoint, names.clone())] {
            let output = session.on_request(request, Duration::ZERO).expect("an answer");
            bytes += output.responses.iter().map(Response::encoded_len).sum::<usize>();
        }
        bytes
    };
    c.bench_function("session: a new proxy's clusters and endpoints of 1000 services", |b| {
        b.iter(|| black_box(start()));
    });
}

criterion_group! {
    name = work;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = parse, settle, encode, session
}
criterion_main!(work);
