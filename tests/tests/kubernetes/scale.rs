//! A cluster of some size: 2000 Pods, 500 Services, 300 VirtualServices. Every object is taken in, every mirror that somebody
//! applies is live at the Envoy, and the work for it is that of a small mesh. The times and the memory are printed and
//! never judged: machines differ. docs/performance.md says how they were measured.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::kwok::{Kwok, WRITERS};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh, assets};
use umbra_testkit::gate::measured;
use umbra_testkit::net::Net;

use super::manifests::plain;

const PODS: usize = 2000;
const SERVICES: usize = 500;
const RULES: usize = 300;

/// How often umbra is started to find the time.
const STARTS: usize = 5;
/// How many mirrors are applied to find the times, each on a rule that had none.
const APPLIES: usize = 100;
/// How long a mirror may take at most; far more than any takes.
const PATIENCE: Duration = Duration::from_secs(240);
/// Keys that umbra may compute again for one new mirror: its rule, routes, table, mirror cluster, runtime layer and
/// report, and what finds out that it is the same. Without the rest of the mesh.
const KEYS: u64 = 20;

/// The rule for a Service, with a mirror to the next one or without.
fn rule(n: usize, percent: Option<usize>) -> String {
    let (host, next) = (format!("svc-{n}"), format!("svc-{}", n + 1));
    let mirror = percent.map_or(String::new(), |percent| {
        format!(", mirror: {{host: {next}}}, mirrorPercentage: {{value: {percent}}}")
    });
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]{mirror}}}]}}
---
"
    )
}

async fn services(cluster: &Cluster) {
    let api: Api<Service> = Api::default_namespaced(cluster.client().clone());
    let create = |n: usize| {
        let api = api.clone();
        async move {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("svc-{n}")},
                "spec": {
                    "selector": {"app": format!("app-{n}")},
                    "ports": [{"name": "http", "port": 8000, "targetPort": "http"}],
                },
            });
            let service = serde_json::from_value(service).expect("a Service");
            api.create(&PostParams::default(), &service).await.map(|_| ())
        }
    };
    let all = stream::iter(0..SERVICES).map(create).buffer_unordered(WRITERS);
    all.try_collect::<()>().await.expect("the Services");
}

/// Says for each VirtualService with a mirror that is written from now on when the API server told its watchers.
async fn accepted(cluster: &Cluster) -> UnboundedReceiver<(String, Instant)> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let kind = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::default_namespaced_with(cluster.client().clone(), &kind);
    let listed = api.list(&ListParams::default()).await.expect("a list");
    let version = listed.metadata.resource_version.expect("a version");
    let window = WatchParams::default().timeout(290);
    let (out, inbox) = unbounded_channel();
    tokio::spawn(async move {
        let mut version = version;
        // A watch ends after a while, and the next one goes on where it was.
        while !out.is_closed() {
            let mut events = std::pin::pin!(api.watch(&window, &version).await.expect("a watch"));
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                    version = object.metadata.resource_version.unwrap_or(version);
                    // Without one it is umbra's status on the rule as it was before.
                    if object.data.pointer("/spec/http/0/mirror").is_some() {
                        let _ = out.send((object.metadata.name.unwrap_or_default(), Instant::now()));
                    }
                }
            }
        }
    });
    inbox
}

/// Says when another change was acknowledged by the proxy, all of it.
fn acknowledged(cluster: &Cluster) -> UnboundedReceiver<Instant> {
    let mut client = Client::new(&Net::here(), cluster.plane.site().admin);
    let (out, inbox) = unbounded_channel();
    tokio::spawn(async move {
        let mut before = None;
        while !out.is_closed() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let Ok(answer) = client.ask(&Ask::get("localhost", "/metrics")).await else { continue };
            let now = metric(&answer.text(), "umbra_convergence_seconds_count");
            if before.is_some_and(|before| now > before) {
                let _ = out.send(Instant::now());
            }
            before = Some(now);
        }
    });
    inbox
}

