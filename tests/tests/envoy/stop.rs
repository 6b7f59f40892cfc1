//! Mirrors that somebody stops, and lets go on.

use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, wait_share, web};

/// Two mirrors of a rule, stopped as `annotation` says.
fn write(world: &World, annotation: Option<&str>) {
    let mirrors = "
        mirrors:
        - {destination: {host: web, subset: v2}, percentage: {value: 25}}
        - {destination: {host: web, subset: v3}}";
    let text = rules("web", "web", &to_v1(mirrors).replace("- route", "- name: canary\n  route"));
    let stop =
        annotation.map_or(String::new(), |text| format!("  annotations: {{umbra.io/stop: \"{text}\"}}\n"));
    world.write("rules.yaml", &text.replacen("metadata:\n", &format!("metadata:\n{stop}"), 1));
}

/// The shares that `umbra mirrors` shows.
fn shares(world: &World) -> Vec<String> {
    let out = umbra::run(&["mirrors", "--server", &world.umbra().admin().to_string()]).expect("umbra runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let share = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    text.lines().skip(1).filter_map(share).collect()
}

#[test]
fn a_stopped_mirror_copies_nothing_until_it_is_let_go_on() {
    isolated(async {
        let mut world = web(&to_v1("")).await;
        write(&world, None);
        wait_share(&world, "|v2|web", 250_000).await;
        wait_share(&world, "|v3|web", 1_000_000).await;
        let routes = world.proxy("client").section("RoutesConfigDump").await.expect("routes");
        let shown = || async { shares(&world) };
        assert_eq!(shown().await, ["25%", "100%"]);

        for (annotation, v2, v3) in [
            (Some("all"), 0, 0),
            (None, 250_000, 1_000_000),
            (Some("mirror/default/web/canary/|v3|web.default.svc.cluster.local"), 250_000, 0),
            // As it was called before its rule had a name, and its mirror no port.
            (Some("mirror/default/web/before/8000|v3|web.default.svc.cluster.local"), 250_000, 0),
            (Some("canary"), 0, 0),
        ] {
            write(&world, annotation);
            for (target, share) in [("|v2|web", v2), ("|v3|web", v3)] {
                wait_share(&world, target, share).await;
            }
            world.forget().await;
            assert!(world.send(WEB, &get(), 200).await.all_ok(200));
            let got = ["v2", "v3"].map(|name| world.echo(name).count());
            assert_eq!([got[0] > 0, got[1] > 0], [v2 > 0, v3 > 0], "{annotation:?}: {got:?}");
        }
        // No route was pushed: it is the layer alone.
        let after = world.proxy("client").section("RoutesConfigDump").await.expect("routes");
        assert_eq!(routes, after);
        assert_eq!(shares(&world), ["stopped", "stopped"]);

        // It is a part of the object, so that it outlives umbra.
        world.restart_umbra().await;
        world.start_proxy("second", "sidecar/default/app=second").await;
        assert_eq!(shares(&world), ["stopped", "stopped"]);
        world.wait_share("second", "|v3|web", 0).await;
    });
}
