//! Endpoints that fail are taken out; what copies are answered takes out nobody.

use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{pod, rules, to_v1, web_subsets};

use super::{WEB, get, wait_share, web_with};

/// A rule without retries, so that every failure is seen.
const TO_ALL: &str = "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}\n";

fn ejecting(fields: &str) -> String {
    web_subsets("v1 v2 v3", &format!("trafficPolicy:\n  outlierDetection: {{{fields}}}\n"))
}

async fn ejected(world: &World, cluster: &str) -> u64 {
    let name = format!("cluster.{cluster}|web.default.svc.cluster.local.outlier_detection.ejections_active");
    world.proxy("client").stat(&name).await
}

/// Sends until v2, which fails with `status`, has failed often enough, and answers whether it is asked no more.
async fn check(fields: &str, status: u16, taken_out: bool) {
    let objects = umbra_tests::manifests::all(&[
        umbra_tests::manifests::service("default", "web", &[("http", 8000, 8080)]),
        pod("default", "web", "v1", "127.0.1.1", true),
        pod("default", "web", "v2", "127.0.1.2", true),
        ejecting(fields),
    ]);
    let rule = rules("web", "web", TO_ALL);
    let world = web_with(&[("web.yaml", &objects), ("rules.yaml", &rule)], "").await;
    world.echo("v2").set_mode(Mode::Status(status));
    world
        .wait_for("v2 to have failed", || async {
            world.send(WEB, &get(), 20).await;
            world.echo("v2").count() >= 2
        })
        .await;
    // Envoy tells its threads of one change a second.
    world
        .wait_for(&format!("v2 to be out: {taken_out}"), || async {
            world.forget().await;
            let tally = world.send(WEB, &get(), 60).await;
            tally.all_ok(60) == taken_out && (world.echo("v2").count() == 0) == taken_out
        })
        .await;
    assert_eq!(ejected(&world, "outbound|8000|").await, u64::from(taken_out), "{fields} {status}");
}

#[test]
fn an_endpoint_that_fails_is_taken_out() {
    isolated(async {
        check("consecutive5xxErrors: 2, baseEjectionTime: 1h, maxEjectionPercent: 100", 500, true).await;
    });
}

#[test]
fn other_statuses_can_count() {
    isolated(async {
        let fields = "consecutive5xxErrors: 2, baseEjectionTime: 1h, maxEjectionPercent: 100, \
                      outlierDetectionHttpErrorCodes: [429, 418]";
        check(fields, 418, true).await;
    });
}

/// Envoy's default of 10 % is less than one of two, in Istio too.
#[test]
fn no_more_than_allowed_are_taken_out() {
    isolated(async {
        check("consecutive5xxErrors: 2, baseEjectionTime: 1h", 500, false).await;
    });
}

/// With fewer left than `minHealthPercent` all are asked, those that are out too.
#[test]
fn too_few_left_are_not_asked_alone() {
    isolated(async {
        let fields =
            "consecutive5xxErrors: 2, baseEjectionTime: 1h, maxEjectionPercent: 100, minHealthPercent: 60";
        let rule = rules("web", "web", TO_ALL);
        let world = web_with(&[("rules.yaml", &rule)], "").await;
        world.write(
            "web.yaml",
            &umbra_tests::manifests::web().replace(&web_subsets("v1 v2 v3", ""), &ejecting(fields)),
        );
        world.wait_config("client", "ClustersConfigDump", "max_ejection_percent").await;
        for name in ["v1", "v2"] {
            world.echo(name).set_mode(Mode::Status(500));
        }
        world
            .wait_for("two to be out", || async {
                world.send(WEB, &get(), 20).await;
                ejected(&world, "outbound|8000|").await == 2
            })
            .await;
        // Envoy tells its threads of one change a second.
        world
            .wait_for("all to be asked", || async {
                world.forget().await;
                world.send(WEB, &get(), 90).await;
                world.counts().values().all(|count| *count > 0)
            })
            .await;
    });
}

/// A copy's answer is nobody's measure: neither the target of copies nor the same endpoint as a destination is taken out.
#[test]
fn copies_take_nobody_out() {
    isolated(async {
        let fields = "consecutive5xxErrors: 1, baseEjectionTime: 1h, maxEjectionPercent: 100";
        let rule = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
        let objects = umbra_tests::manifests::web().replace(&web_subsets("v1 v2 v3", ""), &ejecting(fields));
        let world = web_with(&[("web.yaml", &objects), ("rules.yaml", &rule)], "").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Status(500));
        world.forget().await;
        assert!(world.send(WEB, &get(), 30).await.all_ok(30));
        assert_eq!(world.echo("v2").count(), 30, "every copy arrives, however it is answered");
        world.echo("v2").set_mode(Mode::Normal);
        world
            .write("rules.yaml", &rules("web", "web", "- route: [{destination: {host: web, subset: v2}}]\n"));
        world
            .wait_for("v2 to serve", || async {
                let tally = world.send(WEB, &get(), 10).await;
                assert!(tally.all_ok(10), "{tally:?}");
                tally.by("v2") == 10
            })
            .await;
        world.assert_clean().await;
    });
}
