//! MirrorPolicies: which requests are copied, and as what they arrive.

use std::future::ready;

use serde_json::Value;
use umbra_testkit::client::{Ask, send};
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, rules, to_v1};

use super::{WEB, get, wait_routes, wait_share, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";

/// A MirrorPolicy of the VirtualService `web`.
fn policy(name: &str, target: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: umbra.io/v1alpha1\nkind: MirrorPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRef: {{name: web{target}}}\n{spec}"
    )
}

/// The usual world, with these rules and this policy.
async fn with_policy(http: &str, policy: &str) -> World {
    let rules = rules("web", "web", http);
    web_with(&[("rules.yaml", &rules), ("policy.yaml", policy)], "").await
}

fn ask(method: &str) -> Ask {
    Ask { method: method.parse().expect("a method"), ..get() }
}

/// Sends each request so many times; how many of them `version` got as copies.
async fn copied(world: &World, version: &str, ask: &Ask, sent: usize) -> usize {
    world.forget().await;
    for _ in 0..sent {
        assert_eq!(world.ask(WEB, ask).await.status, 200, "{ask:?}");
    }
    world.settle().await;
    assert_eq!(world.echo("v1").count(), sent, "every request went where it went: {ask:?}");
    world.echo(version).count()
}

/// Waits until so many requests of one method are copied to `version`, all or none of them.
async fn wait_copied(world: &World, version: &str, ask: &Ask, want: usize) {
    let what = format!("{want} copies of {ask:?}");
    world.wait_for(&what, || async { copied(world, version, ask, 3).await == want }).await;
}

