//! What objects come to whose parts multiply: up to a point, and the rest of the mesh as before.

use std::fmt::Write as _;

use umbra_api::Change;
use umbra_ir::{Code, Kind, ObjectId, ProxyKind, ProxyNode, RouteTables, Settings};
use umbra_xds::ResourceType;

use super::{apply, engine, sidecar};
use crate::{Engine, ProxyId};

/// One service of somebody else, with a rule.
const OTHERS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: a}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}], timeout: 1s}]}
---
";

fn list(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(", ")
}

fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: big}}\nspec: {{{spec}}}\n---\n"
    )
}

fn routes(n: usize) -> String {
    let to = "route: [{destination: {host: web.a.svc.cluster.local}}]";
    list(n, |i| format!("{{match: [{{uri: {{prefix: /p{i}}}}}], {to}}}"))
}

fn rules(hosts: usize, paths: usize) -> String {
    let hosts = list(hosts, |i| format!("h{i}.com"));
    object("VirtualService", &format!("hosts: [{hosts}], http: [{}]", routes(paths)))
}

fn mirrors(rules: usize, matches: usize, mirrors: usize) -> String {
    let target = "{destination: {host: web.a.svc.cluster.local}}";
    let targets = list(mirrors, |_| target.to_owned());
    let http = list(rules, |r| {
        let matches = list(matches, |i| format!("{{uri: {{prefix: /p{r}-{i}}}}}"));
        format!("{{match: [{matches}], route: [{target}], mirrors: [{targets}]}}")
    });
    object("VirtualService", &format!("hosts: [h.com], http: [{http}]"))
}

fn entry(hosts: usize, ports: usize, endpoints: usize) -> String {
    let hosts = list(hosts, |i| format!("e{i}.com"));
    let ports = list(ports, |i| format!("{{number: {}, name: http-{i}, protocol: HTTP}}", 1000 + i));
    let endpoints = list(endpoints, |i| format!("{{address: 10.1.{}.{}}}", i / 256, i % 256));
    let spec = format!("hosts: [{hosts}], resolution: STATIC, ports: [{ports}], endpoints: [{endpoints}]");
    object("ServiceEntry", &spec)
}

fn subsets(services: usize, subsets: usize, host: &str) -> String {
    let mut text = String::new();
    for n in 0..services {
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{clusterIP: 10.0.1.{n}, ports: [{{name: http, port: 80}}]}}\n---\n"
        );
    }
    let subsets = list(subsets, |i| format!("{{name: v{i:04}, labels: {{v: v{i}}}}}"));
    text + &object("DestinationRule", &format!("host: '{host}', subsets: [{subsets}]"))
}

/// Rules that all delegate to one of so many routes.
fn delegates(rules: usize, paths: usize) -> String {
    let to = "delegate: {name: below, namespace: default}";
    let http = list(rules, |i| format!("{{match: [{{headers: {{x: {{exact: v{i}}}}}}}], {to}}}"));
    let below = object("VirtualService", &format!("http: [{}]", routes(paths)));
    object("VirtualService", &format!("hosts: [h.com], http: [{http}]"))
        + &below.replace("{name: big}", "{name: below, namespace: default}")
}

/// An entry that selects so many WorkloadEntries.
fn selecting(hosts: usize, ports: usize, workloads: usize) -> String {
    let selector = "workloadSelector: {labels: {app: x}}";
    let mut text = entry(hosts, ports, 0).replace("endpoints: []", selector);
    for i in 0..workloads {
        let spec = format!("address: 10.1.{}.{}, labels: {{app: x}}", i / 256, i % 256);
        text += &object("WorkloadEntry", &spec).replace("{name: big}", &format!("{{name: w{i:04}}}"));
    }
    text
}

/// Virtual hosts, clusters, endpoints and mirrors.
type Counts = [usize; 4];

fn counts(engine: &Engine) -> (Counts, usize) {
    let snapshot = engine.snapshot(ProxyId(1)).unwrap();
    let count = |ty| snapshot.map(ty).len();
    let addresses = |body: &[u8]| body.windows(5).filter(|w| w == b"10.1.").count();
    let endpoints = snapshot.map(ResourceType::Endpoint).values().map(|it| addresses(&it.body)).sum();
    let mirrors = engine.mirrors().values().map(|all| all.len()).sum();
    let all = ResourceType::ALL.iter().flat_map(|ty| snapshot.map(*ty).values());
    let bytes = all.map(|it| it.body.len()).sum();
    ([count(ResourceType::VirtualHost), count(ResourceType::Cluster), endpoints, mirrors], bytes)
}

