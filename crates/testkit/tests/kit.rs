//! The kit itself, with a static Envoy configuration: what the tiers above rely on.

#![allow(clippy::expect_used, reason = "a test")]

use serde_json::{Value, json};
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::dns::Dns;
use umbra_testkit::echo::{Echo, Mode};
use umbra_testkit::isolate::{isolated, isolated_in_namespaces};
use umbra_testkit::net::Net;
use umbra_testkit::ports::Port;
use umbra_testkit::share;
use umbra_testkit::world::World;

/// A listener on 127.0.0.1:8000 with one route to `primary`, mirrored to `shadow` at 25 % of a million.
fn bootstrap(primary: &str, shadow: &str) -> String {
    let cluster = |name: &str, address: &str| {
        let (ip, port) = address.split_once(':').expect("IP:PORT");
        let address =
            json!({"socket_address": {"address": ip, "port_value": port.parse::<u16>().expect("a port")}});
        let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
        json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}})
    };
    let fraction = json!({"default_value": {"numerator": 250_000, "denominator": "MILLION"}});
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "primary", "request_mirror_policies": [{"cluster": "shadow", "runtime_fraction": fraction}]},
    });
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let manager = json!({
        "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": kind("http.router.v3.Router")}}],
    });
    let listener = json!({
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8000}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    });
    let clusters = [cluster("primary", primary), cluster("shadow", shadow)];
    json!({"static_resources": {"listeners": [listener], "clusters": clusters}}).to_string()
}

#[test]
fn a_real_envoy_mirrors_a_quarter() {
    isolated(async {
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:8080");
        world.start_echo("v2", "127.0.1.2:8080");
        world.start_envoy("proxy", &bootstrap("127.0.1.1:8080", "127.0.1.2:8080")).await;
        let tally = world.send(":8000", &Ask::get("httpbin:8000", "/headers"), 1000).await;
        assert!(tally.all_ok(1000), "{tally:?}");
        assert_eq!(tally.by("v1"), 1000);
        let copies = world.echo("v2").take();
        assert!(share::expected(1000, 0.25).contains(&copies.len()), "{} copies", copies.len());
        assert_eq!(copies[0].host, "httpbin-shadow:8000");
        assert_eq!(world.proxy("proxy").stat("cluster.shadow.upstream_rq_total").await, copies.len() as u64);
    });
}

#[test]
fn two_networks_are_joined() {
    isolated_in_namespaces(async {
        let far = Net::joined("b", [10, 99, 0, 1].into(), [10, 99, 0, 2].into()).expect("a second network");
        let echo = Echo::start(&far, "far", ([10, 99, 0, 2], 8000).into()).expect("an echo service there");
        let answer =
            Client::new(&Net::here(), echo.address()).ask(&Ask::get("far", "/")).await.expect("an answer");
        assert_eq!(answer.served_by(), "far");
        let local =
            Echo::start(&far, "loopback", ([127, 0, 0, 1], 8000).into()).expect("a loopback of its own");
        assert!(Client::new(&Net::here(), local.address()).ask(&Ask::get("far", "/")).await.is_err());
        assert!(Client::new(&far, local.address()).ask(&Ask::get("far", "/")).await.is_ok());
        Dns::start(&far, ([10, 99, 0, 2], 53).into(), &[]).expect("a DNS server there");
    });
}

#[tokio::test]
async fn an_echo_answers_as_the_documents_show() {
    let port = Port::free().expect("a port");
    let echo = Echo::start(&Net::here(), "v1", port.local()).expect("an echo service");
    let mut one = Client::new(&Net::here(), port.local());
    let mut two = Client::new(&Net::here(), port.local()).http2();
    for (client, version) in [(&mut one, "HTTP/1.1"), (&mut two, "HTTP/2.0")] {
        let ask = Ask::get("httpbin:8000", "/headers?a=b").header("user-agent", "curl/7.35.0");
        let answer = client.ask(&ask).await.expect("an answer");
        let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(body["headers"]["User-Agent"], "curl/7.35.0", "{version}");
        let record = echo.take().pop().expect("a record");
        assert_eq!(
            (record.host.as_str(), record.path.as_str()),
            ("httpbin:8000", "/headers?a=b"),
            "{version}"
        );
        assert_eq!(format!("{:?}", record.version), version);
    }
    let post = one.ask(&Ask::post("h", "/anything", "12345")).await.expect("an answer");
    let body: Value = serde_json::from_str(&post.text()).expect("JSON");
    assert_eq!(
        (&body["method"], &body["bodyLength"], &body["version"]),
        (&json!("POST"), &json!(5), &json!("v1"))
    );
    assert_eq!(one.ask(&Ask::get("h", "/index")).await.expect("an answer").text(), "index");
    assert_eq!(one.ask(&Ask::get("h", "/status/418")).await.expect("an answer").status, 418);
    echo.set_mode(Mode::Status(503));
    assert_eq!(one.ask(&Ask::get("h", "/")).await.expect("an answer").status, 503);
}
