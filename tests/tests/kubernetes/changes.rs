//! What people do to Pods and rules while requests flow, and none fails.

use umbra_testkit::cluster::stage::on_cluster;

use super::web::{self, SUBSETS, endpoints, rule, wait_endpoints, wait_share};

/// Scale up and down, roll out, change a Pod's label, turn Pods unready and ready.
#[test]
fn pods_come_and_go_without_a_failed_request() {
    on_cluster(|cluster| async move {
        let mesh = web::start(&cluster).await;
        let traffic = web::traffic(&mesh);
        cluster.kubectl(&["scale", "deployment/web-v1", "--replicas=5"]);
        wait_endpoints(&mesh, "v1", 5).await;
        cluster.kubectl(&["set", "env", "deployment/web-v1", "ROUND=2"]);
        cluster.kubectl(&["rollout", "status", "deployment/web-v1", "--timeout=300s"]);
        cluster.kubectl(&["set", "env", "deployment/web-v2", "ROUND=2"]);
        cluster.kubectl(&["rollout", "status", "deployment/web-v2", "--timeout=300s"]);
        let pods = cluster.wait_ready("default", "app=web,version=v1", 5).await;
        wait_endpoints(&mesh, "v1", 5).await;

        for pod in &pods[..2] {
            pod.set_ready(Some(false));
            wait_endpoints(&mesh, "v1", 4).await;
            pod.set_ready(None);
            wait_endpoints(&mesh, "v1", 5).await;
        }
        // It leaves its ReplicaSet, which makes another, and joins the other subset.
        cluster.kubectl(&["label", "pod", &pods[0].name, "version=v2", "--overwrite"]);
        wait_endpoints(&mesh, "v2", 2).await;
        wait_endpoints(&mesh, "v1", 5).await;
        let v2 = endpoints(&mesh, "outbound|8000|v2|web.default.svc.cluster.local").await;
        let address = pods[0].address().expect("an address").to_string();
        assert!(v2.iter().any(|endpoint| endpoint.starts_with(&address)), "{v2:?}");
        cluster.kubectl(&["scale", "deployment/web-v1", "--replicas=2"]);
        wait_endpoints(&mesh, "v1", 2).await;
        let tally = traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(tally.by("v1"), tally.times.len(), "a mirror answers nobody: {:?}", tally.servers);
        mesh.assert_clean().await;
    });
}

/// The three versions of an API are one object, a percentage is no route push, and what is deleted is gone.
#[test]
fn rules_change_without_a_failed_request() {
    on_cluster(|cluster| async move {
        let mesh = web::start(&cluster).await;
        let traffic = web::traffic(&mesh);
        let pushes = mesh.proxy("client").route_pushes().await.expect("statistics");
        for (version, percent) in [("v1beta1", 50.0), ("v1alpha3", 12.5), ("v1", 0.0), ("v1beta1", 100.0)] {
            cluster.apply(&rule(percent).replace("istio.io/v1", &format!("istio.io/{version}")));
            wait_share(&mesh, percent).await;
        }
        assert_eq!(mesh.proxy("client").route_pushes().await.expect("statistics"), pushes);
        let listed = cluster.kubectl(&["get", "virtualservices", "--no-headers"]);
        assert_eq!(listed.lines().count(), 1, "{listed}");

        // A mirror to a subset that nobody defines any more: no copy, and the primary stands.
        cluster.apply(
            &SUBSETS.replace("{name: v2, labels: {version: v2}}", "{name: v3, labels: {version: v2}}"),
        );
        mesh.wait_routes("client", "no mirror to a missing subset", |r| !r.contains("mirror|")).await;
        cluster.apply(SUBSETS);
        mesh.wait_routes("client", "the mirror again", |r| r.contains("mirror|8000|v2")).await;
        wait_share(&mesh, 100.0).await;
        cluster.kubectl(&["delete", "virtualservice", "web"]);
        mesh.wait_routes("client", "no mirror", |r| !r.contains("mirror|")).await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.assert_clean().await;
    });
}
