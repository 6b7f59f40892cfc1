//! Many classes of proxies: what one more costs.

use std::fmt::Write as _;
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::{ProxyNode, RouteTables, RuntimeForms, Settings};
use umbra_xds::ResourceType;

use super::{objects, sidecar};
use crate::{Engine, Options, ProxyId};

/// Namespaces with as many services each; of five services one has a rule, of ten one a mirror, in its own namespace alone.
const NAMESPACES: usize = 100;

fn mesh(services: usize) -> String {
    let mut text = String::new();
    for n in 0..services {
        let place = format!("name: svc-{n}, namespace: ns-{}", n % NAMESPACES);
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{{place}}}\nspec: {{clusterIP: 10.0.{}.{}, ports: [{{name: http, port: 80}}]}}\n---\n",
            n / 250,
            n % 250
        );
        if n % 5 == 0 {
            let mirror = match n % 10 {
                0 => format!(", mirror: {{host: svc-{n}, subset: v2}}, mirrorPercentage: {{value: 10}}"),
                _ => String::new(),
            };
            let _ = write!(
                text,
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{{place}}}\n\
                 spec: {{hosts: [svc-{n}], http: [{{route: [{{destination: {{host: svc-{n}, subset: v1}}}}]{mirror}}}]}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{{place}}}\n\
                 spec: {{host: svc-{n}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}\n---\n"
            );
        }
    }
    text
}

fn engine(services: usize) -> Engine {
    let mut engine = Engine::new(Options::default());
    engine.set_settings(Settings { route_tables: RouteTables::Hosts, ..Settings::default() });
    objects(&mesh(services)).into_iter().for_each(|object| engine.apply(Change::Upsert(object)));
    connect(&mut engine, 0);
    engine
}

fn connect(engine: &mut Engine, n: usize) -> u64 {
    let node = ProxyNode { takes_hosts: true, ..sidecar(&format!("ns-{n}")) };
    engine.connect(ProxyId(n as u64), node, RuntimeForms::of_digits(2));
    let work = engine.settle().recomputed;
    assert_eq!(engine.class_count(), n + 1);
    work
}

/// A class sees a thousand services, of which ten are its own, in a mesh where their resources take some 4 MiB. As many as there
/// are already make no difference.
#[test]
fn a_class_more_costs_what_is_its_own() {
    const CLASSES: usize = 20;
    let mut engine = engine(1000);
    connect(&mut engine, 1);
    engine.reach();
    let mut work = Vec::new();
    let held = allocation_counter::measure(|| {
        work.extend((2..2 + CLASSES).map(|n| connect(&mut engine, n)));
        engine.reach();
    });
    let bytes = held.bytes_current / CLASSES as i64;
    println!("a class more: {bytes} bytes kept, keys computed {work:?}");
    assert!(bytes < 320 << 10, "a class more keeps {bytes} bytes");
    assert!(work.iter().all(|keys| *keys <= 80), "keys computed for a class more: {work:?}");
}

/// What is the same for all of them stays so through changes: they make it once, or each makes what is equal.
#[test]
fn classes_do_not_grow_apart() {
    const CLASSES: usize = 10;
    let mut engine = engine(200);
    for n in 1..CLASSES {
        connect(&mut engine, n);
    }
    let text = mesh(200);
    let edits =
        ["value: 20", "value: 30", "value: 10"].map(|share| objects(&text.replace("value: 10", share)));
    let settle = |engine: &mut Engine, edit: &[Arc<Object>]| {
        edit.iter().for_each(|object| engine.apply(Change::Upsert(object.clone())));
        engine.settle();
    };
    settle(&mut engine, &edits[0]);
    let again = |engine: &mut Engine| {
        for edit in &edits {
            settle(engine, edit);
        }
        let maps = |ty| (0..CLASSES).map(move |n| (n as u64, ty));
        let all = ResourceType::ALL.into_iter().flat_map(maps);
        all.map(|(n, ty)| engine.snapshot(ProxyId(n)).unwrap().map(ty).clone()).collect::<Vec<_>>()
    };
    again(&mut engine);
    let held = allocation_counter::measure(|| drop(again(&mut engine))).bytes_current;
    assert!(held < 64 << 10, "{held} bytes more for the same");
    let [first, second] = [0, 1].map(|n| engine.snapshot(ProxyId(n)).unwrap());
    for ty in [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Runtime] {
        assert!(first.map(ty).is_one_with(second.map(ty)), "{ty}: two of the same");
    }
}
