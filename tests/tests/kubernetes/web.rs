//! A small mesh that several tests start from: a Service `web` in two versions, a rule that copies from v1 to v2, and a
//! client with a sidecar.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use umbra_testkit::client::Ask;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::envoy::EnvoyProcess;

use super::manifests::{deployment, plain, service};

/// The port of `web` at the client's sidecar.
pub(crate) const PORT: u16 = 8000;

pub(crate) fn ask() -> Ask {
    Ask::get("web:8000", "/")
}

/// The rule for `web`: v1 answers, v2 gets this share of copies.
pub(crate) fn rule(percent: f64) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: [web]
  http:
  - route: [{{destination: {{host: web, subset: v1}}}}]
    mirror: {{host: web, subset: v2}}
    mirrorPercentage: {{value: {percent}}}
---
"
    )
}

/// The DestinationRule with the subsets v1 and v2.
pub(crate) const SUBSETS: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
";

/// Three Pods of v1, one of v2, the rules, umbra and the client's sidecar, which copies every request already.
pub(crate) async fn start(cluster: &Cluster) -> Mesh {
    start_with(cluster, &[]).await
}

/// As [`start`], with these further flags of umbra.
pub(crate) async fn start_with(cluster: &Cluster, flags: &[&str]) -> Mesh {
    cluster.install_crds("istio");
    start_copying(cluster, flags).await
}

/// As [`start_with`], with the CRDs that are there.
pub(crate) async fn start_copying(cluster: &Cluster, flags: &[&str]) -> Mesh {
    let mesh = start_workloads(cluster, flags).await;
    cluster.apply(&(SUBSETS.to_owned() + &rule(100.0)));
    wait_share(&mesh, 100.0).await;
    wait_endpoints(&mesh, "v1", 3).await;
    mesh.wait_targets("client", "|web.default").await;
    mesh
}

/// umbra with all rights and these flags, what `manifests` say, and a Pod `client` whose sidecar is ready.
pub(crate) async fn with_client(cluster: &Cluster, flags: &[&str], manifests: &str) -> Mesh {
    with_client_by(cluster, flags, manifests, &[]).await
}

/// As [`with_client`], with these further arguments of `umbra bootstrap` for the sidecar.
pub(crate) async fn with_client_by(
    cluster: &Cluster,
    flags: &[&str],
    manifests: &str,
    further: &[&str],
) -> Mesh {
    let started = Mesh::start(cluster, &cluster.admin(), flags).await;
    let mut mesh = started.unwrap_or_else(|e| panic!("{e:#}"));
    cluster.apply(&format!("{manifests}\n---\n{}", plain("client", "app: client", "pause", 0)));
    let client = cluster.wait_ready("default", "app=client", 1).await;
    mesh.start_proxy_by("sidecar", &client[0], further).await;
    mesh
}

/// The Service `web` with so many Pods of v1 and one of v2.
pub(crate) fn workloads(replicas: usize) -> String {
    deployment("web-v1", "web", "v1", replicas)
        + &deployment("web-v2", "web", "v2", 1)
        + &service("web", "web")
}

/// As [`start`], but for the rules.
pub(crate) async fn start_workloads(cluster: &Cluster, flags: &[&str]) -> Mesh {
    let mesh = with_client(cluster, flags, &workloads(3)).await;
    cluster.wait_ready("default", "app=web", 4).await;
    // All four, so that what a test finds now does not change under its hands.
    mesh.wait_endpoints("client", "outbound|8000||web.default.svc.cluster.local", 4).await;
    mesh.wait_status("client", PORT, &ask(), 200).await;
    mesh
}

/// Waits until the client's sidecar copies this share.
pub(crate) async fn wait_share(mesh: &Mesh, percent: f64) {
    mesh.wait_share("client", "mirror/default/web/", (percent * 10_000.0) as u32).await;
}

/// Requests of the client until they are stopped.
pub(crate) fn traffic(mesh: &Mesh) -> Traffic {
    Traffic::through(mesh.client("client", PORT), ask(), Duration::from_millis(2))
}

/// The endpoints of a cluster of the client's Envoy.
pub(crate) async fn endpoints(mesh: &Mesh, cluster: &str) -> BTreeSet<String> {
    let mut all = mesh.proxy("client").endpoints().await.unwrap_or_default();
    all.remove(cluster).unwrap_or_default()
}

/// Waits until the client's Envoy has so many endpoints of a subset of `web`.
pub(crate) async fn wait_endpoints(mesh: &Mesh, subset: &str, n: usize) {
    let cluster = format!("outbound|8000|{subset}|web.default.svc.cluster.local");
    mesh.wait_endpoints("client", &cluster, n).await;
}

/// Every resource that umbra has given to the client's Envoy: section, name, version.
pub(crate) async fn resources(mesh: &Mesh) -> BTreeSet<(String, String, String)> {
    resources_of(mesh.proxy("client")).await
}

/// Every resource that umbra has given to an Envoy.
pub(crate) async fn resources_of(envoy: &EnvoyProcess) -> BTreeSet<(String, String, String)> {
    fn walk(section: &str, value: &Value, found: &mut BTreeSet<(String, String, String)>) {
        if let Some(version) = value["version_info"].as_str().filter(|version| !version.is_empty()) {
            let inner = ["cluster", "route_config", "endpoint_config", "listener", "active_state"].iter();
            let inner = inner.map(|key| &value[*key]).find(|inner| inner.is_object()).unwrap_or(value);
            let name = ["cluster_name", "name"]
                .iter()
                .filter_map(|key| inner[*key].as_str().or(value[*key].as_str()));
            let name = name.take(1).collect::<String>();
            found.insert((section.to_owned(), name, version.to_owned()));
        }
        let fields = value.as_object().into_iter().flat_map(|o| o.values());
        for inner in fields.chain(value.as_array().into_iter().flatten()) {
            walk(section, inner, found);
        }
    }
    let dump = envoy.json("/config_dump?include_eds").await.unwrap_or_else(|e| panic!("{e:#}"));
    let mut found = BTreeSet::new();
    for config in dump["configs"].as_array().into_iter().flatten() {
        walk(config["@type"].as_str().unwrap_or_default(), config, &mut found);
    }
    found
}
