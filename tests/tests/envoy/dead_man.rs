//! Proxies that hear nothing of umbra for too long copy nothing, and send all else where it went.

use std::time::{Duration, Instant};

use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, wait_share, web_with};

/// As the setting says.
const TIME: Duration = Duration::from_secs(3);
const MIRROR: &str = "
        mirror: {host: web, subset: v2}";

/// Whether requests are copied, none of which may fail.
async fn copies(world: &World) -> bool {
    world.forget().await;
    assert!(world.send(WEB, &get(), 5).await.all_ok(5));
    world.echo("v2").count() > 0
}

/// For longer than the time they are.
async fn copies_on(world: &World) {
    let begin = Instant::now();
    while begin.elapsed() < TIME * 2 {
        assert!(copies(world).await);
    }
}

async fn start() -> World {
    let rules = rules("web", "web", &to_v1(MIRROR));
    let world = web_with(&[("rules.yaml", &rules)], "mirror: {deadMan: 3s}").await;
    wait_share(&world, "|v2|web", 1_000_000).await;
    world
}

#[test]
fn nothing_is_copied_when_umbra_is_silent_for_too_long() {
    isolated(async {
        let mut world = start().await;
        copies_on(&world).await;
        let ports = world.stop_umbra().await;
        world.wait_for("no copy", || async { !copies(&world).await }).await;
        world.start_umbra_on(ports).await;
        world.wait_for("copies", || copies(&world)).await;
        world.assert_clean().await;
    });
}

/// There Envoy would end itself when the time of several layers is over.
#[test]
fn in_state_of_the_world_it_goes_on() {
    isolated(async {
        let mut world = start().await;
        world.stop_proxy("client");
        let bootstrap =
            umbra::bootstrap("sidecar/default/app=client", world.umbra().xds()).expect("a bootstrap");
        assert!(bootstrap.contains("DELTA_GRPC"));
        world.start_envoy("client", &bootstrap.replace("DELTA_GRPC", "GRPC")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.stop_umbra().await;
        copies_on(&world).await;
    });
}