fn metric(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// A line of `/proc/PID/status` in MiB, such as `VmRSS`.
fn memory(mesh: &Mesh, line: &str) -> u64 {
    let pid = mesh.umbra().expect("umbra").id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Middle, nearly worst (of a hundred) and worst, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    let [p50, p99, worst] = [0.5, 0.99, 1.0].map(|share| at(share).as_secs_f64() * 1000.0);
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms")
}

/// Starts umbra again and again; gives the times to ready and leaves the last one running.
async fn start_ups(cluster: &Cluster) -> (Mesh, Vec<Duration>) {
    let mut times = Vec::new();
    let start = Instant::now();
    let started = Mesh::start(cluster, &cluster.admin(), &[]).await;
    let mut mesh = started.unwrap_or_else(|e| panic!("{e:#}"));
    times.push(start.elapsed());
    while times.len() < STARTS {
        mesh.kill_umbra();
        let start = Instant::now();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        times.push(start.elapsed());
        let text = mesh.get("/metrics").await.expect("metrics");
        // Ready means that everything was read.
        for (kind, want) in [("Pod", PODS + 1), ("Service", SERVICES + 1), ("VirtualService", RULES)] {
            let name = format!("umbra_objects{{kind=\"{kind}\"}}");
            assert_eq!(metric(&text, &name), want as u64, "{name}");
        }
    }
    (mesh, times)
}

/// Everything but umbra.
async fn furnish(cluster: &Cluster) -> Kwok {
    cluster.install_crds("istio");
    services(cluster).await;
    let kwok = Kwok::start(cluster).await.unwrap_or_else(|e| panic!("{e:#}"));
    let pods = (0..PODS).map(|n| (format!("pod-{n}"), format!("app-{}", n % SERVICES))).collect();
    kwok.pods(cluster, pods).await.unwrap_or_else(|e| panic!("{e:#}"));
    cluster.apply(&(0..RULES).map(|n| rule(n, None)).collect::<String>());
    cluster.apply(&plain("client", "app: client", "pause", 0));
    cluster.wait_ready("default", "app=client", 1).await;
    kwok
}

#[test]
fn mirrors_are_live_soon_in_a_large_cluster() {
    on_cluster(|cluster| async move {
        if assets::require_tool(assets::kwok()).is_none() {
            return;
        }
        let _kwok = furnish(&cluster).await;
        let (mut mesh, starts) = start_ups(&cluster).await;
        let alone = memory(&mesh, "VmRSS");
        let client = cluster.agent().pods("default", "app=client");
        mesh.start_proxy("sidecar", &client[0]).await;
        let clusters = mesh.proxy("client").stat("cluster_manager.active_clusters").await;
        assert!(clusters as usize >= SERVICES, "{clusters} clusters");

        let (mut written, mut acks) = (accepted(&cluster).await, acknowledged(&cluster));
        let keys =
            || async { metric(&mesh.get("/metrics").await.expect("metrics"), "umbra_keys_recomputed_total") };
        let (mut whole, mut own) = (Vec::new(), Vec::new());
        for round in 0..APPLIES {
            // Each rule once: 7 has no factor in common with their number.
            let (n, percent) = (round * 7 % RULES, round % 100 + 1);
            let (name, before) = (format!("svc-{n}"), keys().await);
            let start = Instant::now();
            cluster.apply(&rule(n, Some(percent)));
            let live = async {
                let accepted = loop {
                    let (object, at) = written.recv().await.expect("the watch of the test goes on");
                    if object == name {
                        break at;
                    }
                };
                loop {
                    let at = acks.recv().await.expect("the metrics are read");
                    let shares = mesh.proxy("client").mirror_shares().await.expect("a runtime");
                    let share =
                        shares.iter().find(|(key, _)| key.starts_with(&format!("mirror/default/{name}/")));
                    if share.is_some_and(|(_, share)| *share == percent as u32 * 10_000) {
                        break (accepted, at);
                    }
                }
            };
            let live = tokio::time::timeout(PATIENCE, live).await;
            let (accepted, at) = live.unwrap_or_else(|_| panic!("the mirror of {name} is not live"));
            whole.push(at.duration_since(start));
            own.push(at.saturating_duration_since(accepted));
            let work = keys().await - before;
            assert!(work > 0 && work <= KEYS, "{work} keys computed again for the mirror of {name}");
        }
        let mirrors = mesh.proxy("client").mirror_shares().await.expect("a runtime");
        assert_eq!(mirrors.len(), APPLIES);
        let routes = mesh.proxy("client").section("RoutesConfigDump").await.expect("routes").to_string();
        assert_eq!(routes.matches("\"cluster\":\"mirror|8000||svc-").count(), APPLIES);
        mesh.assert_clean().await;

        measured(&format!("{PODS} Pods, {SERVICES} Services, {RULES} VirtualServices, one sidecar"));
        measured(&format!("umbra's start to ready, {STARTS} times: {}", spread(starts)));
        measured(&format!("{APPLIES} times, start of kubectl apply to the proxy's ACK: {}", spread(whole)));
        measured(&format!("{APPLIES} times, the API server's event to the proxy's ACK: {}", spread(own)));
        let (now, peak) = (memory(&mesh, "VmRSS"), memory(&mesh, "VmHWM"));
        measured(&format!(
            "umbra's memory: {alone} MiB without a proxy, {now} MiB at the end, peak {peak} MiB"
        ));
    });
}
