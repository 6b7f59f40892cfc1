//! The engine as a whole: what is published, and how much work that takes.

mod budgets;
mod classes;
mod judged;
mod many;
mod secrets;
mod sidecars;

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, Object, parse_documents};
use umbra_ir::{Interception, Kind, ObjectId, ProxyKind, ProxyNode, RuntimeForms};
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
        locality: None,
        takes_hosts: false,
        edits_copies: true,
        may_have_keys: true,
        http10: false,
        judges: Default::default(),
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
    // A pod: its endpoints, the assignments of the port and of its subset, who answers there, the reports of the mirror and of the
    // subset.
    let host = "httpbin.default.svc.cluster.local";
    check_change(
        |t| t.replace("podIP: 10.0.0.2", "podIP: 10.0.0.3"),
        &[&format!("eds outbound|8000|v2|{host}"), &format!("eds outbound|8000||{host}")],
        9,
    );
    // An edited rule: its routes, for whom they are bound, and their table.
    check_change(|t| t.replace("weight: 100}]", "weight: 100}]\n    timeout: 3s"), &["rds 8000"], 10);
}

/// `httpbin` by another name, but most without subsets and pods, which take long to read.
fn other(n: usize) -> String {
    let text = if n.is_multiple_of(10) { MIRROR } else { PLAIN };
    text.replace("httpbin", &format!("other{n}"))
}

const PLAIN: &str = "
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec: {ports: [{name: http, port: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec: {hosts: [httpbin], http: [{route: [{destination: {host: httpbin}}], mirror: {host: httpbin}}]}
";

/// The counts of keys that single edits compute beside so many services, rules and pods that they do not concern.
fn work_beside(others: usize, edits: &[(&str, Edit)]) -> Vec<u64> {
    let mut engine = engine(MIRROR);
    for n in 0..others {
        for object in objects(&other(n)) {
            engine.apply(Change::Upsert(object));
        }
    }
    engine.settle();
    let counts = edits.iter().map(|(_, edit)| {
        let count = apply(&mut engine, &edit(MIRROR)).recomputed;
        apply(&mut engine, MIRROR);
        count
    });
    counts.collect()
}

type Edit = fn(&str) -> String;

/// One change each, as an operator makes it.
const EDITS: [(&str, Edit); 6] = [
    ("a pod's readiness", |t| t.replace("podIP: 10.0.0.2", "podIP: 10.0.0.2, phase: Failed")),
    ("a percentage", |t| t.replace("value: 50", "value: 10")),
    ("an edited rule", |t| t.replace("weight: 100}]", "weight: 100}]\n    timeout: 3s")),
    ("a mirror less", |t| {
        t.replace("    mirror: {host: httpbin, subset: v2}\n    mirrorPercentage: {value: 50}\n", "")
    }),
    ("one more service", |t| t.replace("\nkind: Service\n", ADDED)),
    ("metadata only", |t| t.replace("name: httpbin}", "name: httpbin, resourceVersion: '7'}")),
];

/// A Service before the first.
const ADDED: &str = "
kind: Service
metadata: {name: added}
spec: {ports: [{name: http, port: 8000}]}
---
apiVersion: v1
kind: Service
";

/// Not by a fifth more in a mesh of 5000 services than in one of 100.
#[test]
fn work_does_not_grow_with_the_mesh() {
    let (few, many) = (work_beside(100, &EDITS), work_beside(5000, &EDITS));
    for ((what, _), (few, many)) in EDITS.iter().zip(few.iter().zip(&many)) {
        assert!(
            *many as f64 <= *few as f64 * 1.2,
            "{what}: {few} keys beside 100 services, {many} beside 5000"
        );
    }
}

/// What a pod more costs a captured sidecar, beside so many other Services: keys computed, listeners and tables sent.
fn pod_more_beside(others: usize, cluster_ip: &str) -> (u64, usize, usize) {
    let pod = |n: u8| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: db-{n}, labels: {{app: db}}}}\nstatus: {{podIP: 10.0.0.{n}}}\n"
        )
    };
    let service = |name: &str, ip: &str, port: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{port}]}}\n---\n"
        )
    };
    let mut text = service("db", cluster_ip, "{name: tcp, port: 5432}, {name: http, port: 80}");
    for n in 0..others {
        text += &service(
            &format!("s{n}"),
            &format!("10.96.1.{n}"),
            "{name: http, port: 80}, {name: tcp, port: 81}",
        );
    }
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    let node = ProxyNode { interception: Interception::Redirect { ipv6: false }, ..sidecar("default") };
    engine.connect(ProxyId(1), node, true);
    apply(&mut engine, &(text + &pod(1)));
    let before = engine.snapshot(ProxyId(1)).unwrap();
    let settled = apply(&mut engine, &pod(2));
    let after = engine.snapshot(ProxyId(1)).unwrap();
    let other = |ty| {
        let old = before.map(ty);
        after
            .map(ty)
            .iter()
            .filter(|(name, it)| old.get(name).is_none_or(|o| o.version != it.version))
            .count()
    };
    (settled.recomputed, other(ResourceType::Listener), other(ResourceType::Route))
}

