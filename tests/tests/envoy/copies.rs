//! What a copy looks like at the service that gets it.

use serde_json::{Value, json};
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::echo::Record;
use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, all, pod, rules, service, to_v1};

use super::{WEB, get, wait_routes, wait_share, web, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";

/// Sends one request and gives what v1 and v2 got.
async fn one(world: &World, ask: &Ask) -> (Record, Record) {
    wait_share(world, "|v2|web", 1_000_000).await;
    world.forget().await;
    assert_eq!(world.ask(WEB, ask).await.status, 200);
    world.settle().await;
    let [mut first, mut copy] = ["v1", "v2"].map(|name| world.echo(name).take());
    assert_eq!((first.len(), copy.len()), (1, 1));
    (first.remove(0), copy.remove(0))
}

#[test]
fn the_host_says_that_it_is_a_shadow() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        for (host, shadow) in [
            ("web:8000", "web-shadow:8000"),
            ("web", "web-shadow"),
            ("web.default.svc.cluster.local:8000", "web.default.svc.cluster.local-shadow:8000"),
        ] {
            let (first, copy) = one(&world, &Ask::get(host, "/")).await;
            assert_eq!((first.host.as_str(), copy.host.as_str()), (host, shadow));
        }
    });
}

#[test]
fn the_suffix_can_be_turned_off() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("rules.yaml", &rule)], "mirror: {shadowSuffix: false}\n").await;
        let (_, copy) = one(&world, &get()).await;
        assert_eq!(copy.host, "web:8000");
    });
}

#[test]
fn the_body_is_copied_whole() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) / 7) as u8).collect();
        let (first, copy) = one(&world, &Ask::post("web:8000", "/upload?a=b", body.clone())).await;
        assert_eq!((copy.body_length, copy.body_hash), (body.len(), first.body_hash));
        assert_eq!((copy.method.as_str(), copy.path.as_str()), ("POST", "/upload?a=b"));
    });
}

#[test]
fn a_copy_has_the_same_request_id_and_headers() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        let (first, copy) =
            one(&world, &get().header("x-tenant", "blue").header("authorization", "Bearer x")).await;
        for name in ["x-tenant", "authorization", "x-request-id"] {
            assert_eq!(first.header(name), copy.header(name), "{name}");
        }
    });
}

#[test]
fn changes_to_the_request_reach_the_copy_too() {
    isolated(async {
        let rule = to_v1(
            "match:
- uri: {prefix: /api/}
rewrite: {uri: /}
headers:
  request:
    set: {x-from: rule}
    remove: [x-secret]
mirror: {host: web, subset: v2}",
        );
        let world = web(&rule).await;
        let (first, copy) = one(&world, &Ask::get("web:8000", "/api/items").header("x-secret", "s")).await;
        for record in [first, copy] {
            let seen = (record.path.as_str(), record.header("x-from"), record.header("x-secret"));
            assert_eq!(seen, ("/items", "rule", ""));
        }
    });
}

#[test]
fn only_requests_of_the_rule_are_copied() {
    isolated(async {
        let plain = to_v1("");
        let matched = to_v1("match:\n- headers: {x-beta: {exact: \"yes\"}}\nmirror: {host: web, subset: v2}");
        let world = web(&format!("{matched}{plain}")).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let tally = world.send(WEB, &get(), 50).await;
        assert!(tally.all_ok(50) && world.echo("v2").count() == 0, "{:?}", world.counts());
        let tally = world.send(WEB, &get().header("x-beta", "yes"), 50).await;
        assert!(tally.all_ok(50) && world.echo("v2").count() == 50, "{:?}", world.counts());
    });
}

#[test]
fn copies_to_a_service_of_another_namespace() {
    isolated(async {
        let other = all(&[
            service("lab", "probe", &[("http", 9000, 8080)]),
            pod("lab", "probe", "a", "127.0.1.9", true),
        ]);
        let mirror = "mirror: {host: probe.lab.svc.cluster.local, port: {number: 9000}}";
        let rule = rules("web", "web", &to_v1(mirror));
        let mut world = web_with(&[("rules.yaml", &rule), ("lab.yaml", &other)], "").await;
        world.start_echo("probe", "127.0.1.9:8080");
        wait_share(&world, "|probe.lab", 1_000_000).await;
        let tally = world.send(WEB, &get(), 100).await;
        assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
        assert_eq!(world.echo("probe").count(), 100);
        world.assert_clean().await;
    });
}

#[test]
fn copies_have_statistics_of_their_own() {
    isolated(async {
        // v1 is also the mirror: the copies must not count as its own requests.
        let world = web(&to_v1("mirror: {host: web, subset: v1}")).await;
        wait_share(&world, "|v1|web", 1_000_000).await;
        world.send(WEB, &get(), 100).await;
        let stats = world.proxy("client").stats().await.expect("statistics");
        let total = |cluster: &str| stats.get(&format!("cluster.{cluster}.upstream_rq_total")).copied();
        assert_eq!(total("outbound|8000|v1|web.default.svc.cluster.local"), Some(100));
        assert_eq!(total("mirror|8000|v1|web.default.svc.cluster.local"), Some(100));
        assert_eq!(world.echo("v1").count(), 200);
    });
}

