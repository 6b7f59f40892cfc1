//! Files that break, servers that restart, and proxies that come back.

use std::time::Duration;

use umbra_testkit::client::{Client, Tally};
use umbra_testkit::isolate::isolated;
use umbra_testkit::net::Net;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, set_rules, wait_routes, wait_share, web, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";

#[test]
fn a_file_that_does_not_parse_keeps_its_last_good_objects() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        for broken in
            ["{", "", "kind: [", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: 3\n"]
        {
            world.write("rules.yaml", broken);
            // A change behind it shows that umbra has read the broken file.
            world
                .write("marker.yaml", &umbra_tests::manifests::rules("marker", "marker.example", &to_v1("")));
            world.forget().await;
            let tally = world.send(WEB, &get(), 50).await;
            assert!(tally.all_ok(50) && world.echo("v2").count() == 50, "{broken:?}: {:?}", world.counts());
            world.remove("marker.yaml");
        }
        set_rules(&world, &to_v1("mirror: {host: web, subset: v3}"));
        wait_share(&world, "|v3|web", 1_000_000).await;
        world.assert_clean().await;
    });
}

/// A proxy that is sent away for its age comes back on another connection, and its requests know nothing of it.
#[test]
fn a_proxy_that_has_been_here_for_long_comes_back() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("rules.yaml", &rule)], "maxAge: 1s\n").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let gone = async || {
            let metrics = world.umbra().get("/metrics").await.unwrap_or_default();
            let line =
                metrics.lines().find_map(|l| l.strip_prefix("umbra_streams_closed_total{reason=\"age\"} "));
            line.and_then(|count| count.parse::<u32>().ok()).unwrap_or_default()
        };
        while gone().await < 3 {
            let tally = world.send(WEB, &get(), 20).await;
            assert!(tally.all_ok(20), "{tally:?}");
        }
        set_rules(&world, &to_v1("mirror: {host: web, subset: v3}"));
        wait_share(&world, "|v3|web", 1_000_000).await;
        world.assert_clean().await;
    });
}

#[test]
fn a_deleted_file_takes_its_rules_away() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.remove("rules.yaml");
        world
            .wait_for("the mirror to go", || async {
                world.proxy("client").mirror_shares().await.is_ok_and(|shares| shares.is_empty())
            })
            .await;
        world
            .wait_for("the routes to go", || async {
                let routes = world.proxy("client").section("RoutesConfigDump").await.unwrap_or_default();
                !routes.to_string().contains("mirror|")
            })
            .await;
        world.forget().await;
        let tally = world.send(WEB, &get(), 60).await;
        assert!(tally.all_ok(60), "{tally:?}");
        assert_eq!(
            world.counts().values().sum::<usize>(),
            60,
            "each request reaches one version, and no copies"
        );
    });
}

#[test]
fn envoy_goes_on_without_umbra_and_nothing_is_pushed_when_it_returns() {
    isolated(async {
        let mut world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_routes(&world, "mirror|8000|v2|web").await;
        let pushes = world.proxy("client").route_pushes().await.expect("statistics");
        let traffic = tokio::spawn(async {
            let mut client = Client::new(&Net::here(), ([127, 0, 0, 1], 8000).into());
            let mut tally = Tally::default();
            for _ in 0..300 {
                tally.add(client.ask(&get()).await);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tally
        });
        world.restart_umbra().await;
        world
            .wait_for("Envoy to be connected again", || async {
                world.proxy("client").stat("control_plane.connected_state").await == 1
            })
            .await;
        let tally = traffic.await.expect("the traffic ends");
        assert!(tally.all_ok(300), "{tally:?}");
        set_rules(&world, &to_v1(&format!("{TO_V2}\nmirrorPercentage: {{value: 7}}")));
        wait_share(&world, "|v2|web", 70_000).await;
        let now = world.proxy("client").route_pushes().await.expect("statistics");
        assert_eq!(now, pushes, "a new umbra has the same routes, and versions by content");
        world.assert_clean().await;
    });
}

#[test]
fn an_envoy_that_starts_before_umbra_is_ready_is_served_later() {
    isolated(async {
        let mut world = web(&to_v1(TO_V2)).await;
        world.stop_proxy("client");
        world.start_proxy("client", "sidecar/default/app=client").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let tally = world.send(WEB, &get(), 50).await;
        assert!(tally.all_ok(50) && world.echo("v2").count() == 50, "{tally:?}");
    });
}
