//! The engine as a whole: what is published, and how much work that takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, Object, parse_documents};
use umbra_ir::{Interception, Kind, ObjectId, ProxyKind, ProxyNode};
use umbra_xds::{ResourceType, Snapshot};

use crate::{Engine, Options, ProxyId, Settled};

const MIRROR: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 8000, targetPort: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
  - route: [{destination: {host: httpbin, subset: v1}, weight: 100}]
    mirror: {host: httpbin, subset: v2}
    mirrorPercentage: {value: 50}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: v1
kind: Pod
metadata: {name: httpbin-v1, labels: {app: httpbin, version: v1}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: httpbin-v2, labels: {app: httpbin, version: v2}}
status: {podIP: 10.0.0.2}
"#;

pub(crate) fn objects(text: &str) -> Vec<Arc<Object>> {
    let parsed = parse_documents(text, "test.yaml");
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.objects.into_iter().map(|located| Arc::new(located.value)).collect()
}

fn apply(engine: &mut Engine, text: &str) -> Settled {
    for object in objects(text) {
        engine.apply(Change::Upsert(object));
    }
    engine.settle()
}

fn sidecar(namespace: &str) -> ProxyNode {
    ProxyNode {
        kind: ProxyKind::Sidecar,
        namespace: namespace.into(),
        pod: None,
        labels: Some(BTreeMap::new()),
        unprivileged: false,
        trusted_proxies: None,
        interception: Interception::None,
    }
}

fn names(snapshot: &Snapshot, ty: ResourceType) -> Vec<String> {
    snapshot.map(ty).keys().map(|n| n.to_string()).collect()
}

fn engine(text: &str) -> Engine {
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    engine.connect(ProxyId(1), sidecar("default"), true);
    apply(&mut engine, text);
    engine
}

#[test]
fn a_mirror_has_its_own_cluster_and_shares_the_endpoints() {
    let engine = engine(MIRROR);
    let snapshot = engine.snapshot(ProxyId(1)).unwrap();
    let host = "httpbin.default.svc.cluster.local";
    assert_eq!(
        names(&snapshot, ResourceType::Cluster),
        [
            format!("mirror|8000|v2|{host}"),
            format!("outbound|8000|v1|{host}"),
            format!("outbound|8000|v2|{host}"),
            format!("outbound|8000||{host}"),
        ]
    );
    assert_eq!(
        names(&snapshot, ResourceType::Endpoint),
        [
            format!("outbound|8000|v1|{host}"),
            format!("outbound|8000|v2|{host}"),
            format!("outbound|8000||{host}"),
        ]
    );
    assert_eq!(names(&snapshot, ResourceType::Listener), ["127.0.0.1_8000"]);
    assert_eq!(names(&snapshot, ResourceType::Route), ["8000"]);
    assert_eq!(names(&snapshot, ResourceType::Runtime), ["umbra"]);
    assert_eq!(engine.diagnostics(), []);
    assert_eq!(snapshot.generation(), engine.generation());
}

/// What one edit publishes to the sidecar, and how many keys it computes at most.
fn check_change(edit: impl Fn(&str) -> String, changed: &[&str], at_most: u64) {
    let mut engine = engine(MIRROR);
    let before = engine.snapshot(ProxyId(1)).unwrap();
    let settled = apply(&mut engine, &edit(MIRROR));
    let after = engine.snapshot(ProxyId(1)).unwrap();
    let found: Vec<String> =
        after.changed_from(&before).unwrap().map(|(ty, name)| format!("{ty} {name}")).collect();
    assert_eq!(found, changed);
    assert!(
        settled.recomputed <= at_most,
        "{} keys computed, at most {at_most} expected",
        settled.recomputed
    );
}

#[test]
fn work_follows_the_change() {
    // Nothing but metadata.
    check_change(
        |t| t.replace("metadata: {name: httpbin}", "metadata: {name: httpbin, generation: 7}"),
        &[],
        0,
    );
    // A percentage: the VirtualService's own keys, and one runtime layer.
    check_change(|t| t.replace("value: 50", "value: 10"), &["rtds umbra"], 6);
    // A pod: its endpoints, the assignments of the port and of its subset.
    let host = "httpbin.default.svc.cluster.local";
    check_change(
        |t| t.replace("podIP: 10.0.0.2", "podIP: 10.0.0.3"),
        &[&format!("eds outbound|8000|v2|{host}"), &format!("eds outbound|8000||{host}")],
        7,
    );
    // An edited rule: its routes and their table.
    check_change(|t| t.replace("weight: 100}]", "weight: 100}]\n    timeout: 3s"), &["rds 8000"], 9);
}

/// How many keys one edit computes beside `others` services, rules and pods that it does not concern.
fn work_beside(others: usize, edit: impl Fn(&str) -> String) -> u64 {
    let mut engine = engine(MIRROR);
    for n in 0..others {
        apply(&mut engine, &MIRROR.replace("httpbin", &format!("other{n}")));
    }
    apply(&mut engine, &edit(MIRROR)).recomputed
}

#[test]
fn work_does_not_grow_with_the_mesh() {
    type Edit = fn(&str) -> String;
    let edits: [(&str, Edit); 4] = [
        ("a pod's readiness", |t| t.replace("podIP: 10.0.0.2", "podIP: 10.0.0.2, phase: Failed")),
        ("a percentage", |t| t.replace("value: 50", "value: 10")),
        ("an edited rule", |t| t.replace("weight: 100}]", "weight: 100}]\n    timeout: 3s")),
        ("metadata only", |t| t.replace("name: httpbin}", "name: httpbin, resourceVersion: '7'}")),
    ];
    for (what, edit) in edits {
        assert_eq!(work_beside(1, edit), work_beside(20, edit), "{what}");
    }
}

#[test]
fn a_deleted_object_leaves_nothing_behind() {
    let mut engine = engine(MIRROR);
    for object in objects(MIRROR) {
        engine.apply(Change::Delete(object.id()));
    }
    engine.disconnect(ProxyId(1));
    engine.settle();
    let sizes = engine.sizes();
    assert_eq!((sizes.keys, sizes.reads), (0, 0), "{:?}", engine.key_counts());
    assert_eq!(engine.class_count(), 0);
}

#[test]
fn a_proxy_is_reclassed_when_it_asks_for_the_runtime_layer() {
    let mut engine = engine(MIRROR);
    engine.connect(ProxyId(2), sidecar("default"), false);
    let settled = engine.settle();
    assert_eq!(settled.snapshots.len(), 1);
    assert!(names(&settled.snapshots[0].1, ResourceType::Runtime).is_empty());
    engine.set_rtds(ProxyId(2));
    let settled = engine.settle();
    assert_eq!(names(&settled.snapshots[0].1, ResourceType::Runtime), ["umbra"]);
    assert_eq!(engine.class_count(), 1);
    let missing = ObjectId::new(Kind::VirtualService, "default", "none");
    engine.apply(Change::Delete(missing));
    assert!(engine.settle().snapshots.is_empty());
}

#[test]
fn a_class_that_one_proxy_leaves_and_another_joins_keeps_its_resources() {
    let mut engine = engine(MIRROR);
    engine.connect(ProxyId(2), sidecar("default"), false);
    engine.settle();
    let before = engine.snapshot(ProxyId(2)).unwrap();
    engine.connect(ProxyId(3), sidecar("default"), false);
    engine.set_rtds(ProxyId(2));
    engine.settle();
    let after = engine.snapshot(ProxyId(3)).unwrap();
    for ty in ResourceType::ALL {
        assert_eq!(names(&after, ty), names(&before, ty));
    }
}
