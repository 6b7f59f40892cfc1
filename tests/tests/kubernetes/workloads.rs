//! What a person does to a Deployment, and what the test node makes of it. Nothing of umbra takes part: this is the
//! ground that the other tests stand on.

use std::time::Duration;

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Resolver};
use umbra_testkit::net::Net;

use super::manifests::{deployment, service};

/// Asks the ready Pods of the Service `web` in turn, as a proxy that knows its EndpointSlices would.
fn traffic(resolver: Resolver) -> Traffic {
    let mut turn = 0;
    Traffic::start(Duration::from_millis(10), move || {
        let addresses = resolver.service("default", "web");
        turn += 1;
        let address = addresses.get(turn % addresses.len().max(1)).copied();
        async move {
            let address = address.ok_or_else(|| anyhow::anyhow!("no ready Pod"))?;
            Client::new(&Net::here(), (address, 8080).into()).ask(&Ask::get("web", "/")).await
        }
    })
}

async fn wait_slices(cluster: &Cluster, n: usize) {
    let resolver = cluster.resolver();
    cluster
        .wait_for(&format!("{n} ready endpoints"), || {
            std::future::ready(resolver.service("default", "web").len() == n)
        })
        .await;
}

#[test]
fn a_deployment_comes_changes_and_goes_without_a_failed_request() {
    on_cluster(|cluster| async move {
        cluster.apply(&(deployment("web", "web", "v1", 2) + &service("web", "web")));
        let pods = cluster.wait_ready("default", "app=web", 2).await;
        wait_slices(&cluster, 2).await;
        let listed = cluster.kubectl(&["get", "pods", "--no-headers"]);
        assert!(listed.lines().all(|line| line.contains("1/1") && line.contains("Running")), "{listed}");

        let requests = traffic(cluster.resolver());
        cluster.kubectl(&["scale", "deployment/web", "--replicas=3"]);
        wait_slices(&cluster, 3).await;
        cluster.kubectl(&["set", "env", "deployment/web", "ROUND=2"]);
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=300s"]);
        cluster
            .wait_for("the old Pods to end", || std::future::ready(pods.iter().all(|p| p.is_ended())))
            .await;
        let new = cluster.wait_ready("default", "app=web", 3).await;
        wait_slices(&cluster, 3).await;
        new[0].set_ready(Some(false));
        wait_slices(&cluster, 2).await;
        new[0].set_ready(None);
        wait_slices(&cluster, 3).await;
        let tally = requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        let seen: usize = cluster.agent().all("default", "app=web").iter().map(|p| p.requests().len()).sum();
        assert_eq!(seen, tally.by("v1"), "every request reached one Pod, probes apart");

        cluster.kubectl(&["delete", "deployment/web", "service/web"]);
        wait_slices(&cluster, 0).await;
        cluster.wait_for("the Pods to go", || std::future::ready(cluster.agent().living().is_empty())).await;
        assert!(cluster.kubectl(&["get", "pods", "--no-headers"]).trim().is_empty());
    });
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it() {
    on_cluster(|cluster| async move {
        cluster.kubectl(&["create", "namespace", "test"]);
        let manifests = deployment("web", "web", "v1", 1) + &service("web", "web");
        let admin = cluster.admin();
        admin.on_manifests(&["apply", "-n", "test"], &manifests).expect("applied");
        cluster.wait_ready("test", "app=web", 1).await;
        cluster.kubectl(&["delete", "namespace/test"]);
        assert!(cluster.agent().living().is_empty());
    });
}
