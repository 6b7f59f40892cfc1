//! umbra in a Pod of the cluster, limited to a namespace and to labels, with the rights of a Role alone.

use serde_json::Value;
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::agent::PodState;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::net::Net;
use umbra_testkit::paths;

use super::manifests::service;

/// The namespace that umbra lives in, and its Pods.
const HOME: &str = "umbra-system";
const PODS: &str = "app.kubernetes.io/name=umbra,app.kubernetes.io/component=control-plane";

/// A rule for `web` in `namespace` with this label.
fn rule(name: &str, namespace: &str, tier: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}, labels: {{tier: {tier}}}}}
spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web}}}}], mirror: {{host: web}}}}]}}
---
"
    )
}

fn in_namespace(namespace: &str, manifest: &str) -> String {
    manifest.replace("metadata: {name: web}", &format!("metadata: {{name: web, namespace: {namespace}}}"))
}

/// What a Pod of umbra answers to `GET path` on its probe address; `None` while it does not.
async fn probe(pod: &PodState, path: &str) -> Option<(u16, String)> {
    let address = (pod.address()?, 15020).into();
    let answer = Client::new(&Net::here(), address).ask(&Ask::get("localhost", path)).await.ok()?;
    Some((answer.status.as_u16(), answer.text()))
}

/// The objects that a Pod of umbra has read: `Kind namespace/name`.
async fn objects(pod: &PodState) -> Vec<String> {
    let admin = ([127, 0, 0, 1], 15014).into();
    let mut client = Client::new(&pod.net().expect("a network"), admin);
    let answer = client.ask(&Ask::get("localhost", "/debug/objects")).await.expect("an answer");
    let listed: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let listed = listed["objects"].as_array().or(listed.as_array()).expect("a list").iter();
    let text = |object: &Value, key: &str| {
        object[key].as_str().or(object["object"][key].as_str()).unwrap_or_default().to_owned()
    };
    listed.map(|o| format!("{} {}/{}", text(o, "kind"), text(o, "namespace"), text(o, "name"))).collect()
}

/// Whether the rule `name` carries a condition.
fn is_told(cluster: &Cluster, namespace: &str, name: &str) -> bool {
    let conditions = "jsonpath={.status.conditions[*].type}";
    cluster.kubectl(&["get", "virtualservice", "-n", namespace, name, "-o", conditions]).contains("Accepted")
}

#[test]
fn a_role_in_one_namespace_is_enough() {
    on_cluster(|cluster| async move {
        cluster.kubectl(&["create", "namespace", "shop"]);
        cluster.kubectl(&["create", "namespace", "other"]);
        let chart = paths::workspace().join("deploy/chart").display().to_string();
        let scope = [
            "--set",
            "replicas=1,gateway.enabled=false,watchNamespaces={shop},watchSelector=tier=web,identity=none",
        ];
        let install = [&["install", "umbra", &chart, "-n", HOME, "--create-namespace"], &scope[..]].concat();
        cluster.admin().helm(&install).unwrap_or_else(|e| panic!("{e:#}"));
        let roles = cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]);
        assert!(!roles.contains("umbra"), "a Role is enough: {roles}");
        let pods = cluster.wait_ready(HOME, PODS, 1).await;

        let near = rule("mirrored", "shop", "web") + &rule("unlabelled", "shop", "none");
        let far = rule("mirrored", "other", "web");
        let services =
            in_namespace("shop", &service("web", "web")) + &in_namespace("other", &service("web", "web"));
        cluster.apply(&(near + &far + &services));
        cluster
            .wait_for("the status of the rule", || std::future::ready(is_told(&cluster, "shop", "mirrored")))
            .await;
        let want = ["Service shop/web", "VirtualService shop/mirrored"];
        cluster
            .wait_for("the objects in scope", || async {
                let mut read = objects(&pods[0]).await;
                read.retain(|object| !object.contains("shop/kube-root-ca"));
                read.sort();
                read.iter()
                    .filter(|object| object.starts_with("Service ") || object.starts_with("Virtual"))
                    .eq(want)
            })
            .await;
        let read = objects(&pods[0]).await;
        assert!(read.iter().all(|object| object.contains(" shop/")), "{read:?}");
        assert!(!is_told(&cluster, "shop", "unlabelled") && !is_told(&cluster, "other", "mirrored"));

        // Without the Role a new umbra is not ready, and names what it lacks; with it, it needs no other start.
        let binding = cluster.kubectl(&["get", "rolebinding", "-n", "shop", "-o", "yaml"]);
        cluster.kubectl(&["delete", "rolebinding", "-n", "shop", "--all"]);
        cluster.kubectl(&["delete", "pod", "-n", HOME, &pods[0].name]);
        cluster
            .wait_for("another Pod", || std::future::ready(cluster.agent().pods(HOME, PODS).len() == 1))
            .await;
        let pod = cluster.agent().pods(HOME, PODS).remove(0);
        let lacks = "verb \"list\" on resource \"pods\" of apiGroup \"\" in the Role in namespace shop";
        cluster
            .wait_for("the missing right", || async {
                let answer = probe(&pod, "/readyz?verbose").await;
                answer.is_some_and(|(status, text)| status == 503 && text.contains(lacks))
            })
            .await;
        cluster.admin().on_manifests(&["create"], &binding).unwrap_or_else(|e| panic!("{e:#}"));
        cluster.wait_ready(HOME, PODS, 1).await;
        assert!(!pod.is_ended(), "the same umbra");
    });
}
