//! What umbra knows of copies from the proxies that make them, against what the services really got.

use serde_json::Value;
use umbra_testkit::client::send;
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::share::expected;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, pod, rules, to_v1};

use super::{WEB, get, set_rules, wait_routes, wait_share, web, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";

/// The mirrors as `umbra mirrors` tells tools.
pub(crate) fn mirrors(world: &World) -> Vec<Value> {
    let server = world.umbra().admin().to_string();
    let out = umbra::run(&["mirrors", "--server", &server, "-o", "json"]).expect("umbra runs");
    let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    all["mirrors"].as_array().cloned().unwrap_or_default()
}

/// A number of 64 bits, which JSON writes as text.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What is known of the first mirror.
fn observed(world: &World) -> Value {
    mirrors(world).first().map(|mirror| mirror["observed"].clone()).unwrap_or_default()
}

/// Waits until so many requests have been seen, and gives what is known of each mirror.
async fn wait_seen(world: &World, requests: usize) -> Vec<Value> {
    let seen = || async { number(&observed(world)["primaries"]) >= requests as u64 };
    world.wait_for(&format!("{requests} requests to be seen"), seen).await;
    mirrors(world)
}

#[test]
fn the_share_that_is_seen_is_that_which_is_wanted() {
    isolated(async {
        let several = "
            mirrors:
            - {destination: {host: web, subset: v2}, percentage: {value: 1}}
            - {destination: {host: web, subset: v3}, percentage: {value: 25}}
            - {destination: {host: web, subset: v1}}";
        let world = web(&to_v1(several)).await;
        for (target, share) in [("|v2|web", 10_000), ("|v3|web", 250_000), ("|v1|web", 1_000_000)] {
            wait_share(&world, target, share).await;
        }
        const SENT: usize = 4000;
        assert!(world.send(WEB, &get(), SENT).await.all_ok(SENT));
        let mirrors = wait_seen(&world, SENT).await;
        for (mirror, (version, share)) in mirrors.iter().zip([("v2", 0.01), ("v3", 0.25), ("v1", 1.0)]) {
            let observed = &mirror["observed"];
            let copies = number(&observed["copies"]) as usize;
            let own = if version == "v1" { SENT } else { 0 };
            assert_eq!(
                (number(&observed["primaries"]) as usize, copies),
                (SENT, world.echo(version).count() - own)
            );
            assert!(expected(SENT, share).contains(&copies), "{observed}");
            let seen = 1e6 * copies as f64 / SENT as f64;
            assert!(
                (observed["seenPerMillion"].as_f64().unwrap_or_default() - seen).abs() < 1.0,
                "{observed}"
            );
            assert_eq!(number(&observed["copyAnswers"]["success"]) as usize, copies, "{observed}");
            let timed = |of: &str| -> u64 {
                observed[of]["counts"].as_array().into_iter().flatten().map(number).sum()
            };
            let cluster = format!("mirror|8000|{version}|web.default.svc.cluster.local");
            let line = format!("umbra_mirror_copies_total{{cluster=\"{cluster}\"}} {copies}\n");
            let metrics = world.umbra().get("/metrics").await.expect("metrics");
            assert!(metrics.contains(&line), "{line}{metrics}");
            assert_eq!(
                (timed("primaryTimes"), timed("copyTimes") as usize),
                (SENT as u64, copies),
                "{observed}"
            );
        }
    });
}

fn lost(observed: &Value) -> u64 {
    observed["lost"].as_object().into_iter().flatten().map(|(_, count)| number(count)).sum()
}

/// What is observed once so many copies are lost for this reason.
async fn wait_lost(world: &World, reason: &str, copies: u64) -> Value {
    let all = || async { number(&observed(world)["lost"][reason]) >= copies };
    world.wait_for(&format!("{copies} copies to be lost: {reason}"), all).await;
    observed(world)
}

/// Every copy is lost, and appears with its reason and no other.
async fn check(world: &World, reason: &str, sent: usize) {
    let tally = send(world.net(), ([127, 0, 0, 1], 8000).into(), &get(), sent).await;
    assert!(tally.all_ok(sent), "{reason}: {tally:?}");
    let all = || async { lost(&observed(world)) >= sent as u64 };
    world.wait_for(&format!("{sent} copies to be lost: {reason}"), all).await;
    let observed = wait_seen(world, sent).await[0]["observed"].clone();
    assert_eq!(number(&observed["lost"][reason]) as usize, sent, "{reason}: {observed}");
    assert_eq!((lost(&observed) as usize, number(&observed["copies"]) as usize), (sent, sent), "{observed}");
    let answers = observed["copyAnswers"].as_object().into_iter().flatten();
    assert_eq!(answers.map(|(_, count)| number(count)).sum::<u64>(), 0, "{observed}");
    assert_eq!(observed["seenPerMillion"], 1e6, "{observed}");
}

async fn all_to_v2() -> World {
    let settings = "mirror: {maxStreamDuration: 1s}\n";
    let world = web_with(&[("rules.yaml", &rules("web", "web", &to_v1(TO_V2)))], settings).await;
    wait_share(&world, "|v2|web", 1_000_000).await;
    world
}

#[test]
fn copies_to_who_refuses_are_lost() {
    isolated(async {
        let mut world = all_to_v2().await;
        world.stop_echo("v2");
        check(&world, "refused", 100).await;
    });
}

#[test]
fn copies_that_hang_are_lost() {
    isolated(async {
        let world = all_to_v2().await;
        world.echo("v2").set_mode(Mode::Hang);
        check(&world, "timeout", 50).await;
    });
}

#[test]
fn copies_that_are_broken_off_are_lost() {
    isolated(async {
        let world = all_to_v2().await;
        world.echo("v2").set_mode(Mode::Break);
        check(&world, "reset", 50).await;
    });
}

#[test]
fn copies_that_are_broken_off_in_http2_are_lost() {
    isolated(async {
        let two = manifests::web().replace("name: http\n", "name: http2\n");
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("web.yaml", &two), ("rules.yaml", &rule)], "").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Break);
        check(&world, "reset", 50).await;
    });
}

