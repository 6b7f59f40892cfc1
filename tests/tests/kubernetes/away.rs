//! The API server is away, umbra is away, or both: proxies keep what they have, and nothing is taken for a deletion.

use std::time::{Duration, Instant};

use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh, Part};

use super::manifests::plain;
use super::web::{self, resources, rule, wait_endpoints, wait_share};

/// As long as the outage that umbra must sit out.
const OUTAGE: Duration = Duration::from_secs(60);

/// How soon after it a change must be live: umbra's longest pause between two attempts is four seconds, and the rest is
/// for `kubectl` on a busy machine.
const BACK: Duration = Duration::from_secs(60);

/// The API server goes, and the controllers with it: after an outage they would pause for up to a minute, and what
/// they then do late is not umbra's.
fn go_away(cluster: &mut Cluster) {
    cluster.plane.kill(Part::ApiServer);
    cluster.plane.kill(Part::Controllers);
}

async fn come_back(cluster: &mut Cluster) {
    for part in [Part::ApiServer, Part::Controllers] {
        cluster.plane.restart(part).await.unwrap_or_else(|e| panic!("{e:#}"));
    }
}

/// What the Envoy has is what a new umbra would give it.
async fn assert_as_rebuilt(cluster: &Cluster, mesh: &mut Mesh) {
    let before = resources(mesh).await;
    assert!(before.len() > 5, "{before:?}");
    mesh.kill_umbra();
    mesh.start_umbra().expect("umbra starts");
    mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
    // A change that only the new umbra can have sent.
    cluster.apply(&rule(77.0));
    wait_share(mesh, 77.0).await;
    cluster.apply(&rule(25.0));
    wait_share(mesh, 25.0).await;
    assert_eq!(resources(mesh).await, before);
}

/// Changes a rule and the Pods, and waits until both are live; gives the time that it took.
async fn change(cluster: &Cluster, mesh: &Mesh) -> Duration {
    let start = Instant::now();
    cluster.apply(&rule(25.0));
    cluster.kubectl(&["scale", "deployment/web-v1", "--replicas=4"]);
    wait_share(mesh, 25.0).await;
    let took = start.elapsed();
    wait_endpoints(mesh, "v1", 4).await;
    took
}

#[test]
fn an_outage_of_a_minute_takes_nothing_away() {
    on_cluster(|mut cluster| async move {
        let mut mesh = web::start(&cluster).await;
        let before = resources(&mesh).await;
        let traffic = web::traffic(&mesh);
        go_away(&mut cluster);
        tokio::time::sleep(OUTAGE).await;
        assert_eq!(resources(&mesh).await, before, "nobody told umbra anything");
        come_back(&mut cluster).await;
        let took = change(&cluster, &mesh).await;
        assert!(took < BACK, "a change was live {took:?} after the API server was back");
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_as_rebuilt(&cluster, &mut mesh).await;
        mesh.assert_clean().await;
    });
}

#[test]
fn a_lost_history_is_read_anew() {
    on_cluster(|mut cluster| async move {
        let mut mesh = web::start(&cluster).await;
        let traffic = web::traffic(&mesh);
        // What happens while umbra sleeps it can learn from no watch any more.
        mesh.umbra().expect("umbra").freeze(true).expect("asleep");
        cluster.kubectl(&["delete", "virtualservice", "web"]);
        cluster.plane.lose_history().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.umbra().expect("umbra").freeze(false).expect("awake");
        mesh.wait_routes("client", "no mirror", |routes| !routes.contains("mirror|")).await;
        let took = change(&cluster, &mesh).await;
        assert!(took < BACK, "a change was live after {took:?}");
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_as_rebuilt(&cluster, &mut mesh).await;
        mesh.assert_clean().await;
    });
}

#[test]
fn umbra_starts_again_while_the_api_server_is_away() {
    on_cluster(|mut cluster| async move {
        let mut mesh = web::start(&cluster).await;
        let before = resources(&mesh).await;
        let traffic = web::traffic(&mesh);
        go_away(&mut cluster);
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        // It must not claim to know a mesh that it has not read.
        for _ in 0..30 {
            assert!(mesh.get("/readyz").await.is_err(), "ready without an API server");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(resources(&mesh).await, before, "an umbra that knows nothing takes nothing away");
        come_back(&mut cluster).await;
        let took = change(&cluster, &mesh).await;
        assert!(took < BACK, "a change was live after {took:?}");
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_as_rebuilt(&cluster, &mut mesh).await;
    });
}

/// With the last good state on disk new proxies are served as well, and nothing that went meanwhile stays.
#[test]
fn the_last_good_state_is_served_while_the_api_server_is_away() {
    on_cluster(|mut cluster| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().to_str().expect("text");
        let mut mesh = web::start_with(&cluster, &["--last-good", folder]).await;
        // A Pod whose sidecar starts later.
        cluster.apply(&plain("late", "app: late", "pause", 0));
        let late = cluster.wait_ready("default", "app=late", 1).await;
        let traffic = web::traffic(&mesh);
        // What is told is on disk a second later; this share is the last of it.
        cluster.apply(&rule(55.0));
        wait_share(&mesh, 55.0).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        go_away(&mut cluster);
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        let detail = mesh.get("/readyz?verbose").await.expect("an answer");
        assert!(detail.contains("degraded") && detail.contains("read from disk, as of 20"), "{detail}");
        // One that nobody has served before.
        mesh.start_proxy("sidecar", &late[0]).await;
        mesh.wait_routes("late", "the mirror", |routes| routes.contains("mirror|")).await;
        come_back(&mut cluster).await;
        let took = change(&cluster, &mesh).await;
        assert!(took < BACK, "a change was live after {took:?}");
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_as_rebuilt(&cluster, &mut mesh).await;
        mesh.assert_clean().await;
    });
}
