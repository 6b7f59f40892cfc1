//! Where a client is, and whom it asks.

use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, pod, rules, service, web_subsets};

use super::{WEB, get};

/// `web` with v1 in zone z1 of region r1, v2 in z2, v3 in region r2; and a client in z1.
async fn placed(policy: &str) -> World {
    let at = |version: &str, ip: &str, place: &str| {
        pod("default", "web", version, ip, true)
            .replace("    app: web\n", &format!("    app: web\n    topology.istio.io/locality: {place}\n"))
    };
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    let objects = [
        service("default", "web", &[("http", 8000, 8080)]),
        at("v1", "127.0.1.1", "r1.z1"),
        at("v2", "127.0.1.2", "r1.z2"),
        at("v3", "127.0.1.3", "r2.z1"),
        web_subsets("v1 v2 v3", policy),
    ];
    world.write("web.yaml", &all(&objects));
    world.write(
        "rules.yaml",
        &rules("web", "web", "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}\n"),
    );
    world.start_umbra().await;
    world.start_proxy("client", "sidecar/default/topology.istio.io/locality=r1.z1").await;
    world
}

/// The nearest alone, and the next when that one is out.
#[test]
fn the_next_zone_takes_over() {
    isolated(async {
        let world = placed(
            "trafficPolicy:\n  outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 1h, maxEjectionPercent: 100}\n",
        )
        .await;
        for (out, serves) in [(None, "v1"), (Some("v1"), "v2"), (Some("v2"), "v3")] {
            if let Some(out) = out {
                world.echo(out).set_mode(Mode::Status(500));
            }
            world
                .wait_for(&format!("{serves} to serve alone"), || async {
                    let tally = world.send(WEB, &get(), 40).await;
                    tally.all_ok(40) && tally.by(serves) == 40
                })
                .await;
        }
    });
}

/// Without outlier detection nobody is preferred.
#[test]
fn without_outlier_detection_all_serve() {
    isolated(async {
        let world =
            placed("trafficPolicy:\n  loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}\n")
                .await;
        world
            .wait_for("all to serve", || async {
                let tally = world.send(WEB, &get(), 60).await;
                tally.all_ok(60) && tally.servers.len() == 3
            })
            .await;
    });
}

/// Shares by place, whatever the number of endpoints; who is in no place gets nothing.
#[test]
fn shares_are_as_written() {
    isolated(async {
        let world = placed(
            "trafficPolicy:\n  loadBalancer:\n    simple: ROUND_ROBIN\n    localityLbSetting: {distribute: [{from: r1/z1, to: {r1/z1: 75, r2/*: 25}}]}\n",
        )
        .await;
        world
            .wait_for("shares", || async {
                let tally = world.send(WEB, &get(), 200).await;
                let near = tally.by("v1");
                tally.all_ok(200) && tally.by("v2") == 0 && (120..=180).contains(&near)
            })
            .await;
    });
}
