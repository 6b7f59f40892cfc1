//! Rules that a VirtualService takes from others: which request goes where, what is copied, and what an edit does.

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{istio, rules, to_v1};

use super::{WEB, get, wait_routes, wait_share, web_with};

/// A VirtualService without hosts.
fn delegate(namespace: &str, name: &str, http: &str) -> String {
    istio("VirtualService", namespace, name, &format!("http:\n{http}"))
}

/// To this version of `web`, with what else the rule says: lines of it.
fn to(version: &str, further: &str) -> String {
    to_v1(further)
        .replace("host: web, subset: v1", &format!("host: web.default.svc.cluster.local, subset: {version}"))
}

fn path(path: &str) -> Ask {
    Ask::get("web:8000", path)
}

/// Waits until a request is answered by this version.
async fn wait_by(world: &World, asked: &str, by: &str) {
    let what = format!("{asked} to be answered by {by:?}");
    world.wait_for(&what, || async { world.ask(WEB, &path(asked)).await.served_by() == by }).await;
}

const ROOT: &str = "- match:
  - uri: {prefix: /team}
    headers: {x-team: {}}
  - uri: {prefix: /open}
  delegate: {name: team, namespace: teams}
- route:
  - destination: {host: web, subset: v1}
";

#[test]
fn a_delegates_rules_are_taken_where_the_root_admits_them() {
    isolated(async {
        let team = [
            to("v2", "match:\n- uri: {prefix: /team/new}\n- uri: {exact: /open}"),
            // The root admits no such path: the rule is left out.
            to("v3", "match:\n- uri: {prefix: /elsewhere}"),
            to("v3", "match:\n- method: {exact: DELETE}"),
        ];
        let files = [
            ("rules.yaml", rules("web", "web", ROOT)),
            ("team.yaml", delegate("teams", "team", &team.concat())),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let world = web_with(&files, "routeTables: plain\n").await;
        wait_routes(&world, "/team/new").await;
        let delete = |asked: &str| Ask { method: "DELETE".parse().expect("a method"), ..path(asked) };
        let rows = [
            (path("/team/new").header("x-team", "a"), "v2"),
            (path("/team/new"), "v1"),
            (path("/team/old").header("x-team", "a"), "v1"),
            (path("/open"), "v2"),
            (path("/open/more"), "v1"),
            (path("/elsewhere"), "v1"),
            (delete("/open/more"), "v3"),
            (delete("/team/old").header("x-team", "a"), "v3"),
            (delete("/"), "v1"),
        ];
        for form in ["plain", "hosts"] {
            world.write_config(&format!("routeTables: {form}\n"));
            if form == "hosts" {
                let table = "\"route_config_name\":\"hosts/8000\"";
                world.wait_config("client", "ListenersConfigDump", table).await;
                wait_routes(&world, "hosts/8000/web.default.svc.cluster.local:8000").await;
            }
            for (ask, by) in &rows {
                let answer = world.ask(WEB, ask).await;
                assert_eq!((answer.status.as_u16(), answer.served_by()), (200, *by), "{form} {ask:?}");
            }
        }
        world.assert_clean().await;
    });
}

#[test]
fn an_edit_of_the_delegate_changes_where_requests_go() {
    isolated(async {
        let root = rules("web", "web", ROOT);
        let world = web_with(&[("rules.yaml", &root)], "").await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        // Without a delegate the rule is left out, and the next one takes its requests.
        wait_by(&world, "/open", "v1").await;
        world.write("team.yaml", &delegate("teams", "team", &to("v2", "")));
        wait_by(&world, "/open", "v2").await;
        world.write("team.yaml", &delegate("teams", "team", &to("v3", "")));
        wait_by(&world, "/open", "v3").await;
        // It is live where its root's table is.
        world
            .wait_for("the delegate to be live on one proxy", || async {
                let answer = world.umbra().json("/v1/live/virtualservice/teams/team").await;
                answer.is_ok_and(|live| live["live"] == 1 && live["total"] == 1)
            })
            .await;
        // Who gives its rules to nobody has them alone.
        let hidden = format!("exportTo: [\".\"]\nhttp:\n{}", to("v2", ""));
        world.write("team.yaml", &istio("VirtualService", "teams", "team", &hidden));
        wait_by(&world, "/open", "v1").await;
        world.write("team.yaml", &delegate("teams", "team", &to("v2", "")));
        wait_by(&world, "/open", "v2").await;
        world.remove("team.yaml");
        wait_by(&world, "/open", "v1").await;
        world.assert_clean().await;
    });
}

/// The mirror and its share at the root, the route at the delegate; and a delegate's mirror with the root's share.
#[test]
fn a_roots_mirror_goes_with_a_delegates_route() {
    isolated(async {
        let root = |share: u32| {
            let mirror =
                format!("mirror: {{host: web, subset: v3}}\n  mirrorPercentage: {{value: {share}}}\n");
            rules("web", "web", &format!("- delegate: {{name: team}}\n  {mirror}"))
        };
        let team = [to("v1", "match:\n- uri: {prefix: /own}\nmirror: {host: web, subset: v2}"), to("v1", "")];
        let team = delegate("default", "team", &team.concat());
        let world = web_with(&[("rules.yaml", &root(100)), ("team.yaml", &team)], "").await;
        wait_share(&world, "|v3|web", 1_000_000).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        for (ask, copies) in [(get(), [0, 20]), (path("/own"), [20, 0])] {
            world.forget().await;
            assert!(world.send(WEB, &ask, 20).await.all_ok(20));
            world.settle().await;
            assert_eq!(["v2", "v3"].map(|name| world.echo(name).count()), copies, "{ask:?}");
        }
        // One word of the root's turns both off.
        world.write("rules.yaml", &root(0));
        wait_share(&world, "|v3|web", 0).await;
        wait_share(&world, "|v2|web", 0).await;
        world.forget().await;
        assert!(
            world.send(WEB, &path("/own"), 20).await.all_ok(20)
                && world.send(WEB, &get(), 20).await.all_ok(20)
        );
        world.settle().await;
        assert_eq!(["v2", "v3"].map(|name| world.echo(name).count()), [0, 0]);
        world.assert_clean().await;
    });
}
