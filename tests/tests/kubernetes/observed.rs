//! What the status says of copies that are really made, and that it is not written because a figure moves.

use std::time::Duration;

use serde_json::Value;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh};

use super::status::{events, install_own_crds, message, wait_condition};
use super::web::{self, PORT, ask};

/// The statuses that umbra has written.
async fn writes(mesh: &Mesh) -> String {
    let text = mesh.get("/metrics").await.unwrap_or_else(|e| panic!("{e:#}"));
    text.lines().filter(|line| line.starts_with("umbra_status_writes_total")).collect::<Vec<_>>().join("\n")
}

fn line(now: &Value) -> String {
    now["status"]["mirrors"].as_str().unwrap_or_default().to_owned()
}

fn told(cluster: &Cluster, event: &str) -> bool {
    events(cluster, "web").iter().any(|it| it == event)
}

#[test]
fn copies_are_counted_in_the_status_and_lost_ones_are_an_alarm() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = web::start_copying(&cluster, &[]).await;
        assert!(mesh.send("client", PORT, &ask(), 300).await.all_ok(300));
        let now = wait_condition(&cluster, &mesh, "web", "Observed=True/Copying").await;
        assert!(message(&now, "Observed").starts_with("v2 100%: seen 100%, 0% 5xx of "), "{now:#}");
        assert_eq!(line(&now), "v2 100% live 1/1, seen 100%, 0% 5xx");

        // Figures move, and nothing is written.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let before = writes(&mesh).await;
        let traffic = web::traffic(&mesh);
        tokio::time::sleep(Duration::from_secs(25)).await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(writes(&mesh).await, before);

        // One that starts anew knows nothing, and takes nothing back.
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        tokio::time::sleep(Duration::from_secs(25)).await;
        let now = wait_condition(&cluster, &mesh, "web", "Observed=True/Copying").await;
        assert_eq!(line(&now), "v2 100% live 1/1, seen 100%, 0% 5xx");

        cluster.kubectl(&["scale", "deployment/web-v2", "--replicas=0"]);
        mesh.wait_for("the copies to have no endpoint", || async {
            web::endpoints(&mesh, "mirror|8000|v2|web.default.svc.cluster.local").await.is_empty()
        })
        .await;
        assert!(mesh.send("client", PORT, &ask(), 300).await.all_ok(300));
        let now = wait_condition(&cluster, &mesh, "web", "Observed=False/LostNoEndpoint").await;
        assert!(message(&now, "Observed").contains(" lost (LostNoEndpoint)"), "{now:#}");
        cluster.wait_for("the Event", || std::future::ready(told(&cluster, "Warning NotCopied"))).await;
    });
}

/// A proxy that is gone goes on as it was told, as far as anybody knows: until its Pod is gone.
#[test]
fn a_proxy_that_is_away_is_counted_and_named_while_its_pod_is_there() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = web::start_copying(&cluster, &[]).await;
        let pod = mesh.pod("client").name.clone();
        wait_condition(&cluster, &mesh, "web", "Programmed=True/Live").await;
        mesh.kill_proxy("client");
        let away = || {
            let now = cluster.admin().json(&["virtualservice", "web"]).unwrap_or_default();
            std::future::ready(line(&now).contains("live 1/1 (1 away)"))
        };
        cluster.wait_for("the proxy to be away", away).await;
        let now = wait_condition(&cluster, &mesh, "web", "Programmed=True/Live").await;
        let words = message(&now, "Programmed");
        assert!(words.contains(&format!("away: {pod} since ")) && words.contains("told v2 100%"), "{words}");

        // It cannot be told that the mirror was stopped.
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/stop=all"]);
        let now = wait_condition(&cluster, &mesh, "web", "Stopped=False/Stopping").await;
        assert!(message(&now, "Stopped").contains(&format!("waiting for {pod}")), "{now:#}");
        let now = wait_condition(&cluster, &mesh, "web", "Programmed=False/Pending").await;
        assert!(message(&now, "Programmed").contains("told v2 100%"), "{now:#}");

        cluster.kubectl(&["delete", "pod", &pod, "--wait=false"]);
        wait_condition(&cluster, &mesh, "web", "Programmed=Unknown/NoProxies").await;
        wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
    });
}
