//! What a stream costs, counted: allocations and bytes, never time. It may not depend on how much there is beside what
//! changes.

#![allow(clippy::unwrap_used, reason = "a test, all of it")]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_xds::{Change, Output, Request, Requirement, Resource, ResourceType, Session, Snapshot, Variant};

use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};

const STREAMS: u64 = 100;
const NOW: Duration = Duration::ZERO;

fn name(n: usize) -> String {
    format!("outbound|80||svc-{n}.ns-0.svc.cluster.local")
}

fn put(ty: ResourceType, name: &str, version: u8, requires: Vec<Requirement>) -> Change {
    let body = [name.as_bytes(), &[version; 300]].concat();
    Change::put(ty, Resource::new(ty, name, body, requires))
}

/// A mesh of this many services, with one route table that names all of them.
fn mesh(services: usize) -> Snapshot {
    let names: Vec<String> = (0..services).map(name).collect();
    let clusters = names.iter().map(|it| put(Cluster, it, 0, vec![Requirement::new(Endpoint, it.as_str())]));
    let assignments = names.iter().map(|it| put(Endpoint, it, 0, Vec::new()));
    let mut all: Vec<_> = names.iter().map(|it| Requirement::new(Cluster, it.as_str())).collect();
    all.sort();
    let rest = [
        put(Listener, "0.0.0.0_80", 0, Vec::new()),
        put(Route, "80", 0, all),
        put(Runtime, "umbra", 0, Vec::new()),
    ];
    Snapshot::empty(1, 0).next(1, clusters.chain(assignments).chain(rest))
}

/// A proxy that takes everything.
struct Proxy {
    variant: Variant,
    session: Session,
    names: Vec<(ResourceType, Vec<String>)>,
    sent: usize,
}

impl Proxy {
    /// Asks for all that there is, as Envoy does, and takes it.
    fn connect(variant: Variant, snapshot: &Arc<Snapshot>) -> Self {
        let mut proxy = Proxy { variant, session: Session::new(variant), names: Vec::new(), sent: 0 };
        let output = proxy.session.on_snapshot(snapshot.clone(), NOW);
        proxy.answer(output);
        for ty in [Runtime, Cluster, Endpoint, Listener, Route] {
            let all = matches!(ty, Cluster | Listener);
            let names = snapshot.map(ty).keys().filter(|_| !all).map(|name| name.to_string()).collect();
            proxy.names.push((ty, names));
            let request = proxy.request(ty, "", true);
            let output = proxy.session.on_request(request, NOW).unwrap();
            proxy.answer(output);
        }
        proxy
    }

    fn request(&self, ty: ResourceType, nonce: &str, first: bool) -> Request {
        let names =
            self.names.iter().find(|(of, _)| *of == ty).map(|(_, names)| names.clone()).unwrap_or_default();
        let (type_url, response_nonce) = (ty.type_url().to_owned(), nonce.to_owned());
        match self.variant {
            Variant::Delta => DeltaDiscoveryRequest {
                type_url,
                response_nonce,
                resource_names_subscribe: if first { names } else { Vec::new() },
                ..Default::default()
            }
            .into(),
            Variant::Sotw => {
                DiscoveryRequest { type_url, response_nonce, resource_names: names, ..Default::default() }
                    .into()
            }
        }
    }

    fn answer(&mut self, output: Output) {
        for response in output.responses {
            self.sent += response.encoded_len();
            let ty = ResourceType::from_type_url(response.type_url()).unwrap();
            let request = self.request(ty, &response.nonce(), false);
            let output = self.session.on_request(request, NOW).unwrap();
            self.answer(output);
        }
    }
}

/// What one of many streams costs: to start and keep, to be told of a change, what such an answer holds while it waits, and to
/// hear that it was taken.
struct Cost {
    kept: i64,
    push: AllocationInfo,
    queued: i64,
    ack: AllocationInfo,
}

fn cost(variant: Variant, services: usize, changes: impl Fn() -> Vec<Change>) -> Cost {
    let first = Arc::new(mesh(services));
    // Of state of the world the names stand in each request, so here they are not kept but asked for.
    let mut proxies = Vec::with_capacity(STREAMS as usize);
    let kept = measure(|| {
        for _ in 0..STREAMS {
            let mut proxy = Proxy::connect(variant, &first);
            assert!(proxy.session.has_taken(&first));
            proxy.names = Vec::new();
            proxies.push(proxy);
        }
    });
    let second = Arc::new(first.next(2, changes()));
    let mut outputs = Vec::with_capacity(STREAMS as usize);
    let push = measure(|| {
        outputs.extend(proxies.iter_mut().map(|proxy| proxy.session.on_snapshot(second.clone(), NOW)));
    });
    assert!(outputs.iter().all(|output| output.responses.len() == 1), "each is told of it");
    let answer = |(output, proxy): (&Output, &Proxy)| {
        let response = &output.responses[0];
        let ty = ResourceType::from_type_url(response.type_url()).unwrap();
        proxy.request(ty, &response.nonce(), false)
    };
    let answers: Vec<Request> = outputs.iter().zip(&proxies).map(answer).collect();
    let queued = measure(|| drop(outputs)).bytes_current;
    let ack = measure(|| {
        for (proxy, answer) in proxies.iter_mut().zip(answers) {
            assert!(proxy.session.on_request(answer, NOW).unwrap().responses.is_empty());
        }
    });
    assert!(proxies.iter().all(|proxy| proxy.session.has_taken(&second)), "each has taken it");
    let per = |total: i64| total / STREAMS as i64;
    let each = |all: AllocationInfo| AllocationInfo {
        count_total: all.count_total / STREAMS,
        bytes_total: all.bytes_total / STREAMS,
        ..all
    };
    Cost { kept: per(kept.bytes_current), push: each(push), queued: per(-queued), ack: each(ack) }
}

fn check(title: &str, variant: Variant, changes: impl Fn() -> Vec<Change>, allocations: u64, bytes: u64) {
    let costs = [100, 1000].map(|services| cost(variant, services, &changes));
    for cost in &costs {
        let Cost { kept, push, queued, ack } = cost;
        println!(
            "{title} ({variant:?}): {kept} bytes kept, {} allocations of {} bytes a push, {queued} bytes queued, \
             {} allocations of {} bytes an ACK",
            push.count_total, push.bytes_total, ack.count_total, ack.bytes_total
        );
        assert!(
            push.count_total <= allocations && push.bytes_total <= bytes,
            "{title}: a push costs too much"
        );
        assert!(ack.count_total <= 4 && ack.bytes_total <= 500, "{title}: an ACK costs too much");
        assert!(*kept <= 3000, "{title}: {kept} bytes for a stream that is in step");
        assert!(*queued <= 1024, "{title}: {queued} bytes wait");
    }
    let [small, large] = costs;
    assert!(
        large.push.bytes_total * 10 <= small.push.bytes_total * 12 && large.kept * 10 <= small.kept * 12,
        "{title}: a stream costs more where there is more"
    );
}

#[test]
fn a_push_costs_what_changed() {
    let endpoints = |n: usize| (0..n).map(|n| put(Endpoint, &name(n), 1, Vec::new())).collect::<Vec<_>>();
    check("an endpoint", Variant::Delta, || endpoints(1), 8, 1200);
    // Found and encoded once for all streams.
    check("50 endpoints", Variant::Delta, || endpoints(50), 8, 1200);
    check("a percentage", Variant::Delta, || vec![put(Runtime, "umbra", 1, Vec::new())], 8, 1200);
    check("a cluster goes", Variant::Delta, || vec![Change::remove(Cluster, name(7))], 15, 3000);
}
