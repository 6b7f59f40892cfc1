use serde_json::{Value, json};
use umbra_ir::{Mirror, MirrorHost, MirrorShare, RouteAction, RuntimeFraction, RuntimeKey};

use crate::route_json;
use crate::samples::{forward, half, mirror, route, target};

#[track_caller]
fn check(mirrors: Vec<Mirror>, want: Value) {
    let mut forward = forward();
    forward.mirrors = mirrors;
    let got = route_json(route(RouteAction::Forward(forward)));
    assert_eq!(got["route"]["requestMirrorPolicies"], want);
}

const CLUSTER: &str = "mirror|8000|v2|httpbin.default.svc.cluster.local";

fn fraction(numerator: u32, key: &str) -> Value {
    // A zero and an empty key are what they are when absent.
    let mut value = json!({"defaultValue": {"denominator": "MILLION"}});
    if numerator > 0 {
        value["defaultValue"]["numerator"] = json!(numerator);
    }
    if !key.is_empty() {
        value["runtimeKey"] = json!(key);
    }
    value
}

#[test]
fn policies() {
    let key = "mirror/default/httpbin/r/8000|v2|httpbin.default.svc.cluster.local";
    let policy = |fraction| json!({"cluster": CLUSTER, "runtimeFraction": fraction, "traceSampled": false});
    let runtime = MirrorShare::Runtime(RuntimeKey::new(key));
    check(Vec::new(), Value::Null);
    check(vec![mirror(runtime.clone(), MirrorHost::Suffix)], json!([policy(fraction(0, key))]));
    check(vec![mirror(half(), MirrorHost::Suffix)], json!([policy(fraction(500_000, ""))]));

    let mut kept = policy(fraction(1_000_000, ""));
    kept["disableShadowHostSuffixAppend"] = json!(true);
    let mut literal = policy(fraction(0, key));
    literal["hostRewriteLiteral"] = json!("b.example-shadow:8000");
    check(
        vec![
            mirror(MirrorShare::Fixed(RuntimeFraction::ALL), MirrorHost::Keep),
            mirror(runtime, MirrorHost::Literal("b.example-shadow:8000".to_owned())),
        ],
        json!([kept, literal]),
    );
}

#[track_caller]
fn check_weights(weights: &[u32], mirrored: bool, want: &[u32]) {
    let mut forward = forward();
    forward.weighted = true;
    forward.targets = weights.iter().map(|weight| target("v1", *weight)).collect();
    forward.mirrors = if mirrored { vec![mirror(half(), MirrorHost::Suffix)] } else { Vec::new() };
    let got = route_json(route(RouteAction::Forward(forward)));
    let clusters = got["route"]["weightedClusters"]["clusters"].as_array().unwrap();
    let got: Vec<u64> = clusters.iter().map(|cluster| cluster["weight"].as_u64().unwrap()).collect();
    assert_eq!(got, want.iter().map(|w| u64::from(*w)).collect::<Vec<_>>(), "{weights:?}");
}

#[test]
fn weights_beside_a_mirror_are_independent_of_its_share() {
    check_weights(&[33, 67], true, &[329_994, 669_989]);
    check_weights(&[50, 50], true, &[499_992, 499_991]);
    check_weights(&[333_333, 666_667], true, &[333_327, 666_656]);
    // One destination leaves nothing to choose; without a copy nothing depends on anything.
    check_weights(&[7], true, &[7]);
    check_weights(&[33, 67], false, &[33, 67]);
}

#[test]
fn weights_that_envoy_would_refuse_do_not_cost_the_table() {
    check_weights(&[u32::MAX, u32::MAX], false, &[499_992, 499_991]);
    check_weights(&[0, 0], false, &[1, 1]);
}
