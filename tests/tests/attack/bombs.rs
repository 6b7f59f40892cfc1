//! Objects of one tenant whose parts multiply (A2), of every kind that is read: what they come to, and how long others' changes
//! take beside them. It takes minutes, so that `make attack` alone plays it.

use std::time::Duration;

use tokio::task::JoinHandle;
use umbra_proto::type_url;
use umbra_testkit::gate::measured;
use umbra_tests::manifests::all;

use crate::HERE;
use crate::client::{Peer, ask_as};
use crate::good::Good;
use crate::long::wanted;
use crate::memory::given_back;
use crate::victim::Victim;

/// What one object may come to, in MiB: docs/security.md.
const MOST: u64 = 60;
/// How long others' changes are looked at beside an object.
const BESIDE: Duration = Duration::from_secs(6);

fn list(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(", ")
}

fn object(kind: &str, metadata: &str, spec: &str) -> String {
    let group = if kind == "MirrorPolicy" { "umbra.io/v1alpha1" } else { "networking.istio.io/v1" };
    format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{namespace: tenant, {metadata}}}\nspec: {{{spec}}}\n"
    )
}

const TO: &str = "{destination: {host: web-0.default.svc.cluster.local}}";

fn hosts(n: usize) -> String {
    list(n, |i| format!("h{i}.com"))
}

fn routes(n: usize, more: &str) -> String {
    list(n, |i| format!("{{match: [{{uri: {{prefix: /p{i}}}}}], route: [{TO}]{more}}}"))
}

fn rule(hosts: &str, http: &str) -> String {
    object("VirtualService", "name: big", &format!("hosts: [{hosts}], http: [{http}]"))
}

fn annotated(name: &str, value: &str) -> String {
    let metadata = format!("name: big, annotations: {{umbra.io/{name}: \"{value}\"}}");
    let mirrored = format!("{{name: r, route: [{TO}], mirror: {{host: web-1.default.svc.cluster.local}}}}");
    object("VirtualService", &metadata, &format!("hosts: [h.com], http: [{mirrored}]"))
}

fn entry(hosts: usize, ports: usize, more: &str) -> String {
    let ports = list(ports, |i| format!("{{number: {}, name: http-{i}, protocol: HTTP}}", 1000 + i));
    let spec = format!("hosts: [{}], resolution: STATIC, ports: [{ports}], {more}", self::hosts(hosts));
    object("ServiceEntry", "name: big", &spec)
}

