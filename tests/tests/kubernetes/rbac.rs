//! The chart's rights: enough for everything that umbra does, and no more.

use std::collections::BTreeSet;

use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::paths;

use super::chart::{NAMESPACE, helm, namespace, wait_mirrored, wait_ready, web};

const COPY: &str = "web.example-shadow";

/// What the chart's ServiceAccount may do in a namespace, as `kubectl auth can-i --list` has it, in order.
fn rights(cluster: &Cluster, in_namespace: &str) -> String {
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:umbra");
    let listed = cluster.kubectl(&["auth", "can-i", "--list", &account, "-n", in_namespace]);
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: BTreeSet<String> = listed.lines().skip(1).map(line).collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Everything that umbra does is done, and the API server has refused nothing.
async fn assert_works(cluster: &Cluster) {
    wait_ready(cluster, 2, 2).await;
    cluster.apply(&web());
    cluster.wait_ready("default", "app=web", 2).await;
    wait_mirrored(cluster, COPY).await;
    for kind in ["virtualservice/web", "destinationrule/web", "gateway/edge"] {
        cluster.kubectl(&["wait", "--for=condition=Accepted", "--timeout=240s", kind]);
    }
    let holder = ["get", "lease", "umbra", "-n", NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = cluster.kubectl(&holder);
    let replicas = cluster.agent().pods(NAMESPACE, "app.kubernetes.io/component=control-plane");
    assert!(replicas.iter().any(|pod| holder.starts_with(&pod.name)), "{holder}");
    // A mirror without a target: what a person acts on.
    let patch = r#"[{"op": "replace", "path": "/spec/http/0/mirror/subset", "value": "v9"}]"#;
    cluster.kubectl(&["patch", "vs", "web", "--type=json", "-p", patch]);
    cluster.kubectl(&["wait", "--for=condition=MirrorsReady=False", "--timeout=240s", "virtualservice/web"]);
    cluster
        .wait_for("an Event about the mirror", || {
            let events = cluster.kubectl(&[
                "get",
                "events.events.k8s.io",
                "-o",
                "jsonpath={.items[*].regarding.kind}",
            ]);
            std::future::ready(events.contains("VirtualService"))
        })
        .await;
    for pod in &replicas {
        let log = pod.log("umbra");
        for word in ["forbidden", "lacks verb"] {
            assert!(!log.contains(word), "{word}: {log}");
        }
    }
}

#[test]
fn the_charts_rights_are_enough_and_no_more() {
    on_cluster(|cluster| async move {
        namespace(&cluster);
        helm(&cluster, "install", &[]);
        assert_works(&cluster).await;
        let own = format!("# in {NAMESPACE}, its own\n{}", rights(&cluster, NAMESPACE));
        let other = format!("# in default, as in any other\n{}", rights(&cluster, "default"));
        check("can-i.txt", &(own + &other));
    });
}

#[test]
fn a_role_in_each_namespace_is_enough() {
    on_cluster(|cluster| async move {
        namespace(&cluster);
        cluster.kubectl(&["create", "namespace", "elsewhere"]);
        helm(&cluster, "install", &["--set", "watchNamespaces={default,umbra-system}"]);
        assert_works(&cluster).await;
        let own = format!("# in {NAMESPACE}, its own\n{}", rights(&cluster, NAMESPACE));
        let watched = format!("# in default, which it watches\n{}", rights(&cluster, "default"));
        let other = format!("# in any other\n{}", rights(&cluster, "elsewhere"));
        check("can-i-scoped.txt", &(own + &watched + &other));
    });
}

/// Compares with a list in this folder; `UPDATE_GOLDEN=1` writes it.
fn check(name: &str, rights: &str) {
    let file = paths::workspace().join("tests/tests/kubernetes").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, rights).expect(name);
    }
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(rights, listed, "{name} on the right; UPDATE_GOLDEN=1 writes it");
}
