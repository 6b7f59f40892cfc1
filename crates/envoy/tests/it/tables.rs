use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use umbra_envoy::{
    Requirement, RuntimeLayer, build_load_assignment, build_route_configuration, build_routes, build_runtime,
    build_virtual_host,
};
use umbra_ir::{
    Endpoint, LoadAssignment, MirrorHost, Role, RouteAction, RouteList, RouteOrder, RuntimeFraction,
    RuntimeKey, TargetCluster, VirtualHostSpec,
};
use umbra_proto::envoy::config::route::v3::RouteConfiguration;
use umbra_proto::type_url;

use crate::samples::{endpoint, forward, half, mirror, reference, route, target};
use crate::{encoded, json};

#[track_caller]
fn check_assignment(endpoints: Vec<Endpoint>, want: Value) {
    let built = build_load_assignment(&LoadAssignment {
        reference: reference("v1", Role::Mirror),
        endpoints,
        arrangement: Default::default(),
    });
    assert_eq!(&*built.name, "outbound|8000|v1|httpbin.default.svc.cluster.local");
    let got = json(type_url::ENDPOINT, &built.body);
    assert_eq!(got["clusterName"], *built.name);
    let brief = |locality: &Value| {
        let members = locality["lbEndpoints"].as_array().unwrap().iter().map(|member| {
            let socket = &member["endpoint"]["address"]["socketAddress"];
            // Nothing written is 1.
            let weight = member["loadBalancingWeight"].as_u64();
            assert_ne!(weight, Some(1), "{member}");
            json!([socket["address"], weight.unwrap_or(1)])
        });
        let members: Vec<Value> = members.collect();
        json!([locality["locality"]["zone"], locality["loadBalancingWeight"], members])
    };
    let localities = got["endpoints"].as_array().map(|all| all.iter().map(brief).collect::<Vec<_>>());
    assert_eq!(json!(localities), want);
}

#[test]
fn endpoints_by_locality() {
    check_assignment(Vec::new(), Value::Null);
    check_assignment(vec![endpoint("1.1.1.1", "", 1)], json!([[null, 1, [["1.1.1.1", 1]]]]));
    check_assignment(
        vec![endpoint("1.1.1.1", "b", 2), endpoint("1.1.1.2", "a", 3), endpoint("1.1.1.3", "b", 1)],
        json!([["a", 3, [["1.1.1.2", 3]]], ["b", 3, [["1.1.1.1", 2], ["1.1.1.3", 1]]]]),
    );
}

#[test]
fn weights_beyond_32_bits_are_scaled_down_and_never_to_zero() {
    check_assignment(
        vec![
            endpoint("1.1.1.1", "", u32::MAX),
            endpoint("1.1.1.2", "", u32::MAX),
            endpoint("1.1.1.3", "", 0),
        ],
        json!([[
            null,
            2_863_311_531_u32,
            [["1.1.1.1", 1_431_655_765], ["1.1.1.2", 1_431_655_765], ["1.1.1.3", 1]]
        ]]),
    );
}

#[test]
fn the_runtime_layer() {
    let fraction = |percent| RuntimeFraction::from_percent(percent).unwrap();
    let shares = BTreeMap::from([
        (RuntimeKey::new("mirror/default/b/r/8000||a.b.c"), fraction(0.0)),
        (RuntimeKey::new("mirror/default/a/r/||a.b.c"), fraction(12.5)),
    ]);
    let whole = RuntimeLayer::parse("umbra").unwrap();
    let built = build_runtime(whole, &shares);
    assert_eq!((&*built.name, built.requires.len()), ("umbra", 0));
    assert_eq!(
        json(type_url::RUNTIME, &built.body),
        json!({"name": "umbra", "layer": {
            "mirror/default/a/r/||a.b.c": {"denominator": "MILLION", "numerator": 125_000.0},
            "mirror/default/b/r/8000||a.b.c": {"denominator": "MILLION", "numerator": 0.0},
        }})
    );
    assert_eq!(
        json(
            type_url::RUNTIME,
            &build_runtime(RuntimeLayer::parse("umbra-17").unwrap(), &BTreeMap::new()).body
        ),
        json!({"name": "umbra-17", "layer": {}})
    );
}

#[test]
fn a_virtual_host_in_full_and_what_its_table_requires() {
    let mut mirrored = forward();
    mirrored.targets.push(target("v3", 1));
    mirrored.targets[0].cluster = TargetCluster::Unknown("outbound|1||gone".into());
    mirrored.mirrors.push(mirror(half(), MirrorHost::Suffix));
    let host = VirtualHostSpec {
        name: "httpbin:8000".to_owned(),
        domains: vec!["httpbin".to_owned()],
        sources: Vec::new(),
        order: RouteOrder::CatchAllsLast,
        require_tls: true,
    };
    let routes = vec![route(RouteAction::Forward(mirrored)), route(RouteAction::Forward(forward()))];
    let routes = Arc::new(build_routes(&RouteList { routes }));
    let host_name = "httpbin.default.svc.cluster.local";
    let names =
        ["mirror|8000|v2|", "outbound|1||gone", "outbound|8000|v1|", "outbound|8000|v3|"].map(|name| {
            Arc::from(if name.ends_with('|') { format!("{name}{host_name}") } else { name.to_owned() })
        });
    let encoded = Arc::new(build_virtual_host(&host, &[routes]));
    assert_eq!(*encoded.clusters, names, "the one that does not exist too: equal bodies require the same");
    let table = build_route_configuration("8000", &[encoded.clone(), encoded]);
    assert_eq!((&*table.name, table.requires), ("8000", names.map(Requirement::Cluster).to_vec()));
    let got = json(type_url::ROUTE, &table.body);
    assert_eq!(got["virtualHosts"][1]["domains"], json!(["httpbin"]));
    assert_eq!(got["virtualHosts"][1]["requireTls"], "ALL");
    assert_eq!(got["virtualHosts"][1]["includeRequestAttemptCount"], true);
}

#[test]
fn an_empty_table_answers_too() {
    assert_eq!(
        json(type_url::ROUTE, &build_route_configuration("http.8080", &[]).body),
        json!({
            "name": "http.8080", "validateClusters": false,
            "maxDirectResponseBodySizeBytes": 1_048_576, "ignorePortInHostMatching": true,
        })
    );
}

proptest! {
    #[test]
    fn a_concatenated_table_is_the_table_encoded_whole(
        name in ".{0,20}",
        counts in prop::collection::vec(0usize..40, 0..6),
    ) {
        let hosts: Vec<_> = counts.iter().map(|n| encoded(vec![route(RouteAction::Forward(forward())); *n])).collect();
        let built = build_route_configuration(&name, &hosts);
        let whole = RouteConfiguration::decode(built.body.clone()).unwrap();
        prop_assert_eq!(whole.virtual_hosts.len(), hosts.len());
        prop_assert_eq!(whole.encode_to_vec(), built.body.to_vec());
    }
}
