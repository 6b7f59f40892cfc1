//! The control plane goes and comes back. These tests show that the stage does what it says, so that those of umbra
//! prove something.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{PATIENCE, Part};
use umbra_testkit::wait;

use super::manifests::deployment;

#[test]
fn pods_live_on_without_an_api_server() {
    on_cluster(|mut cluster| async move {
        cluster.apply(&deployment("web", "web", "v1", 1));
        let pods = cluster.wait_ready("default", "app=web", 1).await;
        cluster.plane.kill(Part::ApiServer);
        assert!(cluster.admin().kubectl(&["get", "pods"]).is_err(), "nobody answers");
        assert!(pods[0].is_ready() && !pods[0].is_ended());
        cluster.plane.restart(Part::ApiServer).await.expect("it comes back");
        cluster.kubectl(&["scale", "deployment/web", "--replicas=2"]);
        cluster.wait_ready("default", "app=web", 2).await;
        assert!(!pods[0].is_ended(), "the outage has ended nobody");
    });
}

#[test]
fn a_frozen_api_server_goes_on_where_it_was() {
    on_cluster(|mut cluster| async move {
        cluster.plane.freeze(Part::ApiServer, true).expect("stopped");
        let out = cluster.admin().kubectl(&["get", "pods", "--request-timeout=1s"]);
        assert!(out.is_err(), "nobody answers");
        cluster.plane.freeze(Part::ApiServer, false).expect("running");
        cluster.plane.wait_ready().await.expect("it answers again");
    });
}

#[test]
fn a_lost_history_is_really_lost() {
    on_cluster(|mut cluster| async move {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client().clone(), "default");
        let listed = maps.list(&ListParams::default()).await.expect("a list");
        let version = listed.metadata.resource_version.expect("a version");
        cluster.kubectl(&["create", "configmap", "later", "--from-literal=a=b"]);
        cluster.plane.lose_history().await.expect("a new history");
        let told = || async {
            let code = match maps.watch(&WatchParams::default(), &version).await {
                Err(kube::Error::Api(status)) => status.code,
                Err(error) => panic!("{error}"),
                Ok(events) => match std::pin::pin!(events).next().await {
                    Some(Ok(WatchEvent::Error(status))) => status.code,
                    Some(Err(kube::Error::Api(status))) => status.code,
                    other => panic!("{other:?}"),
                },
            };
            // "Later": an API server that has just started fills its caches.
            (code != 429).then_some(code)
        };
        let code = wait::until(PATIENCE, told).await;
        assert_eq!(code, Some(410), "a watch from before must be told that its past is gone");
        cluster.kubectl(&["get", "configmap", "later"]);
    });
}
