//! Argo Rollouts, unmodified, drives umbra as it drives Istio: mirror route, weights, promotion, and an abort; with a
//! Service for each side, and with subsets of one Service.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use umbra_testkit::client::{Ask, Tally};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh, assets};
use umbra_testkit::process::Process;
use umbra_testkit::share;

use super::manifests::plain_service;
use super::web::with_client;

/// How long a step may take on a busy machine; the old ReplicaSet stays 30 s at the end.
const STEP: Duration = Duration::from_secs(400);

/// The application, whose next version first gets copies of half of the requests, then 40 % of them. `ROUTING` says how
/// the two sides are told apart.
pub(crate) const SHOP: &str = "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: shop
        image: example.com/shop:1
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /healthy, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 8}}}
  strategy:
    canary:
      ROUTING
      steps:
      - setCanaryScale: {replicas: 2}
      - setMirrorRoute: {name: shadow, percentage: 50, match: [{method: {exact: GET}, path: {prefix: /}}]}
      - pause: {}
      - setMirrorRoute: {name: shadow}
      - setCanaryScale: {matchTrafficWeight: true}
      - setWeight: 40
      - pause: {}
---
";

/// A Service for each side, whose selectors Argo moves.
pub(crate) const HOSTS: &str = "canaryService: shop-canary
      stableService: shop-stable
      trafficRouting:
        managedRoutes: [{name: shadow}]
        istio: {virtualService: {name: shop, routes: [primary]}}";

/// A subset for each side, whose labels Argo changes.
const SUBSETS: &str = "trafficRouting:
        managedRoutes: [{name: shadow}]
        istio:
          virtualService: {name: shop, routes: [primary]}
          destinationRule: {name: shop, canarySubsetName: canary, stableSubsetName: stable}";

/// The rule as a person writes it first; what follows is Argo's.
pub(crate) const RULE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - name: primary
    route:
    - {destination: STABLE, weight: 100}
    - {destination: CANARY, weight: 0}
---
";

const RULE_SUBSETS: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets:
  - {name: stable, labels: {app: shop}}
  - {name: canary, labels: {app: shop}}
---
";

/// The cluster with the controller, umbra, the application's first version and its client.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    pub(crate) mesh: Mesh,
    controller: Process,
    ask: Ask,
}

/// Starts the controller, whose log is its own.
pub(crate) fn start_controller(cluster: &Cluster, controller: PathBuf) -> Process {
    let mut command = Command::new(controller);
    command.arg("--kubeconfig").arg(cluster.admin().kubeconfig()).arg("--leader-elect=false");
    command.args(["--healthzPort", "18082", "--metricsport", "18083"]);
    let log = cluster.folder().join("rollouts.log");
    Process::start("rollouts-controller", command, &log).expect("the controller starts")
}

impl Shop {
    async fn start(cluster: Cluster, controller: PathBuf, manifests: &str) -> Self {
        Self::start_with(cluster, controller, manifests, &[]).await
    }

    /// With these further flags of umbra.
    pub(crate) async fn start_with(
        cluster: Cluster,
        controller: PathBuf,
        manifests: &str,
        flags: &[&str],
    ) -> Self {
        cluster.install_crds("istio");
        cluster.install_crds("argo-rollouts");
        let mesh = with_client(&cluster, flags, manifests).await;
        let controller = start_controller(&cluster, controller);
        let ask = Ask::get("shop:8000", "/");
        let mut shop = Self { cluster, mesh, controller, ask };
        shop.wait("Healthy", |_| true).await;
        shop.mesh.wait_status("client", 8000, &shop.ask, 200).await;
        shop
    }

    pub(crate) fn status(&self, path: &str) -> String {
        self.cluster.kubectl(&["get", "rollout", "shop", "-o", &format!("jsonpath={{.status.{path}}}")])
    }

