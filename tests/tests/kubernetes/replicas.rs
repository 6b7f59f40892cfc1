//! Three replicas, installed by the chart, with an Envoy at each: whatever becomes of one, a single one writes statuses,
//! and what proxies get is the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::agent::PodState;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::{paths, umbra, wait};

use super::manifests::plain;
use super::rights::NAMESPACE;
use super::web::{SUBSETS, resources_of, rule, workloads};

/// A Lease is left alone for 15 s after its holder is gone, looked at every 2 s, and this machine may be busy.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(240);
/// How long a replica that is back is watched for writes that it must not do: a few rounds of its election.
pub(crate) const WATCHED: Duration = Duration::from_secs(8);

/// umbra by its chart, `web`, and this many Pods for clients.
pub(crate) async fn install(cluster: &Cluster, clients: usize) -> (Vec<Arc<PodState>>, Vec<Arc<PodState>>) {
    let chart = paths::workspace().join("deploy/chart");
    let chart = chart.to_str().expect("a path in UTF-8");
    let helm = ["install", "umbra", chart, "--namespace", NAMESPACE, "--create-namespace"];
    let values = ["--set", "replicas=3,gateway.enabled=false,identity=none"];
    cluster.admin().helm(&[&helm[..], &values].concat()).unwrap_or_else(|e| panic!("{e:#}"));
    let client = plain("client", "app: client", "pause", 0);
    cluster.apply(&(workloads(1) + &client + SUBSETS + &rule(10.0)));
    cluster.kubectl(&["scale", "deployment/client", &format!("--replicas={clients}")]);
    let umbras = replicas(cluster, 3).await;
    cluster.wait_ready("default", "app=web", 2).await;
    (umbras, cluster.wait_ready("default", "app=client", clients).await)
}

pub(crate) async fn replicas(cluster: &Cluster, n: usize) -> Vec<Arc<PodState>> {
    cluster.wait_ready(NAMESPACE, "app.kubernetes.io/component=control-plane", n).await
}

/// An Envoy beside `pod` that may connect to any of these replicas.
async fn envoy(cluster: &Cluster, pod: &PodState, replicas: &[Arc<PodState>]) -> EnvoyProcess {
    envoy_by(cluster, pod, replicas, &[]).await
}

/// As [`envoy`], with further arguments of `umbra bootstrap`.
pub(crate) async fn envoy_by(
    cluster: &Cluster,
    pod: &PodState,
    replicas: &[Arc<PodState>],
    further: &[&str],
) -> EnvoyProcess {
    let start = async {
        let server = "10.255.255.255:15010".parse()?;
        let text = umbra::bootstrap_with("sidecar/default/app=client", server, further)?;
        let mut bootstrap: Value = serde_saphyr::from_str(&text)?;
        let endpoint = |replica: &Arc<PodState>| {
            let address = replica.address().expect("an address").to_string();
            serde_json::json!({"endpoint": {"address": {"socketAddress": {"address": address, "portValue": 15010}}}})
        };
        let endpoints: Vec<Value> = replicas.iter().map(endpoint).collect();
        let clusters = bootstrap["staticResources"]["clusters"].as_array_mut().into_iter().flatten();
        for cluster in clusters {
            cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"] = endpoints.clone().into();
        }
        let binary = paths::envoy().expect("Envoy");
        let address = pod.address().expect("an address");
        let node = format!("sidecar~{address}~{}.default~default.svc.cluster.local", pod.name);
        EnvoyProcess::start(&pod.net()?, &binary, cluster.folder(), &node, &bootstrap.to_string()).await
    };
    start.await.unwrap_or_else(|e: anyhow::Error| panic!("{e:#}"))
}

