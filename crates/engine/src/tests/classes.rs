//! Which proxies share a class, and when a new one is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, parse_documents};
use umbra_ir::{Interception, ProxyKind, ProxyNode};
use umbra_xds::{ResourceType, Snapshot};

use super::{MIRROR, apply, engine, objects, sidecar};
use crate::{Engine, ProxyId, Settled};

/// A service of a namespace's own.
fn own_service(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: own, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: 8000}}]}}\n"
    )
}

/// Namespaces that see the mesh as all others do are one class, and cost no key; each that something tells apart has
/// its own, as long as it does.
#[test]
fn namespaces_without_objects_share_a_class() {
    let mut engine = engine(MIRROR);
    engine.connect(ProxyId(2), sidecar("a"), true);
    engine.settle();
    let one = engine.sizes().keys;
    for (id, namespace) in (3..).zip(["b", "c", "d", "e"]) {
        engine.connect(ProxyId(id), sidecar(namespace), true);
    }
    engine.settle();
    // Of each node its class, of each namespace what stands for it and its Sidecars: nothing of what is served.
    assert_eq!((engine.class_count(), engine.sizes().keys), (2, one + 4 * 3));
    let rule = |spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: more, namespace: z}}\nspec: {{hosts: [x.com], {spec}}}\n"
        )
    };
    let to = "route: [{destination: {host: httpbin.default.svc.cluster.local}}]";
    let policy = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: more, namespace: b}\nspec: {host: httpbin.default.svc.cluster.local}\n";
    for (about, text) in [
        ("a service of its own", own_service("b")),
        (
            "a rule for others, of its own",
            rule(&format!("exportTo: ['*'], http: [{{{to}}}]")).replace("namespace: z", "namespace: b"),
        ),
        ("a policy of its own", policy.to_owned()),
        ("a rule exported to it", rule(&format!("exportTo: [b], http: [{{{to}}}]"))),
        (
            "a policy exported to it",
            policy.replace("namespace: b", "namespace: z").replace("spec: {", "spec: {exportTo: [b], "),
        ),
        ("a rule that asks for it", rule(&format!("http: [{{match: [{{sourceNamespace: b}}], {to}}}]"))),
    ] {
        apply(&mut engine, &text);
        assert_eq!(engine.class_count(), 3, "{about}");
        assert_ne!(engine.class(ProxyId(3)), engine.class(ProxyId(2)), "{about}");
        assert_eq!(engine.class(ProxyId(4)), engine.class(ProxyId(2)), "{about}");
        for object in objects(&text) {
            engine.apply(Change::Delete(object.id()));
        }
        engine.settle();
        assert_eq!(engine.class_count(), 2, "{about}: it is gone");
    }
}

/// Changes go first, then one class at a time, oldest proxy first; what nobody waits for any more is never made.
#[test]
fn new_classes_are_made_one_at_a_time_and_changes_go_between_them() {
    let mut engine = engine(MIRROR);
    for namespace in ["a", "b", "c"] {
        apply(&mut engine, &own_service(namespace));
    }
    let each = engine.key_counts();
    for (id, namespace) in [(2, "a"), (3, "b"), (4, "a"), (5, "c"), (6, "default")] {
        engine.connect(ProxyId(id), sidecar(namespace), true);
    }
    let change = |engine: &mut Engine, percent: &str| {
        for object in objects(&MIRROR.replace("value: 50", &format!("value: {percent}"))) {
            engine.apply(Change::Upsert(object));
        }
    };
    let proxies = |settled: &Settled| settled.snapshots.iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    change(&mut engine, "10");
    let first = engine.turn();
    assert_eq!((proxies(&first), first.classes_made, first.waiting), (vec![1, 6], 0, 4));
    // Of each new namespace also what stands for it, its Sidecars, its policies and which labels count.
    assert!(first.recomputed <= 18, "{} keys before the change is out", first.recomputed);
    assert!(engine.is_waiting(ProxyId(2)) && !engine.is_waiting(ProxyId(6)));
    let second = engine.turn();
    assert_eq!((proxies(&second), second.classes_made, second.waiting), (vec![2, 4], 1, 2));
    engine.disconnect(ProxyId(3));
    change(&mut engine, "20");
    let third = engine.turn();
    assert_eq!((proxies(&third), third.waiting), (vec![1, 2, 4, 6], 1));
    let fourth = engine.turn();
    assert_eq!((proxies(&fourth), fourth.classes_made, fourth.waiting), (vec![5], 1, 0));
    assert_eq!(engine.class_count(), 3);
    assert!(engine.key_counts().values().sum::<usize>() > each.values().sum::<usize>());
    assert_eq!(engine.turn().recomputed, 0);
}

