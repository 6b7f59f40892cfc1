//! umbra as people install it: by the chart, with traffic through the chart's own gateway.

use std::process::Output;
use std::time::Duration;

use umbra_testkit::client::{Answer, Ask, Client};
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::net::Net;
use umbra_testkit::paths;

use super::manifests::{deployment, service};
use super::web::SUBSETS;

pub(crate) const NAMESPACE: &str = "umbra-system";

/// A namespace that refuses what the PodSecurity level "restricted" does not allow, and says so.
pub(crate) fn namespace(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let level = |mode: &str| format!("pod-security.kubernetes.io/{mode}=restricted");
    cluster.kubectl(&["label", "namespace", NAMESPACE, &level("enforce"), &level("warn")]);
}

/// `helm VERB umbra CHART …` in that namespace, whatever comes of it.
pub(crate) fn try_helm(cluster: &Cluster, verb: &str, arguments: &[&str]) -> Output {
    let chart = paths::workspace().join("deploy/chart");
    let chart = chart.to_str().expect("a path in UTF-8");
    let head: &[&str] = match verb {
        "install" | "upgrade" => &[verb, "umbra", chart, "--wait", "--timeout", "300s"],
        _ => &[verb, "umbra"],
    };
    let all = [head, &["--namespace", NAMESPACE], arguments].concat();
    cluster.admin().try_helm(&all).expect("helm runs")
}

/// As [`try_helm`], and it must succeed without a warning.
#[track_caller]
pub(crate) fn helm(cluster: &Cluster, verb: &str, arguments: &[&str]) -> String {
    let out = try_helm(cluster, verb, arguments);
    let (said, words) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "helm {verb} {arguments:?}: {said}{words}");
    let warned = words.contains("would violate") || words.contains("Warning:");
    assert!(!warned, "helm {verb} {arguments:?}: {words}");
    said.into_owned()
}

/// Waits for this many ready Pods of umbra and of its gateway.
pub(crate) async fn wait_ready(cluster: &Cluster, replicas: usize, gateways: usize) {
    cluster.wait_ready(NAMESPACE, "app.kubernetes.io/component=control-plane", replicas).await;
    cluster.wait_ready(NAMESPACE, "app.kubernetes.io/component=gateway", gateways).await;
}

/// The Service `web` in two versions, a Gateway for web.example, and a rule that copies all of it from v1 to v2.
pub(crate) fn web() -> String {
    let entry = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [web.example]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example, web]
  gateways: [edge, mesh]
  http:
  - route: [{destination: {host: web, subset: v1}}]
    mirror: {host: web, subset: v2}
---
";
    let workloads = deployment("web-v1", "web", "v1", 1) + &deployment("web-v2", "web", "v2", 1);
    workloads + &service("web", "web") + SUBSETS + entry
}

/// Asks the gateway's Service once, as it is now; `None` without an answer, or while nobody ready is behind it.
pub(crate) async fn answer(cluster: &Cluster) -> Option<Answer> {
    let address = *cluster.resolver().service(NAMESPACE, "umbra-gateway").first()?;
    Client::new(&Net::here(), (address, 80).into()).ask(&ask()).await.ok()
}

pub(crate) fn ask() -> Ask {
    Ask::get("web.example", "/")
}

/// Waits until requests through the gateway are answered by v1 and copied to v2, where the copy has this Host.
pub(crate) async fn wait_mirrored(cluster: &Cluster, host: &str) {
    cluster
        .wait_for(&format!("copies for {host}"), || async {
            cluster.agent().forget();
            let answer = answer(cluster).await;
            let answered = answer.is_some_and(|answer| answer.status == 200 && answer.served_by() == "v1");
            // A copy is sent beside the request; a later look sees it.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let copies = cluster.agent().pods("default", "version=v2");
            answered && copies.iter().flat_map(|pod| pod.requests()).any(|copy| copy.host == host)
        })
        .await;
}

/// Requests through a gateway of the Service until they are stopped.
pub(crate) fn traffic(cluster: &Cluster) -> Traffic {
    let resolver = cluster.resolver();
    Traffic::start(Duration::from_millis(10), move || {
        let address = resolver.service(NAMESPACE, "umbra-gateway").first().copied();
        async move {
            let address = address.ok_or_else(|| anyhow::anyhow!("no ready gateway"))?;
            Client::new(&Net::here(), (address, 80).into()).ask(&ask()).await
        }
    })
}