/// Waits until the rule says so in its summary and its condition `Programmed`, both about its present version.
pub(crate) async fn wait_said(
    cluster: &Cluster,
    umbras: &[Arc<PodState>],
    mirrors: &str,
    programmed: &str,
) -> Value {
    let mut last = Value::Null;
    let start = Instant::now();
    while start.elapsed() < TAKEOVER {
        let now = cluster.admin().json(&["virtualservice", "web"]).unwrap_or_else(|e| panic!("{e:#}"));
        let all = now["status"]["conditions"].as_array().into_iter().flatten();
        let condition = all.filter(|c| c["type"] == "Programmed").find(|c| {
            c["observedGeneration"] == now["metadata"]["generation"]
                && format!("{}/{}", c["status"].as_str().unwrap_or(""), c["reason"].as_str().unwrap_or(""))
                    .starts_with(programmed)
        });
        if let Some(condition) = condition
            && now["status"]["mirrors"].as_str().unwrap_or_default().starts_with(mirrors)
        {
            return condition.clone();
        }
        last = now["status"].clone();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let logs: Vec<String> = umbras.iter().map(|pod| pod.log("umbra")).collect();
    panic!("waited {TAKEOVER:?} for {mirrors:?} and {programmed}: {last:#}\n{}", logs.join("\n"))
}

/// The Pod that holds the Lease.
pub(crate) async fn leader(cluster: &Cluster, umbras: &[Arc<PodState>]) -> Arc<PodState> {
    let look = || {
        let path = "jsonpath={.spec.holderIdentity}";
        let holder = cluster.admin().kubectl(&["get", "lease", "umbra", "-n", NAMESPACE, "-o", path]);
        let holder = holder.unwrap_or_default();
        let found = umbras.iter().find(|pod| holder.starts_with(&format!("{}_", pod.name))).cloned();
        std::future::ready(found)
    };
    wait::until(TAKEOVER, look).await.expect("a leader")
}

/// Kill it, put it to sleep, cut it off: another writes on, and it never writes again without the Lease.
#[test]
fn one_of_three_replicas_writes() {
    on_cluster(|cluster| async move {
        let (umbras, clients) = install(&cluster, 3).await;
        let mut envoys = Vec::new();
        for (client, replica) in clients.iter().zip(&umbras) {
            envoys.push(envoy(&cluster, client, std::slice::from_ref(replica)).await);
        }
        wait_said(&cluster, &umbras, "v2 10% live 3/3", "True/Live").await;
        assert_same(&umbras, &envoys).await;

        // A replica that does not answer is told of, and nothing is claimed about its proxies.
        let first = leader(&cluster, &umbras).await;
        let sleeper = umbras.iter().find(|pod| pod.name != first.name).expect("another replica");
        sleeper.freeze(true).expect("asleep");
        let said = wait_said(&cluster, &umbras, "v2 10%", "Unknown/ReplicasSilent").await;
        let words = said["message"].as_str().unwrap_or_default();
        let address = sleeper.address().expect("an address").to_string();
        assert!(words.starts_with("1 of 3 replicas did not answer: ") && words.contains(&address), "{words}");
        sleeper.freeze(false).expect("awake");
        wait_said(&cluster, &umbras, "v2 10% live 3/3", "True/Live").await;

        for (what, percent) in [("kill", 20), ("freeze", 30), ("cut", 40)] {
            let old = leader(&cluster, &umbras).await;
            match what {
                "kill" => old.kill("umbra"),
                "freeze" => old.freeze(true).expect("asleep"),
                _ => old.cut(true).expect("cut off"),
            }
            cluster.apply(&rule(f64::from(percent)));
            wait_said(&cluster, &umbras, &format!("v2 {percent}%"), "").await;
            let new = leader(&cluster, &umbras).await;
            assert!(what == "kill" || new.name != old.name, "{what}: {} leads on", old.name);
            match what {
                "kill" => {}
                "freeze" => old.freeze(false).expect("awake"),
                _ => old.cut(false).expect("joined"),
            }
            // What it had in hand when it was stopped would come now.
            tokio::time::sleep(WATCHED).await;
            wait_said(&cluster, &umbras, &format!("v2 {percent}% live 3/3"), "True/Live").await;
            assert_one_writer(&cluster);
        }
        assert_same(&umbras, &envoys).await;
        let writers = assert_one_writer(&cluster);
        assert!(writers.len() >= 2, "{writers:?}");
    });
}

/// By the API server's own notes: every status was written by the replica that had been the last to write the Lease.
/// Gives the addresses that have written.
fn assert_one_writer(cluster: &Cluster) -> BTreeSet<String> {
    let mut notes = cluster.plane.audit().unwrap_or_else(|e| panic!("{e:#}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    notes.sort_by_key(|note| text(&note["requestReceivedTimestamp"]));
    let (mut holder, mut writers) = (String::new(), BTreeSet::new());
    for note in notes.iter().filter(|note| note["responseStatus"]["code"].as_i64().is_some_and(|c| c < 300)) {
        let from = text(&note["sourceIPs"][0]);
        if note["objectRef"]["resource"] == "leases" {
            if note["objectRef"]["namespace"] == NAMESPACE {
                holder = from;
            }
            continue;
        }
        if !text(&note["user"]["username"]).starts_with("system:serviceaccount:") {
            continue;
        }
        assert_eq!(from, holder, "a status from one that does not lead: {note:#}");
        writers.insert(from);
    }
    assert!(!writers.is_empty(), "nobody has written a status: {}", notes.len());
    writers
}

/// What the replicas' Envoys have, and what the replicas say that they are to have, byte for byte: a version is the hash
/// of the bytes.
async fn assert_same(umbras: &[Arc<PodState>], envoys: &[EnvoyProcess]) {
    let same = || async {
        let mut all = Vec::new();
        for envoy in envoys {
            all.push(resources_of(envoy).await);
        }
        let kinds: BTreeSet<&str> = all[0].iter().map(|(kind, _, _)| kind.as_str()).collect();
        let holds = kinds.len() >= 3 && all.iter().all(|resources| *resources == all[0]);
        holds.then_some(())
    };
    if wait::until(TAKEOVER, same).await.is_none() {
        let (first, second) = (resources_of(&envoys[0]).await, resources_of(&envoys[1]).await);
        let differ: Vec<_> = first.symmetric_difference(&second).collect();
        panic!("the Envoys do not have the same: {differ:#?} of {first:#?}");
    }
    let mut said: Vec<Value> = Vec::new();
    for umbra in umbras {
        let mut client =
            Client::new(&umbra.net().expect("a network"), "127.0.0.1:15014".parse().expect("an address"));
        let answer =
            client.ask(&Ask::get("localhost", "/debug/proxies")).await.unwrap_or_else(|e| panic!("{e:#}"));
        let proxies: Value = serde_json::from_str(&answer.text()).expect("JSON");
        let node = proxies["proxies"][0]["node"].clone();
        let node = node.as_str().or(node["id"].as_str()).unwrap_or_else(|| panic!("no node: {proxies:#}"));
        let path = format!("/debug/proxies?proxy={node}");
        let answer = client.ask(&Ask::get("localhost", &path)).await.unwrap_or_else(|e| panic!("{e:#}"));
        let mut resources: BTreeMap<String, Value> = serde_json::from_str(&answer.text()).expect("JSON");
        resources.remove("proxy").unwrap_or_else(|| panic!("{}", answer.text()));
        said.push(serde_json::to_value(resources).expect("JSON"));
    }
    assert!(said.iter().all(|resources| *resources == said[0]), "{said:#?}");
}

/// The replica that an Envoy's stream is with.
pub(crate) async fn connected(envoy: &EnvoyProcess, umbras: &[Arc<PodState>]) -> Option<Arc<PodState>> {
    let text = envoy.get("/clusters").await.ok()?;
    let active = text.lines().find_map(|line| {
        let (address, count) = line.strip_prefix("umbra-xds::")?.split_once(":15010::cx_active::")?;
        (count != "0").then(|| address.to_owned())
    })?;
    let streams = envoy.stat("control_plane.connected_state").await;
    let replica = umbras.iter().find(|pod| pod.address().is_some_and(|own| own.to_string() == active));
    replica.filter(|_| streams == 1).cloned()
}

/// A metric of a replica by type, such as `cds`.
async fn by_type(umbra: &PodState, metric: &str) -> BTreeMap<String, u64> {
    let mut client =
        Client::new(&umbra.net().expect("a network"), "127.0.0.1:15014".parse().expect("an address"));
    let answer = client.ask(&Ask::get("localhost", "/metrics")).await.unwrap_or_else(|e| panic!("{e:#}"));
    let text = answer.text();
    let start = format!("{metric}{{type=\"");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    lines.map(|(kind, n)| (kind.to_owned(), n.parse().expect("a number"))).collect()
}

/// Everything that an Envoy changed by what it was sent, endpoints aside.
async fn changes(envoy: &EnvoyProcess) -> BTreeMap<String, u64> {
    const COUNTERS: [&str; 7] = [
        "cluster_manager.cluster_added",
        "cluster_manager.cluster_modified",
        "cluster_manager.cluster_removed",
        "listener_manager.listener_added",
        "listener_manager.listener_modified",
        "listener_manager.listener_removed",
        "runtime.load_success",
    ];
    let mut stats = envoy.stats().await.unwrap_or_else(|e| panic!("{e:#}"));
    stats.retain(|name, _| COUNTERS.contains(&name.as_str()) || name.ends_with(".config_reload"));
    assert!(stats.len() > COUNTERS.len(), "{stats:?}");
    stats
}

/// Its replica goes away; the next one has nothing to tell it but what changed, and may repeat endpoints.
#[test]
fn an_envoy_that_moves_is_sent_nothing_new() {
    on_cluster(|cluster| async move {
        let (umbras, clients) = install(&cluster, 1).await;
        let envoy = envoy(&cluster, &clients[0], &umbras).await;
        wait_said(&cluster, &umbras, "v2 10% live 1/1", "True/Live").await;
        let old = wait::until(TAKEOVER, || connected(&envoy, &umbras)).await.expect("a stream");
        let (resources, before) = (resources_of(&envoy).await, changes(&envoy).await);

        // Its successor has another address, which the Envoy does not know.
        cluster.kubectl(&["delete", "pod", &old.name, "--namespace", NAMESPACE, "--wait=false"]);
        let moved = wait::until(TAKEOVER, || async {
            connected(&envoy, &umbras).await.filter(|replica| replica.name != old.name)
        });
        let new = moved.await.expect("another replica");
        // Its first sign of life on the new stream that comes from umbra: one share, and nothing else.
        cluster.apply(&rule(20.0));
        wait_said(&cluster, &umbras, "v2 20% live 1/1", "True/Live").await;
        let shares = envoy.mirror_shares().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(shares.values().collect::<Vec<_>>(), [&200_000]);

        let mut after = changes(&envoy).await;
        let loads = after.get_mut("runtime.load_success").expect("a counter");
        assert_eq!(*loads, before["runtime.load_success"] + 1, "one change of the runtime");
        *loads -= 1;
        assert_eq!(after, before);
        let gone: Vec<_> = resources.difference(&resources_of(&envoy).await).cloned().collect();
        assert!(gone.is_empty(), "clusters, listeners and routes are what they were: {gone:?}");
        let bytes = by_type(&new, "umbra_xds_push_bytes_total").await;
        for kind in ["cds", "lds", "rds"] {
            assert!(bytes[kind] < 200, "at most an empty answer: {bytes:?}");
        }
        assert_eq!(envoy.stat("cluster_manager.cds.update_rejected").await, 0);
    });
}