#[test]
fn a_pod_costs_a_captured_sidecar_no_more_than_its_own_listener() {
    for (cluster_ip, listeners) in [("None", 1), ("10.96.0.1", 0)] {
        let (few, many) = (pod_more_beside(1, cluster_ip), pod_more_beside(20, cluster_ip));
        assert_eq!(few, many, "{cluster_ip}: whatever else there is");
        assert_eq!((few.1, few.2), (listeners, 0), "{cluster_ip}: listeners and tables");
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
    engine.set_rtds(ProxyId(2), RuntimeForms::WHOLE);
    let settled = engine.settle();
    assert_eq!(names(&settled.snapshots[0].1, ResourceType::Runtime), ["umbra"]);
    assert_eq!(engine.class_count(), 1);
    let missing = ObjectId::new(Kind::VirtualService, "default", "none");
    engine.apply(Change::Delete(missing));
    assert!(engine.settle().snapshots.is_empty());
}

#[test]
fn a_percentage_costs_one_layer_of_those_that_were_asked_for() {
    let mut engine = engine(MIRROR);
    engine.connect(ProxyId(2), sidecar("default"), RuntimeForms::of_digits(2));
    for n in 0..100 {
        apply(&mut engine, &other(n));
    }
    let snapshot = engine.snapshot(ProxyId(2)).unwrap();
    let layers = names(&snapshot, ResourceType::Runtime);
    assert_eq!((layers.len(), &*layers[0], &*layers[63]), (64, "umbra-00", "umbra-77"));
    let before = snapshot;
    let settled = apply(&mut engine, &MIRROR.replace("value: 50", "value: 10"));
    let after = engine.snapshot(ProxyId(2)).unwrap();
    let [(ResourceType::Runtime, name)] = &after.changed_from(&before).unwrap().collect::<Vec<_>>()[..]
    else {
        panic!("one layer");
    };
    let layer = after.get(ResourceType::Runtime, name).unwrap();
    assert!(layer.body.len() < 1000, "{} bytes", layer.body.len());
    // The rule's own keys, a layer for each of the two forms.
    assert!(settled.recomputed <= 7, "{} keys", settled.recomputed);
    // Who asks for the other form as well has both.
    engine.set_rtds(ProxyId(2), RuntimeForms::WHOLE);
    engine.settle();
    assert_eq!(names(&engine.snapshot(ProxyId(2)).unwrap(), ResourceType::Runtime).len(), 65);
}

#[test]
fn a_class_that_one_proxy_leaves_and_another_joins_keeps_its_resources() {
    let mut engine = engine(MIRROR);
    engine.connect(ProxyId(2), sidecar("default"), false);
    engine.settle();
    let before = engine.snapshot(ProxyId(2)).unwrap();
    engine.connect(ProxyId(3), sidecar("default"), false);
    engine.set_rtds(ProxyId(2), RuntimeForms::WHOLE);
    engine.settle();
    let after = engine.snapshot(ProxyId(3)).unwrap();
    for ty in ResourceType::ALL {
        assert_eq!(names(&after, ty), names(&before, ty));
    }
}