/// What a tenant may write, none larger than the API server takes (1.5 MB) but where there are several.
fn bombs() -> Vec<(&'static str, String)> {
    let address = |i: usize| format!("10.1.{}.{}", i / 256, i % 256);
    let header = |i: usize| format!("x-{i}: \"{}\"", "v".repeat(20));
    let pattern =
        |i: usize| format!("{{uri: {{regex: \"/{i}(a|b|c)*[a-z0-9]{{1,30}}(x{{1,20}}){{1,10}}\"}}}}");
    let many = |n: usize, one: &dyn Fn(usize) -> String| all(&(0..n).map(one).collect::<Vec<_>>());
    let mirrored = |n: usize, mirrors: usize| {
        let mirrors = list(mirrors, |_| TO.to_owned());
        list(n, |i| format!("{{match: [{{uri: {{prefix: /p{i}}}}}], route: [{TO}], mirrors: [{mirrors}]}}"))
    };
    let server = |i: usize| {
        let hosts = list(100, |h| format!("h{h}-{i}.com"));
        format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: [{hosts}]}}", 9000 + i)
    };
    let policy = |i: usize| {
        let spec = format!(
            "targetRef: {{name: big}}, methods: [{}], headers: {{set: {{{}}}}}",
            list(60, |m| format!("M{m}")),
            list(60, header)
        );
        object("MirrorPolicy", &format!("name: big-{i}"), &spec)
    };
    let egress = |i: usize| {
        let hosts = list(100, |h| format!("\"ns-{h}/*.h{i}.com\""));
        format!("{{port: {{number: {}, name: http-{i}, protocol: HTTP}}, hosts: [{hosts}]}}", 9000 + i)
    };
    let workload = |i: usize| {
        let spec = format!("address: {}, labels: {{app: big}}", address(i));
        object("WorkloadEntry", &format!("name: w{i}"), &spec)
    };
    let tcp = list(1500, |i| format!("{{match: [{{port: {}}}], route: [{TO}]}}", i + 1));
    let tls = list(300, |i| {
        let names = list(100, |n| format!("s{n}-{i}.com"));
        format!("{{match: [{{port: 443, sniHosts: [{names}]}}], route: [{TO}]}}")
    });
    let delegating = list(1000, |i| {
        format!("{{match: [{{uri: {{prefix: /d{i}}}}}], delegate: {{name: below, namespace: tenant}}}}")
    });
    let below = object("VirtualService", "name: below", &format!("http: [{}]", routes(3000, "")));
    let headers = format!(", headers: {{request: {{set: {{{}}}}}}}", list(100, header));
    vec![
        ("VirtualService, 3000 hosts x 3000 routes", rule(&hosts(3000), &routes(3000, ""))),
        ("VirtualService, 300 mirrors x 60 routes", rule("h.com", &mirrored(60, 300))),
        ("VirtualService, 300 routes of 100 headers on 100 hosts", rule(&hosts(100), &routes(300, &headers))),
        (
            "VirtualService, 10,000 regular expressions",
            rule(&hosts(100), &format!("{{match: [{}], route: [{TO}]}}", list(10_000, pattern))),
        ),
        (
            "VirtualService, 1500 tcp and 30,000 names of tls",
            object(
                "VirtualService",
                "name: big",
                &format!("hosts: [\"*.default.svc.cluster.local\", {}], tcp: [{tcp}], tls: [{tls}]", hosts(1000)),
            ),
        ),
        (
            "VirtualService, 1000 times a delegate of 3000 routes",
            all(&[rule(&hosts(100), &delegating), below]),
        ),
        ("umbra.io/stop of 100,000 mirrors", annotated("stop", &"r/web-2,".repeat(100_000))),
        ("umbra.io/abort of 50,000 limits", annotated("abort", &"r: errors>1%; ".repeat(20_000))),
        ("umbra.io/verdicts of 300 KiB", annotated("verdicts", &"1".repeat(300_000))),
        (
            "umbra.io/rules-from of 50,000 namespaces",
            "apiVersion: v1\nkind: Service\nmetadata: {name: big, namespace: tenant, annotations: {umbra.io/rules-from: \""
                .to_owned()
                + &list(50_000, |i| format!("n{i}"))
                + "\"}}\nspec: {clusterIP: 10.9.9.9, ports: [{name: http, port: 80}]}\n",
        ),
        ("ServiceEntry, 3000 hosts x 300 ports", entry(3000, 300, "endpoints: [{address: 10.1.0.1}]")),
        (
            "ServiceEntry, 300 hosts x 20 ports x 3000 endpoints",
            entry(300, 20, &format!("endpoints: [{}]", list(3000, |i| format!("{{address: {}}}", address(i))))),
        ),
        (
            "ServiceEntry, 300 hosts x 6 ports, 3000 WorkloadEntries",
            all(&[entry(300, 6, "workloadSelector: {labels: {app: big}}"), many(3000, &workload)]),
        ),
        (
            "DestinationRule, 3000 subsets, 100 services",
            object(
                "DestinationRule",
                "name: big",
                &format!(
                    "host: \"*.default.svc.cluster.local\", subsets: [{}]",
                    list(3000, |i| format!("{{name: v{i:04}, labels: {{v: v{i}}}}}"))
                ),
            ),
        ),
        (
            "Gateway, 300 servers x 100 hosts, with 2000 routes",
            all(&[
                object("Gateway", "name: big", &format!("servers: [{}]", list(300, server))),
                rule("\"*\"", &routes(2000, "")).replace("hosts:", "gateways: [big, mesh], hosts:"),
            ]),
        ),
        ("MirrorPolicy, 300 of them for 60 routes", all(&[rule("h.com", &mirrored(60, 3)), many(300, &policy)])),
        (
            "Sidecar, 300 listeners x 100 hosts",
            object("Sidecar", "name: default", &format!("egress: [{}]", list(300, egress))),
        ),
    ]
}

/// A proxy of the tenant's that takes whatever comes.
fn stays(victim: &Victim, kind: &'static str) -> JoinHandle<()> {
    let to = victim.ports.xds.local();
    tokio::spawn(async move {
        let peer = Peer::connect(HERE, to, None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        stream.say(&ask_as("tenant", kind, "its-own", type_url::CLUSTER)).await.unwrap();
        while let Ok(Some(_)) = stream.data().await {}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_multiply_hurt_nobody() {
    if !wanted() {
        return;
    }
    let mut over = Vec::new();
    for (title, text) in bombs() {
        let victim = Victim::start(100, 4096, &[]).await;
        let mut good = Good::new(&victim).await;
        // A proxy of the tenant's own, so that what it writes is made as well.
        let _tenant = ["", "router"].map(|kind| stays(&victim, kind));
        let (_, usual) = good.updates(&victim, Duration::from_secs(1)).await;
        let quiet = victim.resident();
        victim.write("big.yaml", &text);
        let (count, slowest) = good.updates(&victim, BESIDE).await;
        let (grown, peak) = (victim.resident().saturating_sub(quiet), victim.peak().saturating_sub(quiet));
        victim.remove("big.yaml");
        let (_, going) = good.updates(&victim, Duration::from_secs(2)).await;
        given_back(title, &victim, quiet).await;
        measured(&format!(
            "{title} ({} KiB): {grown} MiB more (at most {peak}); others' change within {} ms ({count} of them; {} ms when it goes, {} ms without it)",
            text.len() >> 10,
            slowest.as_millis(),
            going.as_millis(),
            usual.as_millis()
        ));
        over.extend((grown > MOST).then_some((title, grown)));
    }
    assert_eq!(over, [], "MiB more than before");
}