#[test]
fn a_retried_request_is_copied_once() {
    isolated(async {
        let rule = to_v1(
            "retries: {attempts: 3, retryOn: 5xx, perTryTimeout: 2s}
mirror: {host: web, subset: v2}",
        );
        let world = web(&rule).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        assert_eq!(world.ask(WEB, &Ask::get("web:8000", "/status/503")).await.status, 503);
        world.settle().await;
        assert_eq!((world.echo("v1").count(), world.echo("v2").count()), (4, 1));
    });
}

#[test]
fn answers_that_umbra_gives_itself_are_not_copied() {
    isolated(async {
        let rule = "- match:
  - uri: {exact: /old}
  redirect: {uri: /new}
  mirror: {host: web, subset: v2}
- match:
  - uri: {exact: /teapot}
  directResponse: {status: 418}
  mirror: {host: web, subset: v2}
";
        let world = web(&format!("{rule}{}", to_v1(""))).await;
        wait_routes(&world, "/teapot").await;
        let redirected = world.ask(WEB, &Ask::get("web:8000", "/old")).await;
        assert_eq!(redirected.status, 301);
        assert!(redirected.headers["location"].to_str().is_ok_and(|to| to.ends_with("/new")));
        assert_eq!(world.ask(WEB, &Ask::get("web:8000", "/teapot")).await.status, 418);
        world.settle().await;
        assert_eq!(world.echo("v2").count(), 0);
        world.assert_clean().await;
    });
}

#[test]
fn a_client_in_http2_is_copied_too() {
    isolated(async {
        let world = web(&to_v1(TO_V2)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let mut client = Client::new(world.net(), ([127, 0, 0, 1], 8000).into()).http2();
        let answer = client.ask(&get()).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.served_by()), (200, "v1"));
        world.settle().await;
        assert_eq!(world.echo("v2").take()[0].host, "web-shadow:8000");
    });
}

/// To a port that does not say what it speaks: an original goes as its caller speaks, and a copy as its original where that
/// is HTTP/1.1 or gRPC.
#[test]
fn a_copy_speaks_what_its_original_spoke() {
    isolated(async {
        let unnamed = manifests::web().replace("name: http\n    port", "port");
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("web.yaml", &unnamed), ("rules.yaml", &rule)], "").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let grpc = get().header("content-type", "application/grpc+proto");
        for (what, ask, two, original, copy) in [
            ("HTTP/1.1", get(), false, "HTTP/1.1", "HTTP/1.1"),
            ("gRPC", grpc, true, "HTTP/2.0", "HTTP/2.0"),
            ("other HTTP/2", get(), true, "HTTP/2.0", "HTTP/1.1"),
        ] {
            world.forget().await;
            let client = Client::new(world.net(), ([127, 0, 0, 1], 8000).into());
            let mut client = if two { client.http2() } else { client };
            assert_eq!(client.ask(&ask).await.expect("an answer").served_by(), "v1", "{what}");
            world.settle().await;
            let seen = ["v1", "v2"].map(|name| format!("{:?}", world.echo(name).take()[0].version));
            assert_eq!(seen, [original, copy], "{what}");
        }
    });
}

/// Not even where a bootstrap says who would take them, and a caller asks for it.
#[test]
fn no_listener_makes_spans() {
    isolated(async {
        let mut world = web(&to_v1(TO_V2)).await;
        world.stop_proxy("client");
        let bootstrap =
            umbra::bootstrap("sidecar/default/app=client", world.umbra().xds()).expect("a bootstrap");
        let mut bootstrap: Value = serde_saphyr::from_str(&bootstrap).expect("YAML");
        bootstrap["tracing"] = json!({"http": {"name": "envoy.tracers.zipkin", "typedConfig": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collectorCluster": "umbra-xds",
            "collectorEndpoint": "/api/v2/spans",
            "collectorEndpointVersion": "HTTP_JSON",
        }}});
        world.start_envoy("client", &bootstrap.to_string()).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let traced = get().header("x-client-trace-id", "1").header("x-b3-sampled", "1");
        assert!(world.send(WEB, &traced, 20).await.all_ok(20));
        let stats = world.proxy("client").stats().await.expect("statistics");
        let made: Vec<_> = stats.iter().filter(|(name, n)| name.contains("tracing.") && **n > 0).collect();
        assert!(made.is_empty(), "{made:?}");
        // The trace of the caller goes on at the target.
        let copies = world.echo("v2").take();
        assert!(copies.iter().all(|copy| copy.header("x-b3-sampled") == "1") && copies.len() == 20);
    });
}
