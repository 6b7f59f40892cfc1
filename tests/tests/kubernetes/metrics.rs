//! Canary tools with the metrics that they ask for by themselves, as umbra tells them to a real Prometheus: nothing is made for
//! umbra, no template and no adapter.

use std::time::Duration;

use umbra_testkit::client::Ask;
use umbra_testkit::cluster::scraper::Scraper;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh, assets};
use umbra_testkit::echo::Mode;
use umbra_testkit::process::Process;

use super::flagger::{PODINFO, start_flagger, wait_phase};
use super::rollouts::start_controller;
use super::web;

async fn scraper(cluster: &Cluster, mesh: &Mesh, seconds: u32) -> Option<Scraper> {
    let address = "127.0.0.1:9090".parse().expect("an address");
    let started = Scraper::start(address, mesh.admin(), seconds, cluster.folder()).await;
    started.unwrap_or_else(|e| panic!("{e:#}"))
}

/// A canary that Flagger has taken over, with its client.
struct Stage {
    cluster: Cluster,
    mesh: Mesh,
    flagger: Process,
    prometheus: Scraper,
}

impl Stage {
    /// `None`, after a loud line, where something is missing. The weights take one step instead of two.
    async fn start(cluster: Cluster) -> Option<Self> {
        let flagger = assets::require_tool(assets::flagger())?;
        cluster.install_crds("istio");
        cluster.install_crds("flagger");
        // A shadow whose answers are bad is ready all the same.
        let probe = "        readinessProbe: {httpGet: {path: /readyz, port: 9898}, periodSeconds: 1}\n";
        let podinfo = PODINFO.replace("stepWeight: 30", "stepWeight: 60").replace(probe, "");
        assert!(!podinfo.contains("readinessProbe"), "{podinfo}");
        let mesh = web::with_client(&cluster, &[], &podinfo).await;
        let prometheus = scraper(&cluster, &mesh, 1).await?;
        let mut flagger = start_flagger(&cluster, flagger, &prometheus.url());
        wait_phase(&cluster, &mut flagger, "Initialized").await;
        mesh.wait_routes("client", "the primary's route", |r| r.contains("podinfo-primary")).await;
        mesh.wait_status("client", 9898, &Ask::get("podinfo:9898", "/"), 200).await;
        // The Pods that served before Flagger came.
        let gone = || std::future::ready(cluster.agent().pods("default", "app=podinfo").is_empty());
        cluster.wait_for("the first Pods to go", gone).await;
        Some(Self { cluster, mesh, flagger, prometheus })
    }

    fn traffic(&self) -> Traffic {
        let ask = Ask::get("podinfo:9898", "/");
        Traffic::through(self.mesh.client("client", 9898), ask, Duration::from_millis(5))
    }

    fn next_version(&self) {
        self.cluster.kubectl(&["set", "image", "deployment/podinfo", "podinfo=example.com/podinfo:2"]);
    }

    /// The image that production runs at the end.
    fn promoted(&self) -> String {
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        self.cluster.kubectl(&["get", "deployment", "podinfo-primary", "-o", image])
    }
}

#[test]
fn flagger_promotes_by_its_own_metrics() {
    on_cluster(|cluster| async move {
        let Some(mut stage) = Stage::start(cluster).await else { return };
        let requests = stage.traffic();
        stage.next_version();
        wait_phase(&stage.cluster, &mut stage.flagger, "Succeeded").await;
        requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(stage.promoted(), "example.com/podinfo:2");
        // What it went by: copies first, then its share of the requests.
        for shadow in ["true", "false"] {
            let canary = format!(
                r#"istio_requests_total{{reporter="destination",destination_workload="podinfo",destination_workload_namespace="default",shadow="{shadow}",response_code="200"}}"#
            );
            let seen = stage.prometheus.query(&format!("sum({canary})")).await.expect("an answer");
            assert!(seen.first().is_some_and(|count| *count > 0.0), "{canary}: {seen:?}");
        }
        assert!(!stage.flagger.log().contains("no values found"), "{}", stage.flagger.log());
        stage.mesh.assert_clean().await;
    });
}

#[test]
fn flagger_rolls_a_bad_shadow_back_by_its_own_metrics() {
    on_cluster(|cluster| async move {
        let Some(mut stage) = Stage::start(cluster).await else { return };
        let requests = stage.traffic();
        stage.next_version();
        // Before it gets the first copy.
        stage.cluster.wait_ready("default", "app=podinfo", 2).await;
        for pod in stage.cluster.agent().pods("default", "app=podinfo") {
            pod.set_mode(Mode::Status(500));
        }
        wait_phase(&stage.cluster, &mut stage.flagger, "Failed").await;
        // Nobody but copies met it.
        let tally = requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(tally.servers.keys().all(|name| name.starts_with("podinfo-primary-")), "{:?}", tally.servers);
        assert_eq!(stage.promoted(), "example.com/podinfo:1");
        let log = stage.flagger.log();
        assert!(log.contains("advancement success rate"), "{log}");
        stage.mesh.assert_clean().await;
    });
}

/// An AnalysisRun with the query of Argo Rollouts' own documentation, and its condition.
fn analysis(name: &str, prometheus: &Scraper) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1
kind: AnalysisRun
metadata: {{name: {name}}}
spec:
  args: [{{name: service-name, value: web.default.svc.cluster.local}}]
  metrics:
  - name: success-rate
    initialDelay: 20s
    successCondition: result[0] >= 0.95
    provider:
      prometheus:
        address: {}
        query: |
          sum(irate(
            istio_requests_total{{reporter=\"source\",destination_service=~\"{{{{args.service-name}}}}\",response_code!~\"5.*\"}}[5m]
          )) /
          sum(irate(
            istio_requests_total{{reporter=\"source\",destination_service=~\"{{{{args.service-name}}}}\"}}[5m]
          ))
",
        prometheus.url()
    )
}

#[test]
fn argo_rollouts_judges_by_the_query_of_its_documentation() {
    on_cluster(|cluster| async move {
        let Some(controller) = assets::require_tool(assets::argo_rollouts()) else { return };
        cluster.install_crds("argo-rollouts");
        let mesh = web::start(&cluster).await;
        // `irate` looks at the last two samples alone: proxies must have told something between them.
        let Some(prometheus) = scraper(&cluster, &mesh, 6).await else { return };
        let _controller = start_controller(&cluster, controller);
        let traffic = web::traffic(&mesh);
        let phase = |name: &str, want: &'static str| {
            let (cluster, name) = (&cluster, name.to_owned());
            async move {
                let now = || {
                    let seen =
                        cluster.kubectl(&["get", "analysisrun", &name, "-o", "jsonpath={.status.phase}"]);
                    std::future::ready(seen == want)
                };
                cluster.wait_for(&format!("{name} to be {want}"), now).await;
            }
        };
        cluster.apply(&analysis("good", &prometheus));
        phase("good", "Successful").await;
        // Half of what goes to the Service are copies.
        for pod in cluster.agent().pods("default", "version=v2") {
            pod.set_mode(Mode::Status(503));
        }
        cluster.apply(&analysis("bad", &prometheus));
        phase("bad", "Failed").await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
    });
}
