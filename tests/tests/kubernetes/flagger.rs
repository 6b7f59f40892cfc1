//! Flagger, unmodified, drives umbra as it drives Istio: mirror, weights, promotion, and a rollback.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use umbra_testkit::client::Ask;
use umbra_testkit::cluster::prometheus::Prometheus;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh, assets};
use umbra_testkit::process::Process;

use super::web::with_client;

/// What Flagger counts as the shortest interval is ten seconds, and a run takes eight of them; a busy machine is slow.
const RUN: Duration = Duration::from_secs(600);

const METRICS: &str = "127.0.0.1:9090";

/// The application, and how Flagger is to bring in its next version.
pub(crate) const PODINFO: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: podinfo}
spec:
  replicas: 2
  selector: {matchLabels: {app: podinfo}}
  template:
    metadata: {labels: {app: podinfo}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: podinfo
        image: example.com/podinfo:1
        ports: [{containerPort: 9898, name: http}]
        readinessProbe: {httpGet: {path: /readyz, port: 9898}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 8}}}
---
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: podinfo}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}
  progressDeadlineSeconds: 600
  service: {port: 9898}
  analysis:
    interval: 10s
    threshold: 1
    maxWeight: 60
    stepWeight: 30
    mirror: true
    mirrorWeight: 100
    metrics:
    - {name: request-success-rate, thresholdRange: {min: 99}, interval: 1m}
    - {name: request-duration, thresholdRange: {max: 500}, interval: 1m}
";

/// Starts the controller, whose log is its own.
pub(crate) fn start_flagger(cluster: &Cluster, flagger: PathBuf, metrics: &str) -> Process {
    let mut command = Command::new(flagger);
    command.arg("-kubeconfig").arg(cluster.admin().kubeconfig());
    command.args(["-mesh-provider", "istio", "-metrics-server", metrics, "-port", "18081"]);
    command.args(["-control-loop-interval", "1s"]);
    Process::start("flagger", command, &cluster.folder().join("flagger.log")).expect("Flagger starts")
}

/// Waits until the Canary is in this phase.
pub(crate) async fn wait_phase(cluster: &Cluster, flagger: &mut Process, phase: &str) {
    let (start, mut seen) = (Instant::now(), String::new());
    while seen != phase {
        flagger.check_alive().unwrap_or_else(|e| panic!("{e:#}"));
        assert!(start.elapsed() < RUN, "{seen}, not {phase}\n{}", flagger.tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = cluster.kubectl(&["get", "canary", "podinfo", "-o", "jsonpath={.status.phase}"]);
    }
}

/// Waits until Flagger's mirror is live, and counts: every request is answered by the primary and copied to the canary.
/// Flagger, which would go on after ten seconds, sleeps from then on.
async fn count_copies(cluster: &Cluster, mesh: &Mesh, flagger: &Process, ask: &Ask) {
    mesh.wait_share("client", "mirror/default/podinfo/", 1_000_000).await;
    flagger.freeze(true).expect("asleep");
    mesh.wait_targets("client", "podinfo-").await;
    mesh.settle().await;
    cluster.agent().forget();
    // The traffic of the test goes on meanwhile, so that the copies are at least those of these requests.
    let tally = mesh.send("client", 9898, ask, 200).await;
    assert!(tally.all_ok(200), "{tally:?}");
    assert!(tally.servers.keys().all(|name| name.starts_with("podinfo-primary-")), "{:?}", tally.servers);
    let canary = cluster.agent().pods("default", "app=podinfo");
    let copies: Vec<_> = canary.iter().flat_map(|pod| pod.requests()).collect();
    assert!(copies.len() >= 200 && copies.iter().all(|r| r.host == "podinfo-shadow:9898"), "{copies:?}");
}

#[test]
fn flagger_plays_a_canary_through_and_rolls_one_back() {
    on_cluster(|cluster| async move {
        let Some(flagger) = assets::require_tool(assets::flagger()) else { return };
        cluster.install_crds("istio");
        cluster.install_crds("flagger");
        let metrics = Prometheus::start(METRICS.parse().expect("an address")).expect("a stub");
        let mesh = with_client(&cluster, &[], PODINFO).await;
        let mut flagger = start_flagger(&cluster, flagger, &metrics.url());
        wait_phase(&cluster, &mut flagger, "Initialized").await;
        let ask = Ask::get("podinfo:9898", "/");
        mesh.wait_routes("client", "the primary's route", |r| r.contains("podinfo-primary")).await;
        mesh.wait_status("client", 9898, &ask, 200).await;

        let traffic = || Traffic::through(mesh.client("client", 9898), ask.clone(), Duration::from_millis(5));
        let requests = traffic();
        cluster.kubectl(&["set", "image", "deployment/podinfo", "podinfo=example.com/podinfo:2"]);
        count_copies(&cluster, &mesh, &flagger, &ask).await;
        flagger.freeze(false).expect("awake");
        mesh.wait_routes("client", "weights instead of the mirror", |r| !r.contains("mirror|")).await;
        wait_phase(&cluster, &mut flagger, "Succeeded").await;
        let tally = requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        let by = |start: &str| -> usize {
            tally.servers.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, n)| n).sum()
        };
        let (primary, all) = (by("podinfo-primary-"), by("podinfo-"));
        assert!(primary > 0 && all > primary, "the canary had its share: {:?}", tally.servers);
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        let promoted = cluster.kubectl(&["get", "deployment", "podinfo-primary", "-o", image]);
        assert_eq!(promoted, "example.com/podinfo:2");

        let requests = traffic();
        cluster.kubectl(&["set", "image", "deployment/podinfo", "podinfo=example.com/podinfo:3"]);
        count_copies(&cluster, &mesh, &flagger, &ask).await;
        metrics.set_healthy(false);
        flagger.freeze(false).expect("awake");
        wait_phase(&cluster, &mut flagger, "Failed").await;
        mesh.wait_routes("client", "no mirror after the rollback", |r| !r.contains("mirror|")).await;
        let tally = requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(tally.servers.keys().all(|name| name.starts_with("podinfo-primary-")), "{:?}", tally.servers);
        let kept = cluster.kubectl(&["get", "deployment", "podinfo-primary", "-o", image]);
        assert_eq!(kept, "example.com/podinfo:2");
        assert!(metrics.asked() > 0, "nobody asked for metrics");
        mesh.assert_clean().await;
    });
}