/// What an object adds to a proxy that has the others already, and the bytes of it all.
fn adds(text: &str) -> (Engine, Counts, usize) {
    let mut engine = engine("");
    // Virtual hosts as resources of their own can be counted; what is in them is the same.
    engine.set_settings(Settings { route_tables: RouteTables::Hosts, ..Settings::default() });
    engine.connect(ProxyId(1), ProxyNode { takes_hosts: true, ..sidecar("default") }, true);
    apply(&mut engine, OTHERS);
    let (before, _) = counts(&engine);
    apply(&mut engine, text);
    let (after, bytes) = counts(&engine);
    (engine, std::array::from_fn(|i| after[i] - before[i]), bytes)
}

#[test]
fn what_multiplies_ends_somewhere_and_is_said() {
    let everywhere = "*.default.svc.cluster.local";
    for (about, text, want, field) in [
        ("many hosts of many routes, served whole", rules(200, 50), [200, 0, 0, 0], None),
        ("hosts of one route", rules(3000, 1), [3000, 0, 0, 0], None),
        ("3000 hosts of 3000 routes", rules(3000, 3000), [5, 0, 0, 0], Some("spec.hosts")),
        ("hosts and ports, served whole", entry(200, 10, 30), [2000, 2000, 60_000, 0], None),
        ("3000 hosts of 300 ports", entry(3000, 300, 1), [1800, 1800, 1800, 0], Some("spec.hosts")),
        ("and of 300 endpoints", entry(300, 20, 300), [2040, 2040, 65_280, 0], Some("spec.endpoints")),
        ("many subsets of one service", subsets(1, 3000, "s0"), [1, 3001, 0, 0], None),
        ("of many services", subsets(50, 300, everywhere), [50, 50 * 65, 0, 0], Some("spec.subsets")),
        ("a few selected", selecting(2, 2, 30), [4, 4, 120, 0], None),
        ("and many", selecting(300, 6, 60), [1800, 1800, 64_800, 0], Some("spec.workloadSelector")),
        ("delegates, served whole", delegates(10, 50), [1, 0, 0, 0], None),
        (
            "1000 times a delegate of 3000",
            delegates(1000, 3000),
            [1, 0, 0, 0],
            Some("spec.http[99].delegate"),
        ),
        ("many mirrors", mirrors(60, 1, 30), [1, 1, 0, 1800], None),
        ("300 mirrors of 60 routes", mirrors(60, 1, 300), [1, 1, 0, 4096], Some("spec.http[13].mirrors")),
        ("of 60 matches", mirrors(1, 60, 300), [1, 1, 0, 68], Some("spec.http[0].mirrors")),
    ] {
        let (engine, got, bytes) = adds(&text);
        assert_eq!(got, want, "{about}: virtual hosts, clusters, endpoints, mirrors");
        assert!(bytes < 24 << 20, "{about}: {bytes} bytes");
        let said = engine.diagnostics();
        let said = said.iter().filter(|d| d.code == Code::OverBudget);
        let said: Vec<&str> = said.map(|d| d.field.as_str()).collect();
        assert_eq!(field.is_some(), !said.is_empty(), "{about}");
        assert!(field.is_none_or(|field| said.contains(&field)), "{about}: {said:?}");
    }
}

/// What an object comes to with two classes of proxies, as it is kept: what is equal stands once.
#[test]
fn what_multiplies_comes_to_little() {
    const MOST: i64 = 48 << 20;
    let server = |i: usize| {
        let hosts = list(100, |h| format!("h{h}-{i}.com"));
        format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: [{hosts}]}}", 9000 + i)
    };
    let wide = |http: &str| {
        object("VirtualService", &format!("hosts: ['*'], gateways: [big, mesh], http: [{http}]"))
    };
    let policy = |n: usize| {
        let header = |i: usize| format!("x-{i}: \"{}\"", "v".repeat(20));
        let headers = format!("headers: {{set: {{{}}}}}", list(60, header));
        let spec =
            format!("targetRef: {{name: big}}, methods: [{}], {headers}", list(60, |m| format!("M{m}")));
        let named = object("MirrorPolicy", &spec).replace("{name: big}\n", &format!("{{name: p{n}}}\n"));
        named.replace("networking.istio.io/v1", "umbra.io/v1alpha1")
    };
    let egress = |i: usize| {
        let hosts = list(100, |h| format!("ns-{h}/*.h{i}.com"));
        format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: [{hosts}]}}", 9000 + i)
    };
    let gateway = object("Gateway", &format!("servers: [{}]", list(300, server)));
    for (about, text, diagnostics) in [
        ("a gateway", gateway + &wide(&routes(2000)), 250),
        ("policies", mirrors(60, 1, 3) + &(0..300).map(policy).collect::<String>(), 1500),
        ("selected endpoints", selecting(300, 6, 3000), 10),
        ("a Sidecar", object("Sidecar", &format!("egress: [{}]", list(300, egress))), 110),
    ] {
        let mut engine = engine("");
        engine.connect(ProxyId(2), ProxyNode { kind: ProxyKind::Router, ..sidecar("default") }, true);
        apply(&mut engine, &subsets(20, 0, "none"));
        apply(&mut engine, OTHERS);
        let held = allocation_counter::measure(|| drop(apply(&mut engine, &text))).bytes_current;
        let said = engine.diagnostics().len();
        assert!(held < MOST, "{about}: {held} bytes");
        assert!(said < diagnostics, "{about}: {said} diagnostics");
    }
}