#[test]
fn copies_on_a_connection_of_http2_that_breaks_are_lost() {
    isolated(async {
        let two = manifests::web().replace("name: http\n", "name: http2\n");
        let rule = rules("web", "web", &to_v1(TO_V2));
        let mut world = web_with(&[("web.yaml", &two), ("rules.yaml", &rule)], "").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Hang);
        let client = ([127, 0, 0, 1], 8000).into();
        // Not the world's own, which waits for copies too.
        assert!(send(world.net(), client, &get(), 20).await.all_ok(20));
        world.wait_for("all copies to be under way", || async { world.echo("v2").count() == 20 }).await;
        world.stop_echo("v2");
        let observed = wait_lost(&world, "reset", 20).await;
        assert_eq!((lost(&observed), number(&observed["copies"])), (20, 20), "{observed}");
        // And after that there is none to be had.
        assert!(send(world.net(), client, &get(), 30).await.all_ok(30));
        let observed = wait_lost(&world, "refused", 30).await;
        assert_eq!((lost(&observed), number(&observed["copies"])), (50, 50), "{observed}");
    });
}

#[test]
fn copies_without_an_endpoint_are_lost() {
    isolated(async {
        let world = all_to_v2().await;
        let unready =
            [pod("default", "web", "v2", "127.0.1.2", true), pod("default", "web", "v2", "127.0.1.2", false)];
        let gone = manifests::web().replace(&unready[0], &unready[1]);
        assert_ne!(gone, manifests::web());
        world.write("web.yaml", &gone);
        let away = || async {
            let clusters = world.proxy("client").get("/clusters").await.unwrap_or_default();
            !clusters.contains("mirror|8000|v2|web.default.svc.cluster.local::127.0.1.2")
        };
        world.wait_for("the endpoint to go", away).await;
        check(&world, "noEndpoint", 100).await;
    });
}