/// A rule for one value of a label makes two classes of proxies, whatever values they have.
#[test]
fn labels_count_by_the_values_that_rules_ask_for() {
    let mut engine = engine(&MIRROR.replace(
        "  - route: [{destination: {host: httpbin, subset: v1}",
        "  - match: [{sourceLabels: {app: x}}]\n    route: [{destination: {host: httpbin, subset: v1}",
    ));
    for (id, app) in (2..).zip(["x", "y", "z", "x"]) {
        let labels =
            BTreeMap::from([("app".to_owned(), app.to_owned()), ("other".to_owned(), app.to_owned())]);
        engine.connect(ProxyId(id), ProxyNode { labels: Some(labels), ..sidecar("default") }, true);
    }
    engine.settle();
    assert_eq!(engine.class_count(), 2);
    assert_eq!(engine.class(ProxyId(2)), engine.class(ProxyId(5)));
    assert_eq!(engine.class(ProxyId(1)), engine.class(ProxyId(3)));
}

/// What is served must not depend on the name of a namespace that nothing tells apart. So such a namespace gets the same as one that is
/// told apart by what changes nothing else.
#[test]
fn the_shared_class_is_served_what_each_of_its_namespaces_would_be() {
    const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: x}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: http, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: x, annotations: {networking.istio.io/exportTo: x}}
spec: {ports: [{name: http, port: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: y}
spec: {hosts: [api.example.com, httpbin], resolution: DNS, ports: [{number: 8000, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide, namespace: y}
spec:
  hosts: ['*.x.svc.cluster.local', literal.example.com]
  http:
  - match: [{sourceNamespace: x}]
    fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
    route: [{destination: {host: api.example.com}}]
  - route: [{destination: {host: api.example.com}}]
    mirror: {host: httpbin.default.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: wide, namespace: istio-system}
spec: {host: '*.svc.cluster.local', subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: y}
spec: {servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: at-gw, namespace: y}
spec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: httpbin.default.svc.cluster.local}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tells-b-apart, namespace: y}
spec: {hosts: [none.example.com], exportTo: [b], gateways: [nowhere], http: [{route: [{destination: {host: none}}]}]}
";
    let mut engine = engine(MIRROR);
    for object in parse_documents(MESH, "mesh.yaml").objects {
        engine.apply(Change::Upsert(Arc::new(object.value)));
    }
    let captured = Interception::Redirect { ipv6: true };
    let kinds = [
        (ProxyKind::Sidecar, Interception::None),
        (ProxyKind::Sidecar, captured),
        (ProxyKind::Router, Interception::None),
    ];
    for (n, (kind, interception)) in (0..).zip(kinds) {
        for (id, namespace) in [(10, "a"), (20, "b")] {
            let node = ProxyNode { kind, interception, ..sidecar(namespace) };
            engine.connect(ProxyId(id + n), node, true);
        }
    }
    engine.settle();
    for n in 0..3 {
        let (a, b) = (ProxyId(10 + n), ProxyId(20 + n));
        assert_ne!(engine.class(a), engine.class(b));
        let (a, b) = (engine.snapshot(a).unwrap(), engine.snapshot(b).unwrap());
        for ty in ResourceType::ALL {
            let bodies = |snapshot: &Snapshot| -> Vec<_> {
                let all = snapshot.map(ty).iter();
                all.map(|(name, it)| (name.to_string(), it.body.clone())).collect()
            };
            assert_eq!(bodies(&a), bodies(&b), "{n}: {ty}");
        }
        assert!(!a.map(ResourceType::Route).is_empty());
    }
}
