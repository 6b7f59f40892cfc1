//! A mirror cannot hurt the primary: it is slow, it hangs, it is gone, it fails.

use std::time::Duration;

use umbra_testkit::client::send;
use umbra_testkit::client::{Ask, Tally};
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{get, wait_share, web, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";
/// How long a copy may hang unless a setting says otherwise.
const HANGS: Duration = Duration::from_secs(60);
const COPIES: &str = "cluster.mirror|8000|v2|web.default.svc.cluster.local";

/// Sends without waiting for copies to end: some never do.
async fn burst(world: &World, n: usize) -> Tally {
    let tally = send(world.net(), ([127, 0, 0, 1], 8000).into(), &get(), n).await;
    assert!(tally.all_ok(n) && tally.by("v1") == n, "{tally:?}");
    tally
}

#[test]
fn a_mirror_that_hangs_costs_the_primary_nothing() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Hang);
        // A copy is given up after a minute: nobody has waited for one.
        let slowest = burst(&world, 500).await.quantile(1.0);
        assert!(slowest < HANGS / 2, "{slowest:?}");
        let waiting = world.proxy("client").stat(&format!("{COPIES}.upstream_rq_active")).await;
        assert!(waiting > 0, "the copies hang");
    });
}

#[test]
fn limits_hold_back_copies_and_nothing_else() {
    isolated(async {
        let limits =
            "mirror: {circuitBreakers: {maxConnections: 5, maxPendingRequests: 5, maxRequests: 5}}\n";
        let world = web_with(&[("rules.yaml", &rules("web", "web", &to_v1(TO_V2)))], limits).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Hang);
        burst(&world, 200).await;
        let stats = world.proxy("client").stats().await.expect("statistics");
        let stat = |name: &str| stats.get(&format!("{COPIES}.{name}")).copied().unwrap_or_default();
        assert!(stat("upstream_rq_active") <= 5 && stat("upstream_cx_active") <= 5, "{stats:?}");
        assert!(stat("upstream_rq_pending_overflow") >= 180, "{}", stat("upstream_rq_pending_overflow"));
        assert!(world.echo("v2").count() <= 10);
    });
}

#[test]
fn limits_are_finite_without_any_setting() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let clusters = world.proxy("client").section("ClustersConfigDump").await.expect("clusters");
        let all = clusters["dynamic_active_clusters"].as_array().expect("a list");
        let name = "mirror|8000|v2|web.default.svc.cluster.local";
        let cluster =
            &all.iter().find(|c| c["cluster"]["name"] == name).expect("the mirror's cluster")["cluster"];
        // Without thresholds Envoy limits to 1024 of each; what is written must not be more.
        for threshold in cluster["circuit_breakers"]["thresholds"].as_array().into_iter().flatten() {
            for limit in ["max_connections", "max_pending_requests", "max_requests"] {
                assert!(threshold[limit].as_u64().is_none_or(|n| n <= 1024), "{threshold}");
            }
        }
        assert!(cluster.to_string().contains("\"max_stream_duration\":\"60s\""), "{cluster:#}");
    });
}

#[test]
fn a_copy_that_hangs_is_given_up() {
    isolated(async {
        let settings = "mirror: {maxStreamDuration: 1s}\n";
        let world = web_with(&[("rules.yaml", &rules("web", "web", &to_v1(TO_V2)))], settings).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Hang);
        burst(&world, 20).await;
        world
            .wait_for("20 copies to be given up", || async {
                let proxy = world.proxy("client");
                proxy.stat(&format!("{COPIES}.upstream_rq_max_duration_reached")).await == 20
                    && proxy.in_flight().await.is_ok_and(|n| n == 0)
            })
            .await;
    });
}

#[test]
fn a_mirror_that_is_gone_costs_nothing() {
    isolated(async {
        let mut world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.stop_echo("v2");
        burst(&world, 200).await;
        world.settle().await;
        let proxy = world.proxy("client");
        assert!(proxy.stat(&format!("{COPIES}.upstream_cx_connect_fail")).await > 0);
    });
}

#[test]
fn what_a_mirror_answers_is_dropped() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Status(500));
        burst(&world, 200).await;
        world.settle().await;
        assert_eq!(world.echo("v2").count(), 200);
        assert_eq!(world.proxy("client").stat(&format!("{COPIES}.internal.upstream_rq_500")).await, 200);
        let primary = "cluster.outbound|8000|v1|web.default.svc.cluster.local";
        assert_eq!(world.proxy("client").stat(&format!("{primary}.upstream_rq_5xx")).await, 0);
    });
}

#[test]
fn a_slow_mirror_gets_the_request_though_the_primary_is_done() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        const LATE: Duration = Duration::from_secs(5);
        world.echo("v2").set_mode(Mode::Delay(LATE));
        let answer = world.ask(super::WEB, &Ask::post("web:8000", "/", "payload")).await;
        assert!(answer.status == 200 && answer.took < LATE, "{:?}", answer.took);
        world.settle().await;
        assert_eq!(world.echo("v2").take()[0].body_length, 7);
    });
}