#[test]
fn copies_over_the_limits_are_lost() {
    isolated(async {
        let limits =
            "mirror: {circuitBreakers: {maxConnections: 1, maxPendingRequests: 1, maxRequests: 1}}\n";
        let world = web_with(&[("rules.yaml", &rules("web", "web", &to_v1(TO_V2)))], limits).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::Hang);
        // The first fills it for a minute.
        assert!(send(world.net(), ([127, 0, 0, 1], 8000).into(), &get(), 1).await.all_ok(1));
        let full = || async { world.echo("v2").count() == 1 };
        world.wait_for("one copy to be under way", full).await;
        let tally = send(world.net(), ([127, 0, 0, 1], 8000).into(), &get(), 100).await;
        assert!(tally.all_ok(100), "{tally:?}");
        let observed = wait_seen(&world, 101).await[0]["observed"].clone();
        // One waits for the connection of the first: it is neither begun nor lost.
        assert_eq!(number(&observed["lost"]["overflow"]), 99, "{observed}");
        assert_eq!(number(&observed["copies"]), 100, "{observed}");
    });
}

#[test]
fn bad_answers_are_answers() {
    isolated(async {
        let world = all_to_v2().await;
        world.echo("v2").set_mode(Mode::Status(500));
        assert!(world.send(WEB, &get(), 100).await.all_ok(100));
        let observed = wait_seen(&world, 100).await[0]["observed"].clone();
        assert_eq!(number(&observed["copyAnswers"]["serverError"]), 100, "{observed}");
        assert_eq!(number(&observed["primaryAnswers"]["success"]), 100, "{observed}");
        assert!(observed["lost"].as_object().is_some_and(|lost| lost.values().all(|n| number(n) == 0)));
    });
}

/// Answers of which the body ends early are lost, and take nothing away from those that are 5xx.
async fn bodies_that_end_early(services: &str) {
    let rule = rules("web", "web", &to_v1(TO_V2));
    let world = web_with(&[("web.yaml", services), ("rules.yaml", &rule)], "").await;
    wait_share(&world, "|v2|web", 1_000_000).await;
    let client = ([127, 0, 0, 1], 8000).into();
    for (mode, sent) in [(Mode::Status(500), 40), (Mode::Cut(200), 30), (Mode::Normal, 20)] {
        let before = world.echo("v2").count();
        world.echo("v2").set_mode(mode);
        assert!(send(world.net(), client, &get(), sent).await.all_ok(sent));
        // Those under way would be answered another way.
        world.wait_for("all copies to arrive", || async { world.echo("v2").count() == before + sent }).await;
    }
    wait_seen(&world, 90).await;
    let observed = wait_lost(&world, "reset", 30).await;
    let answers = &observed["copyAnswers"];
    assert_eq!((lost(&observed), number(&observed["copies"])), (30, 90), "{observed}");
    assert_eq!(number(&answers["serverError"]), 40, "{observed}");
    // Whether the status of a cut answer counts is a matter of when the break is seen.
    assert!((20..=50).contains(&number(&answers["success"])), "{observed}");
}

#[test]
fn bodies_that_end_early_do_not_hide_bad_answers() {
    isolated(async { bodies_that_end_early(&manifests::web()).await });
}

#[test]
fn bodies_that_end_early_in_http2_do_not_hide_bad_answers() {
    isolated(async {
        bodies_that_end_early(&manifests::web().replace("name: http\n", "name: http2\n")).await;
    });
}

#[test]
fn an_umbra_that_is_away_costs_no_request() {
    isolated(async {
        let mut world = all_to_v2().await;
        let (net, ask) = (world.net().clone(), get());
        let traffic =
            tokio::spawn(async move { send(&net, ([127, 0, 0, 1], 8000).into(), &ask, 4000).await });
        for _ in 0..3 {
            world.restart_umbra().await;
        }
        let tally = traffic.await.expect("traffic");
        assert!(tally.all_ok(4000), "{tally:?}");
        // Proxies come back, and are counted from then on.
        let back = || async {
            world.send(WEB, &get(), 10).await.all_ok(10) && number(&observed(&world)["copies"]) > 0
        };
        world.wait_for("copies to be seen again", back).await;
    });
}

