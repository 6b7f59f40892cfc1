//! A difference in as small a world as is cheap to find, and worlds that differ on purpose.

use serde_json::{Value, json};
use umbra_testkit::echo::Echo;

use super::compare::{Difference, differences};
use super::control::Control;
use super::fixed::{APPS, address};
use super::world::{World, istio};

/// How often a smaller world is tried, unless `UMBRA_TRIES` says otherwise: each costs a second or more.
const TRIES: usize = 40;

/// The same difference in a smaller world.
pub(crate) async fn shrink(
    control: &mut Control,
    echoes: &[Echo],
    mut world: World,
    mut difference: Difference,
) -> (World, Difference) {
    let most = std::env::var("UMBRA_TRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(TRIES);
    let (mut tries, mut at, mut size) = (0, 0, world.objects.len().div_ceil(2));
    // First objects, many of them at a time, then what is in them.
    while tries < most {
        let smaller = match size {
            0 => parts_less(&world).into_iter().nth(at),
            _ => (at < world.objects.len()).then(|| without(&world, at, size)),
        };
        let Some(smaller) = smaller else {
            if size == 0 {
                break;
            }
            (at, size) = (0, size / 2);
            continue;
        };
        tries += 1;
        let still = match control.apply(&smaller).await {
            Ok(()) => differences(control, echoes, std::slice::from_ref(&difference.request)).await.ok(),
            Err(_) => None,
        };
        match still.and_then(|found| found.into_iter().next()) {
            Some(found) => (world, difference) = (smaller, found),
            None => at += size.max(1),
        }
    }
    (world, difference)
}

/// Without so many objects; a slice goes with its Service.
fn without(world: &World, at: usize, count: usize) -> World {
    let gone = |nth: usize| (at..at + count).contains(&nth);
    let kept = |(nth, object): &(usize, &Value)| match object["kind"] == "EndpointSlice" {
        true => !gone(nth - 1),
        false => !gone(*nth),
    };
    World {
        objects: world.objects.iter().enumerate().filter(kept).map(|(_, object)| object.clone()).collect(),
    }
}

/// Worlds with a rule less, or another part of an object.
fn parts_less(world: &World) -> Vec<World> {
    let mut paths: Vec<(usize, String)> = Vec::new();
    for depth in [3, 2, 4, 5] {
        for (nth, object) in world.objects.iter().enumerate() {
            if object["kind"] == "EndpointSlice" || object["kind"] == "Service" {
                continue;
            }
            let mut found = Vec::new();
            parts(&object["spec"], "/spec".to_owned(), depth - 1, &mut found);
            paths.extend(found.into_iter().map(|path| (nth, path)));
        }
    }
    let smaller = |(nth, path): (usize, String)| {
        let mut objects = world.objects.clone();
        remove(&mut objects[nth], &path);
        World { objects }
    };
    paths.into_iter().map(smaller).collect()
}

/// The parts of a value that stand exactly so deep.
fn parts(value: &Value, path: String, depth: usize, found: &mut Vec<String>) {
    if depth == 0 {
        found.push(path);
        return;
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            parts(inner, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), depth - 1, found);
        }),
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(nth, inner)| parts(inner, format!("{path}/{nth}"), depth - 1, found));
        }
        _ => {}
    }
}

fn remove(object: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(list)) => {
            if let Some(nth) = key.parse().ok().filter(|nth: &usize| *nth < list.len()) {
                list.remove(nth);
            }
        }
        _ => {}
    }
}

/// What umbra is told and what istiod is told: the same, and one thing after the other that is not.
pub(crate) fn planted() -> Vec<(World, World)> {
    let app = &APPS[0];
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app.name, "namespace": app.namespace},
        "spec": {"clusterIP": app.address, "selector": {"app": app.name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    });
    let endpoints: Vec<Value> = app.pods.iter().enumerate().map(|(nth, last)| json!({
        "addresses": [address(*last)], "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "namespace": app.namespace, "name": format!("{}-v{}", app.name, nth + 1)},
    })).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-x", "namespace": app.namespace, "labels": {"kubernetes.io/service-name": app.name}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    });
    let subsets = istio(
        "DestinationRule",
        app.namespace,
        "web",
        json!({"host": "web", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]}),
    );
    let world = |rule: Value| World {
        objects: vec![
            service.clone(),
            slice.clone(),
            subsets.clone(),
            istio("VirtualService", app.namespace, "web", json!({"hosts": ["web"], "http": [rule]})),
        ],
    };
    let usual = json!({"route": [{"destination": {"host": "web", "subset": "v1"}}], "mirror": {"host": "web", "subset": "v2"}});
    let with = |key: &str, value: Value| {
        let mut rule = usual.clone();
        rule[key] = value;
        rule
    };
    let others = [
        usual.clone(),
        with("mirror", json!(null)),
        with("mirror", json!({"host": "web", "subset": "v1"})),
        with("route", json!([{"destination": {"host": "web", "subset": "v2"}}])),
        with("rewrite", json!({"uri": "/b"})),
        with("headers", json!({"request": {"set": {"x-a": "b"}}})),
        with("headers", json!({"response": {"set": {"x-a": "b"}}})),
        json!({"redirect": {"uri": "/b"}}),
    ];
    others.into_iter().map(|other| (world(other), world(usual.clone()))).collect()
}
