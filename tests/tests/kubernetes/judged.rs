//! Verdicts in a cluster, and what follows from them: what the status says of contents, a ramp that waits, a mirror that stops.

use serde_json::Value;
use umbra_testkit::client::Ask;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::echo::Mode;
use umbra_testkit::judge::Judge;
use umbra_testkit::net::Net;
use umbra_testkit::paths;

use super::replicas::WATCHED;
use super::status::{install_own_crds, message, wait_condition};
use super::web::{self, PORT, SUBSETS, rule, wait_share, workloads};

fn order() -> Ask {
    Ask::get("web:8000", "/order")
}

/// A policy for `web` that judges, with this besides.
fn policy(further: &str) -> String {
    format!(
        "apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {{name: web}}
spec:
  targetRef: {{name: web}}
  verdicts: {{rate: 1000, contents: true}}
  {further}
"
    )
}

/// umbra with a judge, `web` with this policy and half of its requests to be copied, and a sidecar that can tell.
async fn start(cluster: &Cluster, further: &str) -> (Mesh, Judge) {
    install_own_crds(cluster);
    let own = paths::workspace().join("deploy/crds/umbra.io.yaml");
    cluster.admin().install_crds(&own).unwrap_or_else(|e| panic!("{e:#}"));
    let ip = cluster.plane.site().xds.ip();
    let (bodies, report) = ((ip, 15016).into(), (ip, 15018).into());
    let judge = Judge::start_at(&Net::here(), cluster.folder(), bodies, report).expect("a judge");
    let (bodies, report) = (judge.bodies().to_string(), judge.report().to_string());
    let manifests = workloads(1) + SUBSETS + &rule(50.0) + &policy(further);
    let further = ["--verdicts", "--judge", &bodies];
    let mesh = web::with_client_by(cluster, &["--judge", &report], &manifests, &further).await;
    cluster.wait_ready("default", "app=web", 2).await;
    mesh.wait_status("client", PORT, &order(), 200).await;
    mesh.wait_targets("client", "|web.default").await;
    (mesh, judge)
}

async fn traffic(mesh: &Mesh, n: usize) {
    assert!(mesh.send("client", PORT, &order(), n).await.all_ok(n));
}

/// Sends requests until the condition says so.
async fn until(cluster: &Cluster, mesh: &Mesh, kind: &str, reason: &str) -> Value {
    let says = || {
        let now = cluster.admin().json(&["virtualservice", "web"]).unwrap_or_default();
        let mut all = now["status"]["conditions"].as_array().into_iter().flatten();
        all.any(|c| c["type"] == kind && c["reason"] == reason)
    };
    let look = || async {
        traffic(mesh, 50).await;
        says()
    };
    cluster.wait_for(&format!("{kind} to be {reason}"), look).await;
    cluster.admin().json(&["virtualservice", "web"]).unwrap_or_else(|e| panic!("{e:#}"))
}

fn shadows(cluster: &Cluster, mode: Mode) {
    for pod in cluster.agent().pods("default", "version=v2") {
        pod.set_mode(mode);
    }
}

#[test]
fn a_field_that_differs_is_in_the_status_and_holds_a_ramp() {
    on_cluster(|cluster| async move {
        let ramp = "ramp: {steps: [{percent: 20, time: 1s, requests: 100000}]}";
        let (mut mesh, _judge) = start(&cluster, ramp).await;
        wait_share(&mesh, 20.0).await;
        shadows(&cluster, Mode::WrongOneOf(4));
        let now = until(&cluster, &mesh, "Judged", "Different").await;
        let words = message(&now, "Judged");
        assert!(words.starts_with("v2: different (contents different). v2 different ("), "{words}");
        for part in
            ["contents different items[].price in ", "% compared", "contents: items[].price differs in "]
        {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(
            now["status"]["mirrors"].as_str().is_some_and(|it| it.ends_with(", verdict different")),
            "{now:#}"
        );

        // Enough requests now, and enough time: the verdict alone holds it.
        cluster.apply(&policy("ramp: {steps: [{percent: 20, time: 1s, requests: 10}]}"));
        traffic(&mesh, 200).await;
        tokio::time::sleep(WATCHED).await;
        wait_share(&mesh, 20.0).await;
        let held =
            cluster.kubectl(&["get", "virtualservice", "web", "-o", "jsonpath={.metadata.annotations}"]);
        assert!(held.contains("0; "), "{held}");

        // Who wants that is stopped by it, for good.
        cluster.apply(&policy(
            "abort: {verdict: different}\n  ramp: {steps: [{percent: 20, time: 1s, requests: 10}]}",
        ));
        until(&cluster, &mesh, "Aborted", "VerdictDifferent").await;
        let written = || {
            let now = cluster.admin().json(&["virtualservice", "web"]).unwrap_or_default();
            std::future::ready(now["metadata"]["annotations"]["umbra.io/stop"].is_string())
        };
        cluster.wait_for("the stop to be written", written).await;
        wait_share(&mesh, 0.0).await;
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        let told = || async {
            let page = mesh.get("/ui/").await.unwrap_or_default();
            page.contains("stopped") && page.contains("1 of 1 proxies")
        };
        cluster.wait_for("the next umbra to know", told).await;
        wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        wait_share(&mesh, 0.0).await;

        // Well again, and taken back by hand: it is judged anew, its contents too, and goes on where it was.
        shadows(&cluster, Mode::Normal);
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/stop-"]);
        let on = || async {
            traffic(&mesh, 50).await;
            mesh.proxy("client").mirrors("mirror/default/web/", 500_000).await
        };
        cluster.wait_for("the share of the rule", on).await;
    });
}
