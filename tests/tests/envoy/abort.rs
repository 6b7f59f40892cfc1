//! Mirrors that stop by themselves.

use std::time::{Duration, Instant};

use umbra_testkit::client::{Client, Tally};
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::echo::Mode;
use umbra_testkit::gate;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, wait_share, web_with};

/// The rule for `web`, all to v1 with copies of this share to v2, and its limits.
fn rule(percent: u32, limits: &str, more: &str) -> String {
    let mirror = format!("mirror: {{host: web, subset: v2}}\nmirrorPercentage: {{value: {percent}}}{more}");
    let annotations = format!("  name: web\n  annotations: {{umbra.io/abort: \"{limits}\"}}\n");
    rules("web", "web", &to_v1(&mirror)).replacen("  name: web\n", &annotations, 1)
}

async fn start(percent: u32, limits: &str) -> World {
    let world = web_with(&[("rules.yaml", &rule(percent, limits, ""))], "").await;
    wait_share(&world, "|v2|web", percent * 10_000).await;
    world
}

fn traffic(world: &World) -> Traffic {
    let client = Client::new(world.net(), ([127, 0, 0, 1], 8000).into());
    Traffic::through(client, get(), Duration::from_millis(2))
}

/// Waits until so many requests of the rule have been counted.
async fn wait_counted(world: &World, requests: u64) {
    let counted = || async {
        let text = world.umbra().get("/metrics").await.unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("umbra_mirror_requests_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() >= requests
    };
    world.wait_for(&format!("{requests} requests to be counted"), counted).await;
}

#[test]
fn a_bad_shadow_is_stopped_and_no_request_fails() {
    isolated(async {
        let world = start(100, "shadowErrors=20%/10s/50").await;
        let requests = traffic(&world);
        wait_counted(&world, 500).await;
        assert!(world.echo("v2").count() > 0);
        world.echo("v2").set_mode(Mode::Status(500));
        let since = Instant::now();
        wait_share(&world, "|v2|web", 0).await;
        gate::measured(&format!("from the first bad answer to the stop: {:?}", since.elapsed()));
        let tally: Tally = requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(tally.servers.keys().all(|name| name == "v1"), "{:?}", tally.servers);
        let copies = world.echo("v2").count();
        assert!(world.send(WEB, &get(), 300).await.all_ok(300));
        assert_eq!(world.echo("v2").count(), copies, "nothing is copied any longer");

        // Whatever else is written of the rule, it stays stopped; whoever sets other limits has seen it.
        world.write("rules.yaml", &rule(100, "shadowErrors=20%/10s/50", "\ntimeout: 7s"));
        super::wait_routes(&world, "7s").await;
        assert!(world.send(WEB, &get(), 300).await.all_ok(300));
        assert_eq!(world.echo("v2").count(), copies, "it is stopped still");
        world.echo("v2").set_mode(Mode::Normal);
        world.write("rules.yaml", &rule(100, "shadowErrors=10%", ""));
        wait_share(&world, "|v2|web", 1_000_000).await;
        assert!(world.send(WEB, &get(), 300).await.all_ok(300));
        assert!(world.echo("v2").count() >= copies + 300);
    });
}

/// Production gets worse while it is copied, and was seen without that.
#[test]
fn production_that_gets_worse_stops_its_mirror() {
    isolated(async {
        let limits = "primaryErrors=10%/10s/50";
        let world = start(0, limits).await;
        assert!(world.send(WEB, &get(), 400).await.all_ok(400));
        wait_counted(&world, 400).await;
        world.write("rules.yaml", &rule(100, limits, ""));
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v1").set_mode(Mode::Status(500));
        let bad = || async {
            world.send(WEB, &get(), 20).await;
            let shares = world.proxy("client").mirror_shares().await.unwrap_or_default();
            shares.iter().any(|(key, share)| key.contains("|v2|web") && *share == 0)
        };
        world.wait_for("the mirror to stop", bad).await;
    });
}
