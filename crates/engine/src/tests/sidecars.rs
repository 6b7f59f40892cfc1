//! What Sidecars hide, and what that saves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use umbra_api::Change;
use umbra_ir::ProxyNode;
use umbra_xds::ResourceType;

use super::{MIRROR, apply, engine, names, objects, sidecar};
use crate::{Engine, ProxyId};

/// A Sidecar of `default`, for whom and with which hosts.
fn named(name: &str, selector: &str, hosts: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec: {{{selector} egress: [{{hosts: [{hosts}]}}]}}\n---\n"
    )
}

fn labelled(app: &str) -> ProxyNode {
    ProxyNode { labels: Some(BTreeMap::from([("app".to_owned(), app.to_owned())])), ..sidecar("default") }
}

fn clusters(engine: &Engine, id: u64) -> usize {
    engine.snapshot(ProxyId(id)).map_or(0, |it| names(&it, ResourceType::Cluster).len())
}

/// `httpbin` in another namespace.
fn elsewhere(namespace: &str) -> String {
    let metadata = format!("{{namespace: {namespace}, name: ");
    MIRROR.replace("metadata: {name: ", &format!("metadata: {metadata}"))
}

#[test]
fn proxies_of_a_sidecar_share_a_class() {
    let mut engine = engine(MIRROR);
    let selector = "workloadSelector: {labels: {app: x}},";
    apply(&mut engine, &(elsewhere("other") + "---\n" + &named("x", selector, "./*")));
    for (id, app) in (2..).zip(["x", "x", "y"]) {
        engine.connect(ProxyId(id), labelled(app), true);
    }
    engine.settle();
    assert_eq!(engine.class_count(), 2, "that of the first proxy is that of whom no Sidecar selects");
    assert_eq!(engine.class(ProxyId(2)), engine.class(ProxyId(3)));
    assert_eq!(engine.class(ProxyId(1)), engine.class(ProxyId(4)));
    assert_eq!((clusters(&engine, 1), clusters(&engine, 2)), (8, 4));
    // An edit keeps the class, and sends what differs.
    let before = engine.snapshot(ProxyId(2)).unwrap();
    apply(&mut engine, &named("x", selector, "./*, other/*"));
    let after = engine.snapshot(ProxyId(2)).unwrap();
    assert_eq!((engine.class_count(), clusters(&engine, 2)), (2, 8));
    assert!(after.changed_from(&before).is_some_and(|changed| changed.count() > 4));
    // Its clusters and endpoints are the same resources as everybody's.
    for ty in [ResourceType::Cluster, ResourceType::Endpoint] {
        let all = engine.snapshot(ProxyId(1)).unwrap();
        assert!(
            after.map(ty).iter().all(|(name, it)| all.get(ty, name).is_some_and(|o| o.version == it.version))
        );
    }
    for object in objects(&named("x", selector, "")) {
        engine.apply(Change::Delete(object.id()));
    }
    engine.settle();
    assert_eq!(engine.class_count(), 1);
}

/// How many keys each of these changes in `hidden` computes, beside so many classes, each with a Sidecar of its own.
fn hidden_work(classes: usize, hosts: &str) -> Vec<u64> {
    let mut engine = engine(MIRROR);
    engine.disconnect(ProxyId(1));
    let mut text = elsewhere("hidden");
    for n in 0..classes {
        let selector = format!("workloadSelector: {{labels: {{app: a{n}}}}},");
        write!(text, "---\n{}", named(&format!("a{n}"), &selector, hosts)).unwrap();
    }
    apply(&mut engine, &text);
    for n in 0..classes {
        engine.connect(ProxyId(10 + n as u64), labelled(&format!("a{n}")), true);
    }
    engine.settle();
    assert_eq!(engine.class_count(), classes);
    let base = elsewhere("hidden");
    let edits: [&dyn Fn(&str) -> String; 6] = [
        &|t| t.replace("podIP: 10.0.0.2", "podIP: 10.0.0.3"),
        &|t| t.replace("value: 50", "value: 10"),
        &|t| t.replace("weight: 100}]", "weight: 100}]\n    timeout: 3s"),
        &|t| t.replace("  - route", "  - match: [{sourceLabels: {app: z}}]\n    route"),
        &|t| t.replace("targetPort: 80}]", "targetPort: 80}, {name: more, port: 8001}]"),
        &|t| t.replace("name: httpbin", "name: another"),
    ];
    let work = |edit: &&dyn Fn(&str) -> String| {
        let settled = apply(&mut engine, &edit(&base));
        assert!(settled.snapshots.is_empty());
        let count = settled.recomputed;
        apply(&mut engine, &base);
        count
    };
    edits.iter().map(work).collect()
}

/// Pods, percentages, rules, labels, ports and new objects of a namespace that is not named: not a key more with 20 classes
/// than with one.
#[test]
fn what_a_sidecar_hides_costs_its_classes_nothing() {
    for hosts in ["./*", "./*, infra/*", "default/httpbin.default.svc.cluster.local"] {
        let (one, many) = (hidden_work(1, hosts), hidden_work(20, hosts));
        assert_eq!(one, many, "{hosts}");
    }
}
