//! What a change pushes, and what it does not: shares travel by RTDS, endpoints by EDS.

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::isolate::isolated;
use umbra_testkit::share;
use umbra_testkit::umbra;
use umbra_tests::manifests::{all, pod, service, to_v1, web_subsets};

use super::{WEB, get, set_rules, wait_routes, wait_share, web, web_with};

fn share_of(percent: &str) -> String {
    to_v1(&format!("mirror: {{host: web, subset: v2}}\nmirrorPercentage: {{value: {percent}}}"))
}

#[test]
fn a_share_changes_without_a_route_push() {
    isolated(async {
        let world = web(&share_of("100")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_routes(&world, "mirror|8000|v2|web").await;
        let pushes = world.proxy("client").route_pushes().await.expect("statistics");
        for (percent, million) in [("12.5", 125_000), ("0", 0), ("100", 1_000_000), ("0.25", 2500)] {
            set_rules(&world, &share_of(percent));
            wait_share(&world, "|v2|web", million).await;
        }
        assert_eq!(world.proxy("client").route_pushes().await.expect("statistics"), pushes);
        let routes = world.proxy("client").section("RoutesConfigDump").await.expect("routes").to_string();
        // A proxy never mirrors before it is told to: 0 unless the runtime says otherwise.
        assert!(routes.contains("\"runtime_key\":\"mirror/default/web/"), "{routes}");
        assert!(routes.contains("\"default_value\":{\"denominator\":\"MILLION\"}"), "{routes}");
    });
}

#[test]
fn the_runtime_key_outlives_rules_put_before_it() {
    isolated(async {
        let world = web(&share_of("40")).await;
        wait_share(&world, "|v2|web", 400_000).await;
        let keys = || async { world.proxy("client").mirror_shares().await.unwrap_or_default() };
        let before = keys().await;
        let first =
            "- match:\n  - uri: {prefix: /first}\n  route:\n  - destination: {host: web, subset: v3}\n";
        set_rules(&world, &format!("{first}{}", share_of("40")));
        wait_routes(&world, "/first").await;
        assert_eq!(keys().await, before);
    });
}

#[test]
fn a_proxy_without_runtime_discovery_gets_the_share_in_its_route() {
    isolated(async {
        let mut world = web(&share_of("30")).await;
        world.stop_proxy("client");
        let text = umbra::bootstrap("sidecar/default/app=client", world.umbra().xds()).expect("a bootstrap");
        let mut config: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        config.as_object_mut().expect("an object").remove("layeredRuntime").expect("a runtime layer");
        world.start_envoy("client", &config.to_string()).await;
        wait_routes(&world, "300000").await;
        let tally = world.send(WEB, &get(), 1000).await;
        assert!(tally.all_ok(1000), "{tally:?}");
        assert!(share::expected(1000, 0.3).contains(&world.echo("v2").count()), "{:?}", world.counts());
        set_rules(&world, &share_of("0"));
        world
            .wait_for("no policy at 0 %", || async {
                let routes = world.proxy("client").section("RoutesConfigDump").await.unwrap_or_default();
                !routes.to_string().contains("request_mirror_policies")
            })
            .await;
        world.assert_clean().await;
    });
}

#[test]
fn a_mirror_shares_the_endpoints_of_its_subset() {
    isolated(async {
        let mut world = web(&share_of("100")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let clusters = world.proxy("client").section("ClustersConfigDump").await.expect("clusters");
        let all_clusters = clusters["dynamic_active_clusters"].as_array().expect("a list").iter();
        let service_name = |name: &str| {
            let found = all_clusters.clone().find(|c| c["cluster"]["name"] == name);
            let config =
                &found.unwrap_or_else(|| panic!("no cluster {name}"))["cluster"]["eds_cluster_config"];
            // Without a service name of its own, a cluster's assignment has the cluster's name.
            config["service_name"].as_str().unwrap_or(name).to_owned()
        };
        let primary = service_name("outbound|8000|v2|web.default.svc.cluster.local");
        assert_eq!(service_name("mirror|8000|v2|web.default.svc.cluster.local"), primary);

        // The pod moves: the copies follow, and no route is pushed.
        let pushes = world.proxy("client").route_pushes().await.expect("statistics");
        world.start_echo("moved", "127.0.1.20:8080");
        let moved = all(&[
            service("default", "web", &[("http", 8000, 8080)]),
            pod("default", "web", "v1", "127.0.1.1", true),
            pod("default", "web", "v2", "127.0.1.20", true),
            web_subsets("v1 v2", ""),
        ]);
        world.write("web.yaml", &moved);
        world
            .wait_for("the copies to reach the new pod", || async {
                world.send(WEB, &get(), 1).await;
                world.echo("moved").count() > 0
            })
            .await;
        assert_eq!(world.proxy("client").route_pushes().await.expect("statistics"), pushes);
        world.assert_clean().await;
    });
}

#[test]
fn a_new_mirror_is_whole_when_its_route_is_there() {
    isolated(async {
        // Make before break: no copy may be lost because its cluster comes after its route.
        let world = web(&to_v1("")).await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        for round in 0..10 {
            set_rules(&world, &to_v1("mirror: {host: web, subset: v2}"));
            wait_share(&world, "|v2|web", 1_000_000).await;
            wait_routes(&world, "mirror|8000|v2|web").await;
            world.forget().await;
            let tally = world.send(WEB, &get(), 20).await;
            assert!(
                tally.all_ok(20) && world.echo("v2").count() == 20,
                "round {round}: {:?}",
                world.counts()
            );
            set_rules(&world, &to_v1(""));
            world
                .wait_for("the mirror to go", || async {
                    let clusters = world.proxy("client").get("/clusters").await.unwrap_or_default();
                    !clusters.contains("mirror|8000|v2|web")
                })
                .await;
        }
        world.assert_clean().await;
    });
}

/// A kept connection outlives its listener for a while. What it asks for is gone, and it is told so.
#[test]
fn a_port_goes_under_an_open_connection() {
    isolated(async {
        let more = all(&[
            service("default", "more", &[("http", 8001, 8080)]),
            pod("default", "more", "v1", "127.0.1.1", true),
        ]);
        let world = web_with(&[("more.yaml", &more)], "").await;
        world.wait_status(":8001", &Ask::get("more:8001", "/"), 200).await;
        let mut client = Client::new(world.net(), ([127, 0, 0, 1], 8001).into());
        assert_eq!(client.ask(&Ask::get("more:8001", "/")).await.expect("an answer").status, 200);
        world.remove("more.yaml");
        world
            .wait_for("no listener", || async {
                world
                    .proxy("client")
                    .listeners()
                    .await
                    .is_ok_and(|all| !all.keys().any(|name| name.ends_with("8001")))
            })
            .await;
        world
            .wait_for("no cluster", || async {
                world.proxy("client").get("/clusters").await.is_ok_and(|all| !all.contains("8001"))
            })
            .await;
        assert_eq!(client.ask(&Ask::get("more:8001", "/")).await.expect("an answer").status, 503);
        let counter = "http.outbound_127.0.0.1_8001.no_cluster";
        assert_eq!(world.proxy("client").stat(counter).await, 1);
        world.assert_clean().await;
    });
}