#[test]
fn a_policy_copies_safe_methods_without_credentials_and_never_an_upgrade() {
    isolated(async {
        let world = with_policy(&to_v1(TO_V2), &policy("web", "", "")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_routes(&world, "request_headers_mutations").await;
        for (method, copies) in
            [("GET", 3), ("HEAD", 3), ("OPTIONS", 3), ("POST", 0), ("DELETE", 0), ("PATCH", 0)]
        {
            assert_eq!(copied(&world, "v2", &ask(method), 3).await, copies, "{method}");
        }
        let upgrade = get().header("connection", "upgrade").header("upgrade", "websocket");
        assert_eq!(copied(&world, "v2", &upgrade, 3).await, 0);
        let secret =
            get().header("authorization", "Bearer x").header("cookie", "a=b").header("x-tenant", "blue");
        assert_eq!(copied(&world, "v2", &secret, 1).await, 1);
        let [first, copy] = ["v1", "v2"].map(|version| world.echo(version).take().remove(0));
        let seen = |name: &str| (first.header(name).to_owned(), copy.header(name).to_owned());
        assert_eq!(seen("authorization"), ("Bearer x".to_owned(), String::new()));
        assert_eq!(seen("cookie"), ("a=b".to_owned(), String::new()));
        assert_eq!(seen("x-tenant"), ("blue".to_owned(), "blue".to_owned()));
        assert_eq!(copy.host, "web-shadow:8000");
        world.assert_clean().await;
    });
}

#[test]
fn headers_and_host_of_a_copy_as_its_policy_says() {
    isolated(async {
        let both =
            "mirrors: [{destination: {host: web, subset: v2}}, {destination: {host: web, subset: v3}}]";
        let v2 = policy(
            "two",
            ", mirror: {subset: v2}",
            "methods: ['*']\nheaders: {remove: [x-secret], set: {x-shadow: two, authorization: shadows-own, x-seen: '%REQ(:PATH)%'}}\nhost: {value: target, suffix: false}",
        );
        let v3 = policy(
            "three",
            ", mirror: {subset: v3}",
            "methods: [POST]\nheaders: {remove: []}\nhost: {suffix: false}",
        );
        let world = with_policy(&to_v1(both), &all(&[v2, v3])).await;
        for target in ["|v2|web", "|v3|web"] {
            wait_share(&world, target, 1_000_000).await;
        }
        wait_routes(&world, "shadows-own").await;
        let ask = Ask::post("web:8000", "/shop?a=b", "body")
            .header("authorization", "callers-own")
            .header("x-shadow", "callers-own")
            .header("x-secret", "s");
        assert_eq!(copied(&world, "v2", &ask, 1).await, 1);
        let [first, two, three] = ["v1", "v2", "v3"].map(|version| world.echo(version).take().remove(0));
        for (record, host, want) in [
            (&first, "web:8000", ["callers-own", "callers-own", "s", ""]),
            (&two, "web.default.svc.cluster.local:8000", ["shadows-own", "two", "", "/shop?a=b"]),
            (&three, "web:8000", ["callers-own", "callers-own", "s", ""]),
        ] {
            let names = ["authorization", "x-shadow", "x-secret", "x-seen"];
            assert_eq!((record.host.as_str(), names.map(|name| record.header(name))), (host, want));
        }
        assert_eq!(first.body_hash, two.body_hash);
        assert_eq!(copied(&world, "v3", &get(), 3).await, 0);
        world.assert_clean().await;
    });
}

#[test]
fn a_policy_comes_changes_and_goes_without_a_failed_request() {
    isolated(async {
        let world = with_policy(&to_v1(TO_V2), "").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_copied(&world, "v2", &ask("POST"), 3).await;
        world.write("policy.yaml", &policy("web", "", ""));
        wait_copied(&world, "v2", &ask("POST"), 0).await;
        world.write("policy.yaml", &policy("web", "", "methods: [POST]"));
        wait_copied(&world, "v2", &ask("POST"), 3).await;
        assert_eq!(copied(&world, "v2", &get(), 3).await, 0);
        world.remove("policy.yaml");
        wait_copied(&world, "v2", &get(), 3).await;
        world.assert_clean().await;
    });
}

/// The mirrors, as `umbra mirrors` tells tools.
fn mirrors(world: &World) -> Vec<Value> {
    let server = world.umbra().admin().to_string();
    let out = umbra::run(&["mirrors", "--server", &server, "-o", "json"]).expect("umbra runs");
    let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    all["mirrors"].as_array().cloned().unwrap_or_default()
}

/// What is known of the first one.
fn observed(world: &World) -> Value {
    mirrors(world).first().map(|mirror| mirror["observed"].clone()).unwrap_or_default()
}

/// What could not have been copied is no primary of a mirror: the share that is seen stays the one that is wanted.
#[test]
fn only_requests_that_a_policy_admits_are_counted_beside_copies() {
    isolated(async {
        let world = with_policy(&to_v1(TO_V2), &policy("web", "", "")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_routes(&world, "request_headers_mutations").await;
        assert!(world.send(WEB, &ask("POST"), 300).await.all_ok(300));
        assert!(world.send(WEB, &get(), 200).await.all_ok(200));
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let seen = || ready(number(&observed(&world)["copies"]) >= 200);
        world.wait_for("the copies to be seen", seen).await;
        let observed = observed(&world);
        assert_eq!((number(&observed["primaries"]), number(&observed["copies"])), (200, 200), "{observed}");
    });
}

#[test]
fn limits_of_one_mirror_are_its_own() {
    isolated(async {
        let both =
            "mirrors: [{destination: {host: web, subset: v2}}, {destination: {host: web, subset: v3}}]";
        let limits =
            "limits: {maxConnections: 2, maxPendingRequests: 2, maxRequests: 2, maxStreamDuration: 1s}";
        let world = with_policy(&to_v1(both), &policy("tight", ", mirror: {subset: v2}", limits)).await;
        for target in ["|v2|web", "|v3|web"] {
            wait_share(&world, target, 1_000_000).await;
        }
        wait_routes(&world, "default/tight").await;
        for version in ["v2", "v3"] {
            world.echo(version).set_mode(Mode::Hang);
        }
        let tally = send(world.net(), ([127, 0, 0, 1], 8000).into(), &get(), 100).await;
        assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
        let stat = async |version: &str, policy: &str, name: &str| {
            let cluster = format!("cluster.mirror|8000|{version}|web.default.svc.cluster.local{policy}");
            world.proxy("client").stat(&format!("{cluster}.{name}")).await
        };
        assert!(stat("v2", "|default/tight", "upstream_rq_pending_overflow").await >= 90);
        assert_eq!(stat("v3", "", "upstream_rq_pending_overflow").await, 0);
        let ended = async || stat("v2", "|default/tight", "upstream_rq_max_duration_reached").await > 0;
        world.wait_for("a copy to be given up after a second", || async { ended().await }).await;
        // What was held back is told of this mirror and not of the other one.
        let lost = |mirror: &Value| mirror["observed"]["lost"]["overflow"].as_str().map(str::to_owned);
        let seen = || ready(mirrors(&world).first().and_then(lost).is_some_and(|count| count != "0"));
        world.wait_for("the overflow to be told", seen).await;
        assert!(mirrors(&world).get(1).and_then(lost).is_none_or(|count| count == "0"));
    });
}

#[test]
fn a_copy_says_of_which_mirror_it_is_and_nobody_else_can() {
    isolated(async {
        let rules = rules("web", "web", &to_v1(&format!("name: shop\n{TO_V2}")));
        let log = world_log();
        let settings = format!("mirror: {{mark: true}}\naccessLog: {{path: {log}, copies: true}}\n");
        let world = web_with(&[("rules.yaml", &rules)], &settings).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let forged = get().header("x-shadow", "forged");
        assert_eq!(copied(&world, "v2", &forged, 1).await, 1);
        let [first, copy] = ["v1", "v2"].map(|version| world.echo(version).take().remove(0));
        let mark = "default/web/shop/|v2|web.default.svc.cluster.local";
        assert_eq!((first.header("x-shadow"), copy.header("x-shadow")), ("", mark));
        // The log has a line for each, and that of the copy tells.
        let lines = || -> Vec<Value> {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let told = |line: &Value| {
            line["shadow"] == mark
                && line["upstream_cluster"].as_str().is_some_and(|it| it.starts_with("mirror|"))
        };
        world.wait_for("a line of a copy", || ready(lines().iter().any(told))).await;
        let id = lines().iter().find(|line| told(line)).map(|line| line["request_id"].clone());
        let of_primary =
            |line: &Value| line.get("shadow").is_none() && Some(&line["request_id"]) == id.as_ref();
        world.wait_for("the primary's line", || ready(lines().iter().any(of_primary))).await;
        assert!(lines().iter().all(|line| line["shadow"] != "forged"));
        let _ = std::fs::remove_file(&log);
    });
}

/// A file for the Envoys' logs that no other test has.
fn world_log() -> String {
    std::env::temp_dir().join(format!("umbra-policies-{}.log", std::process::id())).display().to_string()
}