/// A change of the share begins anew: what came before says nothing of it.
#[test]
fn a_changed_share_is_seen_by_itself() {
    isolated(async {
        let world = all_to_v2().await;
        assert!(world.send(WEB, &get(), 500).await.all_ok(500));
        wait_seen(&world, 500).await;
        set_rules(&world, &to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 10}"));
        wait_share(&world, "|v2|web", 100_000).await;
        let anew = || async { number(&observed(&world)["primaries"]) == 0 };
        world.wait_for("the numbers to begin anew", anew).await;
        let counted = || async {
            world.send(WEB, &get(), 10).await.all_ok(10) && number(&observed(&world)["primaries"]) > 0
        };
        world.wait_for("the numbers to count again", counted).await;
        assert!(world.send(WEB, &get(), 1000).await.all_ok(1000));
        let observed = wait_seen(&world, 1000).await[0]["observed"].clone();
        let (primaries, copies) =
            (number(&observed["primaries"]) as usize, number(&observed["copies"]) as usize);
        assert!(expected(primaries, 0.1).contains(&copies), "{observed}");
    });
}

/// A bootstrap that sends nothing, and a umbra that counts nothing: both mirror as ever, and say so.
#[test]
fn who_does_not_want_to_know_is_not_told() {
    isolated(async {
        let files = [("rules.yaml", &*rules("web", "web", &to_v1(TO_V2)))];
        let mut world = web_with(&files, "mirror: {observe: true}\n").await;
        world.stop_proxy("client");
        let server = world.umbra().xds().to_string();
        let args =
            ["bootstrap", "--proxy", "sidecar/default/app=client", "--server", &server, "--no-observe"];
        let out = umbra::run(&args).expect("umbra runs");
        let bootstrap = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && !bootstrap.contains("statsSinks"), "{bootstrap}");
        world.start_envoy("client", &bootstrap).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_routes(&world, "\"stat_prefix\":\"default/web/").await;
        assert!(world.send(WEB, &get(), 100).await.all_ok(100));
        assert_eq!(world.echo("v2").count(), 100);
        assert_eq!(observed(&world), Value::Null);
        assert_eq!(mirrors(&world)[0]["uncounted"], 1, "it does not say that it counts");

        world.write_config("mirror: {observe: false}\n");
        let without = || async {
            let routes = world.proxy("client").section("RoutesConfigDump").await;
            routes.is_ok_and(|it| {
                it.to_string().contains("request_mirror_policies") && !it.to_string().contains("stat_prefix")
            })
        };
        world.wait_for("routes without a name for statistics", without).await;
    });
}

/// `deploy/monitoring/envoy.rules.yaml` reads what Envoy tells Prometheus by its own names: each is there, with hosts and rules as labels and
/// none in a metric's name.
#[test]
fn what_the_proxies_tell_prometheus_has_hosts_as_labels() {
    isolated(async {
        let world = all_to_v2().await;
        const SENT: usize = 20;
        assert!(world.send(WEB, &get(), SENT).await.all_ok(SENT));
        wait_seen(&world, SENT).await;
        let told = world.proxy("client").get("/stats/prometheus").await.expect("statistics");
        let file = umbra_testkit::paths::workspace().join("deploy/monitoring/envoy.rules.yaml");
        let rules = std::fs::read_to_string(file).expect("the rules");
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let read = rules
            .split(word)
            .filter(|w| w.starts_with("envoy_cluster_upstream") || w.starts_with("envoy_vhost"));
        let cluster = "envoy_cluster_name=\"mirror|8000|v2|web.default.svc.cluster.local\"";
        let route = "web.default.svc.cluster.local:8000\",envoy_route=\"default/web/";
        let mut names = 0;
        for name in read {
            let label = if name.contains("_vhost_") { route } else { cluster };
            let found = |line: &str| {
                line.starts_with(name) && line[name.len()..].starts_with('{') && line.contains(label)
            };
            assert!(told.lines().any(found), "{name}{{{label}}}\n{told}");
            names += 1;
        }
        assert!(names >= 10, "{rules}");
        let metric = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let metrics = told.lines().filter(|line| !line.starts_with('#')).map(metric);
        let hosts: Vec<_> =
            metrics.filter(|name| name.contains("svc_cluster") || name.contains("_127_")).collect();
        assert!(hosts.is_empty(), "{hosts:?}");
    });
}
