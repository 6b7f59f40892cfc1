//! A broken mirror is left out; the primary, and the mirrors beside it, are not touched.

use umbra_testkit::isolate::isolated;
use umbra_tests::manifests::{all, pod, rules, service, to_v1, web_subsets};

use super::{WEB, get, set_rules, wait_routes, wait_share, web, web_with};

/// A rule with this broken mirror and a good one to v3: only the good one works, and nothing fails.
async fn check(broken: &str) {
    let good = "- destination: {host: web, subset: v3}";
    let world = web(&to_v1(&format!("mirrors:\n- {broken}\n{good}"))).await;
    wait_share(&world, "|v3|web", 1_000_000).await;
    let tally = world.send(WEB, &get(), 100).await;
    assert!(tally.all_ok(100) && tally.by("v1") == 100, "{broken}: {tally:?}");
    assert_eq!((world.echo("v2").count(), world.echo("v3").count()), (0, 100), "{broken}");
    let routes = world.proxy("client").section("RoutesConfigDump").await.expect("routes").to_string();
    assert_eq!(routes.matches("\"cluster\":\"mirror|").count(), 1, "{broken}: {routes}");
    world.assert_clean().await;
}

#[test]
fn unknown_host() {
    isolated(async { check("destination: {host: nobody, port: {number: 80}}").await });
}

#[test]
fn unknown_subset() {
    isolated(async { check("destination: {host: web, subset: v9}").await });
}

#[test]
fn unknown_port() {
    isolated(async { check("destination: {host: web, subset: v2, port: {number: 1234}}").await });
}

#[test]
fn a_share_that_is_none() {
    isolated(async { check("destination: {host: web, subset: v2}\n  percentage: {value: 150}").await });
}

#[test]
fn a_mirror_comes_to_life_with_its_target() {
    isolated(async {
        let mirror = "mirror: {host: late, port: {number: 9000}}";
        let mut world = web(&to_v1(mirror)).await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        world.start_echo("late", "127.0.1.7:8080");
        let tally = world.send(WEB, &get(), 20).await;
        assert!(tally.all_ok(20), "{tally:?}");
        let late = [
            service("default", "late", &[("http", 9000, 8080)]),
            pod("default", "late", "a", "127.0.1.7", true),
        ];
        world.write("late.yaml", &all(&late));
        wait_share(&world, "|late.default", 1_000_000).await;
        wait_routes(&world, "mirror|9000||late.default.svc.cluster.local").await;
        let tally = world.send(WEB, &get(), 20).await;
        assert!(tally.all_ok(20), "{tally:?}");
        assert_eq!(world.echo("late").count(), 20);
        world.assert_clean().await;
    });
}

#[test]
fn a_mirror_without_endpoints_is_not_broken() {
    isolated(async {
        let base = |ready| {
            all(&[
                service("default", "web", &[("http", 8000, 8080)]),
                pod("default", "web", "v1", "127.0.1.1", true),
                pod("default", "web", "v2", "127.0.1.2", ready),
                web_subsets("v1 v2", ""),
            ])
        };
        let rule = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
        let world = web_with(&[("web.yaml", &base(false)), ("rules.yaml", &rule)], "").await;
        wait_routes(&world, "mirror|8000|v2|web.default.svc.cluster.local").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let pushes = world.proxy("client").route_pushes().await.expect("statistics");
        let tally = world.send(WEB, &get(), 50).await;
        assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
        for (ready, copies) in [(true, 50), (false, 0), (true, 50)] {
            world.write("web.yaml", &base(ready));
            world
                .wait_for("v2's endpoint to come or go", || async {
                    let clusters = world.proxy("client").get("/clusters").await.unwrap_or_default();
                    clusters.contains("mirror|8000|v2|web.default.svc.cluster.local::127.0.1.2:8080") == ready
                })
                .await;
            world.forget().await;
            let tally = world.send(WEB, &get(), 50).await;
            assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
            assert_eq!(world.echo("v2").count(), copies);
        }
        let now = world.proxy("client").route_pushes().await.expect("statistics");
        assert_eq!(now, pushes, "readiness pushes no routes");
        world.assert_clean().await;
    });
}

#[test]
fn a_rule_that_breaks_leaves_the_other_rules_alone() {
    isolated(async {
        let world = web(&to_v1("mirror: {host: web, subset: v2}")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let broken = "- match:\n  - uri: {prefix: /broken}\n  route:\n  - destination: {host: nobody}\n";
        set_rules(&world, &format!("{broken}{}", to_v1("mirror: {host: web, subset: v2}")));
        wait_routes(&world, "/broken").await;
        world.forget().await;
        let tally = world.send(WEB, &get(), 50).await;
        assert!(tally.all_ok(50) && tally.by("v1") == 50 && world.echo("v2").count() == 50, "{tally:?}");
    });
}