/// What is large and somebody may mean it so.
#[test]
fn what_is_only_large_is_served_whole() {
    let server = |i: usize| {
        let hosts = list(30, |h| format!("h{h}-{i}.com"));
        format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: [{hosts}]}}", 9000 + i)
    };
    let gateway = |servers| object("Gateway", &format!("servers: [{}]", list(servers, server)));
    let wide = |count| {
        let spec = format!("hosts: ['*'], gateways: [big], http: [{}]", routes(count));
        object("VirtualService", &spec)
    };
    for (about, text, hosts) in [
        ("100 servers of 30 hosts", gateway(100) + &wide(5), 3000),
        ("one route for 500 servers", gateway(500) + &wide(1), 15_000),
    ] {
        let mut engine = engine("");
        engine.connect(ProxyId(1), ProxyNode { kind: ProxyKind::Router, ..sidecar("default") }, true);
        apply(&mut engine, &(OTHERS.to_owned() + &text));
        let scope = engine.reach().remove(0).scope;
        let served = scope.tables.values().flat_map(|table| &table.hosts).filter(|it| !it.sources.is_empty());
        assert_eq!(served.count(), hosts, "{about}");
        assert_eq!(engine.diagnostics(), [], "{about}");
    }
}

/// Ports, wildcards and gateways multiply too, by what other objects say.
#[test]
fn routes_in_virtual_hosts_end_somewhere() {
    let server =
        |i| format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: ['*']}}", 9000 + i);
    let gateway = object("Gateway", &format!("servers: [{}]", list(100, server)));
    let wide = |more: &str| object("VirtualService", &format!("{more}, http: [{}]", routes(2000)));
    for (about, text, kind, want) in [
        ("a wildcard", entry(100, 10, 1) + &wide("hosts: ['*.com']"), ProxyKind::Sidecar, 10),
        ("ports of gateways", gateway + &wide("hosts: [a.com], gateways: [big]"), ProxyKind::Router, 10),
    ] {
        let mut engine = engine("");
        engine.connect(ProxyId(1), ProxyNode { kind, ..sidecar("default") }, true);
        apply(&mut engine, &(OTHERS.to_owned() + &text));
        let snapshot = engine.snapshot(ProxyId(1)).unwrap();
        let last = |body: &[u8]| body.windows(6).filter(|w| w == b"/p1999").count();
        let hosts: usize = snapshot.map(ResourceType::Route).values().map(|it| last(&it.body)).sum();
        assert_eq!(hosts, want, "{about}");
        let said = engine.diagnostics();
        assert!(said.iter().any(|d| d.code == Code::OverBudget), "{about}: {said:?}");
    }
}

/// A namespace that comes to more than it may: those created last are left out and told so, and nobody else is concerned.
#[test]
fn a_namespace_ends_somewhere() {
    let big = |n: usize| {
        let text = entry(1, 20, 1).replace("e0.com", &format!("big{n}.com"));
        text.replace("{name: big}", &format!("{{name: big{n}, namespace: heap}}"))
    };
    // Each is some 85 KiB.
    let mut engine = Engine::with_namespace_budget(300 << 10);
    engine.connect(ProxyId(1), sidecar("default"), true);
    apply(&mut engine, &(OTHERS.to_owned() + &(0..5).map(big).collect::<String>()));
    let out = |engine: &Engine| -> Vec<String> {
        let said = engine.diagnostics();
        let said = said.iter().filter(|note| note.code == Code::OverBudget);
        said.filter_map(|note| note.object.as_ref().map(|id| id.name.to_string())).collect()
    };
    assert_eq!(out(&engine), ["big3", "big4"]);
    assert_eq!(counts(&engine).0[1], 3 * 20 + 1, "clusters");
    engine.apply(Change::Delete(ObjectId::new(Kind::ServiceEntry, "heap", "big0")));
    engine.settle();
    assert_eq!(out(&engine), ["big4"]);
    assert_eq!(counts(&engine).0[1], 3 * 20 + 1, "clusters");
}
