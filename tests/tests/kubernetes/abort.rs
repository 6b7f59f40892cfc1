//! A mirror that stops by itself in a cluster: the object says so, for whoever leads next, until somebody takes it back.

use umbra_testkit::cluster::Part;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::echo::Mode;

use super::replicas::WATCHED;
use super::status::{events, install_own_crds, message, wait_condition};
use super::web;

#[test]
fn a_bad_shadow_is_stopped_for_good_and_taken_back_by_hand() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = web::start_copying(&cluster, &[]).await;
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/abort=shadowErrors=20%/10s/50"]);
        let now = wait_condition(&cluster, &mesh, "web", "Aborted=False/WithinLimits").await;
        assert_eq!(message(&now, "Aborted"), "v2: shadowErrors 20% in 10s of 50");
        for pod in cluster.agent().pods("default", "version=v2") {
            pod.set_mode(Mode::Status(500));
        }
        let traffic = web::traffic(&mesh);
        web::wait_share(&mesh, 0.0).await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        let now = wait_condition(&cluster, &mesh, "web", "Aborted=True/ShadowErrors").await;
        assert!(message(&now, "Aborted").contains(" answers to copies were 5xx, "), "{now:#}");
        wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        let stop = now["metadata"]["annotations"]["umbra.io/stop"].as_str().unwrap_or_default();
        assert!(
            stop.starts_with("mirror/default/web/") && stop.ends_with("|v2|web.default.svc.cluster.local"),
            "{now:#}"
        );
        let told = || std::future::ready(events(&cluster, "web").iter().any(|it| it == "Warning Aborted"));
        cluster.wait_for("the Event", told).await;

        // Nothing but the object remembers.
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        web::wait_share(&mesh, 0.0).await;
        let again = wait_condition(&cluster, &mesh, "web", "Aborted=True/ShadowErrors").await;
        assert_eq!(message(&again, "Aborted"), message(&now, "Aborted"));

        for pod in cluster.agent().pods("default", "version=v2") {
            pod.set_mode(Mode::Normal);
        }
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/stop-"]);
        web::wait_share(&mesh, 100.0).await;
        wait_condition(&cluster, &mesh, "web", "Aborted=False/WithinLimits").await;
    });
}

/// An API server that takes connections and answers nothing: copies stop all the same, and the stop is written when it is back.
#[test]
fn an_api_server_that_hangs_keeps_no_bad_shadow_going() {
    on_cluster(|mut cluster| async move {
        install_own_crds(&cluster);
        let mesh = web::start_copying(&cluster, &[]).await;
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/abort=shadowErrors=20%/10s/50"]);
        wait_condition(&cluster, &mesh, "web", "Aborted=False/WithinLimits").await;
        let shadows = cluster.agent().pods("default", "version=v2");
        assert!(!shadows.is_empty());
        cluster.plane.freeze(Part::ApiServer, true).expect("stopped");
        shadows.iter().for_each(|pod| pod.set_mode(Mode::Status(500)));
        let traffic = web::traffic(&mesh);
        web::wait_share(&mesh, 0.0).await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        // It goes on hanging for longer than umbra waits for it, and nothing is copied.
        tokio::time::sleep(WATCHED).await;
        web::wait_share(&mesh, 0.0).await;

        cluster.plane.freeze(Part::ApiServer, false).expect("running");
        cluster.plane.wait_ready().await.expect("it answers again");
        wait_condition(&cluster, &mesh, "web", "Aborted=True/ShadowErrors").await;
        let written = || {
            let now = cluster.admin().json(&["virtualservice", "web"]).unwrap_or_default();
            let annotations = &now["metadata"]["annotations"];
            std::future::ready(
                annotations["umbra.io/aborted"].is_string() && annotations["umbra.io/stop"].is_string(),
            )
        };
        cluster.wait_for("the stop to be written", written).await;
        wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        web::wait_share(&mesh, 0.0).await;
    });
}