    /// Waits until the Rollout is in this phase and fulfils a condition.
    pub(crate) async fn wait(&mut self, phase: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        loop {
            self.controller.check_alive().unwrap_or_else(|e| panic!("{e:#}"));
            let seen = self.status("phase");
            if seen == phase && holds(self) {
                return;
            }
            assert!(start.elapsed() < STEP, "{seen}, not {phase}\n{}", self.controller.tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::through(self.mesh.client("client", 8000), self.ask.clone(), Duration::from_millis(5))
    }

    /// Brings in the next version, and waits until Argo stands still with its mirror on; gives the hash of its Pods.
    async fn update(&mut self, image: &str) -> String {
        let before = self.status("currentPodHash");
        self.set_image(image);
        self.wait("Paused", |shop| shop.status("currentPodHash") != before).await;
        self.mesh.wait_share("client", "mirror/default/shop/shadow", 500_000).await;
        self.status("currentPodHash")
    }

    pub(crate) fn set_image(&self, image: &str) {
        let patch = format!(
            r#"[{{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "{image}"}}]"#
        );
        self.cluster.kubectl(&["patch", "rollout", "shop", "--type=json", "-p", &patch]);
    }

    /// Goes on after a pause, as the kubectl plugin does.
    fn promote(&self) {
        self.patch_status(r#"{"status":{"pauseConditions":null}}"#);
    }

    fn patch_status(&self, patch: &str) {
        let arguments = ["patch", "rollout", "shop", "--subresource=status", "--type=merge", "-p", patch];
        self.cluster.kubectl(&arguments);
    }

    /// Half of the requests are copied to the canary, and the stable side alone answers.
    async fn count_copies(&self, hash: &str) {
        self.mesh.wait_targets("client", "|shop").await;
        self.mesh.settle().await;
        self.cluster.agent().forget();
        let tally = self.send(1000).await;
        let canary = self.cluster.agent().pods("default", &format!("rollouts-pod-template-hash={hash}"));
        assert_eq!(canary.len(), 2);
        let copies: Vec<_> = canary.iter().flat_map(|pod| pod.requests()).collect();
        assert!(copies.iter().all(|r| r.host == "shop-shadow:8000"), "only copies");
        assert!(share::expected(1000, 0.5).contains(&copies.len()), "{} copies", copies.len());
        assert!(canary.iter().all(|pod| tally.by(&pod.name) == 0), "{:?}", tally.servers);
    }

    async fn send(&self, n: usize) -> Tally {
        let tally = self.mesh.send("client", 8000, &self.ask, n).await;
        assert!(tally.all_ok(n), "{tally:?}");
        tally
    }

    /// Through mirror and weights to the promotion; then another version, which is given up while it is mirrored to.
    async fn play(&mut self) {
        let hash = self.update("example.com/shop:2").await;
        self.count_copies(&hash).await;
        let traffic = self.traffic();
        self.promote();
        self.wait("Paused", |shop| shop.status("canary.weights.canary.weight") == "40").await;
        self.mesh.wait_routes("client", "no mirror", |r| !r.contains("mirror|")).await;
        let start = Instant::now();
        let canary = |tally: &Tally, shop: &Self| -> usize {
            let pods = shop.cluster.agent().pods("default", &format!("rollouts-pod-template-hash={hash}"));
            pods.iter().map(|pod| tally.by(&pod.name)).sum()
        };
        while !share::expected(1000, 0.4).contains(&canary(&self.send(1000).await, self)) {
            assert!(start.elapsed() < STEP, "the canary never got 40 %");
        }
        self.promote();
        self.wait("Healthy", |shop| shop.status("stableRS") == hash).await;
        // What Argo says here has yet to pass through slices and umbra; the old Pods serve for 30 s more.
        let start = Instant::now();
        while canary(&self.send(200).await, self) != 200 {
            assert!(start.elapsed() < STEP, "the new version never serves alone");
        }
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));

        let given_up = self.update("example.com/shop:3").await;
        let traffic = self.traffic();
        self.patch_status(r#"{"status":{"abort":true}}"#);
        self.wait("Degraded", |_| true).await;
        self.mesh.wait_routes("client", "no mirror", |r| !r.contains("mirror|")).await;
        let served = self.send(200).await;
        assert_eq!(canary(&served, self), 200, "{:?}", served.servers);
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_ne!(given_up, hash);
        self.mesh.assert_clean().await;
    }
}

#[test]
fn argo_rollouts_with_a_service_for_each_side() {
    on_cluster(|cluster| async move {
        let Some(controller) = assets::require_tool(assets::argo_rollouts()) else { return };
        let services = ["shop", "shop-stable", "shop-canary"];
        let services = services.map(|name| plain_service(name, "app: shop", 8000, 8080)).concat();
        let rule = RULE.replace("STABLE", "{host: shop-stable}").replace("CANARY", "{host: shop-canary}");
        let manifests = services + &rule + &SHOP.replace("ROUTING", HOSTS);
        Shop::start(cluster, controller, &manifests).await.play().await;
    });
}

#[test]
fn argo_rollouts_with_subsets() {
    on_cluster(|cluster| async move {
        let Some(controller) = assets::require_tool(assets::argo_rollouts()) else { return };
        let rule = RULE
            .replace("STABLE", "{host: shop, subset: stable}")
            .replace("CANARY", "{host: shop, subset: canary}");
        let manifests = plain_service("shop", "app: shop", 8000, 8080)
            + RULE_SUBSETS
            + &rule
            + &SHOP.replace("ROUTING", SUBSETS);
        Shop::start(cluster, controller, &manifests).await.play().await;
    });
}
