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
        wait_condition(&cluster, &mesh, "web", "Observed=Unknown/TooFewRequests").await;
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
