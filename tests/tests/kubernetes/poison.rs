//! An object that the API server stores and that nobody can read is named, and is the trouble of no other.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::json;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::gate::measured;
use umbra_testkit::paths;

use super::rights;

/// A rule; with `levels`, an unknown field nested so deep.
fn rule(name: &str, levels: usize) -> String {
    let deep = "{x: ".repeat(levels) + "1" + &"}".repeat(levels);
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  http: [{{route: [{{destination: {{host: {name}.example}}}}]}}]
  nothing: {deep}
"
    )
}

/// Waits until umbra has something to say about the rule of this name.
async fn wait_said(mesh: &Mesh, name: &str, words: &str) {
    mesh.wait_for(&format!("a word about {name}: {words}"), || async {
        mesh.get("/debug/diagnostics").await.is_ok_and(|text| text.contains(name) && text.contains(words))
    })
    .await;
}

/// How long others' rules take, from before they are written until umbra has something to say about them: the slowest of some.
async fn slowest(cluster: &Cluster, mesh: &Mesh, prefix: &str) -> Duration {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(cluster.client().clone(), &kind);
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let name = format!("{prefix}-{n}");
        let rule = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
            "spec": {"hosts": [format!("{name}.example")], "nothing": 1},
        });
        let rule = serde_json::from_value(rule).expect("a rule");
        let begun = Instant::now();
        api.create(&PostParams::default(), &rule).await.expect("it is stored");
        wait_said(mesh, &name, "UnknownField").await;
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[test]
fn one_object_stops_no_other() {
    on_cluster(|cluster| async move {
        let file = paths::workspace().join("deploy/crds/networking.istio.io.yaml");
        cluster.admin().install_crds(&file).unwrap_or_else(|e| panic!("{e:#}"));
        let user = rights::umbra(&cluster);
        for round in ["while it runs", "when it starts"] {
            let mesh = Mesh::start(&cluster, &user, &[]).await.unwrap_or_else(|e| panic!("{round}: {e:#}"));
            // Said of the second round's rule: it is new, while the poison is there from the start.
            let after = format!("after-{}", round.len());
            cluster.apply(&rule("deep", 200));
            wait_said(&mesh, "deep", "recursion limit").await;
            cluster.apply(&rule(&after, 1));
            wait_said(&mesh, &after, "UnknownField").await;
            let slowest = slowest(&cluster, &mesh, &after).await.as_millis();
            measured(&format!("beside an object that nobody can read, {round}: others' within {slowest} ms"));
        }
    });
}
