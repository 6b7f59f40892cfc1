//! Requests that no proxy sends.

use std::sync::Arc;
use std::time::Duration;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_xds::{
    Change, MAX_NAMES, Request, Resource, ResourceType, Session, SessionError, Snapshot, Variant,
};

fn check(variant: Variant, request: impl Into<Request>, limit: bool) {
    let error = Session::new(variant).on_request(request, Duration::ZERO).unwrap_err();
    assert_eq!(error.is_limit(), limit, "{error}");
}

#[test]
fn broken_and_hostile_requests_end_the_stream() {
    let type_url = ResourceType::Endpoint.type_url().to_owned();
    let many: Vec<String> = (0..=MAX_NAMES).map(|i| i.to_string()).collect();
    let versions = many.iter().map(|name| (name.clone(), String::new())).collect();
    let sotw =
        |names| DiscoveryRequest { type_url: type_url.clone(), resource_names: names, ..Default::default() };
    let delta = DeltaDiscoveryRequest { type_url: type_url.clone(), ..Default::default() };
    check(Variant::Sotw, DiscoveryRequest::default(), false);
    check(Variant::Delta, DeltaDiscoveryRequest::default(), false);
    check(Variant::Delta, sotw(vec![]), false);
    check(Variant::Sotw, delta.clone(), false);
    check(Variant::Sotw, sotw(many.clone()), true);
    check(Variant::Delta, DeltaDiscoveryRequest { resource_names_subscribe: many, ..delta.clone() }, true);
    check(Variant::Delta, DeltaDiscoveryRequest { initial_resource_versions: versions, ..delta }, true);
}

#[test]
fn names_add_up_over_requests() {
    let mut session = Session::new(Variant::Delta);
    let mut ask = |from: usize| {
        let names = (from..from + 1000).map(|i| i.to_string()).collect();
        let request = DeltaDiscoveryRequest {
            type_url: ResourceType::Route.type_url().to_owned(),
            resource_names_subscribe: names,
            ..Default::default()
        };
        session.on_request(request, Duration::ZERO).map(|_| ())
    };
    assert!((0..100).all(|i| ask(i * 1000).is_ok()));
    assert!(matches!(ask(100_000), Err(SessionError::TooManyNames { .. })));
}

/// Names that nobody else asks for weigh, those that there are do not, in whatever order they come.
#[test]
fn a_stream_weighs_what_it_alone_makes_umbra_keep() {
    let ty = ResourceType::Endpoint;
    let put = |n: usize| Change::put(ty, Resource::new(ty, n.to_string(), "x", []));
    let snapshot = Arc::new(Snapshot::empty(1, 0).next(1, (0..1000).map(put)));
    let names = |numbers: std::ops::Range<usize>| numbers.map(|n| n.to_string()).collect::<Vec<_>>();
    for (title, requests, most) in [
        ("all there are", vec![names(0..1000)], 0),
        ("all of them, one after the other", vec![names(0..10), names(10..500), names(500..1000)], 0),
        ("some", vec![names(0..10)], 2000),
        ("made up", vec![names(5000..6000)], 200_000),
    ] {
        for snapshot_first in [false, true] {
            let mut session = Session::new(Variant::Delta);
            let mut take =
                |snapshot: &Arc<Snapshot>| drop(session.on_snapshot(snapshot.clone(), Duration::ZERO));
            if snapshot_first {
                take(&snapshot);
            }
            for names in &requests {
                let request = DeltaDiscoveryRequest {
                    type_url: ty.type_url().to_owned(),
                    resource_names_subscribe: names.clone(),
                    ..Default::default()
                };
                session.on_request(request, Duration::ZERO).unwrap();
            }
            if !snapshot_first {
                session.on_snapshot(snapshot.clone(), Duration::ZERO);
            }
            let weight = session.weight();
            assert!(weight <= most && weight >= most / 2, "{title}, {snapshot_first}: {weight}");
        }
    }
}
